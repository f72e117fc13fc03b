// Matrix products: linear, mm, bmm and their kin.
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

at::Tensor linear(const at::Tensor& input, const at::Tensor& weight,
                  const std::optional<at::Tensor>& bias) {
  TORCH_CHECK(input.dim() >= 1 && weight.dim() >= 1 && weight.dim() <= 2,
              "linear(): expected an input of at least 1 and a weight of 1 or 2 dimensions, got ",
              input.dim(), " and ", weight.dim());
  TORCH_CHECK(input.scalar_type() == weight.scalar_type(), "mat1 and mat2 must have the same dtype, but got ",
              input.scalar_type(), " and ", weight.scalar_type());
  TORCH_CHECK(input.size(-1) == weight.size(-1), "mat1 and mat2 shapes cannot be multiplied: input ",
              input.sizes(), ", weight ", weight.sizes());
  c10::DimVector sizes(input.sizes().begin(), input.sizes().end() - 1);
  if (weight.dim() == 2) sizes.push_back(weight.size(0));
  if (bias && bias->defined() && bias->dim() != 0) {
    TORCH_CHECK(bias->dim() == 1 && (bias->size(0) == 1 || bias->size(0) == sizes.back()),
                "linear(): a bias of ", bias->sizes(), " does not fit an output of ", sizes);
  }
  return empty_like_dtype(sizes, input);
}

void linear_cost(const OpSignature& op, Cost& cost) {
  const int64_t outputs = op.output().numel();
  cost.add_macs(outputs * op.tensor(0).size(-1), op.output().is_complex());
  if (op.has_tensor(2)) add_elementwise(op, cost, {.add = 1}, outputs);
}

const Rule kTable[] = {
    {"aten::linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor", boxed<&linear>,
     linear_cost},
};

}  // namespace

const RuleFamily kMatmulRules = {"matmul", kTable};

}  // namespace nnprof

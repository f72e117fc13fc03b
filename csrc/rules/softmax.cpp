// Softmax and the cumulative functions: each output row depends on all of its input row.
#include <ATen/WrapDimUtils.h>
#include <ATen/ops/_log_softmax_backward_data_meta_dispatch.h>
#include <ATen/ops/_log_softmax_meta_dispatch.h>
#include <ATen/ops/_softmax_backward_data_meta_dispatch.h>
#include <ATen/ops/_softmax_meta_dispatch.h>
#include <ATen/ops/cumprod_meta_dispatch.h>
#include <ATen/ops/cumsum_meta_dispatch.h>

#include "rules/dtype_checks.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using Pair = std::tuple<at::Tensor, at::Tensor>;

at::Tensor softmax(const at::Tensor& self, int64_t dim, std::optional<at::ScalarType> dtype) {
  at::maybe_wrap_dim(dim, self.dim());
  const c10::ScalarType result = dtype.value_or(self.scalar_type());
  check_kernel(is_float(result), self);
  return empty_of(self.sizes(), result);
}

Count rows(const TensorSpec& self, int64_t dim) {
  return self.dim() == 0 || self.numel() == 0 ? 1 : self.numel() / self.size(dim);
}

// The logarithm of each row's sum comes once a row.
void log_softmax_cost(const OpSignature& op, Cost& cost) {
  per_input_element(op, cost);
  add_elementwise(op, cost, {.exp = 1}, rows(op.tensor(0), op.integer(1)));
}

// Beside the softmax, a mask of what is -inf, one entry a row of where all is.
void safe_softmax_cost(const OpSignature& op, Cost& cost) {
  per_input_element(op, cost);
  const TensorSpec& out = op.output();
  cost.temporary_bytes = out.numel() * (out.element_size() + 1) + rows(out, op.integer(1));
}

// Contiguous whatever the input's strides.
at::Tensor cumulative(const at::Tensor& self, int64_t dim) {
  at::maybe_wrap_dim(dim, self.dim());
  return empty_like_dtype(self.sizes(), self);
}

at::Tensor logcumsumexp(const at::Tensor& self, int64_t dim) {
  at::Tensor result = cumulative(self, dim);
  check_kernel(is_float(self.scalar_type()) || self.is_complex(), self);
  return result;
}

Pair cumulative_extremum(const at::Tensor& self, int64_t dim) {
  return {cumulative(self, dim), empty_of(self.sizes(), at::kLong)};
}

const Rule kSoftmaxTable[] = {
    // max, difference to it, exp, sum, division.
    {"aten::softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
     boxed<&softmax>,
     per_input_element,
     {.add = 2, .division = 1, .exp = 1, .compare = 1}},
    {"aten::_softmax(Tensor self, int dim, bool half_to_float) -> Tensor",
     boxed<for_floats<&at::meta::_softmax>>,
     per_input_element,
     {.add = 2, .division = 1, .exp = 1, .compare = 1},
     kExactOut},
    {"aten::special_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
     boxed<&softmax>,
     per_input_element,
     {.add = 2, .division = 1, .exp = 1, .compare = 1}},
    // Then: is it -inf, is all of the row so, the choice between the softmax and zero.
    {"aten::_safe_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
     boxed<&softmax>,
     safe_softmax_cost,
     {.add = 2, .division = 1, .exp = 1, .compare = 4}},
    // max, difference to it, exp, sum, difference to the logarithm of that.
    {"aten::log_softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
     boxed<&softmax>,
     log_softmax_cost,
     {.add = 3, .exp = 1, .compare = 1}},
    {"aten::_log_softmax(Tensor self, int dim, bool half_to_float) -> Tensor",
     boxed<for_floats<&at::meta::_log_softmax>>,
     log_softmax_cost,
     {.add = 3, .exp = 1, .compare = 1},
     kExactOut},
    {"aten::special_log_softmax(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor",
     boxed<&softmax>,
     log_softmax_cost,
     {.add = 3, .exp = 1, .compare = 1}},
    // (g - sum(g y)) y
    {"aten::_softmax_backward_data(Tensor grad_output, Tensor output, int dim, ScalarType "
     "input_dtype) -> Tensor",
     boxed<for_floats<&at::meta::_softmax_backward_data>>,
     per_input_element,
     {.add = 2, .multiply = 2}},
    // g - exp(y) sum(g)
    {"aten::_log_softmax_backward_data(Tensor grad_output, Tensor output, int dim, ScalarType "
     "input_dtype) -> Tensor",
     boxed<for_floats<&at::meta::_log_softmax_backward_data>>,
     per_input_element,
     {.add = 2, .multiply = 1, .exp = 1}},
    {"aten::cumsum(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor",
     boxed<&at::meta::cumsum>,
     per_input_element,
     {.add = 1}},
    {"aten::cumprod(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor",
     boxed<&at::meta::cumprod>,
     per_input_element,
     {.multiply = 1}},
    {"aten::cummax(Tensor self, int dim) -> (Tensor values, Tensor indices)",
     boxed<for_reals<&cumulative_extremum>>,
     per_input_element,
     {.compare = 1},
     kChoices},
    {"aten::cummin(Tensor self, int dim) -> (Tensor values, Tensor indices)",
     boxed<for_reals<&cumulative_extremum>>,
     per_input_element,
     {.compare = 1},
     kChoices},
    // max(a, b) + log1p(exp(min(a, b) - max(a, b)))
    {"aten::logcumsumexp(Tensor self, int dim) -> Tensor",
     boxed<&logcumsumexp>,
     per_input_element,
     {.add = 2, .exp = 2, .compare = 2},
     kExactOut},
    {"aten::_logcumsumexp(Tensor self, int dim) -> Tensor",
     boxed<&logcumsumexp>,
     per_input_element,
     {.add = 2, .exp = 2, .compare = 2}},
};

}  // namespace

const RuleFamily kSoftmaxRules("softmax", kSoftmaxTable, OpClass::softmax, kNothingSpecial);

}  // namespace nnprof

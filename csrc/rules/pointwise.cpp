// Elementwise functions; outputs are made by PyTorch's own structured meta functions.
#include <ATen/ops/add_meta_dispatch.h>
#include <ATen/ops/mul_meta_dispatch.h>
#include <ATen/ops/silu_meta_dispatch.h>

#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

at::Tensor relu(const at::Tensor& self) {
  TORCH_CHECK(self.scalar_type() != at::kBool, "Boolean inputs not supported for relu");
  return empty_preserving(self);
}

const Rule kTable[] = {
    {"aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
     boxed<&at::meta::add>, pointwise, {.add = 1}},
    {"aten::mul.Tensor(Tensor self, Tensor other) -> Tensor", boxed<&at::meta::mul>, pointwise,
     {.multiply = 1}},
    {"aten::relu(Tensor self) -> Tensor", boxed<&relu>, pointwise, {.compare = 1}},
    {"aten::silu(Tensor self) -> Tensor", boxed<&at::meta::silu>, pointwise,
     {.add = 1, .multiply = 1, .division = 1, .exp = 1}},
};

}  // namespace

const RuleFamily kPointwiseRules = {"pointwise", kTable};

}  // namespace nnprof

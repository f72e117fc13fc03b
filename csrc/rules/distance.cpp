// Distances between the rows of matrices: cdist and pdist.
#include <ATen/ExpandUtils.h>

#include <cmath>

#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using c10::DimVector;
using c10::IntArrayRef;

void check_rows(const at::Tensor& x1, const at::Tensor& x2) {
  TORCH_CHECK(c10::isFloatingType(x1.scalar_type()),
              "cdist only supports floating-point dtypes, X1 got: ", x1.scalar_type());
  TORCH_CHECK(c10::isFloatingType(x2.scalar_type()),
              "cdist only supports floating-point dtypes, X2 got: ", x2.scalar_type());
  TORCH_CHECK(x1.dim() >= 2, "cdist only supports at least 2D tensors, X1 got: ", x1.dim(), "D");
  TORCH_CHECK(x2.dim() >= 2, "cdist only supports at least 2D tensors, X2 got: ", x2.dim(), "D");
  TORCH_CHECK(x1.size(-1) == x2.size(-1),
              "X1 and X2 must have the same number of columns. X1: ", x1.size(-1),
              " X2: ", x2.size(-1));
  TORCH_CHECK(x1.scalar_type() == x2.scalar_type(), "expected scalar type ", x1.scalar_type(),
              " but found ", x2.scalar_type());
}

at::Tensor distances(const at::Tensor& x1, const at::Tensor& x2) {
  const auto batches = [](const at::Tensor& x) {
    return x.sizes().slice(0, static_cast<size_t>(x.dim() - 2));
  };
  DimVector sizes = at::infer_size_dimvector(batches(x1), batches(x2));
  sizes.push_back(x1.size(-2));
  sizes.push_back(x2.size(-2));
  return empty_like_dtype(sizes, x1);
}

at::Tensor cdist(const at::Tensor& x1, const at::Tensor& x2, double p,
                 std::optional<int64_t> compute_mode) {
  check_rows(x1, x2);
  TORCH_CHECK(p >= 0, "cdist only supports non-negative p values");
  const int64_t mode = compute_mode.value_or(0);
  TORCH_CHECK(mode >= 0 && mode <= 2, "possible modes: 0, 1, 2, but was: ", mode);
  return distances(x1, x2);
}

at::Tensor euclidean_distance(const at::Tensor& x1, const at::Tensor& x2) {
  check_rows(x1, x2);
  return distances(x1, x2);
}

at::Tensor row_distances(const at::Tensor& self, double p) {
  TORCH_CHECK(self.dim() == 2, "pdist only supports 2D tensors, got: ", self.dim(), "D");
  TORCH_CHECK(c10::isFloatingType(self.scalar_type()), "pdist only supports floating-point dtypes");
  TORCH_CHECK(p >= 0, "pdist only supports non-negative p values");
  const int64_t rows = self.size(0);
  return empty_like_dtype({std::max<int64_t>(rows * (rows - 1) / 2, 0)}, self);
}

at::Tensor contiguous_pairwise(const at::Tensor& self, double p) {
  TORCH_CHECK(self.is_contiguous(), "_pdist_forward requires contiguous input");
  return row_distances(self, p);
}

at::Tensor cdist_gradient(const at::Tensor& grad, const at::Tensor& x1, const at::Tensor& x2,
                          double /*p*/, const at::Tensor& cdist) {
  check_rows(x1, x2);
  const at::Tensor expected = distances(x1, x2);
  TORCH_CHECK(grad.sizes() == expected.sizes() && cdist.sizes() == expected.sizes(),
              "_cdist_backward: expected distances and their gradient of size ", expected.sizes(),
              ", but got ", cdist.sizes(), " and ", grad.sizes());
  DimVector sizes(expected.sizes());
  sizes.back() = x1.size(-1);
  return empty_like_dtype(sizes, x1);
}

at::Tensor pdist_gradient(const at::Tensor& grad, const at::Tensor& self, double p,
                          const at::Tensor& pdist) {
  TORCH_CHECK(self.is_contiguous() && pdist.is_contiguous(),
              "_pdist_backward requires contiguous input and distances");
  const at::Tensor expected = row_distances(self, p);
  TORCH_CHECK(grad.sizes() == expected.sizes() && pdist.sizes() == expected.sizes(),
              "_pdist_backward: expected distances and their gradient of size ", expected.sizes(),
              ", but got ", pdist.sizes(), " and ", grad.sizes());
  return empty_like_dtype(self.sizes(), self);
}

// A difference and a multiply-accumulate for each pair of rows and column, whatever the norm; a
// power in the place of the square where p is not 1 or 2, and a root a pair.
void add_distances(const OpSignature& op, Cost& cost, double p) {
  const Count pairs = op.output().numel();
  const Count terms = pairs * op.tensor(0).size(-1);
  cost.add_macs(terms);
  add_elementwise(op, cost, {.add = 1}, terms);
  if (p == 2) return add_elementwise(op, cost, {.sqrt = 1}, pairs);
  const bool plain = p == 0 || p == 1 || std::isinf(p);
  if (plain) return;
  add_elementwise(op, cost, {.exp = 1}, terms);
  add_elementwise(op, cost, {.exp = 1}, pairs);
}

void cdist_cost(const OpSignature& op, Cost& cost) { add_distances(op, cost, op.floating(2)); }
void pdist_cost(const OpSignature& op, Cost& cost) { add_distances(op, cost, op.floating(1)); }
void euclidean_cost(const OpSignature& op, Cost& cost) { add_distances(op, cost, 2); }

// Of each pair and column the difference again, times what the pair's gradient weighs it with:
//   grad / distance   (p = 2)      grad * sign   (p = 1)      grad where it is the largest   (inf)
//   grad * (|difference| / distance)^(p - 1) * sign   (other p; for 0 there is none)
void add_gradients(const OpSignature& op, Cost& cost, double p, Count pairs, Count terms) {
  if (p == 0) return;
  cost.add_macs(terms);
  add_elementwise(op, cost, {.add = 1}, terms);
  if (p == 2) return add_elementwise(op, cost, {.division = 1}, pairs);
  add_elementwise(op, cost, {.compare = 1}, terms);
  if (p == 1 || std::isinf(p)) return;
  add_elementwise(op, cost, {.exp = 1}, terms);
  add_elementwise(op, cost, {.division = 1, .exp = 1}, pairs);
}

void cdist_gradient_cost(const OpSignature& op, Cost& cost) {
  const Count pairs = op.tensor(0).numel();
  add_gradients(op, cost, op.floating(3), pairs, pairs * op.output().size(-1));
}

// A pair's term goes to both of its rows.
void pdist_gradient_cost(const OpSignature& op, Cost& cost) {
  const double p = op.floating(2);
  const Count pairs = op.tensor(0).numel();
  const Count terms = pairs * op.output().size(-1);
  add_gradients(op, cost, p, pairs, terms);
  if (p != 0) add_elementwise(op, cost, {.add = 1}, terms);
}

const Rule kDistanceTable[] = {
    {"aten::_cdist_backward(Tensor grad, Tensor x1, Tensor x2, float p, Tensor cdist) -> Tensor",
     boxed<&cdist_gradient>, cdist_gradient_cost},
    {"aten::_cdist_backward(Tensor grad_output, Tensor x1, Tensor x2, float p, Tensor cdist) -> "
     "Tensor",
     boxed<&cdist_gradient>, cdist_gradient_cost},
    {"aten::_cdist_forward(Tensor x1, Tensor x2, float p, int? compute_mode) -> Tensor",
     boxed<&cdist>, cdist_cost},
    {"aten::_euclidean_dist(Tensor x1, Tensor x2) -> Tensor", boxed<&euclidean_distance>,
     euclidean_cost},
    {"aten::_pdist_backward(Tensor grad, Tensor self, float p, Tensor pdist) -> Tensor",
     boxed<&pdist_gradient>, pdist_gradient_cost},
    {"aten::_pdist_backward(Tensor grad_output, Tensor self, float p, Tensor pdist) -> Tensor",
     boxed<&pdist_gradient>, pdist_gradient_cost},
    {"aten::_pdist_forward(Tensor self, float p=2.) -> Tensor", boxed<&contiguous_pairwise>,
     pdist_cost},
    {"aten::cdist(Tensor x1, Tensor x2, float p=2., int? compute_mode=None) -> Tensor",
     boxed<&cdist>, cdist_cost},
    {"aten::pdist(Tensor self, float p=2.) -> Tensor", boxed<&row_distances>, pdist_cost},
};

}  // namespace

const RuleFamily kDistanceRules("distance", kDistanceTable, OpClass::matmul, kNothingSpecial);

}  // namespace nnprof

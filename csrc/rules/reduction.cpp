// Sums, extrema, norms, variances and other reductions.
#include <ATen/ExpandUtils.h>
#include <ATen/WrapDimUtilsMulti.h>
#include <ATen/native/TypeProperties.h>
#include <ATen/ops/all_meta_dispatch.h>
#include <ATen/ops/amax_meta_dispatch.h>
#include <ATen/ops/amin_meta_dispatch.h>
#include <ATen/ops/aminmax_meta_dispatch.h>
#include <ATen/ops/any_meta_dispatch.h>
#include <ATen/ops/argmax_meta_dispatch.h>
#include <ATen/ops/argmin_meta_dispatch.h>
#include <ATen/ops/linalg_vector_norm_meta_dispatch.h>
#include <ATen/ops/max_meta_dispatch.h>
#include <ATen/ops/mean_meta_dispatch.h>
#include <ATen/ops/min_meta_dispatch.h>
#include <ATen/ops/prod_meta_dispatch.h>
#include <ATen/ops/renorm_meta_dispatch.h>
#include <ATen/ops/sum_meta_dispatch.h>

#include <cmath>

#include "rules/dtype_checks.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using Dims = at::OptionalIntArrayRef;
using Dtype = std::optional<at::ScalarType>;
using Pair = std::tuple<at::Tensor, at::Tensor>;

// The sizes of `self` with `dims` reduced: all of them when there is none.
c10::DimVector reduced_sizes(const at::Tensor& self, Dims dims, bool keepdim) {
  const bool all = !dims.has_value() || dims->empty();
  const auto chosen = at::dim_list_to_bitset(all ? Dims() : dims, static_cast<size_t>(self.dim()));
  c10::DimVector sizes;
  for (int64_t d = 0; d < self.dim(); ++d) {
    if (!chosen[static_cast<size_t>(d)]) {
      sizes.push_back(self.size(d));
    } else if (keepdim) {
      sizes.push_back(1);
    }
  }
  return sizes;
}

bool is_number(c10::ScalarType dtype) {
  return c10::isFloatingType(dtype) || c10::isComplexType(dtype);
}

// Sums and means --------------------------------------------------------------------------------

at::Tensor sum_all(const at::Tensor& self, Dtype dtype) {
  return at::meta::sum(self, at::IntArrayRef{}, false, dtype);
}

at::Tensor mean_all(const at::Tensor& self, Dtype dtype) {
  return at::meta::mean(self, at::IntArrayRef{}, false, dtype);
}

c10::ScalarType sum_dtype(const at::Tensor& self, Dtype dtype) {
  const bool integral = c10::isIntegralType(self.scalar_type(), /*includeBool=*/true);
  return dtype.value_or(integral ? at::kLong : self.scalar_type());
}

at::Tensor nansum(const at::Tensor& self, Dims dims, bool keepdim, Dtype dtype) {
  const auto sizes = reduced_sizes(self, dims, keepdim);
  TORCH_CHECK(!self.is_complex(), "nansum does not support complex inputs");
  return empty_of(sizes, sum_dtype(self, dtype));
}

at::Tensor prod_all(const at::Tensor& self, Dtype dtype) {
  return empty_of({}, sum_dtype(self, dtype));
}

at::Tensor trace(const at::Tensor& self) {
  check_kernel(self.scalar_type() != at::kBool, self);
  TORCH_CHECK(self.dim() == 2, "trace: expected a matrix, but got a tensor of ", self.dim(),
              " dimensions");
  return empty_of({}, sum_dtype(self, std::nullopt));
}

// Only the diagonal is looked at.
void trace_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& self = op.tensor(0);
  const Count diagonal = std::min(self.size(0), self.size(1));
  cost.bytes_read = diagonal * self.element_size();
  add_elementwise(op, cost, {.add = 1}, diagonal);
}

// What the checks of torch.distributions ask.
at::Tensor truth_of_all(const at::Tensor& self) {
  TORCH_CHECK(self.scalar_type() == at::kBool, "expected a tensor of truth values, but got one of ",
              self.scalar_type());
  return empty_of({}, at::kBool);
}

at::Tensor count_nonzero_dims(const at::Tensor& self, at::IntArrayRef dims) {
  return empty_of(reduced_sizes(self, dims, false), at::kLong);
}

at::Tensor count_nonzero(const at::Tensor& self, std::optional<int64_t> dim) {
  return count_nonzero_dims(self, dim ? at::IntArrayRef(*dim) : at::IntArrayRef());
}

// A comparison with zero and the counting, which is integer work.
void count_nonzero_cost(const OpSignature& op, Cost& cost) {
  const Count elements = op.tensor(0).numel();
  add_elementwise(op, cost, {.compare = 1}, elements);
  cost[FlopKind::int_ops] += elements;
}

at::Tensor logsumexp(const at::Tensor& self, at::IntArrayRef dims, bool keepdim) {
  const c10::ScalarType dtype =
      is_number(self.scalar_type()) ? self.scalar_type() : at::get_default_dtype_as_scalartype();
  return empty_of(reduced_sizes(self, dims, keepdim), dtype);
}

// log(sum(exp(x - max))) + max: the largest, the difference, its exponential and their sum for each
// element, a logarithm and an addition for each output. The differences are kept meanwhile.
void logsumexp_cost(const OpSignature& op, Cost& cost) {
  const Count elements = op.tensor(0).numel();
  add_elementwise(op, cost, {.add = 2, .exp = 1, .compare = 1}, elements);
  add_elementwise(op, cost, {.add = 1, .exp = 1}, op.output().numel());
  cost.temporary_bytes = (elements + op.output().numel()) * op.output().element_size();
}

// Extrema ---------------------------------------------------------------------------------------

template <const char* const& Name>
at::Tensor extremum(const at::Tensor& self) {
  TORCH_CHECK(self.numel() > 0, Name,
              "(): Expected reduction dim to be specified for input.numel() == 0. Specify the "
              "reduction dim with the 'dim' argument.");
  return empty_of({}, self.scalar_type());
}
constexpr const char* kMax = "max";
constexpr const char* kMin = "min";

// Variances -------------------------------------------------------------------------------------

at::Tensor variance_dims(const at::Tensor& self, Dims dims,
                         const std::optional<at::Scalar>& /*correction*/, bool keepdim) {
  TORCH_CHECK(is_number(self.scalar_type()),
              "std and var only support floating point and complex dtypes, got ",
              self.scalar_type());
  return empty_of(reduced_sizes(self, dims, keepdim), c10::toRealValueType(self.scalar_type()));
}

at::Tensor variance(const at::Tensor& self, Dims dims, bool /*unbiased*/, bool keepdim) {
  return variance_dims(self, dims, std::nullopt, keepdim);
}

at::Tensor variance_all(const at::Tensor& self, bool /*unbiased*/) {
  return variance_dims(self, std::nullopt, std::nullopt, false);
}

Pair variance_mean_dims(const at::Tensor& self, Dims dims,
                        const std::optional<at::Scalar>& correction, bool keepdim) {
  at::Tensor result = variance_dims(self, dims, correction, keepdim);
  at::Tensor mean = empty_like_dtype(result.sizes(), self);
  return {std::move(result), std::move(mean)};
}

Pair variance_mean(const at::Tensor& self, Dims dims, bool /*unbiased*/, bool keepdim) {
  return variance_mean_dims(self, dims, std::nullopt, keepdim);
}

Pair variance_mean_all(const at::Tensor& self, bool /*unbiased*/) {
  return variance_mean_dims(self, std::nullopt, std::nullopt, false);
}

Count real_numbers(const TensorSpec& tensor) {
  return tensor.numel() * (tensor.is_complex() ? 2 : 1);
}

// In two passes: a sum, and the sum of the squared differences to the mean; a division ends each.
// The variance of complex numbers is that of the real and the imaginary parts, added.
void variance_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& self = op.tensor(0);
  cost.add({.add = 3, .multiply = 1}, real_numbers(self));
  cost.add({.add = self.is_complex() ? 1 : 0, .division = self.is_complex() ? 4 : 2},
           op.output().numel());
}

void deviation_cost(const OpSignature& op, Cost& cost) {
  variance_cost(op, cost);
  cost.add({.sqrt = 1}, op.output().numel());
}

// Norms -----------------------------------------------------------------------------------------

at::Tensor norm_dtype(const at::Tensor& self, const std::optional<at::Scalar>& p,
                      at::IntArrayRef dims, bool keepdim, Dtype dtype) {
  return at::meta::linalg_vector_norm(self, p.value_or(2), dims, keepdim, dtype);
}

at::Tensor norm_dims(const at::Tensor& self, const std::optional<at::Scalar>& p,
                     at::IntArrayRef dims, bool keepdim) {
  return norm_dtype(self, p, dims, keepdim, std::nullopt);
}

at::Tensor norm_all(const at::Tensor& self, const at::Scalar& p) {
  return norm_dims(self, p, at::IntArrayRef(), false);
}

at::Tensor norm_all_dtype(const at::Tensor& self, const std::optional<at::Scalar>& p,
                          at::ScalarType dtype) {
  return norm_dtype(self, p, at::IntArrayRef(), false, dtype);
}

at::Tensor dist(const at::Tensor& self, const at::Tensor& other, const at::Scalar& /*p*/) {
  const c10::ScalarType dtype = at::native::result_type({self, other});
  TORCH_CHECK(is_number(dtype), "norm(): the dtype must be floating point or complex, got ", dtype);
  at::infer_size_dimvector(self.sizes(), other.sizes());
  return empty_of({}, c10::toRealValueType(dtype));
}

// The absolute value is an addition of its own for real numbers, sqrt(re^2 + im^2) for complex.
void add_absolute(Cost& cost, bool complex, Count elements) {
  cost.add(complex ? FlopMix{.add = 1, .multiply = 2, .sqrt = 1} : FlopMix{.add = 1}, elements);
}

// (sum |x|^p)^(1/p) of `elements` numbers into `outputs`.
void add_norm(Cost& cost, double p, bool complex, Count elements, Count outputs) {
  if (p == 2) {  // |x|^2 needs no absolute value
    cost.add({.add = 1, .multiply = 1}, complex ? 2 * elements : elements);
    cost.add({.sqrt = 1}, outputs);
    return;
  }
  if (p == 0) return cost.add({.add = 1, .compare = 1}, elements);  // counts what is not zero
  add_absolute(cost, complex, elements);
  if (std::isinf(p)) return cost.add({.compare = 1}, elements);
  cost.add({.add = 1}, elements);
  if (p == 1) return;
  cost.add({.exp = 1}, elements + outputs);
}

void norm_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& self = op.tensor(0);
  add_norm(cost, op.floating(1, 2), self.is_complex(), self.numel(), op.output().numel());
}

// The norm of a difference, which is kept meanwhile.
void dist_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec &self = op.tensor(0), &other = op.tensor(1);
  const bool complex = self.is_complex() || other.is_complex();
  const Count elements = broadcast_numel(self, other);
  cost.add({.add = complex ? 2 : 1}, elements);
  add_norm(cost, op.floating(2), complex, elements, 1);
  cost.temporary_bytes = elements * op.output().element_size() * (complex ? 2 : 1);
}

// A norm for each slice, its comparison with the largest allowed, the factor (a division and the
// addition of an epsilon), and a multiplication for each element.
void renorm_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& self = op.tensor(0);
  const Count slices = self.size(op.integer(2));
  add_norm(cost, op.floating(1), self.is_complex(), self.numel(), slices);
  cost.add({.add = 1, .division = 1, .compare = 1}, slices);
  cost.add({.multiply = 1}, real_numbers(self));
  cost.temporary_bytes = 2 * slices * self.element_size();
}

// Costs with something left to do for each output ------------------------------------------------

template <FlopMix PerOutput>
void reduction_then(const OpSignature& op, Cost& cost) {
  reduction(op, cost);
  add_elementwise(op, cost, PerOutput, op.output().numel());
}

const Rule kReductionTable[] = {
    {"aten::sum(Tensor self, *, ScalarType? dtype=None) -> Tensor",
     boxed<&sum_all>,
     reduction,
     {.add = 1}},
    {"aten::sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? "
     "dtype=None) -> Tensor",
     boxed<&at::meta::sum>,
     reduction,
     {.add = 1}},
    {"aten::nansum(Tensor self, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) "
     "-> Tensor",
     boxed<&nansum>,
     reduction,
     {.add = 1, .compare = 1}},
    {"aten::mean(Tensor self, *, ScalarType? dtype=None) -> Tensor",
     boxed<&mean_all>,
     reduction_then<FlopMix{.division = 1}>,
     {.add = 1}},
    {"aten::mean.dim(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None) -> "
     "Tensor",
     boxed<&at::meta::mean>,
     reduction_then<FlopMix{.division = 1}>,
     {.add = 1}},
    {"aten::prod(Tensor self, *, ScalarType? dtype=None) -> Tensor",
     boxed<&prod_all>,
     reduction,
     {.multiply = 1}},
    {"aten::prod.dim_int(Tensor self, int dim, bool keepdim=False, *, ScalarType? dtype=None) -> "
     "Tensor",
     boxed<&at::meta::prod>,
     reduction,
     {.multiply = 1}},
    {"aten::trace(Tensor self) -> Tensor", boxed<&trace>, trace_cost},
    {"aten::count_nonzero(Tensor self, int? dim=None) -> Tensor", boxed<&count_nonzero>,
     count_nonzero_cost},
    {"aten::count_nonzero.dim_IntList(Tensor self, int[] dim) -> Tensor",
     boxed<&count_nonzero_dims>, count_nonzero_cost},
    {"aten::logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor", boxed<&logsumexp>,
     logsumexp_cost},
    {"aten::amax(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor",
     boxed<for_reals<&at::meta::amax>>,
     reduction,
     {.compare = 1}},
    {"aten::amin(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor",
     boxed<for_reals<&at::meta::amin>>,
     reduction,
     {.compare = 1}},
    {"aten::aminmax(Tensor self, *, int? dim=None, bool keepdim=False) -> (Tensor min, Tensor max)",
     boxed<for_reals<&at::meta::aminmax>>,
     reduction,
     {.compare = 2}},
    // The derived variant would let outputs of another dtype pass.
    {"aten::aminmax.out(Tensor self, *, int? dim=None, bool keepdim=False, Tensor(a!) min, "
     "Tensor(b!) max) -> (Tensor(a!) min, Tensor(b!) max)",
     boxed<&at::meta::aminmax_outf>,
     reduction,
     {.compare = 2}},
    {"aten::max(Tensor self) -> Tensor",
     boxed<for_reals<&extremum<kMax>>>,
     reduction,
     {.compare = 1}},
    {"aten::min(Tensor self) -> Tensor",
     boxed<for_reals<&extremum<kMin>>>,
     reduction,
     {.compare = 1}},
    {"aten::max.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
     boxed<&at::meta::max>,
     reduction,
     {.compare = 1},
     kChoices},
    {"aten::min.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
     boxed<&at::meta::min>,
     reduction,
     {.compare = 1},
     kChoices},
    {"aten::argmax(Tensor self, int? dim=None, bool keepdim=False) -> Tensor",
     boxed<&at::meta::argmax>,
     reduction,
     {.compare = 1},
     kChoices},
    {"aten::argmin(Tensor self, int? dim=None, bool keepdim=False) -> Tensor",
     boxed<&at::meta::argmin>,
     reduction,
     {.compare = 1},
     kChoices},
    {"aten::any(Tensor self) -> Tensor",
     boxed<overload<at::Tensor(const at::Tensor&)>(&at::meta::any)>,
     reduction,
     {.compare = 1}},
    {"aten::any.dim(Tensor self, int dim, bool keepdim=False) -> Tensor",
     boxed<overload<at::Tensor(const at::Tensor&, int64_t, bool)>(&at::meta::any)>,
     reduction,
     {.compare = 1}},
    {"aten::any.dims(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor",
     boxed<overload<at::Tensor(const at::Tensor&, Dims, bool)>(&at::meta::any)>,
     reduction,
     {.compare = 1}},
    {"aten::all(Tensor self) -> Tensor",
     boxed<overload<at::Tensor(const at::Tensor&)>(&at::meta::all)>,
     reduction,
     {.compare = 1}},
    {"aten::_is_all_true(Tensor self) -> Tensor", boxed<&truth_of_all>, reduction, {.compare = 1}},
    {"aten::_is_any_true(Tensor self) -> Tensor", boxed<&truth_of_all>, reduction, {.compare = 1}},
    {"aten::all.dim(Tensor self, int dim, bool keepdim=False) -> Tensor",
     boxed<overload<at::Tensor(const at::Tensor&, int64_t, bool)>(&at::meta::all)>,
     reduction,
     {.compare = 1}},
    {"aten::all.dims(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor",
     boxed<overload<at::Tensor(const at::Tensor&, Dims, bool)>(&at::meta::all)>,
     reduction,
     {.compare = 1}},
    {"aten::var(Tensor self, bool unbiased=True) -> Tensor", boxed<&variance_all>, variance_cost},
    {"aten::var.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> Tensor",
     boxed<&variance>, variance_cost},
    {"aten::var.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool "
     "keepdim=False) -> Tensor",
     boxed<&variance_dims>, variance_cost},
    {"aten::std(Tensor self, bool unbiased=True) -> Tensor", boxed<&variance_all>, deviation_cost},
    {"aten::std.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> Tensor",
     boxed<&variance>, deviation_cost},
    {"aten::std.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool "
     "keepdim=False) -> Tensor",
     boxed<&variance_dims>, deviation_cost},
    {"aten::var_mean(Tensor self, bool unbiased=True) -> (Tensor, Tensor)",
     boxed<&variance_mean_all>, variance_cost},
    {"aten::var_mean.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> "
     "(Tensor, Tensor)",
     boxed<&variance_mean>, variance_cost},
    {"aten::var_mean.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool "
     "keepdim=False) -> (Tensor, Tensor)",
     boxed<&variance_mean_dims>, variance_cost},
    {"aten::std_mean(Tensor self, bool unbiased=True) -> (Tensor, Tensor)",
     boxed<&variance_mean_all>, deviation_cost},
    {"aten::std_mean.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> "
     "(Tensor, Tensor)",
     boxed<&variance_mean>, deviation_cost},
    {"aten::std_mean.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool "
     "keepdim=False) -> (Tensor, Tensor)",
     boxed<&variance_mean_dims>, deviation_cost},
    {"aten::norm.Scalar(Tensor self, Scalar p=2) -> Tensor", boxed<&norm_all>, norm_cost},
    {"aten::norm.ScalarOpt_dim(Tensor self, Scalar? p, int[1] dim, bool keepdim=False) -> Tensor",
     boxed<&norm_dims>, norm_cost},
    {"aten::norm.ScalarOpt_dtype(Tensor self, Scalar? p, *, ScalarType dtype) -> Tensor",
     boxed<&norm_all_dtype>, norm_cost},
    {"aten::norm.ScalarOpt_dim_dtype(Tensor self, Scalar? p, int[1] dim, bool keepdim, *, "
     "ScalarType dtype) -> Tensor",
     boxed<&norm_dtype>, norm_cost},
    {"aten::linalg_vector_norm(Tensor self, Scalar ord=2, int[1]? dim=None, bool keepdim=False, *, "
     "ScalarType? dtype=None) -> Tensor",
     boxed<&at::meta::linalg_vector_norm>, norm_cost},
    {"aten::dist(Tensor self, Tensor other, Scalar p=2) -> Tensor", boxed<&dist>, dist_cost},
    {"aten::renorm(Tensor self, Scalar p, int dim, Scalar maxnorm) -> Tensor",
     boxed<&at::meta::renorm>,
     renorm_cost,
     {},
     kExactOut},
};

}  // namespace

const RuleFamily kReductionRules("reduction", kReductionTable, OpClass::reduction, kNothingSpecial);

}  // namespace nnprof

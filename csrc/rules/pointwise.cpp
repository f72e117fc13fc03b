// Elementwise arithmetic: sums, products, powers, rounding, clamping, interpolation.
#include <ATen/core/Tensor.h>
#include <ATen/ops/add_meta_dispatch.h>
#include <ATen/ops/addcdiv_meta_dispatch.h>
#include <ATen/ops/addcmul_meta_dispatch.h>
#include <ATen/ops/ceil_meta_dispatch.h>
#include <ATen/ops/clamp_max_meta_dispatch.h>
#include <ATen/ops/clamp_meta_dispatch.h>
#include <ATen/ops/clamp_min_meta_dispatch.h>
#include <ATen/ops/copysign_meta_dispatch.h>
#include <ATen/ops/div_meta_dispatch.h>
#include <ATen/ops/floor_meta_dispatch.h>
#include <ATen/ops/fmax_meta_dispatch.h>
#include <ATen/ops/fmin_meta_dispatch.h>
#include <ATen/ops/fmod_meta_dispatch.h>
#include <ATen/ops/frac_meta_dispatch.h>
#include <ATen/ops/gcd_meta_dispatch.h>
#include <ATen/ops/heaviside_meta_dispatch.h>
#include <ATen/ops/hypot_meta_dispatch.h>
#include <ATen/ops/lcm_meta_dispatch.h>
#include <ATen/ops/lerp_meta_dispatch.h>
#include <ATen/ops/maximum_meta_dispatch.h>
#include <ATen/ops/minimum_meta_dispatch.h>
#include <ATen/ops/mul_meta_dispatch.h>
#include <ATen/ops/neg_meta_dispatch.h>
#include <ATen/ops/nextafter_meta_dispatch.h>
#include <ATen/ops/pow_meta_dispatch.h>
#include <ATen/ops/reciprocal_meta_dispatch.h>
#include <ATen/ops/remainder_meta_dispatch.h>
#include <ATen/ops/round_meta_dispatch.h>
#include <ATen/ops/rsqrt_meta_dispatch.h>
#include <ATen/ops/sgn_meta_dispatch.h>
#include <ATen/ops/sign_meta_dispatch.h>
#include <ATen/ops/sqrt_meta_dispatch.h>
#include <ATen/ops/sub_meta_dispatch.h>
#include <ATen/ops/trunc_meta_dispatch.h>

#include <cmath>

#include "rules/elementwise.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using at::Scalar;
using at::Tensor;
using TensorTensor = Tensor(const Tensor&, const Tensor&);
using TensorScalar = Tensor(const Tensor&, const Scalar&);

bool is_real_number(const Scalar& number) {
  return number.isFloatingPoint() || number.isIntegral(/*includeBool=*/false);
}

// Outputs -----------------------------------------------------------------------------------------

Tensor add(const Tensor& self, const Tensor& other, const Scalar& alpha) {
  return is_real_number(alpha) ? quick_binary<&at::meta::add>(self, other, alpha)
                               : with_arithmetic(at::meta::add(self, other, alpha));
}
Tensor add_scalar(const Tensor& self, const Scalar& other, const Scalar& alpha) {
  return add(self, wrapped_number(other), alpha);
}
Tensor sub(const Tensor& self, const Tensor& other, const Scalar& alpha) {
  return is_real_number(alpha) ? quick_binary<&at::meta::sub>(self, other, alpha)
                               : with_arithmetic(at::meta::sub(self, other, alpha));
}
Tensor sub_scalar(const Tensor& self, const Scalar& other, const Scalar& alpha) {
  return sub(self, wrapped_number(other), alpha);
}
Tensor rsub(const Tensor& self, const Tensor& other, const Scalar& alpha) {
  return sub(other, self, alpha);
}
Tensor rsub_scalar(const Tensor& self, const Scalar& other, const Scalar& alpha) {
  return sub(wrapped_number(other), self, alpha);
}

using Rounding = std::optional<c10::string_view>;

constexpr auto mul = quick_binary<&at::meta::mul>;
constexpr auto div = quick_binary<overload<TensorTensor>(&at::meta::div)>;
constexpr auto remainder = quick_binary<real_result<overload<TensorTensor>(&at::meta::remainder)>>;
constexpr auto fmod = real_result<overload<TensorTensor>(&at::meta::fmod)>;
constexpr auto copysign = real_result<overload<TensorTensor>(&at::meta::copysign)>;

Tensor div_mode(const Tensor& self, const Tensor& other, Rounding mode) {
  return at::meta::div(self, other, mode);
}
Tensor div_scalar_mode(const Tensor& self, const Scalar& other, Rounding mode) {
  return at::meta::div(self, wrapped_number(other), mode);
}
Tensor floor_divide(const Tensor& self, const Tensor& other) {
  return at::meta::div(self, other, "floor");
}

// A function of a tensor and numbers that does not change the dtype of a floating one.
bool keeps_dtype(const Tensor& self, const Scalar& number) {
  return c10::isFloatingType(self.scalar_type()) && is_real_number(number);
}

Tensor pow_scalar(const Tensor& self, const Scalar& exponent) {
  constexpr auto exact = overload<TensorScalar>(&at::meta::pow);
  if (keeps_dtype(self, exponent)) return quick_unary<exact>(self, exponent);
  return with_arithmetic(exact(self, exponent));
}
Tensor pow_of_scalar(const Scalar& self, const Tensor& exponent) {
  return with_arithmetic(at::meta::pow(self, exponent));
}

Tensor clamp(const Tensor& self, const std::optional<Scalar>& min,
             const std::optional<Scalar>& max) {
  const bool quick =
      (min || max) && keeps_dtype(self, min.value_or(0)) && keeps_dtype(self, max.value_or(0));
  if (quick) {
    if (Tensor made = quick_output(self, self.scalar_type()); made.defined()) return made;
  }
  return at::meta::clamp(self, min, max);
}
Tensor clamp_min(const Tensor& self, const Scalar& min) {
  constexpr auto exact = overload<TensorScalar>(&at::meta::clamp_min);
  return keeps_dtype(self, min) ? quick_unary<exact>(self, min) : exact(self, min);
}
Tensor clamp_max(const Tensor& self, const Scalar& max) {
  constexpr auto exact = overload<TensorScalar>(&at::meta::clamp_max);
  return keeps_dtype(self, max) ? quick_unary<exact>(self, max) : exact(self, max);
}

Tensor abs(const Tensor& self) {
  if (self.is_complex()) return empty_preserving(self, c10::toRealValueType(self.scalar_type()));
  return quick_unary<&at::meta::sgn>(self);
}

Tensor abs_in_place(const Tensor& self) {
  TORCH_CHECK(!self.is_complex(), "In-place abs is not supported for complex tensors.");
  return self;
}

Tensor deg2rad(const Tensor& self) {
  TORCH_CHECK(!self.is_complex(), "deg2rad and rad2deg are not supported on complex tensors.");
  return quick_unary<&at::meta::reciprocal>(self);  // integers become floats in both
}

Tensor nan_to_num(const Tensor& self, std::optional<double>, std::optional<double>,
                  std::optional<double>) {
  return quick_unary<&at::meta::sgn>(self);
}

// The power is as exact as what it scales.
Tensor ldexp(const Tensor& self, const Tensor& other) {
  const bool whole = c10::isIntegralType(other.scalar_type(), /*includeBool=*/true);
  if (whole && self.is_floating_point()) {
    return mul(self, empty_preserving(other, self.scalar_type()));
  }
  return mul(self, pow_of_scalar(2.0, other));
}

// Costs -------------------------------------------------------------------------------------------

bool is_one(const OpSignature& op, size_t argument) { return op.floating(argument) == 1; }

// `mix` and one multiplication by the last argument, where that is not 1.
void scaled(const OpSignature& op, Cost& cost) {
  pointwise(op, cost);
  if (!is_one(op, op.arguments.size() - 1)) {
    add_elementwise(op, cost, {.multiply = 1}, op.output().numel());
  }
}

// Rounding the quotient is one more operation.
void division(const OpSignature& op, Cost& cost) {
  pointwise(op, cost);
  if (!op.is_none(2)) add_elementwise(op, cost, {.add = 1}, op.output().numel());
}

// PyTorch's kernels have shortcuts for the exponents that need no logarithm.
FlopMix pow_mix(double exponent) {
  if (exponent == 2) return {.multiply = 1};
  if (exponent == 3) return {.multiply = 2};
  if (exponent == 0.5 || exponent == -0.5) return {.sqrt = 1};
  if (exponent == -1) return {.division = 1};
  if (exponent == -2) return {.multiply = 1, .division = 1};
  if (exponent == 0 || exponent == 1) return {};
  return {.exp = 1};
}

void pow_scalar_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, pow_mix(op.floating(1)), op.output().numel());
}

// One comparison a bound.
void clamp_cost(const OpSignature& op, Cost& cost) {
  const int64_t bounds = !op.is_none(1) + !op.is_none(2);
  add_elementwise(op, cost, {.compare = bounds}, op.output().numel());
}

// |a + bi| = sqrt(a^2 + b^2)
void abs_cost(const OpSignature& op, Cost& cost) {
  const FlopMix complex = {.add = 1, .multiply = 2, .sqrt = 1};
  if (op.tensor(0).is_complex()) return cost.add(complex, op.output().numel());
  pointwise(op, cost);
}

// Table -------------------------------------------------------------------------------------------

at::Tensor conjugate(const at::Tensor& self) {
  return self.is_complex() ? empty_preserving(self) : self;
}

// Only the imaginary part changes its sign.
void conjugate_cost(const OpSignature& op, Cost& cost) {
  if (op.tensor(0).is_complex()) cost.add({.add = 1}, op.output().numel());
}

#define UNARY(NAME, ...)                                                                        \
  {                                                                                             \
    "aten::" #NAME "(Tensor self) -> Tensor", boxed<quick_unary<&at::meta::NAME>>, pointwise, { \
      __VA_ARGS__                                                                               \
    }                                                                                           \
  }
#define BINARY(NAME, ...)                                                          \
  {                                                                                \
    "aten::" #NAME "(Tensor self, Tensor other) -> Tensor",                        \
        boxed<quick_binary<overload<TensorTensor>(&at::meta::NAME)>>, pointwise, { \
      __VA_ARGS__                                                                  \
    }                                                                              \
  }

#define FLOAT_BINARY(NAME, ...)                                          \
  {                                                                      \
    "aten::" #NAME "(Tensor self, Tensor other) -> Tensor",              \
        boxed<quick_binary<float_result<&at::meta::NAME>>>, pointwise, { \
      __VA_ARGS__                                                        \
    }                                                                    \
  }

const Rule kPointwiseTable[] = {
    {"aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
     boxed<&add>,
     scaled,
     {.add = 1}},
    {"aten::add.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
     boxed<&add_scalar>,
     scaled,
     {.add = 1}},
    {"aten::sub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
     boxed<&sub>,
     scaled,
     {.add = 1}},
    {"aten::sub.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
     boxed<&sub_scalar>,
     scaled,
     {.add = 1}},
    {"aten::rsub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
     boxed<&rsub>,
     scaled,
     {.add = 1}},
    {"aten::rsub.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
     boxed<&rsub_scalar>,
     scaled,
     {.add = 1}},
    UNARY(neg, .add = 1),
    {"aten::abs(Tensor self) -> Tensor", boxed<&abs>, abs_cost, {.add = 1}, kExactOut},
    {"aten::abs_(Tensor(a!) self) -> Tensor(a!)", boxed<&abs_in_place>, pointwise, {.add = 1}},

    {"aten::mul.Tensor(Tensor self, Tensor other) -> Tensor",
     boxed<mul>,
     pointwise,
     {.multiply = 1}},
    {"aten::mul.Scalar(Tensor self, Scalar other) -> Tensor",
     boxed<&number_second<mul>>,
     pointwise,
     {.multiply = 1}},
    {"aten::deg2rad(Tensor self) -> Tensor", boxed<&deg2rad>, pointwise, {.multiply = 1}},
    {"aten::rad2deg(Tensor self) -> Tensor", boxed<&deg2rad>, pointwise, {.multiply = 1}},
    {"aten::ldexp.Tensor(Tensor self, Tensor other) -> Tensor",
     boxed<&ldexp>,
     pointwise,
     {.multiply = 1, .exp = 1}},

    {"aten::div.Tensor(Tensor self, Tensor other) -> Tensor",
     boxed<div>,
     pointwise,
     {.division = 1}},
    {"aten::div.Scalar(Tensor self, Scalar other) -> Tensor",
     boxed<&number_second<div>>,
     pointwise,
     {.division = 1}},
    {"aten::div.Tensor_mode(Tensor self, Tensor other, *, str? rounding_mode) -> Tensor",
     boxed<&div_mode>,
     division,
     {.division = 1}},
    {"aten::div.Scalar_mode(Tensor self, Scalar other, *, str? rounding_mode) -> Tensor",
     boxed<&div_scalar_mode>,
     division,
     {.division = 1}},
    {"aten::floor_divide(Tensor self, Tensor other) -> Tensor",
     boxed<real_result<&floor_divide>>,
     pointwise,
     {.add = 1, .division = 1}},
    {"aten::floor_divide.Scalar(Tensor self, Scalar other) -> Tensor",
     boxed<&number_second<real_result<&floor_divide>>>,
     pointwise,
     {.add = 1, .division = 1}},
    {"aten::remainder.Tensor(Tensor self, Tensor other) -> Tensor",
     boxed<remainder>,
     pointwise,
     {.division = 1}},
    {"aten::remainder.Scalar(Tensor self, Scalar other) -> Tensor",
     boxed<&number_second<remainder>>,
     pointwise,
     {.division = 1}},
    {"aten::remainder.Scalar_Tensor(Scalar self, Tensor other) -> Tensor",
     boxed<&number_first<remainder>>,
     pointwise,
     {.division = 1}},
    {"aten::fmod.Tensor(Tensor self, Tensor other) -> Tensor",
     boxed<fmod>,
     pointwise,
     {.division = 1}},
    {"aten::fmod.Scalar(Tensor self, Scalar other) -> Tensor",
     boxed<&number_second<fmod>>,
     pointwise,
     {.division = 1}},
    UNARY(reciprocal, .division = 1),

    {"aten::pow.Tensor_Scalar(Tensor self, Scalar exponent) -> Tensor", boxed<&pow_scalar>,
     pow_scalar_cost},
    {"aten::pow.Tensor_Tensor(Tensor self, Tensor exponent) -> Tensor",
     boxed<quick_binary<overload<TensorTensor>(&at::meta::pow)>>,
     pointwise,
     {.exp = 1}},
    {"aten::pow.Scalar(Scalar self, Tensor exponent) -> Tensor",
     boxed<&pow_of_scalar>,
     pointwise,
     {.exp = 1}},
    UNARY(sqrt, .sqrt = 1),
    UNARY(rsqrt, .sqrt = 1),
    FLOAT_BINARY(hypot, .add = 1, .multiply = 2, .sqrt = 1),

    {"aten::conj_physical(Tensor self) -> Tensor",
     boxed<&conjugate>,
     conjugate_cost,
     {},
     kExactOut | kReturnsInput},
    {"aten::_conj_physical(Tensor self) -> Tensor",
     boxed<&conjugate>,
     conjugate_cost,
     {},
     kReturnsInput},
    UNARY(ceil, .add = 1),
    UNARY(floor, .add = 1),
    {"aten::frac(Tensor self) -> Tensor",
     boxed<floats_only<&at::meta::frac>>,
     pointwise,
     {.add = 2},
     kExactOut},
    UNARY(trunc, .add = 1),
    {"aten::round(Tensor self) -> Tensor",
     boxed<quick_unary<real_result<overload<Tensor(const Tensor&)>(&at::meta::round)>>>,
     pointwise,
     {.add = 1},
     kExactOut},
    // Scaled by a power of ten and back.
    {"aten::round.decimals(Tensor self, *, int decimals) -> Tensor",
     boxed<overload<Tensor(const Tensor&, int64_t)>(&at::meta::round)>,
     pointwise,
     {.add = 1, .multiply = 1, .division = 1},
     kExactOut},
    FLOAT_BINARY(nextafter, .add = 1),

    UNARY(sgn, .compare = 1),
    UNARY(sign, .compare = 1),
    {"aten::copysign.Tensor(Tensor self, Tensor other) -> Tensor",
     boxed<copysign>,
     pointwise,
     {.compare = 1}},
    {"aten::copysign.Scalar(Tensor self, Scalar other) -> Tensor",
     boxed<&number_second<copysign>>,
     pointwise,
     {.compare = 1}},
    {"aten::heaviside(Tensor self, Tensor values) -> Tensor",
     boxed<&at::meta::heaviside>,
     pointwise,
     {.compare = 2},
     kExactOut},
    BINARY(maximum, .compare = 1),
    BINARY(minimum, .compare = 1),
    BINARY(fmax, .compare = 1),
    BINARY(fmin, .compare = 1),
    {"aten::clamp(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor", boxed<&clamp>,
     clamp_cost},
    {"aten::clamp.Tensor(Tensor self, Tensor? min=None, Tensor? max=None) -> Tensor",
     boxed<overload<Tensor(const Tensor&, const std::optional<Tensor>&,
                           const std::optional<Tensor>&)>(&at::meta::clamp)>,
     clamp_cost},
    {"aten::clamp_min(Tensor self, Scalar min) -> Tensor",
     boxed<&clamp_min>,
     pointwise,
     {.compare = 1}},
    {"aten::clamp_min.Tensor(Tensor self, Tensor min) -> Tensor",
     boxed<real_result<overload<TensorTensor>(&at::meta::clamp_min)>>,
     pointwise,
     {.compare = 1}},
    {"aten::clamp_max(Tensor self, Scalar max) -> Tensor",
     boxed<&clamp_max>,
     pointwise,
     {.compare = 1}},
    {"aten::clamp_max.Tensor(Tensor self, Tensor max) -> Tensor",
     boxed<real_result<overload<TensorTensor>(&at::meta::clamp_max)>>,
     pointwise,
     {.compare = 1}},
    {"aten::nan_to_num(Tensor self, float? nan=None, float? posinf=None, float? neginf=None) -> "
     "Tensor",
     boxed<&nan_to_num>,
     pointwise,
     {.compare = 3},
     kExactOut},

    // start + weight * (end - start)
    {"aten::lerp.Scalar(Tensor self, Tensor end, Scalar weight) -> Tensor",
     boxed<inexact_result<overload<Tensor(const Tensor&, const Tensor&, const Scalar&)>(
         &at::meta::lerp)>>,
     pointwise,
     {.add = 2, .multiply = 1}},
    {"aten::lerp.Tensor(Tensor self, Tensor end, Tensor weight) -> Tensor",
     boxed<inexact_result<overload<Tensor(const Tensor&, const Tensor&, const Tensor&)>(
         &at::meta::lerp)>>,
     pointwise,
     {.add = 2, .multiply = 1}},
    {"aten::addcmul(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor",
     boxed<&at::meta::addcmul>,
     scaled,
     {.add = 1, .multiply = 1}},
    {"aten::addcdiv(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor",
     boxed<&at::meta::addcdiv>,
     scaled,
     {.add = 1, .division = 1}},

    {"aten::gcd(Tensor self, Tensor other) -> Tensor",
     boxed<integer_result<&at::meta::gcd>>,
     pointwise,
     {.special = 1}},
    {"aten::lcm(Tensor self, Tensor other) -> Tensor",
     boxed<integer_result<&at::meta::lcm>>,
     pointwise,
     {.special = 1}},
};

#undef UNARY
#undef BINARY
#undef FLOAT_BINARY

}  // namespace

const RuleFamily kPointwiseRules("pointwise", kPointwiseTable, OpClass::elementwise, kKeepsGuesses);

}  // namespace nnprof

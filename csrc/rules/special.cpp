// Exponentials, logarithms, trigonometry and the special functions of mathematics.
#include <ATen/core/Tensor.h>
#include <ATen/ops/acos_meta_dispatch.h>
#include <ATen/ops/acosh_meta_dispatch.h>
#include <ATen/ops/asin_meta_dispatch.h>
#include <ATen/ops/asinh_meta_dispatch.h>
#include <ATen/ops/atan2_meta_dispatch.h>
#include <ATen/ops/atan_meta_dispatch.h>
#include <ATen/ops/atanh_meta_dispatch.h>
#include <ATen/ops/cos_meta_dispatch.h>
#include <ATen/ops/cosh_meta_dispatch.h>
#include <ATen/ops/digamma_meta_dispatch.h>
#include <ATen/ops/erf_meta_dispatch.h>
#include <ATen/ops/erfc_meta_dispatch.h>
#include <ATen/ops/erfinv_meta_dispatch.h>
#include <ATen/ops/exp2_meta_dispatch.h>
#include <ATen/ops/exp_meta_dispatch.h>
#include <ATen/ops/expm1_meta_dispatch.h>
#include <ATen/ops/i0_meta_dispatch.h>
#include <ATen/ops/igamma_meta_dispatch.h>
#include <ATen/ops/igammac_meta_dispatch.h>
#include <ATen/ops/lgamma_meta_dispatch.h>
#include <ATen/ops/log10_meta_dispatch.h>
#include <ATen/ops/log1p_meta_dispatch.h>
#include <ATen/ops/log2_meta_dispatch.h>
#include <ATen/ops/log_meta_dispatch.h>
#include <ATen/ops/logaddexp2_meta_dispatch.h>
#include <ATen/ops/logaddexp_meta_dispatch.h>
#include <ATen/ops/polygamma_meta_dispatch.h>
#include <ATen/ops/sgn_meta_dispatch.h>
#include <ATen/ops/sin_meta_dispatch.h>
#include <ATen/ops/sinc_meta_dispatch.h>
#include <ATen/ops/sinh_meta_dispatch.h>
#include <ATen/ops/special_airy_ai_meta_dispatch.h>
#include <ATen/ops/special_bessel_j0_meta_dispatch.h>
#include <ATen/ops/special_bessel_j1_meta_dispatch.h>
#include <ATen/ops/special_bessel_y0_meta_dispatch.h>
#include <ATen/ops/special_bessel_y1_meta_dispatch.h>
#include <ATen/ops/special_chebyshev_polynomial_t_meta_dispatch.h>
#include <ATen/ops/special_chebyshev_polynomial_u_meta_dispatch.h>
#include <ATen/ops/special_chebyshev_polynomial_v_meta_dispatch.h>
#include <ATen/ops/special_chebyshev_polynomial_w_meta_dispatch.h>
#include <ATen/ops/special_entr_meta_dispatch.h>
#include <ATen/ops/special_erfcx_meta_dispatch.h>
#include <ATen/ops/special_hermite_polynomial_h_meta_dispatch.h>
#include <ATen/ops/special_hermite_polynomial_he_meta_dispatch.h>
#include <ATen/ops/special_i0e_meta_dispatch.h>
#include <ATen/ops/special_i1_meta_dispatch.h>
#include <ATen/ops/special_i1e_meta_dispatch.h>
#include <ATen/ops/special_laguerre_polynomial_l_meta_dispatch.h>
#include <ATen/ops/special_legendre_polynomial_p_meta_dispatch.h>
#include <ATen/ops/special_log_ndtr_meta_dispatch.h>
#include <ATen/ops/special_modified_bessel_i0_meta_dispatch.h>
#include <ATen/ops/special_modified_bessel_i1_meta_dispatch.h>
#include <ATen/ops/special_modified_bessel_k0_meta_dispatch.h>
#include <ATen/ops/special_modified_bessel_k1_meta_dispatch.h>
#include <ATen/ops/special_ndtri_meta_dispatch.h>
#include <ATen/ops/special_scaled_modified_bessel_k0_meta_dispatch.h>
#include <ATen/ops/special_scaled_modified_bessel_k1_meta_dispatch.h>
#include <ATen/ops/special_shifted_chebyshev_polynomial_t_meta_dispatch.h>
#include <ATen/ops/special_shifted_chebyshev_polynomial_u_meta_dispatch.h>
#include <ATen/ops/special_shifted_chebyshev_polynomial_v_meta_dispatch.h>
#include <ATen/ops/special_shifted_chebyshev_polynomial_w_meta_dispatch.h>
#include <ATen/ops/special_spherical_bessel_j0_meta_dispatch.h>
#include <ATen/ops/special_xlog1py_meta_dispatch.h>
#include <ATen/ops/special_zeta_meta_dispatch.h>
#include <ATen/ops/tan_meta_dispatch.h>
#include <ATen/ops/xlogy_meta_dispatch.h>

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

// The angle of a complex number is real; that of a real one is 0 or pi.
Tensor angle(const Tensor& self) {
  if (self.is_complex()) return empty_preserving(self, c10::toRealValueType(self.scalar_type()));
  return quick_unary<&at::meta::exp>(self);
}

Tensor mvlgamma(const Tensor& self, int64_t p) {
  TORCH_CHECK(p >= 1, "p has to be greater than or equal to 1");
  return empty_preserving(quick_unary<real_result<&at::meta::lgamma>>(self), {},
                          at::MemoryFormat::Contiguous);
}

Tensor logit(const Tensor& self, std::optional<double>) {
  check_has_kernel(!self.is_complex(), self.scalar_type());
  return quick_unary<&at::meta::log>(self);
}

void check_parts(const Tensor& first, const Tensor& second) {
  const auto is_part = [](c10::ScalarType t) {
    return t == at::kFloat || t == at::kDouble || t == at::kHalf;
  };
  TORCH_CHECK(is_part(first.scalar_type()) && is_part(second.scalar_type()),
              "Expected both inputs to be Half, Float or Double tensors but got ",
              first.scalar_type(), " and ", second.scalar_type());
  TORCH_CHECK(first.scalar_type() == second.scalar_type(), "Expected object of scalar type ",
              first.scalar_type(), " but got scalar type ", second.scalar_type(),
              " for second argument");
}

// complex(real, imag) and polar(abs, angle): the layout of a sum, in the complex dtype.
Tensor complex_of_parts(const Tensor& first, const Tensor& second) {
  check_parts(first, second);
  const Tensor sum = quick_binary<overload<TensorTensor>(&at::meta::atan2)>(first, second);
  return empty_preserving(sum, c10::toComplexType(first.scalar_type()));
}

// Their out= overloads cast nothing.
Tensor complex_of_parts_out(const Tensor& first, const Tensor& second, const Tensor& out) {
  Tensor made = complex_of_parts(first, second);
  TORCH_CHECK(out.scalar_type() == made.scalar_type(), "Expected object of scalar type ",
              made.scalar_type(), " but got scalar type ", out.scalar_type(),
              " for argument 'out'");
  if (out.sizes() != made.sizes()) out.unsafeGetTensorImpl()->set_sizes_contiguous(made.sizes());
  return out;
}

using TwoTensors = std::tuple<Tensor, Tensor>;

TwoTensors frexp(const Tensor& self) {
  TORCH_CHECK(c10::isFloatingType(self.scalar_type()),
              "torch.frexp() only supports floating-point dtypes");
  return {empty_preserving(self), empty_preserving(self, at::kInt)};
}

// p log-gammas and their sum.
void mvlgamma_cost(const OpSignature& op, Cost& cost) {
  const int64_t p = op.integer(1);
  add_elementwise(op, cost, {.add = p, .special = p}, op.output().numel());
}

// abs * cos(angle) and abs * sin(angle)
void polar_cost(const OpSignature& op, Cost& cost) {
  cost.add({.multiply = 2, .trigonometric = 2}, op.output().numel());
}

// log(x / (1 - x)), x clamped to [eps, 1 - eps] where an eps is given.
void logit_cost(const OpSignature& op, Cost& cost) {
  pointwise(op, cost);
  if (!op.is_none(1)) add_elementwise(op, cost, {.compare = 2}, op.output().numel());
}

#define UNARY(NAME, ...)                                                                        \
  {                                                                                             \
    "aten::" #NAME "(Tensor self) -> Tensor", boxed<quick_unary<&at::meta::NAME>>, pointwise, { \
      __VA_ARGS__                                                                               \
    }                                                                                           \
  }
#define REAL_UNARY(NAME, ...)                                                                   \
  {                                                                                             \
    "aten::" #NAME "(Tensor self) -> Tensor", boxed<quick_unary<real_result<&at::meta::NAME>>>, \
        pointwise, {                                                                            \
      __VA_ARGS__                                                                               \
    }                                                                                           \
  }
#define UNARY_OF_X(NAME, ...)                                                                \
  {                                                                                          \
    "aten::" #NAME "(Tensor x) -> Tensor", boxed<quick_unary<real_result<&at::meta::NAME>>>, \
        pointwise, {                                                                         \
      __VA_ARGS__                                                                            \
    }                                                                                        \
  }
#define BINARY(NAME, CHECKED, ...)                                  \
  {                                                                 \
    "aten::" #NAME "(Tensor self, Tensor other) -> Tensor",         \
        boxed<quick_binary<CHECKED<&at::meta::NAME>>>, pointwise, { \
      __VA_ARGS__                                                   \
    }                                                               \
  }
// The overloads of a function of two tensors that take a number for either.
#define BINARY_NUMBERS(NAME, SECOND, FIRST, ...)                                                 \
  {"aten::" #NAME "." #SECOND "(Tensor self, Scalar other) -> Tensor",                           \
   boxed<&number_second<real_result<overload<TensorTensor>(&at::meta::NAME)>>>,                  \
   pointwise,                                                                                    \
   {__VA_ARGS__}},                                                                               \
  {                                                                                              \
    "aten::" #NAME "." #FIRST "(Scalar self, Tensor other) -> Tensor",                           \
        boxed<&number_first<real_result<overload<TensorTensor>(&at::meta::NAME)>>>, pointwise, { \
      __VA_ARGS__                                                                                \
    }                                                                                            \
  }
#define POLYNOMIAL(NAME)                                                                        \
  {"aten::special_" #NAME "(Tensor x, Tensor n) -> Tensor",                                     \
   boxed<real_result<&at::meta::special_##NAME>>,                                               \
   pointwise,                                                                                   \
   {.special = 1}},                                                                             \
      {"aten::special_" #NAME ".n_scalar(Tensor x, Scalar n) -> Tensor",                        \
       boxed<&number_second<real_result<&at::meta::special_##NAME>>>,                           \
       pointwise,                                                                               \
       {.special = 1}},                                                                         \
  {                                                                                             \
    "aten::special_" #NAME ".x_scalar(Scalar x, Tensor n) -> Tensor",                           \
        boxed<&number_first<real_result<&at::meta::special_##NAME>>>, pointwise, {.special = 1} \
  }

const Rule kSpecialTable[] = {
    UNARY(exp, .exp = 1),
    UNARY(exp2, .exp = 1),
    UNARY(expm1, .exp = 1),
    UNARY(log, .exp = 1),
    UNARY(log10, .exp = 1),
    UNARY(log1p, .exp = 1),
    UNARY(log2, .exp = 1),
    // max(a, b) + log1p(exp(-|a - b|))
    BINARY(logaddexp, inexact_result, .add = 2, .exp = 2, .compare = 1),
    BINARY(logaddexp2, float_result, .add = 2, .exp = 2, .compare = 1),
    {"aten::logit(Tensor self, float? eps=None) -> Tensor",
     boxed<&logit>,
     logit_cost,
     {.add = 1, .division = 1, .exp = 1}},
    // x * log(y), and 0 where x is
    {"aten::xlogy.Tensor(Tensor self, Tensor other) -> Tensor",
     boxed<real_result<overload<TensorTensor>(&at::meta::xlogy)>>,
     pointwise,
     {.multiply = 1, .exp = 1, .compare = 1}},
    BINARY_NUMBERS(xlogy, Scalar_Other, Scalar_Self, .multiply = 1, .exp = 1, .compare = 1),
    BINARY(special_xlog1py, real_result, .multiply = 1, .exp = 1, .compare = 1),
    BINARY_NUMBERS(special_xlog1py, other_scalar, self_scalar, .multiply = 1, .exp = 1,
                   .compare = 1),
    REAL_UNARY(special_entr, .multiply = 1, .exp = 1, .compare = 1),
    {"aten::frexp.Tensor(Tensor self) -> (Tensor mantissa, Tensor exponent)",
     boxed<&frexp>,
     pointwise,
     {.add = 1}},

    UNARY(acos, .trigonometric = 1),
    UNARY(acosh, .trigonometric = 1),
    UNARY(asin, .trigonometric = 1),
    UNARY(asinh, .trigonometric = 1),
    UNARY(atan, .trigonometric = 1),
    UNARY(atanh, .trigonometric = 1),
    UNARY(cos, .trigonometric = 1),
    UNARY(cosh, .trigonometric = 1),
    UNARY(sin, .trigonometric = 1),
    UNARY(sinh, .trigonometric = 1),
    UNARY(tan, .trigonometric = 1),
    // sin(pi x) / (pi x), and 1 where x is 0
    UNARY(sinc, .multiply = 1, .division = 1, .trigonometric = 1, .compare = 1),
    BINARY(atan2, real_result, .trigonometric = 1),
    {"aten::angle(Tensor self) -> Tensor", boxed<&angle>, pointwise, {.trigonometric = 1}},
    {"aten::complex(Tensor real, Tensor imag) -> Tensor", boxed<&complex_of_parts>},
    {"aten::complex.out(Tensor real, Tensor imag, *, Tensor(a!) out) -> Tensor(a!)",
     boxed<&complex_of_parts_out>},
    {"aten::polar(Tensor abs, Tensor angle) -> Tensor", boxed<&complex_of_parts>, polar_cost},
    {"aten::polar.out(Tensor abs, Tensor angle, *, Tensor(a!) out) -> Tensor(a!)",
     boxed<&complex_of_parts_out>, polar_cost},

    REAL_UNARY(erf, .erf = 1),
    REAL_UNARY(erfc, .erf = 1),
    REAL_UNARY(erfinv, .erf = 1),
    REAL_UNARY(special_erfcx, .erf = 1),
    REAL_UNARY(special_log_ndtr, .special = 1),
    REAL_UNARY(special_ndtri, .special = 1),
    REAL_UNARY(digamma, .special = 1),
    REAL_UNARY(lgamma, .special = 1),
    {"aten::mvlgamma(Tensor self, int p) -> Tensor", boxed<&mvlgamma>, mvlgamma_cost},
    {"aten::polygamma(int n, Tensor self) -> Tensor",
     boxed<real_result<&at::meta::polygamma>>,
     pointwise,
     {.special = 1}},
    BINARY(igamma, float_result, .special = 1),
    BINARY(igammac, float_result, .special = 1),
    BINARY(special_zeta, real_result, .special = 1),
    BINARY_NUMBERS(special_zeta, other_scalar, self_scalar, .special = 1),
    REAL_UNARY(i0, .special = 1),
    REAL_UNARY(special_i0e, .special = 1),
    REAL_UNARY(special_i1, .special = 1),
    REAL_UNARY(special_i1e, .special = 1),
    REAL_UNARY(special_bessel_j0, .special = 1),
    REAL_UNARY(special_bessel_j1, .special = 1),
    REAL_UNARY(special_bessel_y0, .special = 1),
    REAL_UNARY(special_bessel_y1, .special = 1),
    REAL_UNARY(special_modified_bessel_i0, .special = 1),
    REAL_UNARY(special_modified_bessel_i1, .special = 1),
    REAL_UNARY(special_modified_bessel_k0, .special = 1),
    REAL_UNARY(special_modified_bessel_k1, .special = 1),
    UNARY_OF_X(special_airy_ai, .special = 1),
    UNARY_OF_X(special_scaled_modified_bessel_k0, .special = 1),
    UNARY_OF_X(special_scaled_modified_bessel_k1, .special = 1),
    UNARY_OF_X(special_spherical_bessel_j0, .special = 1),
    POLYNOMIAL(chebyshev_polynomial_t),
    POLYNOMIAL(chebyshev_polynomial_u),
    POLYNOMIAL(chebyshev_polynomial_v),
    POLYNOMIAL(chebyshev_polynomial_w),
    POLYNOMIAL(hermite_polynomial_h),
    POLYNOMIAL(hermite_polynomial_he),
    POLYNOMIAL(laguerre_polynomial_l),
    POLYNOMIAL(legendre_polynomial_p),
    POLYNOMIAL(shifted_chebyshev_polynomial_t),
    POLYNOMIAL(shifted_chebyshev_polynomial_u),
    POLYNOMIAL(shifted_chebyshev_polynomial_v),
    POLYNOMIAL(shifted_chebyshev_polynomial_w),
};

#undef UNARY
#undef REAL_UNARY
#undef UNARY_OF_X
#undef BINARY
#undef BINARY_NUMBERS
#undef POLYNOMIAL

}  // namespace

const RuleFamily kSpecialRules("special", kSpecialTable, OpClass::elementwise, kNothingSpecial);

}  // namespace nnprof

// Activation functions and their derivatives.
#include <ATen/ExpandUtils.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/ops/elu_backward_meta_dispatch.h>
#include <ATen/ops/elu_meta_dispatch.h>
#include <ATen/ops/gelu_backward_meta_dispatch.h>
#include <ATen/ops/gelu_meta_dispatch.h>
#include <ATen/ops/hardshrink_backward_meta_dispatch.h>
#include <ATen/ops/hardshrink_meta_dispatch.h>
#include <ATen/ops/hardsigmoid_backward_meta_dispatch.h>
#include <ATen/ops/hardsigmoid_meta_dispatch.h>
#include <ATen/ops/leaky_relu_backward_meta_dispatch.h>
#include <ATen/ops/leaky_relu_meta_dispatch.h>
#include <ATen/ops/logit_backward_meta_dispatch.h>
#include <ATen/ops/mish_meta_dispatch.h>
#include <ATen/ops/mul_meta_dispatch.h>
#include <ATen/ops/sgn_meta_dispatch.h>
#include <ATen/ops/sigmoid_backward_meta_dispatch.h>
#include <ATen/ops/sigmoid_meta_dispatch.h>
#include <ATen/ops/silu_backward_meta_dispatch.h>
#include <ATen/ops/silu_meta_dispatch.h>
#include <ATen/ops/softplus_backward_meta_dispatch.h>
#include <ATen/ops/softplus_meta_dispatch.h>
#include <ATen/ops/softshrink_backward_meta_dispatch.h>
#include <ATen/ops/softshrink_meta_dispatch.h>
#include <ATen/ops/tanh_backward_meta_dispatch.h>
#include <ATen/ops/tanh_meta_dispatch.h>
#include <ATen/ops/threshold_backward_meta_dispatch.h>
#include <ATen/ops/threshold_meta_dispatch.h>

#include "rules/elementwise.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using at::Scalar;
using at::Tensor;
using Generator = std::optional<at::Generator>;

// Outputs -----------------------------------------------------------------------------------------

Tensor same_dtype(const Tensor& self) { return quick_unary<&at::meta::sgn>(self); }

Tensor relu(const Tensor& self) {
  check_dtype(self.scalar_type() != at::kBool, "Boolean inputs not supported for relu");
  TORCH_CHECK_NOT_IMPLEMENTED(!self.is_complex(), "clamp is not supported for complex types");
  return same_dtype(self);
}

Tensor hardtanh(const Tensor& self, const Scalar& min, const Scalar& max) {
  TORCH_CHECK(self.scalar_type() != at::kBool, "Bool inputs not supported for hardtanh");
  TORCH_CHECK_NOT_IMPLEMENTED(!self.is_complex(), "clamp is not supported for complex types");
  const bool is_unsigned = c10::isIntegralType(self.scalar_type(), /*includeBool=*/false) &&
                           !c10::isSignedType(self.scalar_type());
  TORCH_CHECK(!is_unsigned || (min.toDouble() >= 0 && max.toDouble() >= 0),
              "cannot do hardtanh on an unsigned type with negative limits");
  return same_dtype(self);
}

Tensor hardswish(const Tensor& self) { return floats_only<&same_dtype>(self); }

void check_approximation(c10::string_view approximate) {
  TORCH_CHECK(approximate == "none" || approximate == "tanh",
              "approximate argument must be either none or tanh.");
}

Tensor gelu(const Tensor& self, c10::string_view approximate) {
  check_approximation(approximate);
  return floats_only<&at::meta::gelu>(self, approximate);
}

Tensor silu(const Tensor& self) {
  check_has_kernel(!c10::isIntegralType(self.scalar_type(), /*includeBool=*/true),
                   self.scalar_type());
  return quick_unary<&at::meta::silu>(self);
}

Tensor celu(const Tensor& self, const Scalar& alpha) {
  TORCH_CHECK(alpha.toDouble() != 0, "ZeroDivisionError: alpha cannot be 0 for CELU");
  return floats_only<&same_dtype>(self);
}

Tensor softshrink(const Tensor& self, const Scalar& lambd) {
  check_has_kernel(c10::isFloatingType(self.scalar_type()), self.scalar_type());
  return at::meta::softshrink(self, lambd);
}

// The first half of `dim`, gated by the second.
Tensor gated_half(const Tensor& self, int64_t dim) {
  TORCH_CHECK(self.dim() > 0, "glu does not support 0-dimensional tensors");
  dim = at::maybe_wrap_dim(dim, self.dim());
  TORCH_CHECK(self.size(dim) % 2 == 0, "Halving dimension must be even, but dimension ", dim,
              " is size ", self.size(dim));
  check_has_kernel(c10::isFloatingType(self.scalar_type()), self.scalar_type());
  c10::DimVector sizes(self.sizes());
  sizes[static_cast<size_t>(dim)] /= 2;
  if (self.is_contiguous()) return empty_like_dtype(sizes, self);
  return empty_strided_of(sizes, at::infer_dense_strides(sizes, self.strides()),
                          self.scalar_type());
}

Tensor log_sigmoid_output(const Tensor& self) { return floats_only<&same_dtype>(self); }

// The buffer is only the CPU kernel's.
std::tuple<Tensor, Tensor> log_sigmoid_forward(const Tensor& self) {
  return {log_sigmoid_output(self), empty_like_dtype({0}, self)};
}

Tensor prelu_kernel(const Tensor& self, const Tensor& weight) {
  TORCH_CHECK(self.scalar_type() == weight.scalar_type(),
              "prelu: Type promoting not supported. Got ", self.scalar_type(), " and ",
              weight.scalar_type());
  check_has_kernel(c10::isFloatingType(self.scalar_type()), self.scalar_type());
  return empty_preserving(self);
}

Tensor prelu(const Tensor& self, const Tensor& weight) {
  TORCH_CHECK(
      weight.dim() <= 1,
      "prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = ", weight.dim());
  if (weight.numel() != 1) {
    TORCH_CHECK(self.dim() > 0, "Not allow zero-dim input tensor.");
    const int64_t channels = self.dim() > 1 ? self.size(1) : 1;
    TORCH_CHECK(weight.numel() == channels,
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = ",
                weight.numel(), " and channel size = ", channels, ".");
  }
  return prelu_kernel(self, weight);
}

Tensor leaky_at_random(const Tensor& self, const Scalar& lower, const Scalar& upper, bool,
                       const Generator&) {
  TORCH_CHECK(lower.toDouble() <= upper.toDouble(),
              "Lower bound should be less than or equal to the upper bound");
  check_has_kernel(c10::isFloatingType(self.scalar_type()), self.scalar_type());
  return empty_like_dtype(self.sizes(), self);
}
Tensor rrelu_with_noise(const Tensor& self, const Tensor&, const Scalar& lower, const Scalar& upper,
                        bool training, const Generator& generator) {
  return leaky_at_random(self, lower, upper, training, generator);
}
Tensor rrelu_with_noise_in_place(const Tensor& self, const Tensor&, const Scalar&, const Scalar&,
                                 bool, const Generator&) {
  return self;
}

// Outputs of derivatives --------------------------------------------------------------------------

Tensor product(const Tensor& grad, const Tensor& self) {
  return quick_binary<float_result<&at::meta::mul>>(grad, self);
}
Tensor hardtanh_backward(const Tensor& grad, const Tensor& self, const Scalar&, const Scalar&) {
  return product(grad, self);
}
Tensor log_sigmoid_backward(const Tensor& grad, const Tensor& self, const Tensor&) {
  return product(grad, self);
}
Tensor gelu_backward(const Tensor& grad, const Tensor& self, c10::string_view approximate) {
  check_approximation(approximate);
  return quick_binary<float_result<&at::meta::gelu_backward>>(grad, self, approximate);
}
Tensor glu_backward(const Tensor&, const Tensor& self, int64_t dim) {
  gated_half(self, dim);
  return empty_like_dtype(self.sizes(), self);
}
std::tuple<Tensor, Tensor> prelu_backward(const Tensor&, const Tensor& self, const Tensor&) {
  return {empty_preserving(self), empty_preserving(self)};
}
Tensor rrelu_backward(const Tensor& grad, const Tensor& self, const Tensor&, const Scalar&,
                      const Scalar&, bool, bool) {
  return quick_binary<&at::meta::mul>(grad, self);
}

// Costs -------------------------------------------------------------------------------------------

bool is_tanh_approximation(const OpSignature& op, size_t argument) {
  return op.string(argument) == "tanh";
}

// 0.5 x (1 + erf(x / sqrt 2)), or 0.5 x (1 + tanh(k (x + c x^3)))
void gelu_cost(const OpSignature& op, Cost& cost) {
  const FlopMix exact = {.add = 1, .multiply = 3, .erf = 1};
  const FlopMix approximate = {.add = 2, .multiply = 6, .tanh = 1};
  add_elementwise(op, cost, is_tanh_approximation(op, 1) ? approximate : exact,
                  op.output().numel());
}

// Exact: g (cdf + x pdf), with cdf = 0.5 (1 + erf(x / sqrt 2)) and pdf = k exp(-0.5 x x).
// With h = 0.5 x and t = tanh(k (x + c x^3)): g (0.5 (1 + t) + h (1 - t^2) k (1 + 3 c x^2)).
void gelu_backward_cost(const OpSignature& op, Cost& cost) {
  const FlopMix exact = {.add = 2, .multiply = 7, .exp = 1, .erf = 1};
  const FlopMix approximate = {.add = 5, .multiply = 12, .tanh = 1};
  add_elementwise(op, cost, is_tanh_approximation(op, 2) ? approximate : exact,
                  op.output().numel());
}

// Each input of a pair is read, each half of the gradient written.
void glu_backward_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, op.rule->mix, op.tensor(0).numel());
}

constexpr FlopMix kLeaky = {.multiply = 1, .compare = 1};

// In training each element has a slope of its own, drawn and kept for the backward pass.
void rrelu_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, kLeaky, op.output().numel());
  if (!op.boolean(3)) return;
  add_elementwise(op, cost, kUniformDraw, op.output().numel());
  cost.bytes_written += op.output().distinct_bytes();
  cost.temporary_bytes += op.output().distinct_bytes();
}

void rrelu_with_noise_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, kLeaky, op.output().numel());
  cost.bytes_read -= op.tensor(1).distinct_bytes();  // only written, and only in training
  if (!op.boolean(4)) return;
  add_elementwise(op, cost, kUniformDraw, op.output().numel());
  cost.bytes_written += op.tensor(1).distinct_bytes();
}

// Table -------------------------------------------------------------------------------------------

const Rule kActivationTable[] = {
    {"aten::relu(Tensor self) -> Tensor", boxed<&relu>, pointwise, {.compare = 1}},
    {"aten::hardtanh(Tensor self, Scalar min_val=-1, Scalar max_val=1) -> Tensor",
     boxed<&hardtanh>,
     pointwise,
     {.compare = 2}},
    {"aten::leaky_relu(Tensor self, Scalar negative_slope=0.01) -> Tensor",
     boxed<floats_only<&at::meta::leaky_relu>>, pointwise, kLeaky},
    {"aten::prelu(Tensor self, Tensor weight) -> Tensor", boxed<&prelu>, pointwise, kLeaky},
    {"aten::_prelu_kernel(Tensor self, Tensor weight) -> Tensor", boxed<&prelu_kernel>, pointwise,
     kLeaky},
    {"aten::rrelu(Tensor self, Scalar lower=0.125, Scalar upper=0.33333333333333331, bool "
     "training=False, Generator? generator=None) -> Tensor",
     boxed<&leaky_at_random>,
     rrelu_cost,
     {},
     kRandom},
    {"aten::rrelu_with_noise(Tensor self, Tensor(b!) noise, Scalar lower=0.125, Scalar "
     "upper=0.33333333333333331, bool training=False, Generator? generator=None) -> Tensor",
     boxed<&rrelu_with_noise>,
     rrelu_with_noise_cost,
     {},
     kRandom},
    {"aten::rrelu_with_noise_(Tensor(a!) self, Tensor(b!) noise, Scalar lower=0.125, Scalar "
     "upper=0.33333333333333331, bool training=False, Generator? generator=None) -> Tensor(a!)",
     boxed<&rrelu_with_noise_in_place>,
     rrelu_with_noise_cost,
     {},
     kRandom},
    {"aten::threshold(Tensor self, Scalar threshold, Scalar value) -> Tensor",
     boxed<quick_unary<real_result<&at::meta::threshold>>>,
     pointwise,
     {.compare = 1},
     kOverlaps},
    {"aten::hardshrink(Tensor self, Scalar lambd=0.5) -> Tensor",
     boxed<floats_only<&at::meta::hardshrink>>,
     pointwise,
     {.compare = 2},
     kExactOut},
    {"aten::softshrink(Tensor self, Scalar lambd=0.5) -> Tensor",
     boxed<&softshrink>,
     pointwise,
     {.add = 1, .compare = 2},
     kExactOut},
    // min(max(x + 3, 0), 6) / 6, and x times that
    {"aten::hardsigmoid(Tensor self) -> Tensor",
     boxed<floats_only<&at::meta::hardsigmoid>>,
     pointwise,
     {.add = 1, .division = 1, .compare = 2}},
    {"aten::hardswish(Tensor self) -> Tensor",
     boxed<&hardswish>,
     pointwise,
     {.add = 1, .multiply = 1, .division = 1, .compare = 2}},

    {"aten::sigmoid(Tensor self) -> Tensor", boxed<quick_unary<&at::meta::sigmoid>>, pointwise,
     kSigmoid},
    {"aten::silu(Tensor self) -> Tensor",
     boxed<&silu>,
     pointwise,
     {.add = 1, .multiply = 1, .division = 1, .exp = 1}},
    {"aten::glu(Tensor self, int dim=-1) -> Tensor",
     boxed<&gated_half>,
     pointwise,
     {.add = 1, .multiply = 1, .division = 1, .exp = 1}},
    // min(x, 0) - log1p(exp(-|x|))
    {"aten::log_sigmoid(Tensor self) -> Tensor",
     boxed<&log_sigmoid_output>,
     pointwise,
     {.add = 1, .exp = 2, .compare = 1}},
    {"aten::log_sigmoid_forward(Tensor self) -> (Tensor output, Tensor buffer)",
     boxed<&log_sigmoid_forward>,
     pointwise,
     {.add = 1, .exp = 2, .compare = 1}},
    {"aten::tanh(Tensor self) -> Tensor",
     boxed<quick_unary<&at::meta::tanh>>,
     pointwise,
     {.tanh = 1}},
    {"aten::gelu(Tensor self, *, str approximate=\"none\") -> Tensor",
     boxed<&gelu>,
     gelu_cost,
     {},
     kExactOut},
    // x above 0, alpha (exp(x k) - 1) below
    {"aten::elu(Tensor self, Scalar alpha=1, Scalar scale=1, Scalar input_scale=1) -> Tensor",
     boxed<floats_only<&at::meta::elu>>,
     pointwise,
     {.multiply = 2, .exp = 1, .compare = 1}},
    {"aten::celu(Tensor self, Scalar alpha=1.) -> Tensor",
     boxed<&celu>,
     pointwise,
     {.multiply = 2, .exp = 1, .compare = 1}},
    // log1p(exp(x beta)) / beta, and x where x beta is over the threshold
    {"aten::softplus(Tensor self, Scalar beta=1, Scalar threshold=20) -> Tensor",
     boxed<floats_only<&at::meta::softplus>>,
     pointwise,
     {.multiply = 1, .division = 1, .exp = 2, .compare = 1},
     kExactOut},
    // x tanh(log1p(exp(x)))
    {"aten::mish(Tensor self) -> Tensor",
     boxed<floats_only<&at::meta::mish>>,
     pointwise,
     {.multiply = 1, .exp = 2, .tanh = 1}},

    // Derivatives; g is the gradient, s the sigmoid, t the hyperbolic tangent.
    {"aten::threshold_backward(Tensor grad_output, Tensor self, Scalar threshold) -> Tensor",
     boxed<quick_binary<real_result<&at::meta::threshold_backward>>>,
     pointwise,
     {.compare = 1}},
    {"aten::hardtanh_backward(Tensor grad_output, Tensor self, Scalar min_val, Scalar max_val) -> "
     "Tensor",
     boxed<&hardtanh_backward>,
     pointwise,
     {.compare = 2}},
    {"aten::leaky_relu_backward(Tensor grad_output, Tensor self, Scalar negative_slope, bool "
     "self_is_result) -> Tensor",
     boxed<float_result<&at::meta::leaky_relu_backward>>, pointwise, kLeaky},
    {"aten::_prelu_kernel_backward(Tensor grad_output, Tensor self, Tensor weight) -> (Tensor, "
     "Tensor)",
     boxed<&prelu_backward>,
     pointwise,
     {.multiply = 2, .compare = 1}},
    {"aten::rrelu_with_noise_backward(Tensor grad_output, Tensor self, Tensor noise, Scalar lower, "
     "Scalar upper, bool training, bool self_is_result) -> Tensor",
     boxed<&rrelu_backward>,
     pointwise,
     {.multiply = 1}},
    {"aten::hardshrink_backward(Tensor grad_out, Tensor self, Scalar lambd) -> Tensor",
     boxed<float_result<&at::meta::hardshrink_backward>>,
     pointwise,
     {.compare = 2}},
    {"aten::softshrink_backward(Tensor grad_output, Tensor self, Scalar lambd) -> Tensor",
     boxed<float_result<&at::meta::softshrink_backward>>,
     pointwise,
     {.compare = 2}},
    {"aten::hardsigmoid_backward(Tensor grad_output, Tensor self) -> Tensor",
     boxed<float_result<&at::meta::hardsigmoid_backward>>,
     pointwise,
     {.multiply = 1, .compare = 2}},
    // g (x / 3 + 0.5) between the bounds
    {"aten::hardswish_backward(Tensor grad_output, Tensor self) -> Tensor",
     boxed<&product>,
     pointwise,
     {.add = 1, .multiply = 1, .division = 1, .compare = 2}},
    // g s (1 - s)
    {"aten::sigmoid_backward(Tensor grad_output, Tensor output) -> Tensor",
     boxed<quick_binary<inexact_result<&at::meta::sigmoid_backward>>>,
     pointwise,
     {.add = 1, .multiply = 2}},
    // g / (x (1 - x))
    {"aten::logit_backward(Tensor grad_output, Tensor self, float? eps=None) -> Tensor",
     boxed<float_result<&at::meta::logit_backward>>,
     pointwise,
     {.add = 1, .multiply = 1, .division = 1}},
    // g s (1 + x (1 - s))
    {"aten::silu_backward(Tensor grad_output, Tensor self) -> Tensor",
     boxed<quick_binary<inexact_result<&at::meta::silu_backward>>>,
     pointwise,
     {.add = 3, .multiply = 3, .division = 1, .exp = 1}},
    // g s and g x s (1 - s)
    {"aten::glu_backward(Tensor grad_output, Tensor self, int dim) -> Tensor",
     boxed<&glu_backward>,
     glu_backward_cost,
     {.add = 2, .multiply = 4, .division = 1, .exp = 1}},
    // g (d - sign z / (1 + z)) with z = exp(-|x|)
    {"aten::log_sigmoid_backward(Tensor grad_output, Tensor self, Tensor buffer) -> Tensor",
     boxed<&log_sigmoid_backward>,
     pointwise,
     {.add = 2, .multiply = 1, .division = 1, .exp = 1, .compare = 1}},
    // g (1 - t^2)
    {"aten::tanh_backward(Tensor grad_output, Tensor output) -> Tensor",
     boxed<quick_binary<inexact_result<&at::meta::tanh_backward>>>,
     pointwise,
     {.add = 1, .multiply = 2}},
    {"aten::gelu_backward(Tensor grad_output, Tensor self, *, str approximate=\"none\") -> Tensor",
     boxed<&gelu_backward>, gelu_backward_cost},
    // g k exp(x c)
    {"aten::elu_backward(Tensor grad_output, Scalar alpha, Scalar scale, Scalar input_scale, bool "
     "is_result, Tensor self_or_result) -> Tensor",
     boxed<float_result<&at::meta::elu_backward>>,
     pointwise,
     {.multiply = 3, .exp = 1, .compare = 1}},
    // g z / (z + 1) with z = exp(x beta)
    {"aten::softplus_backward(Tensor grad_output, Tensor self, Scalar beta, Scalar threshold) -> "
     "Tensor",
     boxed<float_result<&at::meta::softplus_backward>>,
     pointwise,
     {.add = 1, .multiply = 2, .division = 1, .exp = 1, .compare = 1}},
    // g (t + x s (1 - t^2)) with t = tanh(log1p(exp(x)))
    {"aten::mish_backward(Tensor grad_output, Tensor self) -> Tensor",
     boxed<&product>,
     pointwise,
     {.add = 3, .multiply = 4, .division = 1, .exp = 3, .tanh = 1}},
};

}  // namespace

const RuleFamily kActivationRules("activation", kActivationTable, OpClass::elementwise,
                                  kNothingSpecial);

}  // namespace nnprof

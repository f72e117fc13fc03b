// Output functions of elementwise operators.
//
// PyTorch's structured meta functions (at::meta::) get every case right, through a TensorIterator
// that takes most of a microsecond. The `quick` adapters below skip it where the answer is plain:
// floating tensors of one dtype, and a dense operand that decides the layout.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Scalar.h>

#include "rules/dtype_checks.h"
#include "rules/outputs.h"

namespace nnprof {

// What a TensorIterator with this only input gives its output; undefined unless it is dense.
at::Tensor quick_output(const at::Tensor& self, c10::ScalarType dtype);

// The same for two inputs of one floating dtype that broadcast, or one of which is a number;
// `boolean` tells a comparison. Undefined where the answer is not plain.
at::Tensor quick_output(const at::Tensor& self, const at::Tensor& other, bool boolean);

// Bringing a random number into its range: drawing the bits counts nothing.
inline constexpr FlopMix kUniformDraw = {.add = 1, .multiply = 1};

// 1 / (1 + exp(-x))
inline constexpr FlopMix kSigmoid = {.add = 1, .division = 1, .exp = 1};

// A number as the 0-dim meta tensor that stands for it: it decides no dtype.
at::Tensor wrapped_number(const at::Scalar& number);

// Raises as PyTorch does for a dtype that it has no kernel for; its meta functions do not mind.
void check_has_kernel(bool has_kernel, c10::ScalarType dtype);

// Adapters: each makes a typed output function from another one.

// Nothing is computed with the complex numbers of bfloat16, which came with 2.14.
inline at::Tensor with_arithmetic(at::Tensor made) {
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 14
  check_kernel(made.scalar_type() != c10::ScalarType::BComplex32, made);
#endif
  return made;
}

namespace detail {

template <auto Function, class Signature = decltype(Function)>
struct Unary;
template <auto Function, class... Rest>
struct Unary<Function, at::Tensor (*)(const at::Tensor&, Rest...)> {
  static at::Tensor quick(const at::Tensor& self, Rest... rest) {
    if (c10::isFloatingType(self.scalar_type())) {
      if (at::Tensor made = quick_output(self, self.scalar_type()); made.defined()) return made;
    }
    return Function(self, rest...);
  }
  static at::Tensor floats(const at::Tensor& self, Rest... rest) {
    check_has_kernel(c10::isFloatingType(self.scalar_type()), self.scalar_type());
    return quick(self, rest...);
  }
};

template <auto Function, class Signature = decltype(Function)>
struct Binary;
template <auto Function, class... Rest>
struct Binary<Function, at::Tensor (*)(const at::Tensor&, const at::Tensor&, Rest...)> {
  static at::Tensor quick(const at::Tensor& self, const at::Tensor& other, Rest... rest) {
    if (at::Tensor made = quick_output(self, other, false); made.defined()) return made;
    return with_arithmetic(Function(self, other, rest...));
  }
  static at::Tensor comparison(const at::Tensor& self, const at::Tensor& other, Rest... rest) {
    if (at::Tensor made = quick_output(self, other, true); made.defined()) return made;
    return Function(self, other, rest...);
  }
};

}  // namespace detail

// A unary function that keeps the dtype of a floating input.
template <auto Function>
inline constexpr auto quick_unary = &detail::Unary<Function>::quick;
// The same, with kernels for floating dtypes only.
template <auto Function>
inline constexpr auto floats_only = &detail::Unary<Function>::floats;
// A function of two tensors that keeps the dtype of floating inputs.
template <auto Function>
inline constexpr auto quick_binary = &detail::Binary<Function>::quick;
// The same, with a boolean output.
template <auto Function>
inline constexpr auto quick_comparison = &detail::Binary<Function>::comparison;

// The overloads with a number where `Function` takes a tensor.
template <auto Function>
at::Tensor number_second(const at::Tensor& self, const at::Scalar& other) {
  return Function(self, wrapped_number(other));
}
template <auto Function>
at::Tensor number_first(const at::Scalar& self, const at::Tensor& other) {
  return Function(wrapped_number(self), other);
}

}  // namespace nnprof

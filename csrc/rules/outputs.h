// Helpers for output functions.
#pragma once

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>

#include "rules/rule.h"

namespace nnprof {

// A new contiguous meta tensor like `like` in dtype (or of `dtype`).
inline at::Tensor empty_like_dtype(at::IntArrayRef sizes, const at::Tensor& like) {
  return at::Tensor(at::detail::empty_meta(sizes, like.scalar_type()));
}
inline at::Tensor empty_of(at::IntArrayRef sizes, c10::ScalarType dtype,
                           std::optional<c10::MemoryFormat> format = std::nullopt) {
  return at::Tensor(at::detail::empty_meta(sizes, dtype, format));
}
inline at::Tensor empty_strided_of(at::IntArrayRef sizes, at::IntArrayRef strides,
                                   c10::ScalarType dtype) {
  return at::Tensor(at::detail::empty_strided_meta(sizes, strides, dtype));
}
// As at::empty_like with preserve_format: the strides of a dense tensor kept, else contiguous.
at::Tensor empty_preserving(const at::Tensor& like, std::optional<c10::ScalarType> dtype = {},
                            std::optional<c10::MemoryFormat> format = {});

// Overloaded at::meta functions: boxed<overload<at::Tensor(const at::Tensor&)>(&at::meta::f)>.
template <class Signature>
constexpr Signature* overload(Signature* function) {
  return function;
}

}  // namespace nnprof

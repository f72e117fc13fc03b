// PyTorch's meta functions accept dtypes that it has no kernel for. Adapters that raise as it does.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/torch_version.h"

namespace nnprof {

inline bool is_real(c10::ScalarType dtype) { return !c10::isComplexType(dtype); }
inline bool is_float(c10::ScalarType dtype) { return c10::isFloatingType(dtype); }
inline bool is_integer(c10::ScalarType dtype) { return c10::isIntegralType(dtype, true); }
inline bool is_inexact(c10::ScalarType dtype) { return !is_integer(dtype); }

// Nobody asks for a kernel where there is nothing to compute.
inline void check_kernel(bool exists, const at::Tensor& tensor) {
  TORCH_CHECK_NOT_IMPLEMENTED(exists || tensor.numel() == 0, "not implemented for '",
                              tensor.scalar_type(), "'");
}

// What an operator takes no dtype of, whatever kernels there are: of another class since 2.14.
template <class... Text>
void check_dtype(bool taken, const Text&... text) {
  if constexpr (torch_is_at_least(2, 14)) {
    TORCH_CHECK_NOT_IMPLEMENTED(taken, text...);
  } else {
    TORCH_CHECK(taken, text...);
  }
}

namespace detail {
template <auto Supported, auto Function, class Signature = decltype(Function)>
struct OnlyFor;
template <auto Supported, auto Function, class Result, class... Rest>
struct OnlyFor<Supported, Function, Result (*)(const at::Tensor&, Rest...)> {
  static Result call(const at::Tensor& self, Rest... rest) {
    Result result = Function(self, rest...);
    check_kernel(Supported(self.scalar_type()), self);
    return result;
  }
};

template <auto Supported, auto Function, class Signature = decltype(Function)>
struct OnlyGives;
template <auto Supported, auto Function, class... Arguments>
struct OnlyGives<Supported, Function, at::Tensor (*)(Arguments...)> {
  static at::Tensor call(Arguments... arguments) {
    at::Tensor result = Function(arguments...);
    check_kernel(Supported(result.scalar_type()), result);
    return result;
  }
};
}  // namespace detail

// A typed output function that raises when its first tensor is complex, or is not floating.
template <auto Function>
inline constexpr auto for_reals = &detail::OnlyFor<&is_real, Function>::call;
template <auto Function>
inline constexpr auto for_floats = &detail::OnlyFor<&is_float, Function>::call;

// The same by the dtype of the result, which the operands promote to.
template <auto Function>
inline constexpr auto integer_result = &detail::OnlyGives<&is_integer, Function>::call;
template <auto Function>
inline constexpr auto float_result = &detail::OnlyGives<&is_float, Function>::call;
template <auto Function>
inline constexpr auto real_result = &detail::OnlyGives<&is_real, Function>::call;
template <auto Function>
inline constexpr auto inexact_result = &detail::OnlyGives<&is_inexact, Function>::call;

}  // namespace nnprof

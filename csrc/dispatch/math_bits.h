// Conjugate and negative tensors: their elements are others than those in memory.
#pragma once

#include <c10/core/DispatchKeySet.h>

#include "dispatch/operators.h"

namespace nnprof {

inline constexpr c10::DispatchKeySet kMathBits({c10::DispatchKey::Conjugate,
                                                c10::DispatchKey::Negative});

// True when the call is done: else it is one like any other.
bool run_with_math_bits(const Operator& op, c10::DispatchKeySet keys, Stack& stack);

}  // namespace nnprof

// Autocast, applied by the interceptor: meta tensors carry no autocast key.
#pragma once

#include <optional>
#include <string_view>

#include "dispatch/operators.h"

namespace nnprof {

// From the operator lists of ATen/autocast_mode.h (accelerators) and autocast_mode.cpp (CPU).
CastPolicy cpu_cast_policy(std::string_view op);
CastPolicy accelerator_cast_policy(std::string_view op);

class Trace;
bool autocast_enabled();
// Autocast keeps its casts of weights until its outermost region ends.
void drop_casts_after_autocast(Trace& trace);
// When autocast is on in this thread and has a policy for `op`: casts the arguments, calls it with
// autocast off, leaves its outputs on the stack and returns true.
bool run_autocast(const Operator& op, Stack& stack, Trace& trace);

}  // namespace nnprof

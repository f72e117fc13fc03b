// A world of ranks that are not here (nnprof.world): memory of its devices is on meta.
#pragma once

#include <ATen/core/stack.h>
#include <c10/core/DispatchKeySet.h>

#include "dispatch/operators.h"

namespace nnprof {

// In this thread, from here on, until it is left.
void enter_world();
void leave_world();
bool in_world();

// Outside of a trace: what is asked for on a device of the world is made on meta.
void run_in_world(const Operator& op, c10::DispatchKeySet keys, torch::jit::Stack& stack);

}  // namespace nnprof

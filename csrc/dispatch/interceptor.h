#pragma once

#include <c10/core/DispatchKeySet.h>

#include "dispatch/operators.h"
#include "dispatch/trace.h"

namespace nnprof {

// One operator call under a trace: arguments are on the stack, outputs are left there.
void run_operator(const Operator& op, c10::DispatchKeySet keys, Stack& stack, Trace& trace);

}  // namespace nnprof

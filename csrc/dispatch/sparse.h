// Sparse tensors, shape-only: what is done to one is done to its indices and values.
#pragma once

#include <ATen/core/stack.h>

#include "dispatch/operators.h"
#include "dispatch/trace.h"

namespace nnprof {

using torch::jit::Stack;

// Runs a call that has or makes a sparse tensor (COO) as calls on the dense ones in it, which are
// recorded. False, and nothing done, where it is not known how.
bool run_sparse(const Operator& op, Stack& stack, Trace& trace);

}  // namespace nnprof

// What autograd does on every device but meta: it writes into memory that nobody else can see.
//
// Its engine and its formulas take tensors on meta for a subclass, which may not like being written
// to (at::isTensorSubclassLike), and make new ones. Here they are written to after all, so that a
// trace allocates what a real backward allocates.
#pragma once

#include "dispatch/operators.h"
#include "dispatch/trace.h"

namespace nnprof {

// Whether the engine adds `gradient` to a `sum` that only it holds in place, as
// torch/csrc/autograd/input_buffer.cpp has it. So does a backward that is one task
// (backward_task.h); the engine itself, where hooks wait, cannot be told.
bool adds_in_place(const at::Tensor& sum, const at::Tensor& gradient);

// scatter, index_put... of a gradient function into zeros that it has just made.
bool fill_in_place(const Operator& op, Stack& stack, const Trace& trace);

}  // namespace nnprof

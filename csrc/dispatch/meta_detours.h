// What autograd does on every device but meta: it writes into memory that nobody else can see.
//
// Its engine and its formulas take tensors on meta for a subclass, which may not like being written
// to (at::isTensorSubclassLike), and make new ones. Here they are written to after all, so that a
// trace allocates what a real backward allocates.
#pragma once

#include "dispatch/operators.h"
#include "dispatch/trace.h"

namespace nnprof {

// Whether the engine adds `gradient` to `sum` in place: where nobody else holds the sum, as
// torch/csrc/autograd/input_buffer.cpp has it. `references`: how many there are to a sum that only
// the engine holds.
bool adds_in_place(const at::Tensor& sum, const at::Tensor& gradient, size_t references);

// aten::add between two gradient functions: the engine adds up what reaches the same one. True
// where it was done in place.
bool add_gradient_in_place(Stack& stack, const Trace& trace);

// scatter, index_put... of a gradient function into zeros that it has just made, likewise.
bool fill_in_place(const Operator& op, Stack& stack, const Trace& trace);

}  // namespace nnprof

// Calls that Python sees: on tensors that wrap others (DTensor, quantized weights), and under a
// TorchDispatchMode (selective checkpoints, counters).
//
// PyTorch has autograd above Python, and we stand above both. So a call that belongs to a graph
// goes through autograd's kernel first, which makes the gradient function on the wrappers; right
// below it the class or the mode unwraps them, and what it calls inside comes to us again.
#pragma once

#include "dispatch/operators.h"
#include "dispatch/trace.h"

namespace nnprof {

// Hands a call to the subclass or mode that wants it, whatever autograd would do.
void call_python(const Operator& op, Stack& stack, Trace& trace);

// A call whose keys have Python, and none of another wrapper.
void run_wrapped(const Operator& op, c10::DispatchKeySet keys, Stack& stack, Trace& trace);

// What torch does after a class has viewed a wrapper: `view` gets the storage of what it is of,
// also where one of them is shape-only.
void share_storage(const at::Tensor& view, const at::Tensor& viewed);

}  // namespace nnprof

// Autograd's own kernels on shape-only tensors.
//
// In a trace with backward, a call that belongs to a graph goes through the kernel that PyTorch
// generated for autograd: it makes the gradient function, saves what the derivative needs, checks
// versions and tracks views. Right below it, where a backend's kernel would run, a dispatch key of
// our own hands the call back, and a rule makes the outputs.
#pragma once

#include <c10/util/FunctionRef.h>

#include "dispatch/operators.h"
#include "dispatch/trace.h"

namespace nnprof {

// Does autograd look at calls of this thread at all?
bool graphs_are_recorded(const Trace& trace);

// Does the call work on dual tensors, so that autograd's kernel has a derivative to compute?
bool has_dual(const Operator& op, const c10::IValue* arguments, const Trace& trace);

// Runs autograd's kernel of an operator; `kernel` makes its outputs. Tensors on the stack are
// shape-only. Returns the bytes of the tensors that the gradient function keeps.
Count run_in_graph(const Operator& op, Stack& stack, c10::function_ref<void(Stack&)> kernel);

// Autograd's kernel of an in-place operator clones what its derivative needs, before it is written:
// a clone that was just made there is kept.
void note_clone(const Operator& op, const c10::IValue& output);

}  // namespace nnprof

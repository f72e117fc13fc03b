// Real computation of small values, and what stands for values that nobody knows.
#pragma once

#include "dispatch/operators.h"
#include "dispatch/trace.h"

namespace nnprof {

// Runs the operator's CPU kernel on the real values on the stack, below autograd: the device
// arguments become the CPU, random numbers come from the trace's own generator.
void compute(const Operator& op, Stack& stack, Trace& trace);

// True when every output (meta tensors on the stack) is small enough to be computed.
bool worth_computing(const Operator& op, const Stack& stack, const Trace& trace);

// Index outputs of an operator that computed nothing (topk, argmax, sort): evenly spread over the
// dimension they index, so that routed experts get even loads.
at::Tensor balanced_choices(const at::Tensor& indices, int64_t choices);

// A real `true`.
at::Tensor real_truth();

// A real tensor of the sizes and dtype of `tensor`, with room for one element: for a kernel that
// reads no other.
at::Tensor real_of_sizes(const at::Tensor& tensor);

// The indices of every element of a tensor of these sizes, one a row, like nonzero of ones; or,
// with `indices` of one dimension, their numbers.
at::Tensor every_index(const at::Tensor& indices, at::IntArrayRef sizes);

// The number that `_local_scalar_dense` answers for a tensor whose value is not known: what the
// user assumed, or a DataDependentError that says what was asked for.
c10::IValue assumed_scalar(const Operator& op, const at::Tensor& tensor, Trace& trace,
                           const char* question = "for the value of a tensor");

// A training step's own code around the model: there every value is taken to be a good one.
bool in_training_loop(const Trace& trace);

// Raises IndexError as the CPU kernel would when an index that is known is outside of the table.
void check_rows(const at::Tensor& table, const at::Tensor& indices);

// Asks for another run with a higher limit, by raising.
[[noreturn]] void want_rerun(const Operator& op, Trace& trace);

}  // namespace nnprof

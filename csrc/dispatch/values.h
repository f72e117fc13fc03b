// Real computation of small values, and what stands for values that nobody knows.
//
// NOTE [Values]
// Nothing is computed in a trace but what a program may branch on: positions, masks, sizes. Each
// storage is known, unknown, or would be known with higher limits (`Values`, in trace.h); a tensor
// is what its storage is, and one of the user's what its dtype, its size and its role allow
// (`Trace::identify_external`).
//  - A call all of whose arguments are known is computed by the CPU's kernel (`KnownCall`), where
//    its outputs stay below the limits of `TraceOptions`. Without a graph the real outputs take the
//    place of the shape-only ones. In a graph a real float has no place, for it could be written to
//    and its gradient be lost: its values hang beside the shape-only tensor
//    (`StorageTag::computed`, or `compute_later` until somebody asks), and `Trace::value` finds
//    them.
//  - The user's memory is never written: the first write in place gives the storage a private copy
//    (`ExternalStorage::private_copy`), which all its aliases read from then on. A write whose
//    result is not known makes the storage unknown (`lose_values`).
//  - What nobody has written to yet (`torch.empty`) is written twice, to two different garbages;
//    an element is known once both agree (`StorageTag::other`).
//  - Who asks for a value that is over the limit asks for another run with higher ones
//    (`want_rerun`). Who asks for one that is unknown gets what the caller assumed, what a training
//    loop may take for granted (truth.h), or an error that names the question.
//  - Indices out of unknown values (`topk`) are made up evenly and marked `guessed`; so is what is
//    made of them. A mask's count can be known where its elements are not (`MaskCount`).
#pragma once

#include "dispatch/operators.h"
#include "dispatch/trace.h"

namespace nnprof {

// Runs the operator's CPU kernel on the real values on the stack, below autograd: the device
// arguments become the CPU, random numbers come from the trace's own generator.
void compute(const Operator& op, Stack& stack, Trace& trace);

// Is every one of these shape-only outputs small enough to be computed? `beside`: its values hang
// on it, rather than take its place.
bool worth_computing(c10::ArrayRef<c10::IValue> outputs, const Trace& trace, bool beside = false);

// Index outputs of an operator that computed nothing (topk, argmax, sort): evenly spread over the
// dimension they index, so that routed experts get even loads. Where they are fewer than there is
// to choose from they leave gaps between them and at both ends: one is in the middle, for the first
// is more often a special one than any other.
at::Tensor balanced_choices(const at::Tensor& indices, int64_t choices);

// On real tensors, below all that looks at operators.
at::Tensor real_copy(const at::Tensor& tensor);
void copy_real(const at::Tensor& to, const at::Tensor& from);

// Real truth values: all `truth`.
at::Tensor real_truth(bool truth = true, at::IntArrayRef sizes = {});

// A real tensor of the sizes and dtype of `tensor`, with room for one element: for a kernel that
// reads no other.
at::Tensor real_of_sizes(const at::Tensor& tensor);

// The indices of every element of a tensor of these sizes, one a row, like nonzero of ones; or,
// with `indices` of one dimension, their numbers.
at::Tensor every_index(const at::Tensor& indices, at::IntArrayRef sizes);

// A question of the program's about a tensor whose value is not known, or was guessed; it counts as
// one more of the module's.
Question question_about(const at::Tensor& tensor, Trace& trace);

// What the caller says it reads, and lists it; nothing where the caller does not say. `place` is
// where the program asks.
std::optional<c10::IValue> callers_answer(const Question& question, const at::Tensor& tensor,
                                          Trace& trace, std::string& place);

// The number that `_local_scalar_dense` answers for a tensor whose value is not known: what the
// caller assumed, what a training loop reads, or a DataDependentError that says what was asked for.
c10::IValue assumed_scalar(const Question& question, const at::Tensor& tensor, Trace& trace,
                           std::optional<Reads> reads);

// A training step's own code around the model: there every value is taken to be a good one.
bool in_training_loop(const Trace& trace);

// Raises IndexError as the CPU kernel would when an index that is known is outside of the table.
void check_rows(const at::Tensor& table, const at::Tensor& indices);

// Of a value that `what` asks for and that higher limits would make known: asks for another run
// with them, by raising, or says that this trace has no higher ones.
[[noreturn]] void want_rerun(const std::string& what, Trace& trace);

// The values of a tensor for Python, which reads them past the dispatcher; undefined where it is to
// read the tensor itself. Raises where what lies in the tensor's memory is not what it holds.
at::Tensor known_values(const at::Tensor& tensor, bool to_be_written, Trace& trace);

}  // namespace nnprof

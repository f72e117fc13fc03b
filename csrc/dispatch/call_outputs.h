// The outputs of one call from shapes: by its rule, by that of the operator which it derives from,
// or by PyTorch's own meta kernel.
#pragma once

#include "dispatch/operators.h"
#include "dispatch/quantized_tensors.h"
#include "dispatch/stack_walk.h"
#include "dispatch/trace.h"

namespace nnprof {

class CallOutputs {
 public:
  CallOutputs(const Operator& op, const CallWalk& walk, Trace& trace)
      : op_(op), walk_(walk), trace_(trace) {}

  // From stand-ins for the arguments, on the stack, where it leaves the outputs.
  void make(Stack& stack) const;
  // Indices that nobody knows become real ones, and a guess: spread evenly, or, where all of a mask
  // is taken as true, those of every element. `originals` are the arguments; `others`: what is
  // known of an output before the indices.
  void choose(c10::IValue* outputs, const Stack& originals, Values others) const;

 private:
  void run_rule(Stack& stack) const;
  void run_derived(Stack& stack) const;
  void run_meta_kernel(Stack& stack) const;
  void check_each_fits(const c10::IValue& results, const c10::IValue& targets) const;
  void check_fits(const at::Tensor& result, const at::Tensor& target) const;
  AskedScale asked_scale(const Stack& stack) const;
  bool may_make_quantized(const Stack& stack) const;
  void give_scales(Stack& stack, const AskedScale& asked) const;
  void spread_choices(c10::IValue* outputs, const Stack& originals, Values others) const;
  void list_indices(c10::IValue* outputs, at::IntArrayRef sizes) const;
  int64_t choices(const at::Tensor& input, const Stack& originals) const;

  const Operator& op_;
  const CallWalk& walk_;
  Trace& trace_;
};

}  // namespace nnprof

// A call all of whose arguments are known: it is really computed, in place of the shape-only
// outputs or, where a graph may be recorded, beside them.
#pragma once

#include "dispatch/operators.h"
#include "dispatch/trace.h"

namespace nnprof {

class KnownCall {
 public:
  KnownCall(const Operator& op, Trace& trace) : op_(op), trace_(trace) {}

  // Are all values known that it reads (`read`), and is there a kernel to compute it with?
  bool is_computable(const c10::IValue* arguments, Values read, bool has_tensors);
  // Of what it only writes to, and needs not know.
  Values targets() const { return targets_; }

  // Its arguments, with values to compute with.
  void take(const c10::IValue* arguments);
  // What the kernel makes of them. They stay where they are: saved tensors are found by how often
  // they are held.
  Stack outputs();
  // Hangs their values on shape-only outputs; real integers take their place unless all
  // `stays_on_meta`. False where they are too many.
  bool compute_beside(c10::IValue* outputs, bool stays_on_meta);
  // What was computed where nobody knew what comes out: floats have no place in a graph.
  void floats_to_shape_only(c10::IValue* outputs);

 private:
  Values values_of_targets(const c10::IValue* arguments);
  bool overwrites_all_of(const at::Tensor& target) const;
  void take_other(const c10::IValue* arguments);
  bool all_alias(const c10::IValue* outputs) const;
  bool makes_from_nothing() const;
  bool compute_later(const at::Tensor& output);
  void hang(c10::IValue& output, const c10::IValue& values, bool stays_on_meta);
  at::Tensor with_values(const at::Tensor& output, const at::Tensor& values, bool stays_on_meta);

  const Operator& op_;
  Trace& trace_;
  Values targets_ = Values::known;
  bool has_tensors_ = false;
  c10::SmallVector<at::Tensor, 1> renewed_;
  Stack real_;   // the arguments with values
  Stack other_;  // of a write to memory that is not initialised: with other garbage
};

}  // namespace nnprof

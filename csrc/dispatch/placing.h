// On which device a call's outputs seem to be, and whether any of them may be real.
#pragma once

#include "dispatch/operators.h"
#include "dispatch/trace.h"

namespace nnprof {

// A factory that a check on devices looks at makes nothing real beside shape-only tensors. Nor does
// one that a FakeTensor's operator calls, to see its sizes.
bool stays_on_meta(const Operator& op, const c10::IValue* arguments);

// Remembers the first device that the program itself asks for.
void note_asked_device(const Operator& op, const c10::IValue* arguments, Trace& trace);

// Is it on the program's device: asked for there, or made of what is there?
bool is_placed(const Operator& op, const c10::IValue* arguments, const Trace& trace);

// Is what a call makes on the host while the program runs on an accelerator: asked for there, or
// made of what is there?
class HostOutputs {
 public:
  HostOutputs(const Operator& op, const c10::IValue* arguments, Trace& trace);
  // When the call has run.
  void mark(const c10::IValue* outputs) const;

 private:
  const Operator& op_;
  Trace& trace_;
  const size_t first_storage_;
  const bool on_host_;
};

// aten::to of a tensor that is on meta already gives that: between host and device it is a copy.
void copy_if_it_moves(const Operator& op, c10::IValue* arguments, const Trace& trace);

void place_outputs(const Operator& op, const c10::IValue* outputs, Trace& trace);

}  // namespace nnprof

// One operator call that is priced as it stands.
#pragma once

#include "dispatch/operators.h"
#include "dispatch/stack_walk.h"
#include "dispatch/trace.h"

namespace nnprof {

// PyTorch's own code in terms of other operators, which this thread is running.
struct Composite {
  const Operator* op = nullptr;  // the outermost
  bool same_device = false;      // it checks that its tensors are on one device
  bool shape_only = false;       // a wrapper is viewed: what is inside is viewed without values
};
extern thread_local Composite running_composite;

class InsideComposite {
 public:
  InsideComposite(const Operator& op, bool same_device) : outer_(running_composite) {
    if (outer_.op == nullptr) running_composite.op = &op;
    if (same_device) running_composite.same_device = true;
  }
  ~InsideComposite() { running_composite = outer_; }
  InsideComposite(const InsideComposite&) = delete;
  InsideComposite& operator=(const InsideComposite&) = delete;

 private:
  const Composite outer_;
};

// Levels of vmap in this thread. Batching rules want what they write on the device that it is
// written to, and what is made like a shape-only tensor is on its.
extern thread_local int32_t batching_levels;

// Makes the outputs of a call, shape-only or really, and records it: arguments are on the stack,
// outputs are left there. Raises PyTorch's own errors.
void run_call(const Operator& op, Stack& stack, Trace& trace);

// Records a call: `walk` has been over its arguments, `outputs` are what it returned.
void record_call(const Operator& op, CallWalk& walk, const c10::IValue* outputs, Count saved_bytes,
                 Trace& trace);

// Records a call whose outputs are known, without running anything.
void record_known_call(const Operator& op, const Stack& arguments, const Stack& outputs,
                       Trace& trace);

}  // namespace nnprof

// One operator call that is priced as it stands.
#pragma once

#include "dispatch/operators.h"
#include "dispatch/trace.h"

namespace nnprof {

// PyTorch's own code in terms of other operators, which this thread is running.
struct Composite {
  const Operator* op = nullptr;  // the outermost
  bool same_device = false;      // it checks that its tensors are on one device
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

// Makes the outputs of a call, shape-only or really, and records it: arguments are on the stack,
// outputs are left there. Raises PyTorch's own errors.
void run_call(const Operator& op, Stack& stack, Trace& trace);

// A call of an operator that PyTorch writes in terms of others and that has a rule of its own:
// where it belongs to a graph, these others make the graph, and the call is recorded as one. False
// where it does not, and nothing was done.
bool run_composite_in_graph(const Operator& op, c10::DispatchKeySet keys, Stack& stack,
                            Trace& trace);

// Records a call whose outputs are known, without running anything.
void record_known_call(const Operator& op, const Stack& arguments, const Stack& outputs,
                       Trace& trace);

}  // namespace nnprof

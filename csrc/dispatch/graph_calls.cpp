#include "dispatch/graph_calls.h"

#include "dispatch/call.h"
#include "dispatch/graph.h"
#include "dispatch/placing.h"
#include "dispatch/shadows.h"
#include "dispatch/stack_walk.h"
#include "dispatch/writes.h"

namespace nnprof {
namespace {

// While PyTorch's own code for an operator runs that is recorded as a whole.
class SilentCalls {
 public:
  explicit SilentCalls(Trace& trace) : trace_(trace), before_(trace.silently_saved) {
    ++trace_.silent;
  }
  ~SilentCalls() { --trace_.silent; }
  SilentCalls(const SilentCalls&) = delete;
  SilentCalls& operator=(const SilentCalls&) = delete;
  Count saved_bytes() const { return trace_.silently_saved - before_; }

 private:
  Trace& trace_;
  const Count before_;
};

// Some operators check that their tensors are on one device: where one is shape-only, all are.
class ShadowedArguments {
 public:
  ShadowedArguments(const Operator& op, Stack& stack, Trace& trace) {
    for (size_t i = stack.size() - op.arguments; i < stack.size(); ++i) {
      map_tensors(stack[i], [&](const at::Tensor& tensor) {
        const bool differentiable = tensor.is_floating_point() || tensor.is_complex();
        if (!differentiable && op.known != Known::same_device) return tensor;
        return shadows_.put(tensor, trace.shadow(tensor));
      });
    }
  }

  // The program's own tensors again, where the last `count` values on the stack are their shadows.
  void give_back(Stack& stack, size_t count) const {
    for (size_t i = stack.size() - count; i < stack.size(); ++i) shadows_.give_back(stack[i]);
  }

 private:
  Shadows shadows_;
};

}  // namespace

bool tracks_views(const Operator& op) { return op.view || op.has(kView) || op.has(kReturnsInput); }

bool belongs_to_graph(const Operator& op, const c10::IValue* arguments, const Trace& trace) {
  if (trace.has_duals && has_dual(op, arguments, trace)) return true;
  if (!graphs_are_recorded(trace)) return false;
  const bool always = tracks_views(op) || !op.written.empty();
  bool belongs = false;
  for (size_t i = 0; i < op.arguments; ++i) {
    for_each_tensor(arguments[i], [&](const at::Tensor& tensor) {
      const bool differentiable = tensor.is_floating_point() || tensor.is_complex();
      belongs |= differentiable && (tensor.requires_grad() || (always && trace.is_tracked(tensor)));
    });
  }
  return belongs;
}

bool run_others_in_graph(const Operator& op, Stack& stack, Trace& trace,
                         c10::function_ref<void(Stack&)> kernel) {
  const c10::IValue* arguments = stack.data() + (stack.size() - op.arguments);
  if (!belongs_to_graph(op, arguments, trace)) return false;
  check_written_leaves(op, arguments);
  for (int i : op.written) {
    for_each_tensor(arguments[i], [&](const at::Tensor& tensor) { trace.keep_version(tensor); });
  }
  const size_t records = trace.session()->records().size();
  const ShadowedArguments shadowed(op, stack, trace);
  const Count saved_bytes = run_in_graph(op, stack, [&](Stack& inner) {
    shadowed.give_back(inner, op.arguments);
    kernel(inner);
  });
  shadowed.give_back(stack, op.returns);
  trace.session()->add_saved_bytes(records, saved_bytes);
  return true;
}

bool run_composite_in_graph(const Operator& op, c10::DispatchKeySet keys, Stack& stack,
                            Trace& trace) {
  const c10::IValue* arguments = stack.data() + (stack.size() - op.arguments);
  if (!belongs_to_graph(op, arguments, trace)) return false;
  CallWalk walk(op, trace);
  walk.arguments(arguments);
  Count saved_bytes;
  const HostOutputs on_host(op, arguments, trace);
  ShadowedArguments shadowed(op, stack, trace);
  // The device never changes: to move a tensor there is no copy.
  for (int device : op.devices) {
    c10::IValue& value = stack[stack.size() - op.arguments + static_cast<size_t>(device)];
    if (!value.isNone()) value = c10::IValue(c10::Device(at::kMeta));
  }
  {
    const SilentCalls silent(trace);
    const bool composed = op.composition != nullptr && op.composition(stack, trace);
    if (!composed) op.handle.redispatchBoxed(keys, &stack);
    saved_bytes = silent.saved_bytes();
  }
  shadowed.give_back(stack, op.returns);
  on_host.mark(stack.data() + (stack.size() - op.returns));
  if (trace.silent != 0) return true;  // what was saved inside is counted
  record_call(op, walk, stack.data() + (stack.size() - op.returns), saved_bytes, trace);
  return true;
}

}  // namespace nnprof

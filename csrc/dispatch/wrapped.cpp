#include "dispatch/wrapped.h"

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/core/impl/PyInterpreterHooks.h>
#include <c10/core/impl/TorchDispatchModeTLS.h>

#include "dispatch/autocast.h"
#include "dispatch/call.h"
#include "dispatch/graph_calls.h"
#include "dispatch/key.h"
#include "dispatch/linear_node.h"
#include "dispatch/stack_walk.h"

namespace nnprof {
namespace {

bool fake_mode_is_on() {
  using c10::impl::TorchDispatchModeKey;
  return c10::impl::TorchDispatchModeTLS::get_mode(TorchDispatchModeKey::FAKE).has_value();
}

// Where a class or a mode handles a call in this thread.
struct Handling {
  bool on = false;
  bool fake_mode_around = false;  // was on before
};
thread_local Handling handling;

class InsidePython {
 public:
  InsidePython() : outer_(handling) {
    if (!outer_.on) handling = {true, fake_mode_is_on()};
  }
  ~InsidePython() { handling = outer_; }
  InsidePython(const InsidePython&) = delete;
  InsidePython& operator=(const InsidePython&) = delete;

 private:
  const Handling outer_;
};

// A class that wraps tensors may run an operator on FakeTensors to see what comes out: DTensor does
// to find its shards, on tensors of the global size. That is no work of the program's.
bool only_asks_for_sizes() {
  return handling.on && !handling.fake_mode_around && fake_mode_is_on();
}

void run_unseen(const Operator& op, c10::DispatchKeySet keys, Stack& stack) {
  const c10::impl::ExcludeDispatchKeyGuard guard(kInterceptKey);
  op.handle.redispatchBoxed(keys_after(keys), &stack);
}

// A FakeTensor is its metadata: a shadow of that stands for it. True when no other wrapper is left.
bool unwrap_fakes(const Operator& op, Stack& stack, Trace& trace) {
  if (c10::impl::tls_is_dispatch_key_included(c10::DispatchKey::Python)) return false;
  bool only_fakes = true;
  for (size_t i = stack.size() - op.arguments; i < stack.size(); ++i) {
    for_each_tensor(stack[i], [&](const at::Tensor& tensor) {
      if (has_python_key(tensor) && !is_fake_tensor(tensor)) only_fakes = false;
    });
  }
  if (!only_fakes) return false;
  for (size_t i = stack.size() - op.arguments; i < stack.size(); ++i) {
    map_tensors(stack[i], [&](const at::Tensor& tensor) {
      return has_python_key(tensor) ? trace.shadow_of_fake(tensor) : tensor;
    });
  }
  return true;
}

// PyTorch has a kernel for it right below autograd, or several, of which ours is the device's.
bool is_leaf(const Operator& op, const Trace& trace) {
  return !op.composite || (op.fused && trace.options().accelerator);
}

// The calls that the device's own kernels make: what a policy of a checkpoint is asked about.
// Linear layers are four of PyTorch's everywhere.
bool run_composition(const Operator& op, Stack& stack, Trace& trace) {
  if (op.composition == nullptr || op.composition == &linear_in_graph) return false;
  const InsideComposite inside(op, /*same_device=*/false);
  return op.composition(stack, trace);
}

// A view gets the storage of what it is a view of, which has no memory and serves to tell that they
// are one; torch wants both on one device. What is inside of a view is shape-only, and so is the
// view that torch itself makes of it (a DTensor's), while the wrapper may be a parameter of the
// user's: its storage says for the call that it is on meta, too. See also share_storage.
class ViewOnMeta {
 public:
  ViewOnMeta(const Operator& op, const Stack& stack) {
    if (!op.view) return;
    for (size_t i = stack.size() - op.arguments; i < stack.size(); ++i) {
      for_each_tensor(stack[i], [&](const at::Tensor& tensor) {
        if (!is_wrapper(tensor) || !tensor.has_storage()) return;
        if (tensor.storage().device().is_meta()) return;
        c10::StorageImpl* storage = tensor.storage().unsafeGetStorageImpl();
        lent_.emplace_back(tensor.storage(),
                           storage->set_data_ptr(at::DataPtr(nullptr, c10::Device(at::kMeta))));
      });
    }
    outer_ = running_composite;
    if (!lent_.empty()) running_composite.shape_only = true;
  }
  ~ViewOnMeta() {
    if (lent_.empty()) return;
    running_composite = outer_;
    // The last one first: a storage may be there twice.
    for (auto last = lent_.rbegin(); last != lent_.rend(); ++last) {
      last->first.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(last->second));
    }
  }
  ViewOnMeta(const ViewOnMeta&) = delete;
  ViewOnMeta& operator=(const ViewOnMeta&) = delete;

 private:
  c10::SmallVector<std::pair<c10::Storage, at::DataPtr>, 2> lent_;
  Composite outer_;
};

}  // namespace

// PyTorch's own fallback would keep every key above Python, ours among them, from the calls that
// are made inside.
void call_python(const Operator& op, Stack& stack, Trace& trace) {
  const OutOfTurn out(trace);
  const ViewOnMeta view(op, stack);
  const InsidePython inside;
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels() -
                                                 c10::DispatchKeySet(kInterceptKey));
  (*c10::impl::getGlobalPyInterpreter())->dispatch(op.handle, &stack);
}

// A class in Python makes a view on the device that what is inside shows, which is that of the
// model.
void share_storage(const at::Tensor& view, const at::Tensor& viewed) {
  c10::StorageImpl* storage = viewed.storage().unsafeGetStorageImpl();
  at::DataPtr own = storage->set_data_ptr(at::DataPtr(nullptr, view.storage().device()));
  view.unsafeGetTensorImpl()->set_storage_keep_dtype(viewed.storage());
  storage->set_data_ptr_noswap(std::move(own));
}

void run_wrapped(const Operator& op, c10::DispatchKeySet keys, Stack& stack, Trace& trace) {
  if (only_asks_for_sizes()) return run_unseen(op, keys, stack);
  if (unwrap_fakes(op, stack, trace)) return op.handle.callBoxed(stack);
  if (autocast_enabled() && run_autocast(op, stack, trace)) return;
  if (is_leaf(op, trace)) {
    const auto kernel = [&](Stack& inner) { call_python(op, inner, trace); };
    if (!run_others_in_graph(op, stack, trace, kernel)) call_python(op, stack, trace);
  } else if (!run_composition(op, stack, trace)) {
    const InsideComposite inside(op, /*same_device=*/false);
    op.handle.redispatchBoxed(keys_after(keys) - c10::autocast_dispatch_keyset, &stack);
  }
}

}  // namespace nnprof

#include "dispatch/world.h"

#include <c10/core/impl/LocalDispatchKeySet.h>

#include "dispatch/key.h"
#include "dispatch/trace.h"

namespace nnprof {
namespace {

thread_local bool world_is_on = false;

}  // namespace

void enter_world() {
  world_is_on = true;
  c10::impl::tls_set_dispatch_key_included(kInterceptKey, true);
}

void leave_world() {
  world_is_on = false;
  c10::impl::tls_set_dispatch_key_included(kInterceptKey, current_trace() != nullptr);
}

bool in_world() { return world_is_on; }

void run_in_world(const Operator& op, c10::DispatchKeySet keys, torch::jit::Stack& stack) {
  for (const int argument : op.devices) {
    c10::IValue& device = stack[stack.size() - op.arguments + static_cast<size_t>(argument)];
    if (device.isDevice() && device.toDevice().is_cuda()) device = c10::Device(c10::kMeta);
  }
  op.handle.redispatchBoxed(keys_after(keys), &stack);
}

}  // namespace nnprof

#include "dispatch/placing.h"

#include <c10/core/impl/LocalDispatchKeySet.h>

#include "dispatch/call.h"
#include "dispatch/stack_walk.h"

namespace nnprof {

bool stays_on_meta(const Operator& op, const c10::IValue* arguments) {
  if (running_composite.shape_only) return true;
  if (op.has(kSizesOnly) && batching_levels != 0 && arguments[0].toTensor().is_meta()) return true;
  const bool asked = running_composite.same_device ||
                     c10::impl::tls_is_dispatch_key_included(c10::DispatchKey::Meta);
  return asked && std::any_of(op.devices.begin(), op.devices.end(), [&](int device) {
           const c10::IValue& value = arguments[device];
           return value.isDevice() && value.toDevice().is_meta();
         });
}

void note_asked_device(const Operator& op, const c10::IValue* arguments, Trace& trace) {
  if (op.devices.empty() || trace.asked_device) return;
  if (running_composite.op != nullptr) return;  // PyTorch's own
  const c10::IValue& value = arguments[op.devices.front()];
  if (value.isDevice()) trace.asked_device = value.toDevice();
}

bool is_placed(const Operator& op, const c10::IValue* arguments, const Trace& trace) {
  for (int device : op.devices) {
    if (arguments[device].isDevice()) return !arguments[device].toDevice().is_cpu();
  }
  bool placed = false;
  for (size_t i = 0; i < op.arguments; ++i) {
    for_each_tensor(arguments[i],
                    [&](const at::Tensor& tensor) { placed |= trace.is_placed(tensor); });
  }
  return placed;
}

namespace {

bool is_on_host(const Operator& op, const c10::IValue* arguments, const Trace& trace) {
  if (!trace.options().accelerator) return false;
  for (int device : op.devices) {
    if (arguments[device].isDevice()) return arguments[device].toDevice().is_cpu();
  }
  bool all = true;
  for (size_t i = 0; i < op.arguments && all; ++i) {
    for_each_tensor(arguments[i], [&](const at::Tensor& tensor) { all &= trace.is_host(tensor); });
  }
  return all;
}

}  // namespace

HostOutputs::HostOutputs(const Operator& op, const c10::IValue* arguments, Trace& trace)
    : op_(op),
      trace_(trace),
      first_storage_(trace.session()->storages().size()),
      on_host_(is_on_host(op, arguments, trace)) {}

void HostOutputs::mark(const c10::IValue* outputs) const {
  if (!on_host_) return;
  for (size_t i = 0; i < op_.returns; ++i) {
    for_each_tensor(outputs[i],
                    [&](const at::Tensor& made) { trace_.mark_host(made, first_storage_); });
  }
}

void copy_if_it_moves(const Operator& op, c10::IValue* arguments, const Trace& trace) {
  if (!trace.options().accelerator || !arguments[0].isTensor()) return;
  const bool to_host = is_on_host(op, arguments, trace);
  if (trace.is_host(arguments[0].toTensor()) == to_host) return;
  if (trace.host_is_apart()) arguments[op.copy] = true;
}

void place_outputs(const Operator& op, const c10::IValue* outputs, Trace& trace) {
  for (size_t i = 0; i < op.returns; ++i) {
    for_each_tensor(outputs[i], [&](const at::Tensor& output) { trace.place_on_device(output); });
  }
}

}  // namespace nnprof

#include "dispatch/writes.h"

#include <ATen/MemoryOverlap.h>

#include "dispatch/stack_walk.h"

namespace nnprof {
namespace {

void check_overlaps_of(const Operator& op, const at::Tensor& target, const c10::IValue* arguments) {
  if (!op.has(kOverlaps)) at::assert_no_internal_overlap(target);
  for (size_t i = 0; i < op.arguments - op.outs; ++i) {
    for_each_tensor(arguments[i], [&](const at::Tensor& tensor) {
      at::assert_no_partial_overlap(target, tensor);
      if (op.has(kOutApart)) at::assert_no_overlap(target, tensor);
    });
  }
}

}  // namespace

void check_written_leaves(const Operator& op, const c10::IValue* arguments) {
  for (int i : op.written) {
    for_each_tensor(arguments[i], [](const at::Tensor& tensor) {
      const bool stood_for = !tensor.is_meta() && !is_wrapper(tensor);
      TORCH_CHECK(!stood_for || !tensor.is_leaf() || !tensor.requires_grad(),
                  "a leaf Variable that requires grad is being used in an in-place operation.");
    });
  }
}

void check_overlaps(const Operator& op, const c10::IValue* arguments) {
  for (int i : op.written) {
    const c10::IValue& target = arguments[i];
    if (!target.isTensor() || !target.toTensor().defined()) continue;
    check_overlaps_of(op, target.toTensor(), arguments);
  }
}

void return_written(c10::IValue& output, const c10::IValue& original, Trace& trace) {
  if (output.isTensor() && original.isTensor() && original.toTensor().has_storage() &&
      output.toTensor().has_storage()) {
    const at::Tensor& result = output.toTensor();
    const at::Tensor& own = original.toTensor();
    if (result.sizes() != own.sizes() || result.strides() != own.strides()) {
      trace.change_metadata(own, result);
    }
  }
  output = original;
}

void bump_versions(const Operator& op, const c10::IValue* outputs, Trace& trace) {
  for (size_t i = 0; i < op.returns; ++i) {
    if (op.return_aliases[i] < 0) continue;
    for_each_tensor(outputs[i], [&](const at::Tensor& tensor) { trace.bump_version(tensor); });
  }
}

}  // namespace nnprof

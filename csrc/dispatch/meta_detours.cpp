#include "dispatch/meta_detours.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include "dispatch/torch_compat.h"

namespace nnprof {
namespace {

bool is_plain(const at::Tensor& tensor) {
  return tensor.is_meta() && tensor.layout() == at::kStrided && !tensor._is_zerotensor() &&
         !tensor.key_set().has(c10::DispatchKey::Python);
}

}  // namespace

bool adds_in_place(const at::Tensor& sum, const at::Tensor& gradient) {
  return !at::GradMode::is_enabled() && is_plain(sum) && is_plain(gradient) &&
         sum.is_non_overlapping_and_dense() && sum.use_count() == 1 &&
         sum.storage().use_count() == 1 && current_trace()->is_base(sum);
}

bool fill_in_place(const Operator& op, Stack& stack, const Trace& trace) {
  if (!trace.session()->in_backward() || at::GradMode::is_enabled()) return false;
  const c10::IValue& target = stack.end()[-static_cast<std::ptrdiff_t>(op.arguments)];
  const at::Tensor& zeros = target.toTensor();
  if (!trace.is_fresh_zeros(zeros) || seen_by_python(zeros)) return false;
  const std::string name = op.handle.schema().name() + "_";
  c10::Dispatcher::singleton()
      .findSchemaOrThrow(name.c_str(), op.handle.schema().overload_name().c_str())
      .callBoxed(stack);
  return true;
}

}  // namespace nnprof

#include "dispatch/known_call.h"

#include <ATen/EmptyTensor.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>

#include "dispatch/stack_walk.h"
#include "dispatch/values.h"

namespace nnprof {
namespace {

at::Tensor without_data(const at::Tensor& tensor) {
  return at::Tensor(
      at::detail::empty_strided_meta(tensor.sizes(), tensor.strides(), tensor.scalar_type()));
}

// Autograd asks for ones in the layout of a result, and refuses gradients on another device.
bool starts_from_meta(const Operator& op, const c10::IValue* arguments) {
  return !arguments[op.arguments - 1].isNone() && arguments[0].toTensor().is_meta();
}

}  // namespace

bool KnownCall::is_computable(const c10::IValue* arguments, Values read, bool has_tensors) {
  if (read != Values::known) return false;
  has_tensors_ = has_tensors;
  targets_ = values_of_targets(arguments);
  if (targets_ != Values::known) return false;
  if (op_.known == Known::gradient_seed && starts_from_meta(op_, arguments)) return false;
  // A FakeTensor's operator is called to see its sizes.
  if (c10::impl::tls_is_dispatch_key_included(c10::DispatchKey::Meta)) return false;
  if (op_.family->has(kWritesUnsaid)) return false;
  return (op_.rule != nullptr || has_tensors) && op_.has_cpu_kernel();
}

// What is only written has no say in whether values are known, but must be there to be written.
Values KnownCall::values_of_targets(const c10::IValue* arguments) {
  Values values = Values::known;
  for (size_t i = 0; i < op_.arguments; ++i) {
    const bool only_written = op_.has(kWritesOnly) ? i == 0 : i >= op_.arguments - op_.outs;
    if (!only_written) continue;
    for_each_tensor(arguments[i], [&](const at::Tensor& target) {
      if (trace_.is_uninitialised(target)) return;
      const Values before = trace_.identify(target).values;
      if (before != Values::known && overwrites_all_of(target)) {
        renewed_.push_back(target);
      } else {
        values = std::max(values, before);
      }
    });
  }
  return values;
}

// Does what is written fill the memory, so that nothing is left of what was not known?
bool KnownCall::overwrites_all_of(const at::Tensor& target) const {
  if (target.is_meta() && !trace_.is_own(target)) return false;  // the user's: it has no memory
  const auto bytes = static_cast<size_t>(target.numel()) * target.element_size();
  return target.has_storage() && target.is_non_overlapping_and_dense() &&
         target.storage().nbytes() == bytes &&
         worth_computing(c10::IValue(target), trace_, /*beside=*/true);
}

void KnownCall::take(const c10::IValue* arguments) {
  for (const at::Tensor& target : renewed_) trace_.renew(target);
  real_.assign(arguments, arguments + op_.arguments);
  bool twice = false;
  for (size_t i = 0; i < op_.arguments; ++i) {
    const bool write = op_.writes(i);
    const bool unread = op_.has(kSizesOnly) && i == 0;
    map_tensors(real_[i], [&](const at::Tensor& tensor) {
      if (unread) return without_data(tensor);
      if (op_.has(kLikeSecond) && i == 1) return real_of_sizes(tensor);
      twice |= write && trace_.is_uninitialised(tensor);
      return write ? trace_.writable_value(tensor) : trace_.value(tensor);
    });
  }
  if (twice) take_other(arguments);
}

// The same with other garbage in memory that nobody has written to yet.
void KnownCall::take_other(const c10::IValue* arguments) {
  other_ = real_;
  for (int i : op_.written) {
    const auto at = static_cast<size_t>(i);
    other_[at] = arguments[at];
    map_tensors(other_[at], [&](const at::Tensor& tensor) {
      return trace_.is_uninitialised(tensor) ? trace_.other_value(tensor)
                                             : real_copy(trace_.writable_value(tensor));
    });
  }
}

Stack KnownCall::outputs() {
  Stack values = real_;
  compute(op_, values, trace_);
  if (other_.empty()) return values;
  if (!op_.has(kRandom)) {
    compute(op_, other_, trace_);
    return values;
  }
  for (size_t i = 0; i < op_.returns; ++i) {  // the same numbers
    const int alias = op_.return_aliases[i];
    if (alias < 0 || !values[i].isTensor()) continue;
    copy_real(other_[static_cast<size_t>(alias)].toTensor(), values[i].toTensor());
  }
  return values;
}

void KnownCall::floats_to_shape_only(c10::IValue* outputs) {
  for (size_t i = 0; i < op_.returns; ++i) {
    if (op_.return_aliases[i] >= 0) continue;
    map_tensors(outputs[i], [&](const at::Tensor& real) {
      const bool view = trace_.is_own(real) || trace_.number_of_external(real) >= 0;
      if (view || integral(real)) return real;
      at::Tensor meta = without_data(real);
      trace_.adopt(meta, Values::known);
      trace_.hang_values(meta, real);
      return meta;
    });
  }
}

bool KnownCall::compute_beside(c10::IValue* outputs, bool stays_on_meta) {
  const c10::ArrayRef<c10::IValue> all(outputs, op_.returns);
  if (!worth_computing(all, trace_, /*beside=*/true)) return false;
  if ((op_.written.empty() || op_.has(kView)) && all_alias(outputs)) return true;
  if (op_.returns == 1 && makes_from_nothing()) {
    const at::Tensor output = outputs[0].toTensor();
    if (!integral(output) || stays_on_meta) return compute_later(output);
  }
  Stack values;
  try {
    values = this->outputs();
  } catch (const c10::Error& error) {  // of a dtype, maybe, that the CPU has no kernel for
    const std::string_view message = error.what_without_backtrace();
    if (message.find("not implemented") == std::string_view::npos) throw;
    return false;
  }
  for (size_t i = 0; i < op_.returns; ++i) {
    if (op_.return_aliases[i] < 0) hang(outputs[i], values[i], stays_on_meta);
  }
  return true;
}

// Does every output lie in memory that is known already?
bool KnownCall::all_alias(const c10::IValue* outputs) const {
  bool all = true;
  for (size_t i = 0; i < op_.returns; ++i) {
    for_each_tensor(outputs[i], [&](const at::Tensor& output) { all &= trace_.is_own(output); });
  }
  return all;
}

// Memory that is filled, maybe a lot, and seldom read before it is written to.
bool KnownCall::makes_from_nothing() const {
  return (!has_tensors_ || op_.has(kSizesOnly)) && op_.written.empty() &&
         op_.family->has(kFillsMemory) && !op_.has(kRandom);
}

bool KnownCall::compute_later(const at::Tensor& output) {
  trace_.adopt(output, Values::known);
  trace_.hang_values_later(output, [&op = op_, &trace = trace_, real = real_]() mutable {
    compute(op, real, trace);
    return real.back().toTensor();
  });
  return true;
}

void KnownCall::hang(c10::IValue& output, const c10::IValue& values, bool stays_on_meta) {
  if (output.isTensor()) {
    output = with_values(output.toTensor(), values.toTensor(), stays_on_meta);
  } else if (output.isTensorList()) {
    const c10::List<at::Tensor> computed = values.toTensorList();
    size_t number = 0;
    map_tensors(output, [&](const at::Tensor& tensor) {
      return with_values(tensor, computed.get(number++), stays_on_meta);
    });
  }
}

at::Tensor KnownCall::with_values(const at::Tensor& output, const at::Tensor& values,
                                  bool stays_on_meta) {
  if (!output.defined() || !values.defined()) return output;
  if (!output.is_meta() || trace_.is_own(output)) return output;
  if (integral(output) && !stays_on_meta) {
    trace_.adopt(values, Values::known);
    trace_.place_on_device(values);
    return values;
  }
  trace_.adopt(output, Values::known);
  trace_.hang_values(output, values);
  return output;
}

}  // namespace nnprof

#include "dispatch/stack_walk.h"

#include <ATen/core/List_inl.h>

#include <algorithm>

#include "dispatch/groups.h"

namespace nnprof {
namespace {

// A signature is hashed, compared and kept: of indices that no cost depends on, only a few.
constexpr int64_t kMostRecordedValues = 64;
constexpr int64_t kMostCostedValues = 16 * 1024;
// Of more, as an optimizer's lists have them, a table tells the number.
constexpr size_t kSearchedStorages = 64;

c10::SmallVector<int64_t, 8> as_integers(const c10::IValue& list) {
  c10::SmallVector<int64_t, 8> integers;
  for (const c10::IValue& item : list.toListRef()) {
    if (item.isInt()) integers.push_back(item.toInt());
    if (item.isBool()) integers.push_back(item.toBool());
  }
  return integers;
}

bool all_real_numbers(c10::ArrayRef<c10::IValue> items) {
  return !items.empty() && std::all_of(items.begin(), items.end(), [](const c10::IValue& item) {
    return item.isDouble() || item.isInt() || item.isBool();
  });
}

}  // namespace

bool is_packed(const c10::IValue& value) {
  if (value.isObject()) return true;
  return value.isList() && !value.toListRef().empty() && value.toListRef()[0].isObject();
}

std::vector<at::Tensor> packed_tensors(const c10::IValue& value, Trace& trace) {
  std::vector<at::Tensor> tensors;
  const auto take = [&](const c10::IValue& object) {
    for (const PackedTensor& packed : trace.packed(object)) tensors.push_back(packed.meta);
  };
  if (value.isObject()) {
    take(value);
  } else {
    for (const c10::IValue& object : value.toListRef()) take(object);
  }
  return tensors;
}

void CallWalk::arguments(const c10::IValue* arguments) {
  writer_.begin(op_.number, op_.arguments);
  for (size_t i = 0; i < op_.arguments; ++i) {
    const bool out = i >= op_.arguments - op_.outs;
    skip_values_ = out || (op_.rule != nullptr && !op_.rule->reads_values_of(i));
    argument_ = i;
    argument(arguments[i]);
  }
}

void CallWalk::argument(const c10::IValue& value) {
  if (value.isTensor()) {
    writer_.tensor_argument();
    tensor(value.toTensor(), false);
  } else if (value.isNone()) {
    writer_.none();
  } else if (value.isBool()) {
    writer_.boolean(value.toBool());
  } else if (value.isInt()) {
    writer_.integer(value.toInt());
  } else if (value.isDouble()) {
    writer_.floating(value.toDouble());
  } else if (value.isIntList()) {
    writer_.integers(as_integers(value));
  } else if (value.isTensorList()) {
    const auto list = value.toTensorList();
    writer_.tensors_argument(list.size());
    for (const at::Tensor& item : list) tensor(item, false);
  } else if (value.isString()) {
    writer_.string(value.toStringView());
  } else if (value.isComplexDouble()) {
    const auto number = value.toComplexDouble();
    writer_.complex({number.real(), number.imag()});
  } else if (value.isBoolList()) {
    writer_.integers(as_integers(value));
  } else if (value.isDoubleList()) {
    writer_.floatings(value.toDoubleVector());
  } else if (value.isList() && value.toListRef().size() != 0 &&
             (value.toListRef()[0].isTensor() || value.toListRef()[0].isNone())) {
    writer_.tensors_argument(value.toListRef().size());
    for (const c10::IValue& item : value.toListRef()) {
      if (item.isTensor()) {
        tensor(item.toTensor(), false);
      } else {
        writer_.undefined_tensor();
      }
    }
  } else if (value.isList() && all_real_numbers(value.toListRef())) {
    numbers(value.toListRef());
  } else if (const std::optional<std::string> group = group_name(value)) {
    writer_.string(*group);
  } else if (op_.rule != nullptr && !op_.objects.empty() && is_packed(value)) {
    packed(value);
  } else {
    writer_.opaque();
  }
}

// Packed weights, as the list of tensors that a rule sees.
void CallWalk::packed(const c10::IValue& value) {
  const std::vector<at::Tensor> tensors = packed_tensors(value, trace_);
  writer_.tensors_argument(tensors.size());
  for (const at::Tensor& item : tensors) tensor(item, false);
}

// A list of Scalars, as _foreach_mul takes them.
void CallWalk::numbers(c10::ArrayRef<c10::IValue> items) {
  c10::SmallVector<double, 8> floating;
  c10::SmallVector<int64_t, 8> whole;
  for (const c10::IValue& item : items) {
    const at::Scalar number = item.toScalar();
    floating.push_back(number.toDouble());
    if (!item.isDouble()) whole.push_back(number.toLong());
  }
  if (whole.size() == items.size()) return writer_.integers(whole);
  writer_.floatings(floating);
}

int32_t CallWalk::local_storage(uint32_t storage) {
  const auto next = static_cast<int32_t>(storages_.size());
  if (storages_.size() <= kSearchedStorages) {
    const auto found = std::find(storages_.begin(), storages_.end(), storage);
    if (found != storages_.end()) return static_cast<int32_t>(found - storages_.begin());
  } else {
    if (numbers_.empty()) {
      for (int32_t i = 0; i < next; ++i) numbers_.emplace(storages_[static_cast<size_t>(i)], i);
    }
    const auto [found, is_new] = numbers_.emplace(storage, next);
    if (!is_new) return found->second;
  }
  storages_.push_back(storage);
  return next;
}

void CallWalk::tensor(const at::Tensor& tensor, bool is_output) {
  if (!tensor.defined()) {
    writer_.undefined_tensor();
    return;
  }
  const bool wrapped = tensor.unsafeGetTensorImpl()->is_wrapped_number();
  Identity identity;
  int32_t storage = -1;
  if (wrapped) {
    // What autograd has saved of a number in place of the number itself has no value.
    identity.values = tensor.is_meta() ? Values::unknown : Values::known;
  } else {
    identity = trace_.identify(tensor);
    storage = local_storage(identity.storage);
  }
  if (tensor.has_storage()) {
    writer_.tensor(tensor.scalar_type(), identity.role, wrapped, storage, tensor.storage_offset(),
                   tensor.sizes(), tensor.strides());
  } else {
    writer_.tensor(tensor.scalar_type(), identity.role, wrapped, storage, 0, tensor.sizes(),
                   tensor.sizes());
  }
  if (is_output) {
    writer_.values({});
    return;
  }
  has_tensors_ = true;
  guessed_ |= identity.guessed && !skip_values_;
  if (tensor.is_quantized() && !quantized_.defined()) quantized_ = tensor;
  if (!skip_values_ && static_cast<int>(identity.values) > static_cast<int>(values_)) {
    // Of what nobody has written to yet, a part is viewed to be written, and then known.
    const bool views = op_.view || op_.has(kView);
    if (!(views || op_.writes(argument_)) || !trace_.is_uninitialised(tensor)) {
      values_ = identity.values;
    }
  }
  const bool is_mask = op_.rule != nullptr && op_.rule->mask == static_cast<int>(argument_);
  if (is_mask && !wrapped) return mask(tensor, identity.values);
  const bool matter = op_.has(kKnownIntegers);
  if (matter && !wrapped && identity.values == Values::known) {
    known_values(tensor);
  } else {
    writer_.values({});
  }
}

void CallWalk::known_values(const at::Tensor& tensor) {
  const int64_t count = tensor.numel();
  const auto dtype = tensor.scalar_type();
  const int64_t most = op_.rule->has(kCostsByValue) ? kMostCostedValues : kMostRecordedValues;
  const at::Tensor value = trace_.value(tensor);
  if (count > most || !value.is_contiguous()) return writer_.values({});
  if (dtype == at::kLong) {
    writer_.values({value.const_data_ptr<int64_t>(), static_cast<size_t>(count)});
  } else if (dtype == at::kInt) {
    const auto* values = value.const_data_ptr<int32_t>();
    writer_.values(c10::SmallVector<int64_t, 64>(values, values + count));
  } else {
    writer_.values({});
  }
}

void CallWalk::mask(const at::Tensor& tensor, Values values) {
  if (const std::optional<MaskCount> count = trace_.mask_count(tensor)) {
    const bool inverted = op_.rule->has(kTrueHides) && tensor.scalar_type() == at::kBool;
    return writer_.kept(inverted ? count->elements - count->kept : count->kept);
  }
  writer_.values({});
  // Numbers that are not known are a bias made of weights, and hide nothing.
  if (tensor.scalar_type() == at::kBool || values == Values::over_limit) mask_values_ = values;
}

void CallWalk::outputs(const c10::IValue* outputs) {
  size_t count = 0;
  for (size_t i = 0; i < op_.returns; ++i) {
    if (outputs[i].isTensor()) ++count;
    if (outputs[i].isTensorList()) count += outputs[i].toTensorList().size();
  }
  writer_.output_count(count);
  for (size_t i = 0; i < op_.returns; ++i) {
    if (outputs[i].isTensor()) tensor(outputs[i].toTensor(), true);
    if (outputs[i].isTensorList()) {
      for (const at::Tensor& item : outputs[i].toTensorList()) tensor(item, true);
    }
  }
}

Words CallWalk::without_outputs() const {
  Words words = words_;
  words.push_back(0);
  return words;
}

}  // namespace nnprof

// Walks an operator's arguments on the stack: writes the signature, finds out who each tensor is.
#pragma once

#include <ATen/core/ivalue.h>
#include <c10/util/flat_hash_map.h>

#include "core/signature.h"
#include "dispatch/operators.h"
#include "dispatch/trace.h"

namespace nnprof {

// Calls visit(const at::Tensor&) for each defined tensor in a value: alone, in a list, in a list of
// optionals.
template <class Visit>
void for_each_tensor(const c10::IValue& value, Visit visit) {
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    if (tensor.defined()) visit(tensor);
  } else if (value.isTensorList()) {
    for (const at::Tensor& tensor : value.toTensorList()) visit(tensor);
  } else if (value.isList()) {
    for (const c10::IValue& item : value.toListRef()) {
      if (item.isTensor() && item.toTensor().defined()) visit(item.toTensor());
    }
  }
}

// Replaces each tensor by map(tensor); lists are copied, never changed in place.
template <class Map>
void map_tensors(c10::IValue& value, Map map) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) value = map(value.toTensor());
  } else if (value.isTensorList()) {
    c10::List<at::Tensor> mapped;
    for (const at::Tensor& tensor : value.toTensorList()) mapped.push_back(map(tensor));
    value = std::move(mapped);
  } else if (value.isList()) {
    const c10::List<c10::IValue> items = value.toList();
    const bool has_tensor = std::any_of(items.begin(), items.end(), [](const c10::IValue& item) {
      return item.isTensor() && item.toTensor().defined();
    });
    if (!has_tensor) return;
    c10::List<c10::IValue> mapped = items.copy();
    for (size_t i = 0; i < mapped.size(); ++i) {
      const c10::IValue item = mapped.get(i);
      if (item.isTensor() && item.toTensor().defined()) mapped.set(i, map(item.toTensor()));
    }
    value = std::move(mapped);
  }
}

// Packed weights (script objects), alone or in a list, and the tensors that they are made of.
bool is_packed(const c10::IValue& value);
std::vector<at::Tensor> packed_tensors(const c10::IValue& value, Trace& trace);

// What the walk over one call's arguments finds, and the signature it writes on the way.
class CallWalk {
 public:
  CallWalk(const Operator& op, Trace& trace) : op_(op), trace_(trace), writer_(words_) {}

  // Before the operator runs: `arguments` points at its first argument on the stack.
  void arguments(const c10::IValue* arguments);
  // After it has run.
  void outputs(const c10::IValue* outputs);
  // The words so far as those of a call without outputs.
  Words without_outputs() const;

  // Are all inputs' values known? Only over the limit? Counts no written-only tensor.
  Values values() const { return values_; }
  bool has_tensors() const { return has_tensors_; }
  // Is one of the inputs known because it was guessed?
  bool guessed() const { return guessed_; }
  // Is there a mask of attention that should be known, and is not?
  Values mask_values() const { return mask_values_; }
  // The first quantized input, if there is one.
  const at::Tensor& quantized() const { return quantized_; }
  c10::ArrayRef<int64_t> words() const { return words_; }
  c10::ArrayRef<uint32_t> storages() const { return storages_; }

 private:
  void argument(const c10::IValue& value);
  void packed(const c10::IValue& value);
  void numbers(c10::ArrayRef<c10::IValue> items);
  void tensor(const at::Tensor& tensor, bool is_output);
  void known_values(const at::Tensor& tensor);
  void mask(const at::Tensor& tensor, Values values);
  int32_t local_storage(uint32_t storage);

  const Operator& op_;
  Trace& trace_;
  Words words_;
  SignatureWriter writer_;
  c10::SmallVector<uint32_t, 8> storages_;
  ska::flat_hash_map<uint32_t, int32_t> numbers_;  // of storages_, once they are many
  Values values_ = Values::known;
  bool has_tensors_ = false;
  bool guessed_ = false;
  at::Tensor quantized_;
  bool skip_values_ = false;
  size_t argument_ = 0;  // which one is being walked
  Values mask_values_ = Values::known;
};

}  // namespace nnprof

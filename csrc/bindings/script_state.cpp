#include "bindings/script_state.h"

#include <torch/csrc/jit/api/module.h>

namespace py = pybind11;

namespace nnprof {
namespace {

bool same(const std::vector<c10::IValue>& some, const std::vector<c10::IValue>& others) {
  return some.size() == others.size() &&
         std::equal(some.begin(), some.end(), others.begin(),
                    [](const c10::IValue& one, const c10::IValue& other) { return one.is(other); });
}

}  // namespace

void ScriptState::remember(py::handle module) {
  if (!py::isinstance<torch::jit::Object>(module)) return;
  remember_value(module.cast<torch::jit::Object>()._ivalue());
}

void ScriptState::remember_value(const c10::IValue& value) {
  if (value.isTuple()) {
    for (const c10::IValue& element : value.toTupleRef().elements()) remember_value(element);
  } else if (value.isObject()) {
    const auto object = value.toObject();
    if (!is_new(object.get())) return;
    objects_.push_back({object, object->slots()});
    for (const c10::IValue& slot : object->slots()) remember_value(slot);
  } else if (value.isList()) {
    const c10::List<c10::IValue> list = value.toList();
    if (!is_new(value.internalToPointer())) return;
    lists_.push_back({list, list.vec()});
    for (const c10::IValue& item : list.vec()) remember_value(item);
  } else if (value.isGenericDict()) {
    const c10::Dict<c10::IValue, c10::IValue> dict = value.toGenericDict();
    if (!is_new(value.internalToPointer())) return;
    DictState state{dict, {}};
    for (const auto& entry : dict) state.items.emplace_back(entry.key(), entry.value());
    for (const auto& [key, item] : state.items) remember_value(item);
    dicts_.push_back(std::move(state));
  }
}

void ScriptState::restore() const {
  for (const ObjectState& state : objects_) {
    for (size_t i = 0; i < state.slots.size(); ++i) {
      if (!state.object->getSlot(i).is(state.slots[i])) state.object->setSlot(i, state.slots[i]);
    }
  }
  for (const ListState& state : lists_) {
    c10::List<c10::IValue> list = state.list;
    if (same(list.vec(), state.items)) continue;
    list.clear();
    for (const c10::IValue& item : state.items) list.push_back(item);
  }
  for (const DictState& state : dicts_) {
    c10::Dict<c10::IValue, c10::IValue> dict = state.dict;
    dict.clear();
    for (const auto& [key, item] : state.items) dict.insert(key, item);
  }
}

}  // namespace nnprof

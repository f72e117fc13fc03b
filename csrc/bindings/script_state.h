// What scripted modules hold: attributes, buffers and submodules live in C++ objects.
#pragma once

#include <ATen/core/ivalue.h>
#include <pybind11/pybind11.h>

#include <c10/util/flat_hash_map.h>
#include <vector>

namespace nnprof {

class ScriptState {
 public:
  // `module` is what a ScriptModule keeps as `_c`; anything else is left alone.
  void remember(pybind11::handle module);
  void restore() const;

 private:
  void remember_value(const c10::IValue& value);
  bool is_new(const void* address) { return seen_.insert(address).second; }

  struct ObjectState {
    c10::intrusive_ptr<c10::ivalue::Object> object;
    std::vector<c10::IValue> slots;
  };
  struct ListState {
    c10::List<c10::IValue> list;
    std::vector<c10::IValue> items;
  };
  struct DictState {
    c10::Dict<c10::IValue, c10::IValue> dict;
    std::vector<std::pair<c10::IValue, c10::IValue>> items;
  };
  std::vector<ObjectState> objects_;
  std::vector<ListState> lists_;
  std::vector<DictState> dicts_;
  ska::flat_hash_set<const void*> seen_;
};

}  // namespace nnprof

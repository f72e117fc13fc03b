// What the user's modules hold, wherever they hold it: remembered, so that it can be put back.
#pragma once

#include <ATen/core/Tensor.h>
#include <pybind11/pybind11.h>

#include <array>
#include <vector>

#include "bindings/script_state.h"
#include "dispatch/trace.h"

namespace nnprof {

// A name to look up in the __dict__ of a module.
inline PyObject* interned(const char* name) { return PyUnicode_InternFromString(name); }

// A number that is another one after every change of a dict; 0 where Python keeps none.
inline uint64_t version_of(PyObject* container) {
#if PY_VERSION_HEX < 0x030D0000
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  if (PyDict_Check(container)) return reinterpret_cast<PyDictObject*>(container)->ma_version_tag;
#pragma GCC diagnostic pop
#endif
  return 0;
}

class Snapshot {
 public:
  explicit Snapshot(std::shared_ptr<Trace> trace) : trace_(std::move(trace)) {}
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  // What a module holds, borrowed; null for what is no attribute of it.
  struct Parts {
    PyObject* attributes = nullptr;  // its __dict__
    uint64_t version = 0;            // of it
    PyObject* parameters = nullptr;
    PyObject* buffers = nullptr;
    PyObject* modules = nullptr;
    std::array<PyObject*, 4> hooks{};
    bool is_called_otherwise = false;       // than others of its class
    c10::SmallVector<PyObject*, 8> others;  // neither containers nor numbers and the like
  };
  // A module: its attributes, what is in them, its tensors. The first time counts.
  Parts remember_module(PyObject* module);
  // And all below it.
  void remember_tree(PyObject* root);
  // Whoever tells of this module tells of all below it, too.
  void note_walked(PyObject* root);
  void remember_tensor(PyObject* object);
  // Those in a dict.
  void remember_tensors(PyObject* tensors);
  // Anything else that may hold state: an object, a list, a tensor, a scripted method's module.
  void remember(PyObject* value) { remember_value(value, 0); }
  // A list or dict as it is now, or was when it was first told. Where a module that is met later
  // holds it, this is what the module held.
  void remember_loose(PyObject* container);
  // A module that is made while the trace runs has nothing from before.
  void note_birth(PyObject* module) { born_.insert(module); }
  void remember_if_older(PyObject* module);
  // From here on the trace runs.
  void begin() { running_ = true; }
  void restore();

  // The modules that were remembered.
  const std::vector<PyObject*>& modules() const { return modules_; }

 private:
  // A list, dict, set or deque and what it held: keys and values in turn (a list: values). Plain
  // references in blocks of our own: copies as Python objects would keep the garbage collector
  // busy.
  struct ContainerState {
    PyObject* container;
    PyObject** items;
    uint64_t version;
    uint32_t count;
    bool of_module;
    bool met_inside;  // while the trace runs
  };
  struct TensorState {
    at::Tensor tensor;
    at::Tensor grad;
    c10::Storage storage;
    size_t geometry;  // where its sizes, then its strides stand in geometry_
    int64_t dim;
    int64_t offset;
    caffe2::TypeMeta dtype;
    c10::DispatchKeySet keys;
    at::Tensor quantized;  // the same data, where its scales stand beside it
    bool requires_grad;
    PyObject* object;      // Python's tensor
    PyTypeObject* type;    // of which it was: a lazy parameter becomes another
    PyObject* attributes;  // its __dict__, where it has one
    PyObject* hooks[2];    // dicts of them, or null
  };
  enum class Kind : uint8_t { other, object, module, tensor, script };

  void reserve();
  Parts take(PyObject* module);
  void take_container(PyObject* container);
  void take_inside(PyObject* module, const Parts& parts, size_t from, size_t to);
  template <class Visit>
  static Parts parts_of(const ContainerState& attributes, Visit visit);
  void remember_value(PyObject* value, int depth);
  void remember_inside(const ContainerState& state, int depth);
  void remember_container(PyObject* container, int depth);
  void remember_object(PyObject* object, int depth);
  void remember_attributes_of(TensorState& state);
  ContainerState state_of(PyObject* container, bool of_module);
  const ContainerState* loose(PyObject* container) const;
  bool is_of_torch(PyTypeObject* type);
  Kind kind_of(PyObject* value);
  void own(PyObject* object);
  PyObject** room_for(size_t count);
  void restore_module(size_t number) const;
  void refill_changed(const std::vector<ContainerState>& states) const;
  bool unchanged(const ContainerState& state) const;
  void refill(const ContainerState& state) const;
  PyObject* value_before(const ContainerState& state, PyObject* key, PyObject* remembered) const;
  at::Tensor data_of(const TensorState& state) const;
  void restore_tensor(const TensorState& state) const;

  std::shared_ptr<Trace> trace_;
  std::vector<PyObject*> modules_;    // owned
  std::vector<PyTypeObject*> types_;  // of each, owned: a forward may give it another class
  ska::flat_hash_set<PyObject*> modules_seen_;
  ska::flat_hash_set<PyObject*> trees_seen_;
  ska::flat_hash_set<PyObject*> born_;
  // Of each module its __dict__, then those of the containers in it that were not empty.
  std::vector<ContainerState> states_;
  std::vector<size_t> module_starts_;
  // And those that were empty, all of them and which are whose.
  std::vector<PyObject*> empty_;
  std::vector<std::pair<size_t, size_t>> empty_of_module_;
  // Of what lies deeper: objects' attributes, and containers in objects and containers.
  std::vector<ContainerState> inner_states_;
  std::vector<ContainerState> loose_states_;
  ska::flat_hash_map<PyObject*, size_t> loose_numbers_;
  ska::flat_hash_set<PyObject*> seen_;
  ska::flat_hash_map<PyTypeObject*, Kind> kinds_;
  ska::flat_hash_map<PyTypeObject*, bool> torch_types_;
  std::vector<TensorState> tensors_;
  std::vector<int64_t> geometry_;
  ScriptState script_;
  std::vector<PyObject*> owned_;
  // Of references that are owned. No block is large: to free one would have malloc tidy up.
  struct Block {
    std::unique_ptr<PyObject*[]> items;
    size_t used;
    size_t size;
  };
  std::vector<Block> blocks_;
  bool running_ = false;
};

}  // namespace nnprof

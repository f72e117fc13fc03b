#include "bindings/snapshot.h"

#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/csrc/jit/api/object.h>

#include "core/errors.h"

namespace py = pybind11;

namespace nnprof {
namespace {

constexpr size_t kItemsInBlock = 4000;
// How far into objects and containers of a module, and how much in all of them: what lies deeper,
// or is a vocabulary, is no cache of the forward.
constexpr int kDeepest = 5;
constexpr size_t kMany = 4096;
constexpr size_t kMostInside = 20'000;

PyObject* attribute_of(const char* module, const char* name) {
  return py::object(py::module_::import(module).attr(name)).release().ptr();  // kept for good
}

PyTypeObject* type_of(const char* module, const char* name) {
  return reinterpret_cast<PyTypeObject*>(attribute_of(module, name));
}

// Asked for every attribute of every module, like the two below.
inline bool is_container(PyObject* value) {
  const PyTypeObject* type = Py_TYPE(value);
  if (type->tp_flags & (Py_TPFLAGS_DICT_SUBCLASS | Py_TPFLAGS_LIST_SUBCLASS)) return true;
  static const PyTypeObject* const kDeque = type_of("collections", "deque");
  return type == &PySet_Type || type == kDeque;
}

inline size_t size_of(PyObject* container) {
  if (PyDict_Check(container)) return static_cast<size_t>(PyDict_GET_SIZE(container));
  if (PyList_Check(container)) return static_cast<size_t>(PyList_GET_SIZE(container));
  if (PySet_Check(container)) return static_cast<size_t>(PySet_GET_SIZE(container));
  return static_cast<size_t>(std::max<Py_ssize_t>(PyObject_Size(container), 0));
}

// Numbers, strings and None, which most attributes are, hold nothing.
inline bool may_hold(PyObject* value) {
  const PyTypeObject* type = Py_TYPE(value);
  if (type->tp_flags & (Py_TPFLAGS_LONG_SUBCLASS | Py_TPFLAGS_UNICODE_SUBCLASS)) return false;
  return value != Py_None && type != &PyFloat_Type;
}

size_t items_in(PyObject* container, size_t size) {
  return PyDict_Check(container) ? 2 * size : size;
}

// Borrowed: the container holds them. Of a set and a deque through a list of theirs.
void copy_items(PyObject* container, size_t size, PyObject** items) {
  if (PyDict_Check(container)) {
    Py_ssize_t position = 0;
    for (; PyDict_Next(container, &position, items, items + 1);) items += 2;
    return;
  }
  py::object list = py::reinterpret_borrow<py::object>(container);
  if (!PyList_Check(container))
    list = py::reinterpret_steal<py::object>(PySequence_List(container));
  for (size_t i = 0; i < size; ++i) {
    items[i] = PyList_GET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i));
  }
}

// The objects that modules hold lie scattered in memory: all are asked for before one is touched.
void prefetch(PyObject* const* items, size_t count) {
  for (size_t i = 0; i < count; ++i) __builtin_prefetch(items[i], /*write=*/1);
}

// The __dict__ of a tensor; null where nothing was ever put there, and none is made for it.
PyObject* attributes_of(PyObject* tensor) {
  PyObject** attributes = _PyObject_GetDictPtr(tensor);
  return attributes == nullptr ? nullptr : *attributes;
}

// Not by the tensor's own method, which warns where there is a history.
at::Tensor gradient_of(const at::Tensor& tensor) {
  const auto* autograd = static_cast<const torch::autograd::AutogradMeta*>(
      tensor.unsafeGetTensorImpl()->autograd_meta());
  return autograd == nullptr ? at::Tensor() : autograd->grad_;
}

void restore_hooks(PyObject* tensor, const char* name, PyObject* now, PyObject* before) {
  if (now == before) return;
  py::handle(tensor).attr(name) = py::handle(before == nullptr ? Py_None : before);
}

// Registries of the process rather than of a model: its loggers, threads, locks.
bool is_of_standard_library(PyTypeObject* type) {
  static PyObject* const kNames = attribute_of("sys", "stdlib_module_names");
  const py::object module = py::handle(reinterpret_cast<PyObject*>(type)).attr("__module__");
  if (!py::isinstance<py::str>(module)) return false;
  const std::string name = module.cast<std::string>();
  const std::string package = name.substr(0, name.find('.'));
  for (const char* data : {"__main__", "argparse", "collections", "functools", "types"}) {
    if (package == data) return false;
  }
  return PySequence_Contains(kNames, py::str(package).ptr()) == 1;
}

}  // namespace

Snapshot::~Snapshot() {
  constexpr size_t kAhead = 32;
  for (const Block& block : blocks_) {
    PyObject** const items = block.items.get();
    prefetch(items, std::min(kAhead, block.used));
    for (size_t i = 0; i < block.used; i += kAhead) {
      const size_t end = std::min(i + kAhead, block.used);
      prefetch(items + end, std::min(kAhead, block.used - end));
      for (size_t item = i; item < end; ++item) Py_DECREF(items[item]);
    }
  }
  for (PyObject* module : modules_) Py_DECREF(module);
  for (PyTypeObject* type : types_) Py_DECREF(type);
  for (PyObject* object : owned_) Py_DECREF(object);
}

// Enough for most models, so that nothing is moved while they are walked.
void Snapshot::reserve() {
  constexpr size_t kUsualModules = 512;
  modules_.reserve(kUsualModules);
  types_.reserve(kUsualModules);
  module_starts_.reserve(kUsualModules);
  states_.reserve(2 * kUsualModules);
  empty_.reserve(16 * kUsualModules);
  empty_of_module_.reserve(kUsualModules);
  tensors_.reserve(kUsualModules);
  geometry_.reserve(4 * kUsualModules);
  modules_seen_.reserve(kUsualModules);
  trees_seen_.reserve(kUsualModules);
}

void Snapshot::own(PyObject* object) {
  Py_INCREF(object);
  owned_.push_back(object);
}

PyObject** Snapshot::room_for(size_t count) {
  if (blocks_.empty() || blocks_.back().size - blocks_.back().used < count) {
    const size_t size = std::max(count, kItemsInBlock);
    blocks_.push_back({std::unique_ptr<PyObject*[]>(new PyObject*[size]), 0, size});
  }
  Block& block = blocks_.back();
  PyObject** room = block.items.get() + block.used;
  block.used += count;
  return room;
}

// --- remembering ---------------------------------------------------------------------------------

// In one pass, which visits each container: to look each up would take longer. They mostly stand in
// the order in which nn.Module makes them; what stands elsewhere is looked up.
template <class Visit>
Snapshot::Parts Snapshot::parts_of(const ContainerState& attributes, Visit visit) {
  enum : size_t { kParameters, kBuffers, kFirstHooks, kModules = 6, kContainers };
  static const std::array<PyObject*, kContainers + 1> kHeld = {interned("_parameters"),
                                                               interned("_buffers"),
                                                               interned("_backward_pre_hooks"),
                                                               interned("_backward_hooks"),
                                                               interned("_forward_hooks"),
                                                               interned("_forward_pre_hooks"),
                                                               interned("_modules"),
                                                               nullptr};
  static const std::array<PyObject*, 3> kCalls = {interned("forward"), interned("_call_impl"),
                                                  interned("_compiled_call_impl")};
  Parts parts;
  parts.attributes = attributes.container;
  parts.version = attributes.version;
  std::array<PyObject*, kContainers> held{};
  size_t next = 0;
  for (size_t i = 0; i < attributes.count; ++i) {
    PyObject *name = attributes.items[2 * i], *value = attributes.items[2 * i + 1];
    if (!may_hold(value)) continue;
    if (is_container(value)) {
      visit(value);
      if (name == kHeld[next]) held[next++] = value;
    } else {
      if (std::find(kCalls.begin(), kCalls.end(), name) != kCalls.end()) {
        parts.is_called_otherwise = true;
      }
      parts.others.push_back(value);
    }
  }
  for (; next < kContainers; ++next) {
    held[next] = PyDict_GetItemWithError(attributes.container, kHeld[next]);
  }
  parts.parameters = held[kParameters];
  parts.buffers = held[kBuffers];
  parts.modules = held[kModules];
  std::copy(held.begin() + kFirstHooks, held.begin() + kModules, parts.hooks.begin());
  return parts;
}

Snapshot::Parts Snapshot::remember_module(PyObject* module) {
  if (modules_seen_.insert(module).second) return take(module);
  const auto dict = py::reinterpret_steal<py::object>(PyObject_GenericGetDict(module, nullptr));
  if (!dict) throw py::error_already_set();
  return parts_of(state_of(dict.ptr(), true), [](PyObject*) {});
}

void Snapshot::note_walked(PyObject* root) { trees_seen_.insert(root); }

Snapshot::Parts Snapshot::take(PyObject* module) {
  PyObject* dict = PyObject_GenericGetDict(module, nullptr);
  if (dict == nullptr) throw py::error_already_set();
  if (modules_.empty()) reserve();
  Py_INCREF(module);
  modules_.push_back(module);
  Py_INCREF(Py_TYPE(module));
  types_.push_back(Py_TYPE(module));
  const ContainerState state = state_of(dict, true);
  Py_DECREF(dict);  // the module holds it
  const size_t start = states_.size(), first_empty = empty_.size();
  module_starts_.push_back(start);
  states_.push_back(state);
  Parts parts = parts_of(state, [&](PyObject* container) { take_container(container); });
  empty_of_module_.push_back({first_empty, empty_.size()});
  // Modules that are found further inside add states of their own.
  take_inside(module, parts, start + 1, states_.size());
  static PyObject* const kScript = interned("_c");
  if (PyObject* script = PyDict_GetItemWithError(dict, kScript)) script_.remember(script);
  for (PyObject* value : parts.others) remember_value(value, 0);
  return parts;
}

void Snapshot::take_container(PyObject* container) {
  const ContainerState* before = loose(container);
  if (before != nullptr) {
    states_.push_back(*before);
  } else if (size_of(container) != 0) {
    states_.push_back(state_of(container, false));
  } else {
    empty_.push_back(container);  // the state of the module holds it
  }
}

// What the containers of a module hold, which are those from the one state to the other.
void Snapshot::take_inside(PyObject* module, const Parts& parts, size_t from, size_t to) {
  for (size_t i = from; i < to; ++i) {
    const ContainerState held = states_[i];
    if (held.container == parts.parameters) {
      remember_tensors(held.container);
    } else if (held.container == parts.buffers) {
      if (!is_of_torch(Py_TYPE(module))) remember_tensors(held.container);
    } else if (held.container != parts.modules) {
      remember_inside(held, 1);
    }
  }
}

void Snapshot::remember_if_older(PyObject* module) {
  static PyObject* const kParameters = interned("_parameters");
  if (modules_seen_.count(module) != 0 || born_.count(module) != 0) return;
  const auto dict = py::reinterpret_steal<py::object>(PyObject_GenericGetDict(module, nullptr));
  if (!dict) throw py::error_already_set();
  // One that is being made has none yet.
  if (PyDict_GetItemWithError(dict.ptr(), kParameters) == nullptr) return note_birth(module);
  modules_seen_.insert(module);
  take(module);
}

void Snapshot::remember_tree(PyObject* root) {
  if (!trees_seen_.insert(root).second) return;
  if (modules_seen_.insert(root).second) take(root);
  const py::object children = py::handle(root).attr("_modules");
  if (!PyDict_Check(children.ptr())) {
    for (py::handle tensor : py::handle(root).attr("parameters")()) remember_tensor(tensor.ptr());
    for (py::handle child : children.attr("values")()) remember_tree(child.ptr());
    return;
  }
  Py_ssize_t position = 0;
  PyObject *name = nullptr, *child = nullptr;
  while (PyDict_Next(children.ptr(), &position, &name, &child)) {
    if (child != Py_None) remember_tree(child);
  }
}

void Snapshot::remember_loose(PyObject* container) {
  if (!is_container(container)) return;
  if (!loose_numbers_.emplace(container, loose_states_.size()).second) return;
  own(container);
  loose_states_.push_back(state_of(container, false));
}

const Snapshot::ContainerState* Snapshot::loose(PyObject* container) const {
  if (loose_numbers_.empty()) return nullptr;
  const auto found = loose_numbers_.find(container);
  return found == loose_numbers_.end() ? nullptr : &loose_states_[found->second];
}

void Snapshot::remember_value(PyObject* value, int depth) {
  if (depth > kDeepest || inner_states_.size() >= kMostInside) return;
  if (PyMethod_Check(value)) value = PyMethod_GET_SELF(value);
  if (PyTuple_Check(value)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(value); ++i) {
      PyObject* item = PyTuple_GET_ITEM(value, i);
      if (may_hold(item)) remember_value(item, depth + 1);
    }
  } else if (is_container(value)) {
    if (size_of(value) > kMany) return;
    remember_container(value, depth);
  }
  switch (kind_of(value)) {
    case Kind::module:
      remember_tree(value);
      break;
    case Kind::script:
      script_.remember(value);
      break;
    case Kind::tensor:
      remember_tensor(value);
      break;
    case Kind::object:
      remember_object(value, depth);
      break;
    case Kind::other:
      break;
  }
}

void Snapshot::remember_container(PyObject* container, int depth) {
  if (!seen_.insert(container).second) return;
  own(container);
  inner_states_.push_back(state_of(container, false));
  remember_inside(ContainerState(inner_states_.back()), depth + 1);
}

void Snapshot::remember_inside(const ContainerState& state, int depth) {
  if (state.count > kMany) return;
  const bool dict = PyDict_Check(state.container);
  for (size_t i = 0; i < state.count; ++i) {
    PyObject* item = state.items[dict ? 2 * i + 1 : i];
    if (may_hold(item)) remember_value(item, depth);
  }
}

void Snapshot::remember_object(PyObject* object, int depth) {
  PyObject* dict = PyObject_GenericGetDict(object, nullptr);
  if (dict == nullptr) return PyErr_Clear();
  remember_container(dict, depth);
  Py_DECREF(dict);
}

// Torch's own modules write to their buffers and do no more with them; they have the most.
bool Snapshot::is_of_torch(PyTypeObject* type) {
  const auto [entry, made] = torch_types_.emplace(type, false);
  if (!made) return entry->second;
  const py::object module = py::handle(reinterpret_cast<PyObject*>(type)).attr("__module__");
  return entry->second = py::isinstance<py::str>(module) &&
                         module.cast<std::string>().rfind("torch.nn.modules.", 0) == 0;
}

// Most attributes are of types written in C; of the others each type is looked at once.
Snapshot::Kind Snapshot::kind_of(PyObject* value) {
  static PyTypeObject* const kNamespace = type_of("types", "SimpleNamespace");
  PyTypeObject* type = Py_TYPE(value);
  if (type == kNamespace) return Kind::object;
  if (!PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) return Kind::other;
  const auto [entry, made] = kinds_.emplace(type, Kind::other);
  if (!made) return entry->second;
  static PyObject* const kDict = interned("__dict__");
  static PyObject* const kModelType = interned("model_type");
  static PyObject* const kModule = attribute_of("torch.nn", "Module");
  static PyObject* const kEnum = attribute_of("enum", "Enum");
  if (THPVariable_Check(value)) return entry->second = Kind::tensor;
  if (PyObject_IsInstance(value, kModule) == 1) return entry->second = Kind::module;
  if (py::isinstance<torch::jit::Object>(value)) return entry->second = Kind::script;
  // A configuration of transformers is long, stands in every module and is only read.
  const bool plain = !PyType_Check(value) && PyObject_IsInstance(value, kEnum) == 0 &&
                     _PyType_Lookup(type, kModelType) == nullptr &&
                     _PyType_Lookup(type, kDict) != nullptr && !is_of_standard_library(type);
  return entry->second = plain ? Kind::object : Kind::other;
}

void Snapshot::remember_tensors(PyObject* tensors) {
  if (!PyDict_Check(tensors)) return;
  Py_ssize_t position = 0;
  PyObject *name = nullptr, *value = nullptr;
  while (PyDict_Next(tensors, &position, &name, &value)) {
    if (value != Py_None && THPVariable_Check(value)) remember_tensor(value);
  }
}

// Its elements are safe: a trace writes to none of the user's.
void Snapshot::remember_tensor(PyObject* object) {
  const at::Tensor& tensor = THPVariable_Unpack(object);
  if (running_ && trace_->is_own(tensor)) return;
  TensorState state{tensor,
                    gradient_of(tensor),
                    {},
                    geometry_.size(),
                    0,
                    0,
                    tensor.dtype(),
                    tensor.key_set(),
                    tensor.is_quantized() ? tensor.variable_data() : at::Tensor(),
                    tensor.requires_grad(),
                    object,
                    Py_TYPE(object),
                    nullptr,
                    {}};
  if (tensor.has_storage()) {
    state.storage = tensor.storage();
    state.dim = tensor.dim();
    state.offset = tensor.storage_offset();
    geometry_.insert(geometry_.end(), tensor.sizes().begin(), tensor.sizes().end());
    geometry_.insert(geometry_.end(), tensor.strides().begin(), tensor.strides().end());
  }
  remember_attributes_of(state);
  tensors_.push_back(std::move(state));
}

void Snapshot::remember_attributes_of(TensorState& state) {
  const auto* variable = reinterpret_cast<const THPVariable*>(state.object);
  state.hooks[0] = variable->backward_hooks;
  state.hooks[1] = variable->post_accumulate_grad_hooks;
  for (PyObject* hooks : state.hooks) {
    if (hooks != nullptr && hooks != Py_None) remember_container(hooks, 0);
  }
  state.attributes = attributes_of(state.object);
  if (state.attributes != nullptr) remember_container(state.attributes, 0);
}

Snapshot::ContainerState Snapshot::state_of(PyObject* container, bool of_module) {
  const size_t size = size_of(container);
  const size_t count = items_in(container, size);
  PyObject** items = room_for(count);
  copy_items(container, size, items);
  prefetch(items, count);
  for (size_t i = 0; i < count; ++i) Py_INCREF(items[i]);
  return {container, items,   version_of(container), static_cast<uint32_t>(size),
          of_module, running_};
}

// --- putting back --------------------------------------------------------------------------------

bool Snapshot::unchanged(const ContainerState& state) const {
  if (state.version != 0 && version_of(state.container) == state.version) return true;
  if (size_of(state.container) != state.count) return false;
  const size_t count = items_in(state.container, state.count);
  c10::SmallVector<PyObject*, 64> now(count);
  copy_items(state.container, state.count, now.data());
  return std::equal(now.begin(), now.end(), state.items);
}

// Through the container's own methods: an OrderedDict keeps more than a dict does.
void Snapshot::refill(const ContainerState& state) const {
  const py::handle container = state.container;
  PyObject* const* item = state.items;
  if (!PyDict_Check(state.container)) {
    const char* add = PySet_Check(state.container) ? "add" : "append";
    container.attr("clear")();
    for (size_t i = 0; i < state.count; ++i) container.attr(add)(py::handle(item[i]));
    return;
  }
  std::vector<py::object> values;
  for (size_t i = 0; i < state.count; ++i) {
    PyObject* value = value_before(state, item[2 * i], item[2 * i + 1]);
    values.push_back(py::reinterpret_borrow<py::object>(value));
  }
  container.attr("clear")();
  for (size_t i = 0; i < state.count; ++i) {
    container.attr("__setitem__")(py::handle(item[2 * i]), values[i]);
  }
}

// A module that is met inside of the trace may have been lent other tensors for the call, as
// torch.func.functional_call lends them: a tensor that is there at the end and that the trace has
// not made is its own.
PyObject* Snapshot::value_before(const ContainerState& state, PyObject* key,
                                 PyObject* remembered) const {
  if (!state.met_inside || !THPVariable_Check(remembered)) return remembered;
  PyObject* now = PyDict_GetItemWithError(state.container, key);
  if (now == nullptr || !THPVariable_Check(now)) return remembered;
  return trace_->is_own(THPVariable_Unpack(now)) ? remembered : now;
}

// The last one remembered first: what was remembered of something earlier is right.
void Snapshot::restore() {
  // Before the modules: one that holds such a container knows better.
  refill_changed(loose_states_);
  for (size_t i = modules_.size(); i-- > 0;) restore_module(i);
  refill_changed(inner_states_);
  script_.restore();
  for (auto state = tensors_.rbegin(); state != tensors_.rend(); ++state) restore_tensor(*state);
}

void Snapshot::refill_changed(const std::vector<ContainerState>& states) const {
  for (auto state = states.rbegin(); state != states.rend(); ++state) {
    if (!unchanged(*state)) refill(*state);
  }
}

void Snapshot::restore_module(size_t number) const {
  if (Py_TYPE(modules_[number]) != types_[number]) {
    const py::handle type = reinterpret_cast<PyObject*>(types_[number]);
    py::handle(modules_[number]).attr("__class__") = type;
  }
  size_t i = module_starts_[number];
  const ContainerState& module = states_[i];
  if (!unchanged(module)) refill(module);
  for (++i; i < states_.size() && !states_[i].of_module; ++i) {
    if (!unchanged(states_[i])) refill(states_[i]);
  }
  const auto [first, end] = empty_of_module_[number];
  for (size_t entry = first; entry < end; ++entry) {
    if (size_of(empty_[entry]) != 0) refill({empty_[entry], nullptr, 0, 0, false, false});
  }
}

at::Tensor Snapshot::data_of(const TensorState& state) const {
  at::Tensor data = at::detail::make_tensor<c10::TensorImpl>(c10::Storage(state.storage),
                                                             state.keys, state.dtype);
  const auto dim = static_cast<size_t>(state.dim);
  const int64_t* sizes = geometry_.data() + state.geometry;
  data.unsafeGetTensorImpl()->set_sizes_and_strides({sizes, dim}, {sizes + dim, dim}, state.offset);
  return data;
}

void Snapshot::restore_tensor(const TensorState& state) const {
  at::Tensor tensor = state.tensor;
  if (Py_TYPE(state.object) != state.type) {
    py::handle(state.object).attr("__class__") =
        py::handle(reinterpret_cast<PyObject*>(state.type));
  }
  if (state.storage && !tensor.storage().is_alias_of(state.storage)) {
    tensor.set_data(state.quantized.defined() ? state.quantized : data_of(state));
  }
  if (tensor.requires_grad() != state.requires_grad && tensor.is_leaf()) {
    tensor.set_requires_grad(state.requires_grad);
  }
  if (!gradient_of(tensor).is_same(state.grad)) tensor.mutable_grad() = state.grad;
  const auto* variable = reinterpret_cast<const THPVariable*>(state.object);
  restore_hooks(state.object, "_backward_hooks", variable->backward_hooks, state.hooks[0]);
  restore_hooks(state.object, "_post_accumulate_grad_hooks", variable->post_accumulate_grad_hooks,
                state.hooks[1]);
  PyObject* attributes = attributes_of(state.object);
  if (state.attributes == nullptr && attributes != nullptr) PyDict_Clear(attributes);
}

}  // namespace nnprof

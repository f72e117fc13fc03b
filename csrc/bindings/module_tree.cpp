#include "bindings/module_tree.h"

#include <torch/csrc/autograd/python_variable.h>

#include "bindings/wrappers.h"
#include "core/errors.h"

namespace py = pybind11;

namespace nnprof {
namespace {

// Enough for most models, so that nothing is moved while they are walked.
constexpr size_t kUsualModules = 512;
constexpr size_t kItemsInBlock = 4000;

py::object attribute(py::handle dict, PyObject* name) {
  return py::reinterpret_borrow<py::object>(PyDict_GetItemWithError(dict.ptr(), name));
}

// A ScriptModule keeps its children and tensors in C++: ask it through its methods.
py::object as_dict(py::handle module, py::object direct, const char* method) {
  if (direct && PyDict_Check(direct.ptr())) return direct;
  py::dict made;
  if (std::string_view(method) == "named_children") {
    for (py::handle item : module.attr(method)()) made[item[py::int_(0)]] = item[py::int_(1)];
    return made;
  }
  for (py::handle item : module.attr(method)(py::arg("recurse") = false)) {
    made[item[py::int_(0)]] = item[py::int_(1)];
  }
  return made;
}

std::string type_name(PyTypeObject* type) {
  const std::string name = type->tp_name;
  return name.substr(name.rfind('.') + 1);  // a type made in C carries its module's name
}

// A number that is another one after every change of a dict; 0 where Python keeps none.
uint64_t version_of(PyObject* container) {
#if PY_VERSION_HEX < 0x030D0000
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  if (PyDict_Check(container)) return reinterpret_cast<PyDictObject*>(container)->ma_version_tag;
#pragma GCC diagnostic pop
#endif
  return 0;
}

size_t size_of(PyObject* container) {
  return static_cast<size_t>(PyList_Check(container) ? PyList_GET_SIZE(container)
                                                     : PyDict_GET_SIZE(container));
}

bool is_container(PyObject* value) { return PyDict_Check(value) || PyList_Check(value); }

// The objects that modules hold lie scattered in memory: all are asked for before one is touched.
void prefetch(PyObject* const* items, size_t count) {
  for (size_t i = 0; i < count; ++i) __builtin_prefetch(items[i], /*write=*/1);
}

PyObject* attribute_of(const char* module, const char* name) {
  return py::object(py::module_::import(module).attr(name)).release().ptr();  // kept for good
}

py::object checked(PyObject* object) {
  if (object == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(object);
}

}  // namespace

int32_t ModuleTree::number_of(PyObject* module) const {
  const auto found = numbers_.find(module);
  return found == numbers_.end() ? -1 : found->second;
}

// Modules that some thread's trace holds. The GIL guards it.
static ska::flat_hash_set<PyObject*>& claimed_modules() {
  static auto* modules = new ska::flat_hash_set<PyObject*>;
  return *modules;
}

bool ModuleTree::claim() {
  auto& claimed = claimed_modules();
  for (const auto& [module, number] : numbers_) {
    if (claimed.count(module) != 0) return false;
  }
  for (const auto& [module, number] : numbers_) claimed.insert(module);
  return claimed_ = true;
}

void ModuleTree::release() {
  if (!claimed_) return;
  for (const auto& [module, number] : numbers_) claimed_modules().erase(module);
  claimed_ = false;
}

std::vector<PyTypeObject*> ModuleTree::types() const {
  ska::flat_hash_set<PyTypeObject*> seen;
  std::vector<PyTypeObject*> types;
  for (PyObject* module : modules_) {
    if (seen.insert(Py_TYPE(module)).second) types.push_back(Py_TYPE(module));
  }
  return types;
}

std::vector<std::string> ModuleTree::types_derived_from(const py::args& bases) const {
  std::vector<std::string> names;
  for (PyTypeObject* type : types()) {
    if (PyObject_IsSubclass(reinterpret_cast<PyObject*>(type), bases.ptr()) == 1) {
      names.push_back(type_name(type));
    }
  }
  return names;
}

TypeModules ModuleTree::type_modules() const {
  TypeModules found;
  found.of_module.reserve(modules_.size());
  ska::flat_hash_map<PyTypeObject*, uint32_t> numbers;
  for (PyObject* module : modules_) {
    PyTypeObject* type = Py_TYPE(module);
    const auto [entry, is_new] = numbers.emplace(type, static_cast<uint32_t>(found.names.size()));
    if (is_new) {
      const py::object name = py::handle(reinterpret_cast<PyObject*>(type)).attr("__module__");
      found.names.push_back(py::isinstance<py::str>(name) ? name.cast<std::string>() : "");
    }
    found.of_module.push_back(entry->second);
  }
  return found;
}

int32_t ModuleTree::add(py::handle root, const std::string& path) {
  Session& session = *trace_->session();
  numbers_.reserve(kUsualModules);
  parameter_numbers_.reserve(kUsualModules);
  children_.reserve(kUsualModules);
  session.modules.reserve(kUsualModules);
  session.parameters.reserve(kUsualModules);
  modules_.reserve(kUsualModules);
  parameters_.reserve(kUsualModules);
  states_.reserve(2 * kUsualModules);
  geometry_.reserve(4 * kUsualModules);
  return add(root, path, -1);
}

int32_t ModuleTree::add(py::handle root, std::string_view name, int32_t parent) {
  static PyObject* const kModules = interned("_modules");
  static PyObject* const kParameters = interned("_parameters");
  static PyObject* const kBuffers = interned("_buffers");
  Session& session = *trace_->session();
  const auto number = static_cast<int32_t>(session.modules.size());
  numbers_.emplace(root.ptr(), number);
  children_.emplace_back();
  session.modules.push_back({std::string(name), parent, type_name(Py_TYPE(root.ptr())), {}});
  const py::object dict = checked(PyObject_GenericGetDict(root.ptr(), nullptr));
  remember(root.ptr(), dict.ptr());
  add_parameters(as_dict(root, attribute(dict, kParameters), "named_parameters"), number);
  add_buffers(as_dict(root, attribute(dict, kBuffers), "named_buffers"));

  const py::object modules = as_dict(root, attribute(dict, kModules), "named_children");
  Py_ssize_t position = 0;
  PyObject *key = nullptr, *child = nullptr;
  while (PyDict_Next(modules.ptr(), &position, &key, &child)) {
    if (child == Py_None) continue;
    int32_t child_number = number_of(child);
    if (child_number < 0) {
      const char* child_name = PyUnicode_AsUTF8(key);
      if (child_name == nullptr) throw py::error_already_set();
      // torch.compile's wrapper is no part of the model.
      const bool wrapper = std::string_view(child_name) == "_orig_mod";
      child_number = add(child, wrapper ? "" : child_name, number);
    }
    children_[static_cast<size_t>(number)].push_back(child_number);
  }
  return number;
}

ModuleTree::~ModuleTree() {
  constexpr size_t kAhead = 32;
  for (const Block& block : blocks_) {
    PyObject** items = block.items.get();
    for (size_t i = 0; i < block.used; ++i) {
      if (i % kAhead == 0) prefetch(items + i, std::min(2 * kAhead, block.used - i));
      Py_DECREF(items[i]);
    }
  }
  for (PyObject* module : modules_) Py_DECREF(module);
  for (PyObject* dict : object_dicts_) Py_DECREF(dict);
}

PyObject** ModuleTree::room_for(size_t count) {
  if (blocks_.empty() || blocks_.back().size - blocks_.back().used < count) {
    const size_t size = std::max(count, kItemsInBlock);
    blocks_.push_back({std::unique_ptr<PyObject*[]>(new PyObject*[size]), 0, size});
  }
  Block& block = blocks_.back();
  PyObject** room = block.items.get() + block.used;
  block.used += count;
  return room;
}

void ModuleTree::remember(PyObject* module, PyObject* dict) {
  Py_INCREF(module);
  modules_.push_back(module);
  const ContainerState state = state_of(dict, true);
  states_.push_back(state);
  for (size_t i = 0; i < state.count; ++i) {
    PyObject* value = state.items[2 * i + 1];
    if (is_container(value)) {
      if (size_of(value) != 0) states_.push_back(state_of(value, false));
    } else if (is_plain_object(value) && objects_seen_.insert(value).second) {
      remember_object(value);
    }
  }
}

// Asked for every attribute of every module: most are of types written in C.
bool ModuleTree::is_plain_object(PyObject* value) {
  PyTypeObject* type = Py_TYPE(value);
  if (!PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) return false;
  const auto [entry, made] = plain_types_.emplace(type, false);
  if (!made) return entry->second;
  static PyObject* const kDict = interned("__dict__");
  static PyObject* const kModelType = interned("model_type");
  static PyObject* const kModule = attribute_of("torch.nn", "Module");
  static PyObject* const kEnum = attribute_of("enum", "Enum");
  // A configuration of transformers is long, stands in every module and is only read.
  entry->second =
      !PyType_Check(value) && !THPVariable_Check(value) &&
      PyObject_IsInstance(value, kModule) == 0 && PyObject_IsInstance(value, kEnum) == 0 &&
      _PyType_Lookup(type, kModelType) == nullptr && _PyType_Lookup(type, kDict) != nullptr;
  return entry->second;
}

void ModuleTree::remember_object(PyObject* object) {
  PyObject* dict = PyObject_GenericGetDict(object, nullptr);
  if (dict == nullptr) return PyErr_Clear();
  object_dicts_.push_back(dict);
  const ContainerState state = state_of(dict, false);
  object_states_.push_back(state);
  for (size_t i = 0; i < state.count; ++i) {
    PyObject* value = state.items[2 * i + 1];
    // A vocabulary is no cache of the forward.
    constexpr size_t kMany = 4096;
    if (is_container(value) && size_of(value) <= kMany) {
      object_states_.push_back(state_of(value, false));
    }
  }
}

ModuleTree::ContainerState ModuleTree::state_of(PyObject* container, bool of_module) {
  const size_t size = size_of(container);
  const size_t count = PyList_Check(container) ? size : 2 * size;
  PyObject** items = room_for(count);
  const ContainerState state = {
      container, items, version_of(container), static_cast<uint32_t>(size), of_module, claimed_};
  if (PyList_Check(container)) {
    for (size_t i = 0; i < size; ++i) {
      items[i] = PyList_GET_ITEM(container, static_cast<Py_ssize_t>(i));
    }
  } else {
    Py_ssize_t position = 0;
    for (PyObject** item = items; PyDict_Next(container, &position, item, item + 1);) item += 2;
  }
  prefetch(items, count);
  for (size_t i = 0; i < count; ++i) Py_INCREF(items[i]);
  return state;
}

bool ModuleTree::unchanged(const ContainerState& state) const {
  if (state.version != 0 && version_of(state.container) == state.version) return true;
  if (size_of(state.container) != state.count) return false;
  const PyObject* const* item = state.items;
  if (PyList_Check(state.container)) {
    for (size_t i = 0; i < state.count; ++i) {
      if (PyList_GET_ITEM(state.container, static_cast<Py_ssize_t>(i)) != item[i]) return false;
    }
    return true;
  }
  Py_ssize_t position = 0;
  PyObject *key = nullptr, *value = nullptr;
  for (; PyDict_Next(state.container, &position, &key, &value); item += 2) {
    if (key != item[0] || value != item[1]) return false;
  }
  return true;
}

// Through the container's own methods: an OrderedDict keeps more than a dict does.
void ModuleTree::refill(const ContainerState& state) const {
  const py::handle container = state.container;
  PyObject* const* item = state.items;
  if (PyList_Check(state.container)) {
    container.attr("clear")();
    for (size_t i = 0; i < state.count; ++i) container.attr("append")(py::handle(item[i]));
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
PyObject* ModuleTree::value_before(const ContainerState& state, PyObject* key,
                                   PyObject* remembered) const {
  if (!state.met_inside || !THPVariable_Check(remembered)) return remembered;
  PyObject* now = PyDict_GetItemWithError(state.container, key);
  if (now == nullptr || !THPVariable_Check(now)) return remembered;
  return trace_->is_own(THPVariable_Unpack(now)) ? remembered : now;
}

uint32_t ModuleTree::parameter_number(PyObject* object) {
  const at::Tensor& parameter = THPVariable_Unpack(object);
  Session& session = *trace_->session();
  const auto [entry, made] = parameter_numbers_.emplace(
      parameter.unsafeGetTensorImpl(), static_cast<uint32_t>(session.parameters.size()));
  if (!made) return entry->second;
  if (holds_others(parameter)) held_by_.emplace(entry->second, held_tensors(object));
  const int64_t elements = parameter.numel();
  const Count bytes = note_storages(object, Role::parameter, parameter_storage_bytes_);
  session.parameters.push_back({elements, bytes, parameter.requires_grad()});
  ParameterState state{
      parameter,           parameter.grad(),         {}, geometry_.size(), 0, 0, parameter.dtype(),
      parameter.key_set(), parameter.requires_grad()};
  if (parameter.has_storage()) {
    state.storage = parameter.storage();
    state.dim = parameter.dim();
    state.offset = parameter.storage_offset();
    geometry_.insert(geometry_.end(), parameter.sizes().begin(), parameter.sizes().end());
    geometry_.insert(geometry_.end(), parameter.strides().begin(), parameter.strides().end());
  }
  parameters_.push_back(std::move(state));
  totals_.parameters += elements;
  totals_.parameter_bytes += bytes;
  if (parameter.requires_grad()) totals_.trainable += elements;
  return entry->second;
}

Count ModuleTree::note_storages(PyObject* object, Role role, std::vector<int64_t>& bytes) {
  Count sum = 0;
  const auto note = [&](const at::Tensor& tensor) {
    trace_->set_role(tensor, role);
    sum += Count(tensor.numel()) * tensor.element_size();
    return note_storage(tensor, bytes);
  };
  const at::Tensor& tensor = THPVariable_Unpack(object);
  if (holds_others(tensor)) {
    // Two wrappers may hold the same tensors.
    for (const at::Tensor& held : held_tensors(object)) {
      const Count before = sum;
      if (!note(held)) sum = before;
    }
  } else {
    note(tensor);
  }
  return sum;
}

bool ModuleTree::note_storage(const at::Tensor& tensor, std::vector<int64_t>& bytes) {
  if (!tensor.has_storage()) return true;
  const c10::StorageImpl* storage = tensor.storage().unsafeGetStorageImpl();
  if (!storages_seen_.insert(tensor.storage().unsafeGetStorageImpl()).second) return false;
  bytes.push_back(static_cast<int64_t>(storage->nbytes()));
  return true;
}

void ModuleTree::add_parameters(py::handle parameters, int32_t module) {
  Session& session = *trace_->session();
  Py_ssize_t position = 0;
  PyObject *key = nullptr, *value = nullptr;
  while (PyDict_Next(parameters.ptr(), &position, &key, &value)) {
    if (value == Py_None || !THPVariable_Check(value)) continue;
    if (std::string_view(Py_TYPE(value)->tp_name).find("UninitializedParameter") !=
        std::string_view::npos) {
      raise(ErrorKind::bad_value,
            "the parameter '" + std::string(PyUnicode_AsUTF8(key)) + "' of module '" +
                session.module_path(module) +
                "' has no shape yet (a lazy module): run the model once, then measure it");
    }
    const uint32_t number = parameter_number(value);
    session.modules[static_cast<size_t>(module)].parameters.push_back(number);
  }
}

void ModuleTree::add_buffers(py::handle buffers) {
  Py_ssize_t position = 0;
  PyObject *key = nullptr, *value = nullptr;
  while (PyDict_Next(buffers.ptr(), &position, &key, &value)) {
    if (value == Py_None || !THPVariable_Check(value)) continue;
    const at::Tensor& buffer = THPVariable_Unpack(value);
    if (!buffers_seen_.insert(buffer.unsafeGetTensorImpl()).second) continue;
    if (!buffer_device_ || buffer_device_->is_meta()) buffer_device_ = buffer.device();
    totals_.buffers += buffer.numel();
    totals_.buffer_bytes += note_storages(value, Role::buffer, buffer_storage_bytes_);
  }
}

std::optional<at::Device> ModuleTree::device() const {
  const auto placed = std::find_if(
      parameters_.begin(), parameters_.end(),
      [](const ParameterState& state) { return !state.keys.has(c10::DispatchKey::Meta); });
  if (placed != parameters_.end()) return placed->tensor.device();
  if (parameters_.empty() || (buffer_device_ && !buffer_device_->is_meta())) return buffer_device_;
  return at::kMeta;
}

std::vector<int64_t> ModuleTree::parameter_storages() const {
  std::vector<int64_t> storages;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    int64_t number = trace_->number_of_external(parameters_[i].tensor);
    const auto wrapper = held_by_.find(i);
    if (wrapper != held_by_.end()) {
      for (const at::Tensor& held : wrapper->second) {
        number = std::max(number, trace_->number_of_external(held));
      }
    }
    storages.push_back(number);
  }
  return storages;
}

void ModuleTree::restore() {
  for (size_t i = 0; i < states_.size();) {
    const ContainerState& module = states_[i++];
    prefetch(module.items, 2 * module.count);
    if (!unchanged(module)) refill(module);
    for (size_t entry = 0; entry < module.count; ++entry) {
      PyObject* value = module.items[2 * entry + 1];
      if (!is_container(value)) continue;
      const bool remembered =
          i < states_.size() && !states_[i].of_module && states_[i].container == value;
      if (!remembered) {
        if (size_of(value) != 0) refill({value, nullptr, 0, 0, false, false});
        continue;
      }
      if (!unchanged(states_[i])) refill(states_[i]);
      ++i;
    }
  }
  for (const ContainerState& state : object_states_) {
    if (!unchanged(state)) refill(state);
  }
  for (const ParameterState& state : parameters_) restore_parameter(state);
}

void ModuleTree::restore_parameter(const ParameterState& state) const {
  at::Tensor tensor = state.tensor;
  if (state.storage && !tensor.storage().is_alias_of(state.storage)) {
    at::Tensor data = at::detail::make_tensor<c10::TensorImpl>(c10::Storage(state.storage),
                                                               state.keys, state.dtype);
    const auto dim = static_cast<size_t>(state.dim);
    const int64_t* sizes = geometry_.data() + state.geometry;
    data.unsafeGetTensorImpl()->set_sizes_and_strides({sizes, dim}, {sizes + dim, dim},
                                                      state.offset);
    tensor.set_data(data);
  }
  if (tensor.requires_grad() != state.requires_grad && tensor.is_leaf()) {
    tensor.set_requires_grad(state.requires_grad);
  }
  if (!tensor.grad().is_same(state.grad)) tensor.mutable_grad() = state.grad;
}

}  // namespace nnprof

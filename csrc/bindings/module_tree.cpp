#include "bindings/module_tree.h"

#include <torch/csrc/autograd/python_variable.h>

#include "bindings/script_objects.h"
#include "bindings/wrappers.h"
#include "core/errors.h"

namespace py = pybind11;

namespace nnprof {
namespace {

// Enough for most models, so that nothing is moved while they are walked.
constexpr size_t kUsualModules = 512;

// A ScriptModule keeps its children and tensors in C++: ask it through its methods.
py::object as_dict(py::handle module, py::handle direct, const char* method) {
  if (direct && PyDict_Check(direct.ptr())) return py::reinterpret_borrow<py::object>(direct);
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

}  // namespace

int32_t ModuleTree::number_of(PyObject* module) const {
  const auto found = numbers_.find(module);
  return found == numbers_.end() ? -1 : found->second;
}

bool ModuleTree::is_called_as_known(int32_t number, PyObject* attributes) const {
  const CallState& call = calls_[static_cast<size_t>(number)];
  const bool same =
      call.version != 0 && call.attributes == attributes && version_of(attributes) == call.version;
  return same && std::all_of(call.hooks.begin(), call.hooks.end(), [](PyObject* hooks) {
           return hooks != nullptr && PyDict_Check(hooks) && PyDict_GET_SIZE(hooks) == 0;
         });
}

// Modules that some thread's trace holds. The GIL guards it.
static ska::flat_hash_set<PyObject*>& claimed_modules() {
  static auto* modules = new ska::flat_hash_set<PyObject*>;
  return *modules;
}

bool ModuleTree::claim() {
  auto& claimed = claimed_modules();
  for (PyObject* module : snapshot_.modules()) {
    if (claimed.count(module) != 0) return false;
  }
  claimed_ = snapshot_.modules();
  claimed.insert(claimed_.begin(), claimed_.end());
  return true;
}

void ModuleTree::release() {
  for (PyObject* module : claimed_) claimed_modules().erase(module);
  claimed_.clear();
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
  calls_.reserve(kUsualModules);
  parameters_.reserve(kUsualModules);
  return add(root, path, -1);
}

int32_t ModuleTree::add(py::handle root, std::string_view name, int32_t parent) {
  Session& session = *trace_->session();
  const auto number = static_cast<int32_t>(session.modules.size());
  numbers_.emplace(root.ptr(), number);
  children_.emplace_back();
  session.modules.push_back({std::string(name), parent, type_name(Py_TYPE(root.ptr())), {}});
  modules_.push_back(root.ptr());
  const Snapshot::Parts parts = snapshot_.remember_module(root.ptr());
  calls_.push_back({parts.attributes, parts.is_called_otherwise ? 0 : parts.version, parts.hooks});
  add_packed(parts, number);
  const py::object parameters = as_dict(root, parts.parameters, "named_parameters");
  if (parameters.ptr() != parts.parameters) snapshot_.remember_tensors(parameters.ptr());
  add_parameters(parameters, number);
  add_buffers(as_dict(root, parts.buffers, "named_buffers"));

  const py::object modules = as_dict(root, parts.modules, "named_children");
  if (modules.ptr() == parts.modules) snapshot_.note_walked(root.ptr());
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

void ModuleTree::add_packed(const Snapshot::Parts& parts, int32_t module) {
  for (PyObject* value : parts.others) {
    if (!is_script_object(value)) continue;
    for (const PackedTensor& packed : trace_->packed(as_script_object(value))) {
      const at::Tensor& meta = packed.meta;
      if (!meta.is_meta()) continue;
      const uint32_t number = enter_parameter(meta, [&](uint32_t) {
        trace_->set_role(meta, Role::parameter);
        parameter_storage_bytes_.push_back(packed.bytes);
        return StoredForm{meta.numel(), packed.bytes};
      });
      trace_->session()->modules[static_cast<size_t>(module)].parameters.push_back(number);
    }
  }
}

uint32_t ModuleTree::parameter_number(PyObject* object, PyObject* module) {
  const at::Tensor& parameter = THPVariable_Unpack(object);
  return enter_parameter(parameter, [&](uint32_t number) {
    if (holds_others(parameter)) held_by_.emplace(number, held_tensors(object));
    if (const auto stored = stored_form_of(object, module)) {
      trace_->set_role(parameter, Role::parameter);
      parameter_storage_bytes_.push_back(static_cast<int64_t>(stored->bytes));
      return *stored;
    }
    const Count bytes = note_storages(object, Role::parameter, parameter_storage_bytes_);
    return StoredForm{elements_here(object), bytes};
  });
}

template <class Stored>
uint32_t ModuleTree::enter_parameter(const at::Tensor& parameter, Stored stored) {
  Session& session = *trace_->session();
  const auto [entry, made] = parameter_numbers_.emplace(
      parameter.unsafeGetTensorImpl(), static_cast<uint32_t>(session.parameters.size()));
  const uint32_t number = entry->second;
  if (!made) return number;
  const auto [elements, bytes] = stored(number);
  session.parameters.push_back({elements, bytes, parameter.requires_grad()});
  parameters_.push_back(parameter);
  totals_.parameters += elements;
  totals_.global_parameters += std::max(Count(elements), Count(parameter.numel()));
  totals_.parameter_bytes += bytes;
  if (parameter.requires_grad()) totals_.trainable += elements;
  return number;
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
      raise(ErrorKind::lazy_module,
            "the parameter '" + std::string(PyUnicode_AsUTF8(key)) + "' of module '" +
                session.module_path(module) +
                "' has no shape yet (a lazy module): run the model once, then measure it");
    }
    PyObject* owner = modules_[static_cast<size_t>(module)];
    const uint32_t number = parameter_number(value, owner);
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
    const bool given =
        !trace_->has_own_storage(buffer) && (!buffer_device_ || buffer_device_->is_meta());
    if (given) buffer_device_ = buffer.device();
    totals_.buffers += buffer.numel();
    totals_.buffer_bytes += note_storages(value, Role::buffer, buffer_storage_bytes_);
  }
}

std::optional<at::Device> ModuleTree::device() const {
  std::optional<at::Device> device;
  for (const at::Tensor& parameter : parameters_) {
    if (trace_->has_own_storage(parameter)) continue;
    device = parameter.device();
    if (!device->is_meta()) return device;
  }
  return buffer_device_ && !buffer_device_->is_meta() ? buffer_device_ : device;
}

std::vector<int64_t> ModuleTree::parameter_storages() const {
  std::vector<int64_t> storages;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    int64_t number = trace_->number_of_external(parameters_[i]);
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

}  // namespace nnprof

#include "bindings/module_tree.h"

#include <torch/csrc/autograd/python_variable.h>

#include <unordered_set>

#include "core/errors.h"

namespace py = pybind11;

namespace nnprof {
namespace {

py::object attribute(py::handle dict, PyObject* name) {
  return py::reinterpret_borrow<py::object>(PyDict_GetItemWithError(dict.ptr(), name));
}

PyObject* interned(const char* name) { return PyUnicode_InternFromString(name); }

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

bool same_items(PyObject* a, PyObject* b) {
  if (PyDict_GET_SIZE(a) != PyDict_GET_SIZE(b)) return false;
  Py_ssize_t at_a = 0, at_b = 0;
  PyObject *key_a = nullptr, *value_a = nullptr, *key_b = nullptr, *value_b = nullptr;
  while (PyDict_Next(a, &at_a, &key_a, &value_a) && PyDict_Next(b, &at_b, &key_b, &value_b)) {
    if (key_a != key_b || value_a != value_b) return false;
  }
  return true;
}

bool same_list(PyObject* a, PyObject* b) {
  if (PyList_GET_SIZE(a) != PyList_GET_SIZE(b)) return false;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(a); ++i) {
    if (PyList_GET_ITEM(a, i) != PyList_GET_ITEM(b, i)) return false;
  }
  return true;
}

py::object checked(PyObject* object) {
  if (object == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(object);
}

void refill(py::handle container, py::handle copy) {
  container.attr("clear")();
  if (!copy) return;
  container.attr(PyList_Check(container.ptr()) ? "extend" : "update")(copy);
}

void restore_container(py::handle object, py::handle copy) {
  const bool is_list = PyList_Check(object.ptr());
  if (!copy) {
    const auto size = is_list ? PyList_GET_SIZE(object.ptr()) : PyDict_GET_SIZE(object.ptr());
    if (size != 0) refill(object, copy);
    return;
  }
  const bool same = is_list ? same_list(object.ptr(), copy.ptr()) : same_items(object.ptr(), copy.ptr());
  if (!same) refill(object, copy);
}

}  // namespace

int32_t ModuleTree::number_of(PyObject* module) const {
  const auto found = numbers_.find(module);
  return found == numbers_.end() ? -1 : found->second;
}

// Modules that some thread's trace holds. The GIL guards it.
static std::unordered_set<PyObject*>& claimed_modules() {
  static auto* modules = new std::unordered_set<PyObject*>;
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

std::vector<std::string> ModuleTree::types_derived_from(const py::args& bases) const {
  std::unordered_set<PyTypeObject*> seen;
  std::vector<std::string> names;
  for (const ModuleState& state : states_) {
    PyTypeObject* type = Py_TYPE(state.module.ptr());
    if (!seen.insert(type).second) continue;
    if (PyObject_IsSubclass(reinterpret_cast<PyObject*>(type), bases.ptr()) == 1) {
      names.push_back(type_name(type));
    }
  }
  return names;
}

int32_t ModuleTree::add(py::handle root, const std::string& path) {
  static PyObject* const kModules = interned("_modules");
  static PyObject* const kParameters = interned("_parameters");
  static PyObject* const kBuffers = interned("_buffers");
  Session& session = *trace_->session();
  const auto number = static_cast<int32_t>(session.modules.size());
  numbers_.emplace(root.ptr(), number);
  children_.emplace_back();
  session.modules.push_back({path, type_name(Py_TYPE(root.ptr())), {}});
  const py::object dict = checked(PyObject_GenericGetDict(root.ptr(), nullptr));
  remember(root, dict);
  add_parameters(as_dict(root, attribute(dict, kParameters), "named_parameters"), number);
  add_buffers(as_dict(root, attribute(dict, kBuffers), "named_buffers"));

  const py::object modules = as_dict(root, attribute(dict, kModules), "named_children");
  Py_ssize_t position = 0;
  PyObject *key = nullptr, *child = nullptr;
  while (PyDict_Next(modules.ptr(), &position, &key, &child)) {
    if (child == Py_None) continue;
    int32_t child_number = number_of(child);
    if (child_number < 0) {
      const char* name = PyUnicode_AsUTF8(key);
      if (name == nullptr) throw py::error_already_set();
      // torch.compile's wrapper is no part of the model.
      const bool wrapper = std::string_view(name) == "_orig_mod";
      child_number = add(child, wrapper ? path : path.empty() ? name : path + "." + name);
    }
    children_[static_cast<size_t>(number)].push_back(child_number);
  }
  return number;
}

void ModuleTree::remember(py::handle module, py::handle dict) {
  ModuleState state{py::reinterpret_borrow<py::object>(module),
                    py::reinterpret_borrow<py::object>(dict), checked(PyDict_Copy(dict.ptr())), {}};
  Py_ssize_t position = 0;
  PyObject *key = nullptr, *value = nullptr;
  while (PyDict_Next(dict.ptr(), &position, &key, &value)) {
    py::object copy;
    if (PyDict_Check(value)) {
      if (PyDict_GET_SIZE(value) != 0) copy = checked(PyDict_Copy(value));
    } else if (PyList_Check(value)) {
      if (PyList_GET_SIZE(value) != 0) {
        copy = checked(PyList_GetSlice(value, 0, PyList_GET_SIZE(value)));
      }
    } else {
      continue;
    }
    state.containers.push_back({py::reinterpret_borrow<py::object>(value), std::move(copy)});
  }
  states_.push_back(std::move(state));
}

uint32_t ModuleTree::parameter_number(const at::Tensor& parameter) {
  Session& session = *trace_->session();
  const auto [entry, made] = parameter_numbers_.emplace(
      parameter.unsafeGetTensorImpl(), static_cast<uint32_t>(session.parameters.size()));
  if (!made) return entry->second;
  trace_->set_role(parameter, Role::parameter);
  const int64_t elements = parameter.numel();
  const int64_t bytes = elements * static_cast<int64_t>(parameter.element_size());
  session.parameters.push_back({elements, bytes, parameter.requires_grad()});
  parameter_storages_.push_back(parameter.has_storage() ? trace_->identify(parameter).storage : 0);
  parameters_.push_back({parameter, parameter.grad(), {}, parameter.requires_grad()});
  if (parameter.has_storage()) parameters_.back().data = parameter.detach();
  totals_.parameters += elements;
  totals_.parameter_bytes += bytes;
  if (parameter.requires_grad()) totals_.trainable += elements;
  return entry->second;
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
                session.modules[static_cast<size_t>(module)].path +
                "' has no shape yet (a lazy module): run the model once, then measure it");
    }
    const uint32_t number = parameter_number(THPVariable_Unpack(value));
    session.modules[static_cast<size_t>(module)].parameters.push_back(number);
  }
}

void ModuleTree::add_buffers(py::handle buffers) {
  Py_ssize_t position = 0;
  PyObject *key = nullptr, *value = nullptr;
  while (PyDict_Next(buffers.ptr(), &position, &key, &value)) {
    if (value == Py_None || !THPVariable_Check(value)) continue;
    const at::Tensor& buffer = THPVariable_Unpack(value);
    if (!buffers_seen_.emplace(buffer.unsafeGetTensorImpl(), true).second) continue;
    trace_->set_role(buffer, Role::buffer);
    totals_.buffers += buffer.numel();
    totals_.buffer_bytes += buffer.numel() * static_cast<int64_t>(buffer.element_size());
  }
}

void ModuleTree::restore() {
  for (const ModuleState& state : states_) {
    for (const Container& container : state.containers) {
      restore_container(container.object, container.copy);
    }
    if (!same_items(state.dict.ptr(), state.copy.ptr())) refill(state.dict, state.copy);
  }
  for (const ParameterState& state : parameters_) {
    const at::Tensor& tensor = state.tensor;
    if (state.data.defined() && !tensor.is_alias_of(state.data)) {
      at::Tensor(tensor).set_data(state.data);
    }
    if (tensor.requires_grad() != state.requires_grad && tensor.is_leaf()) {
      tensor.requires_grad_(state.requires_grad);
    }
    if (!tensor.grad().is_same(state.grad)) at::Tensor(tensor).mutable_grad() = state.grad;
  }
}

}  // namespace nnprof

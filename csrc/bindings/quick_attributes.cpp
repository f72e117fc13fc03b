#include "bindings/quick_attributes.h"

#include <c10/util/flat_hash_map.h>

#include <array>

#include "bindings/module_tree.h"

namespace py = pybind11;

namespace nnprof {
namespace {

// What nn.Module does by itself, kept for good.
struct ModuleType {
  getattrofunc slot;
  PyObject* getattr;
  PyObject* getattribute;
};

PyObject* type_attribute(PyTypeObject* type, const char* name) {
  return _PyType_Lookup(type, interned(name));
}

const ModuleType& module_type() {
  static const ModuleType found = [] {
    const py::object module = py::module_::import("torch.nn").attr("Module");
    auto* type = reinterpret_cast<PyTypeObject*>(py::object(module).release().ptr());
    return ModuleType{type->tp_getattro, type_attribute(type, "__getattr__"),
                      type_attribute(type, "__getattribute__")};
  }();
  return found;
}

// A dict whose lookup is a dict's: a class derived from it may do more.
bool is_plain(PyObject* value) {
  return value != nullptr && (PyDict_CheckExact(value) || PyODict_CheckExact(value));
}

// In the order of nn.Module.__getattr__; null where it would raise.
PyObject* held_by_module(PyObject* attributes, PyObject* name) {
  static const std::array<PyObject*, 3> kHolders = {interned("_parameters"), interned("_buffers"),
                                                    interned("_modules")};
  for (PyObject* key : kHolders) {
    PyObject* holder = PyDict_GetItemWithError(attributes, key);
    if (!is_plain(holder)) return nullptr;
    if (PyObject* found = PyDict_GetItemWithError(holder, name)) return found;
  }
  return nullptr;
}

PyObject* quick_attribute(PyObject* self, PyObject* name) {
  // What the class has comes first, or may be a descriptor: that is left to Python.
  if (_PyType_Lookup(Py_TYPE(self), name) == nullptr) {
    PyObject* attributes = PyObject_GenericGetDict(self, nullptr);
    if (attributes == nullptr) return nullptr;
    PyObject* found = PyDict_GetItemWithError(attributes, name);
    if (found == nullptr) found = held_by_module(attributes, name);
    Py_XINCREF(found);
    Py_DECREF(attributes);
    if (found != nullptr || PyErr_Occurred()) return found;
  }
  return module_type().slot(self, name);
}

bool leaves_attributes_to_module(PyTypeObject* type) {
  static PyObject* const kGetattr = interned("__getattr__");
  static PyObject* const kGetattribute = interned("__getattribute__");
  const ModuleType& module = module_type();
  return (type->tp_getattro == module.slot || type->tp_getattro == &quick_attribute) &&
         _PyType_Lookup(type, kGetattr) == module.getattr &&
         _PyType_Lookup(type, kGetattribute) == module.getattribute;
}

// How many traces hold a type. The GIL guards it.
ska::flat_hash_map<PyTypeObject*, int>& holders() {
  static auto* counts = new ska::flat_hash_map<PyTypeObject*, int>;
  return *counts;
}

}  // namespace

void QuickAttributes::switch_on(const std::vector<PyTypeObject*>& types) {
  for (PyTypeObject* type : types) {
    if (!leaves_attributes_to_module(type)) continue;
    Py_INCREF(type);
    types_.push_back(type);
    ++holders()[type];
    type->tp_getattro = &quick_attribute;
  }
}

void QuickAttributes::switch_off() {
  for (PyTypeObject* type : types_) {
    if (--holders()[type] == 0) {
      holders().erase(type);
      // Whoever gave the class another __getattr__ meanwhile has set the slot anew.
      if (type->tp_getattro == &quick_attribute) type->tp_getattro = module_type().slot;
    }
    Py_DECREF(type);
  }
  types_.clear();
}

}  // namespace nnprof

// Module scopes: while a trace is active, nn.Module.__call__ is a C function that enters and leaves
// them. Threads without a trace pass straight on.
#include <torch/csrc/autograd/python_variable.h>

#include <array>

#include "bindings/bindings.h"
#include "bindings/tracer.h"

namespace py = pybind11;

namespace nnprof {
namespace {

PyObject* original_call = nullptr;  // owned while installed
int installed = 0;                  // traces that want scopes; the GIL guards it

void add_shapes(PyObject* value, std::vector<std::vector<int64_t>>& shapes, int depth = 0) {
  if (value == nullptr) return;
  if (THPVariable_Check(value)) {
    const auto sizes = THPVariable_Unpack(value).sizes();
    shapes.emplace_back(sizes.begin(), sizes.end());
  } else if (depth < 2 && (PyTuple_Check(value) || PyList_Check(value))) {
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(value);
    for (Py_ssize_t i = 0; i < count; ++i) {
      add_shapes(PySequence_Fast_GET_ITEM(value, i), shapes, depth + 1);
    }
  } else if (depth < 2 && PyDict_Check(value)) {
    Py_ssize_t position = 0;
    PyObject *key = nullptr, *item = nullptr;
    while (PyDict_Next(value, &position, &key, &item)) add_shapes(item, shapes, depth + 1);
  }
}

PyObject* call_original(PyObject* self, PyObject* const* arguments, Py_ssize_t positional,
                        PyObject* names) {
  const Py_ssize_t count = positional + (names == nullptr ? 0 : PyTuple_GET_SIZE(names));
  constexpr Py_ssize_t kUsual = 16;
  std::array<PyObject*, kUsual + 1> small{};
  std::vector<PyObject*> large;
  PyObject** all = small.data();
  if (count > kUsual) {
    large.resize(static_cast<size_t>(count) + 1);
    all = large.data();
  }
  all[0] = self;
  std::copy(arguments, arguments + count, all + 1);
  return PyObject_Vectorcall(original_call, all, static_cast<size_t>(positional + 1), names);
}

PyObject* scoped_call(PyObject* self, PyObject* const* arguments, Py_ssize_t positional,
                      PyObject* names) {
  Tracer* tracer = Tracer::current();
  if (tracer == nullptr || !tracer->trace().options().recording) {
    return call_original(self, arguments, positional, names);
  }
  Session& session = *tracer->trace().session();
  uint32_t scope = 0;
  try {
    scope = session.enter_scope(tracer->module_number(self));
  } catch (py::error_already_set& error) {
    error.restore();
    return nullptr;
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
  const bool first = session.scope(scope).calls == 1;
  if (first) {
    const Py_ssize_t count = positional + (names == nullptr ? 0 : PyTuple_GET_SIZE(names));
    for (Py_ssize_t i = 0; i < count; ++i) add_shapes(arguments[i], session.scope(scope).input_shapes);
  }
  PyObject* result = call_original(self, arguments, positional, names);
  if (result == nullptr) {
    tracer->note_failure();
  } else {
    std::vector<std::vector<int64_t>> shapes;
    add_shapes(result, shapes);
    session.module_returned(scope, shapes);
  }
  session.leave_scope(scope);
  return result;
}

PyMethodDef scoped_call_definition = {
    "__call__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&scoped_call)),
    METH_FASTCALL | METH_KEYWORDS, nullptr};

void install_scopes(py::handle module_type) {
  if (installed++ != 0) return;
  original_call = py::object(module_type.attr("__call__")).release().ptr();
  auto descriptor = py::reinterpret_steal<py::object>(PyDescr_NewMethod(
      reinterpret_cast<PyTypeObject*>(module_type.ptr()), &scoped_call_definition));
  module_type.attr("__call__") = descriptor;
}

void uninstall_scopes(py::handle module_type) {
  if (--installed != 0) return;
  module_type.attr("__call__") = py::handle(original_call);
  // A thread may still be inside scoped_call: the reference is kept until the next install.
}

}  // namespace

void bind_scopes(py::module_& m) {
  m.def("install_scopes", &install_scopes);
  m.def("uninstall_scopes", &uninstall_scopes);
}

}  // namespace nnprof

// Module scopes: while a trace is active, nn.Module.__call__ comes through here, which enters and
// leaves them. Threads without a trace pass straight on. See nnprof/scopes.py.
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>

#include "bindings/bindings.h"
#include "bindings/tracer.h"

namespace py = pybind11;

namespace nnprof {
namespace {

PyObject* original_call = nullptr;  // nn.Module.__call__ as torch wrote it; kept for good

void add_shapes(PyObject* value, FlatShapes& shapes, int depth = 0) {
  if (value == nullptr) return;
  if (THPVariable_Check(value)) {
    const auto sizes = THPVariable_Unpack(value).sizes();
    shapes.push_back(static_cast<int64_t>(sizes.size()));
    shapes.append(sizes.begin(), sizes.end());
  } else if (depth < 3 && (PyTuple_Check(value) || PyList_Check(value))) {
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(value);
    for (Py_ssize_t i = 0; i < count; ++i) {
      add_shapes(PySequence_Fast_GET_ITEM(value, i), shapes, depth + 1);
    }
  } else if (depth < 3 && PyDict_Check(value)) {
    Py_ssize_t position = 0;
    PyObject *key = nullptr, *item = nullptr;
    while (PyDict_Next(value, &position, &key, &item)) add_shapes(item, shapes, depth + 1);
  }
}

// The user's call again: self, then the positional and the keyword arguments it came with.
PyObject* call_original(PyObject* self, PyObject* positional, PyObject* keywords) {
  const Py_ssize_t count = PyTuple_GET_SIZE(positional);
  c10::SmallVector<PyObject*, 16> arguments;
  arguments.push_back(self);
  for (Py_ssize_t i = 0; i < count; ++i) arguments.push_back(PyTuple_GET_ITEM(positional, i));
  return PyObject_VectorcallDict(original_call, arguments.data(), static_cast<size_t>(count + 1),
                                 keywords);
}

PyObject* call_in_scope(Tracer& tracer, PyObject* self, PyObject* positional, PyObject* keywords) {
  Session& session = *tracer.trace().session();
  const uint32_t scope = session.enter_scope(tracer.module_number(self));
  if (session.scope(scope).calls == 1) {
    add_shapes(positional, session.scope(scope).input_shapes);
    add_shapes(keywords, session.scope(scope).input_shapes);
  }
  PyObject* result = call_original(self, positional, keywords);
  if (result == nullptr) {
    tracer.note_failure();
  } else {
    FlatShapes shapes;
    add_shapes(result, shapes);
    session.module_returned(scope, shapes);
  }
  session.leave_scope(scope);
  return result;
}

PyObject* scoped_call(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  if (count != 3 || !PyTuple_Check(arguments[1]) || !PyDict_Check(arguments[2])) {
    PyErr_SetString(PyExc_TypeError, "scoped_call(module, args, kwargs)");
    return nullptr;
  }
  Tracer* tracer = Tracer::current();
  if (tracer == nullptr || !tracer->trace().options().recording) {
    return call_original(arguments[0], arguments[1], arguments[2]);
  }
  try {
    return call_in_scope(*tracer, arguments[0], arguments[1], arguments[2]);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (torch::PyTorchError& error) {
    PyErr_SetString(error.python_type(), error.what());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyMethodDef scoped_call_definition = {
    "scoped_call", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&scoped_call)),
    METH_FASTCALL, nullptr};

}  // namespace

void bind_scopes(py::module_& m) {
  m.attr("scoped_call") =
      py::reinterpret_steal<py::object>(PyCFunction_New(&scoped_call_definition, nullptr));
  m.def("set_original_call",
        [](const py::object& function) { original_call = py::object(function).release().ptr(); });
}

}  // namespace nnprof

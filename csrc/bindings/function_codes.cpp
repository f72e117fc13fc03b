// Python functions that get other code while a trace runs, all in one step. See
// nnprof/tracing/patches/other_code.py.
#include <pybind11/pybind11.h>

#include "bindings/bindings.h"

namespace py = pybind11;

namespace nnprof {
namespace {

// (function, code, keyword defaults) each. No other thread runs in between: a function is never
// called with the defaults of its other code.
void set_codes(const py::list& functions) {
  static PyObject* const kCode = PyUnicode_InternFromString("__code__");
  for (const py::handle entry : functions) {
    PyObject* function = PyTuple_GET_ITEM(entry.ptr(), 0);
    if (PyFunction_SetKwDefaults(function, PyTuple_GET_ITEM(entry.ptr(), 2)) != 0 ||
        PyObject_SetAttr(function, kCode, PyTuple_GET_ITEM(entry.ptr(), 1)) != 0) {
      throw py::error_already_set();
    }
  }
}

}  // namespace

void bind_function_codes(py::module_& m) { m.def("set_codes", &set_codes); }

}  // namespace nnprof

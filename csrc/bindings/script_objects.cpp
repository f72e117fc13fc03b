#include "bindings/script_objects.h"

#include <torch/csrc/jit/api/object.h>

namespace py = pybind11;

namespace nnprof {

std::optional<c10::IValue> as_script_object(PyObject* value) {
  static PyObject* const type =
      py::object(py::module_::import("torch._C").attr("ScriptObject")).release().ptr();
  if (reinterpret_cast<PyObject*>(Py_TYPE(value)) != type) return std::nullopt;
  return c10::IValue(py::handle(value).cast<const torch::jit::Object&>()._ivalue());
}

}  // namespace nnprof

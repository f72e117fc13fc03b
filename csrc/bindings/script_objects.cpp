#include "bindings/script_objects.h"

#include <torch/csrc/jit/api/object.h>

namespace py = pybind11;

namespace nnprof {

PyTypeObject* script_object_type() {
  const py::object type = py::module_::import("torch._C").attr("ScriptObject");
  return reinterpret_cast<PyTypeObject*>(py::object(type).release().ptr());  // kept for good
}

c10::IValue as_script_object(PyObject* value) {
  return c10::IValue(py::handle(value).cast<const torch::jit::Object&>()._ivalue());
}

}  // namespace nnprof

#include "bindings/stored_forms.h"

#include "bindings/bindings.h"

namespace py = pybind11;

namespace nnprof {
namespace {

PyObject* stored_form = nullptr;

// Of the attributes by which such parameters are known one is there, be it None. Most parameters
// have no attributes at all: Python is asked for few.
bool may_be_stored(PyObject* parameter) {
  static PyObject* const kNames[] = {PyUnicode_InternFromString("_nnprof_stored_bytes"),
                                     PyUnicode_InternFromString("quant_state"),
                                     PyUnicode_InternFromString("SCB")};
  PyObject** dict = _PyObject_GetDictPtr(parameter);
  if (dict == nullptr || *dict == nullptr) return false;
  for (PyObject* name : kNames) {
    if (PyDict_GetItemWithError(*dict, name) != nullptr) return true;
  }
  return false;
}

}  // namespace

std::optional<StoredForm> stored_form_of(PyObject* parameter, PyObject* module) {
  if (stored_form == nullptr || !may_be_stored(parameter)) return std::nullopt;
  const py::object answer = py::handle(stored_form)(py::handle(parameter), py::handle(module));
  if (answer.is_none()) return std::nullopt;
  const auto [elements, bytes] = answer.cast<std::pair<int64_t, int64_t>>();
  return StoredForm{elements, bytes};
}

void bind_stored_forms(py::module_& m) {
  m.def("set_stored_form", [](const py::object& function) {
    stored_form = py::object(function).release().ptr();  // kept for the life of the process
  });
}

}  // namespace nnprof

// Makes C++ errors the Python exceptions of nnprof.errors.
#include <torch/csrc/Exceptions.h>

#include <array>

#include "bindings/bindings.h"
#include "core/errors.h"

namespace py = pybind11;

namespace nnprof {
namespace {

struct ErrorName {
  ErrorKind kind;
  const char* name;
};

constexpr std::array kErrorNames = {
    ErrorName{ErrorKind::shape, "ShapeError"},
    ErrorName{ErrorKind::out_of_range, "OutOfRangeError"},
    ErrorName{ErrorKind::bad_value, "BadValueError"},
    ErrorName{ErrorKind::bad_type, "BadTypeError"},
    ErrorName{ErrorKind::unsupported, "UnsupportedError"},
    ErrorName{ErrorKind::data_dependent, "DataDependentError"},
    ErrorName{ErrorKind::lazy_module, "LazyModuleError"},
    ErrorName{ErrorKind::internal, "InternalError"},
};

std::array<PyObject*, kErrorNames.size()> error_types{};

// PyTorch's own translation knows this base, so our types survive any of its entry points.
struct TypedError final : torch::PyTorchError {
  TypedError(PyObject* type, const std::string& message)
      : torch::PyTorchError(message), type_(type) {}
  PyObject* python_type() override { return type_; }

 private:
  PyObject* type_;
};

[[noreturn]] void raise_python_type(ErrorKind kind, const std::string& message) {
  throw TypedError(error_types[static_cast<size_t>(kind)], message);
}

}  // namespace

void bind_errors(py::module_& m) {
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (torch::PyTorchError& typed) {
      PyErr_SetString(typed.python_type(), typed.what());
    }
  });
  m.def("set_error_types", [](const py::module_& errors) {
    for (const ErrorName& entry : kErrorNames) {
      // Kept for the life of the process, as the module that defines them is.
      error_types[static_cast<size_t>(entry.kind)] =
          py::object(errors.attr(entry.name)).release().ptr();
    }
    set_raise_function(&raise_python_type);
  });
}

}  // namespace nnprof

// Script objects (torch.classes) that modules hold as attributes: packed weights.
#pragma once

#include <ATen/core/ivalue.h>
#include <pybind11/pybind11.h>

#include <optional>

namespace nnprof {

// The object in C++; nothing where `value` is of another type.
std::optional<c10::IValue> as_script_object(PyObject* value);

}  // namespace nnprof

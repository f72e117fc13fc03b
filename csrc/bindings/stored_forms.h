// Parameters whose elements are not the numbers that they stand for, as quantized ones are.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>

#include "core/count.h"

namespace nnprof {

struct StoredForm {
  int64_t elements;  // numbers that it stands for
  Count bytes;       // that it takes, its scales included
};

// Python's answer for a parameter of a module; nothing where it is what it looks like.
std::optional<StoredForm> stored_form_of(PyObject* parameter, PyObject* module);

}  // namespace nnprof

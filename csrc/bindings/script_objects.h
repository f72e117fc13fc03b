// Script objects (torch.classes) that modules hold as attributes: packed weights.
#pragma once

#include <ATen/core/ivalue.h>
#include <pybind11/pybind11.h>

namespace nnprof {

// The type of such an attribute, and what it holds in C++.
PyTypeObject* script_object_type();
c10::IValue as_script_object(PyObject* value);

// Asked for every attribute of every module.
inline bool is_script_object(PyObject* value) {
  static const PyTypeObject* const kType = script_object_type();
  return Py_TYPE(value) == kType;
}

}  // namespace nnprof

// C functions of torch.Tensor that behave otherwise while a trace runs.
//
// An attribute or a method written in C is a descriptor that points to its function. That pointer
// is replaced, once and for good: no class is touched, so Python forgets nothing that it has
// cached, and outside of a trace nothing is changed but a jump.
#pragma once

#include <pybind11/pybind11.h>

#include "bindings/tracer.h"

namespace nnprof {

// The tracer of this thread where the program itself runs; null inside of the kernels, written in
// Python, that make what no rule does.
Tracer* tracer_of_program();

// What the function was; null where this torch has none of that name and kind.
getter replace_getter(const char* name, getter by);
setter replace_setter(const char* name, setter by);
PyCFunctionWithKeywords replace_method(const char* name, PyCFunctionWithKeywords by);
PyCFunction replace_plain_method(const char* name, PyCFunction by);  // that takes no arguments

}  // namespace nnprof

// One bind function a room; module.cpp calls them all.
#pragma once

#include <pybind11/pybind11.h>

namespace nnprof {

void bind_allocator(pybind11::module_& m);
void bind_errors(pybind11::module_& m);
void bind_estimate(pybind11::module_& m);
void bind_function_caches(pybind11::module_& m);
void bind_function_codes(pybind11::module_& m);
void bind_replay(pybind11::module_& m);
void bind_results(pybind11::module_& m);
void bind_rules(pybind11::module_& m);
void bind_scopes(pybind11::module_& m);
void bind_shown_devices(pybind11::module_& m);
void bind_tensor_slots(pybind11::module_& m);
void bind_stored_forms(pybind11::module_& m);
void bind_trace(pybind11::module_& m);

}  // namespace nnprof

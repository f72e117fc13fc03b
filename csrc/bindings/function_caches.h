// Caches of functions (functools.lru_cache) as one trace has them. See function_caches.cpp.
#pragma once

#include <c10/util/flat_hash_map.h>
#include <pybind11/pybind11.h>

#include <vector>

namespace nnprof {

struct FunctionCaches {
  // By the function: the same one with an empty cache.
  ska::flat_hash_map<PyObject*, pybind11::object> of_trace;
  // Functions whose own cache holds what this trace has computed.
  std::vector<pybind11::object> to_clear;

  bool uses_own(PyObject* cached) const;
  // The trace is over.
  void leave();
};

}  // namespace nnprof

// functools.lru_cache while a trace runs: what a trace computes must not stay in a cache that
// belongs to a function, where no model holds it. A later real forward would be handed a tensor
// without data, and a second measure would count less than the first.
//
// The call of the type is replaced, once and for good, as methods of tensors are (tensor_slots.h).
// A function that was seen to return tensors has another cache in each trace, empty as it is at a
// first call; all others keep theirs: libraries have in them what takes long to find out.
#include "bindings/function_caches.h"

#include <torch/csrc/autograd/python_variable.h>

#include "bindings/bindings.h"
#include "bindings/tensor_slots.h"

namespace py = pybind11;

namespace nnprof {
namespace {

ternaryfunc own_call = nullptr;

// Functions that were seen to return tensors. Kept alive, so that none takes another's place; the
// GIL guards it.
ska::flat_hash_set<PyObject*>& makers_of_tensors() {
  static auto* functions = new ska::flat_hash_set<PyObject*>;
  return *functions;
}

// Does a result have a tensor in it, of which `is_wanted` is true?
template <class Wanted>
bool has_tensor(PyObject* value, const Wanted& is_wanted, int depth = 0) {
  constexpr int kDeepest = 3;
  if (THPVariable_Check(value)) return is_wanted(THPVariable_Unpack(value));
  if (depth == kDeepest) return false;
  if (PyTuple_Check(value) || PyList_Check(value)) {
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value); ++i) {
      if (has_tensor(PySequence_Fast_GET_ITEM(value, i), is_wanted, depth + 1)) return true;
    }
    return false;
  }
  py::object attributes;  // of an object: a block mask
  if (!PyDict_Check(value)) {
    if (PyType_Check(value) || PyModule_Check(value)) return false;
    attributes = py::reinterpret_steal<py::object>(PyObject_GenericGetDict(value, nullptr));
    if (!attributes) PyErr_Clear();
    if (!attributes || !PyDict_Check(attributes.ptr())) return false;
    value = attributes.ptr();
  }
  Py_ssize_t position = 0;
  PyObject *key = nullptr, *item = nullptr;
  while (PyDict_Next(value, &position, &key, &item)) {
    if (has_tensor(item, is_wanted, depth + 1)) return true;
  }
  return false;
}

// The same function with a cache of its own.
py::object with_empty_cache(py::handle cached) {
  const py::object parameters = cached.attr("cache_parameters")();
  const py::object cache = py::module_::import("functools").attr("lru_cache");
  return cache(**parameters)(cached.attr("__wrapped__"));
}

PyObject* call_in_trace(Tracer& tracer, PyObject* cached, PyObject* arguments, PyObject* keywords) {
  py::object& own = tracer.function_caches.of_trace[cached];
  if (!own) own = with_empty_cache(cached);
  const py::object called = own;  // the function may call others, and the map grow
  return own_call(called.ptr(), arguments, keywords);
}

// A function that is not known to return tensors.
PyObject* call_unknown(Tracer& tracer, PyObject* cached, PyObject* arguments, PyObject* keywords) {
  auto result = py::reinterpret_steal<py::object>(own_call(cached, arguments, keywords));
  if (!result || !has_tensor(result.ptr(), [](const at::Tensor&) { return true; })) {
    return result.release().ptr();
  }
  if (Tracer::current() != &tracer) return result.release().ptr();
  const auto made_here = [&](const at::Tensor& t) { return tracer.trace().is_own(t); };
  const bool computed = has_tensor(result.ptr(), made_here);
  if (makers_of_tensors().insert(cached).second) Py_INCREF(cached);
  // What this trace computes stays in the function's cache as long as it runs.
  if (computed)
    tracer.function_caches.to_clear.push_back(py::reinterpret_borrow<py::object>(cached));
  return computed ? result.release().ptr() : call_in_trace(tracer, cached, arguments, keywords);
}

PyObject* call_cached(PyObject* cached, PyObject* arguments, PyObject* keywords) {
  Tracer* tracer = tracer_of_program();
  if (tracer == nullptr) return own_call(cached, arguments, keywords);
  try {
    if (makers_of_tensors().count(cached) == 0) {
      return call_unknown(*tracer, cached, arguments, keywords);
    }
    if (tracer->function_caches.uses_own(cached)) return own_call(cached, arguments, keywords);
    return call_in_trace(*tracer, cached, arguments, keywords);
  } catch (py::error_already_set& error) {
    error.restore();
    return nullptr;
  }
}

}  // namespace

bool FunctionCaches::uses_own(PyObject* cached) const {
  return std::any_of(to_clear.begin(), to_clear.end(),
                     [&](const py::object& o) { return o.ptr() == cached; });
}

void FunctionCaches::leave() {
  for (const py::object& cached : to_clear) cached.attr("cache_clear")();
  to_clear.clear();
  of_trace.clear();
}

void bind_function_caches(py::module_&) {
  const py::object type = py::module_::import("functools").attr("_lru_cache_wrapper");
  if (!PyType_Check(type.ptr())) return;  // an interpreter that has it in Python
  own_call = std::exchange(reinterpret_cast<PyTypeObject*>(type.ptr())->tp_call, &call_cached);
}

}  // namespace nnprof

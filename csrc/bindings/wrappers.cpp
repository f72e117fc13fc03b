#include "bindings/wrappers.h"

#include <torch/csrc/autograd/python_variable.h>

#include <algorithm>

#include "dispatch/trace.h"

namespace py = pybind11;

namespace nnprof {
namespace {

using Tensors = std::vector<at::Tensor>;

void add_held(py::handle value, Tensors& held, std::vector<PyObject*>& seen);

// As torch.compile and torch.save ask a subclass; one that does not say holds them as attributes.
void add_attributes(py::handle wrapper, Tensors& held, std::vector<PyObject*>& seen) {
  if (py::hasattr(wrapper, "__tensor_flatten__")) {
    const py::tuple flat = wrapper.attr("__tensor_flatten__")();
    for (const py::handle name : flat[0]) add_held(wrapper.attr(name), held, seen);
    return;
  }
  const auto attributes =
      py::reinterpret_steal<py::object>(PyObject_GenericGetDict(wrapper.ptr(), nullptr));
  if (!attributes) throw py::error_already_set();
  add_held(attributes, held, seen);
  for (const py::handle type : py::type::of(wrapper).attr("__mro__")) {
    if (!py::hasattr(type, "__slots__")) continue;
    const py::object slots = type.attr("__slots__");
    if (py::isinstance<py::str>(slots)) {
      add_held(py::getattr(wrapper, slots, py::none()), held, seen);
      continue;
    }
    for (const py::handle name : slots)
      add_held(py::getattr(wrapper, name, py::none()), held, seen);
  }
}

void add_held(py::handle value, Tensors& held, std::vector<PyObject*>& seen) {
  const bool is_tensor = THPVariable_Check(value.ptr());
  const bool is_dict = PyDict_Check(value.ptr());
  if (!is_tensor && !is_dict && !PyList_Check(value.ptr()) && !PyTuple_Check(value.ptr())) return;
  if (std::find(seen.begin(), seen.end(), value.ptr()) != seen.end()) return;
  seen.push_back(value.ptr());
  if (is_tensor && holds_others(THPVariable_Unpack(value.ptr()))) {
    const size_t before = held.size();
    add_attributes(value, held, seen);
    // A subclass of its own that is a plain tensor.
    if (held.size() == before && !is_wrapper(THPVariable_Unpack(value.ptr()))) {
      held.push_back(THPVariable_Unpack(value.ptr()));
    }
  } else if (is_tensor) {
    held.push_back(THPVariable_Unpack(value.ptr()));
  } else if (is_dict) {
    for (const auto& item : py::reinterpret_borrow<py::dict>(value)) {
      add_held(item.second, held, seen);
    }
  } else {
    for (const py::handle item : value) add_held(item, held, seen);
  }
}

}  // namespace

bool holds_others(const at::Tensor& tensor) {
  return has_python_key(tensor) && !is_fake_tensor(tensor);
}

int64_t elements_here(py::handle tensor) {
  const at::Tensor& whole = THPVariable_Unpack(tensor.ptr());
  if (!holds_others(whole) || !py::hasattr(tensor, "_local_tensor")) return whole.numel();
  const py::object local = tensor.attr("_local_tensor");
  return THPVariable_Check(local.ptr()) ? THPVariable_Unpack(local.ptr()).numel() : whole.numel();
}

std::vector<at::Tensor> held_tensors(py::handle tensor) {
  Tensors held;
  std::vector<PyObject*> seen;
  add_held(tensor, held, seen);
  return held;
}

}  // namespace nnprof

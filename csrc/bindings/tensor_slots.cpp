#include "bindings/tensor_slots.h"

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>

#include <array>
#include <utility>

#include "bindings/bindings.h"
#include "dispatch/key.h"
#include "dispatch/turns.h"

namespace py = pybind11;

namespace nnprof {
namespace {

py::object tensor_attribute(const char* name) {
  const py::object base = py::module_::import("torch._C").attr("TensorBase");
  const py::object attributes = base.attr("__dict__");
  return attributes.attr("get")(name);
}

PyGetSetDef* attribute_named(const char* name) {
  const py::object found = tensor_attribute(name);
  if (Py_TYPE(found.ptr()) != &PyGetSetDescr_Type) return nullptr;
  return reinterpret_cast<PyGetSetDescrObject*>(found.ptr())->d_getset;
}

// --- methods written in Python -------------------------------------------------------------------

struct ReplacedMethod {
  PyCFunctionWithKeywords own = nullptr;
  PyCFunction own_plain = nullptr;  // of a method that takes no arguments, instead
  PyObject* function = nullptr;     // kept for good, as is the next
  PyObject* own_method = nullptr;
};
constexpr size_t kMostMethods = 8;
std::array<ReplacedMethod, kMostMethods> replaced_methods;
size_t replaced_count = 0;
thread_local bool inside_replaced = false;

bool is_for_python() { return !inside_replaced && tracer_of_program() != nullptr; }

// `function(own method, self, ...)`.
PyObject* call_python(const ReplacedMethod& method, PyObject* self, PyObject* arguments,
                      PyObject* keywords) {
  const auto first = py::reinterpret_steal<py::object>(PyTuple_Pack(2, method.own_method, self));
  const auto all = py::reinterpret_steal<py::object>(PySequence_Concat(first.ptr(), arguments));
  if (!all) return nullptr;
  inside_replaced = true;
  PyObject* result = PyObject_Call(method.function, all.ptr(), keywords);
  inside_replaced = false;
  return result;
}

template <size_t index>
PyObject* replaced_method(PyObject* self, PyObject* arguments, PyObject* keywords) {
  const ReplacedMethod& method = replaced_methods[index];
  return is_for_python() ? call_python(method, self, arguments, keywords)
                         : method.own(self, arguments, keywords);
}

template <size_t index>
PyObject* replaced_plain_method(PyObject* self, PyObject* unused) {
  const ReplacedMethod& method = replaced_methods[index];
  return is_for_python() ? call_python(method, self, py::tuple().ptr(), nullptr)
                         : method.own_plain(self, unused);
}

struct Entries {
  PyCFunctionWithKeywords with_keywords;
  PyCFunction plain;
};

template <size_t... indices>
constexpr std::array<Entries, sizeof...(indices)> make_entries(std::index_sequence<indices...>) {
  return {Entries{&replaced_method<indices>, &replaced_plain_method<indices>}...};
}

// Slots, not attributes of the class: to set one would make Python forget what it knows of it.
void replace_by_python(const std::string& name, const py::object& function) {
  static constexpr auto kEntries = make_entries(std::make_index_sequence<kMostMethods>());
  TORCH_CHECK(replaced_count < kMostMethods, "no room for another method");
  ReplacedMethod& method = replaced_methods[replaced_count];
  method.function = py::object(function).release().ptr();
  method.own_method = tensor_attribute(name.c_str()).release().ptr();
  method.own = replace_method(name.c_str(), kEntries[replaced_count].with_keywords);
  if (method.own == nullptr) {
    method.own_plain = replace_plain_method(name.c_str(), kEntries[replaced_count].plain);
  }
  TORCH_CHECK(method.own != nullptr || method.own_plain != nullptr, "Tensor.", name,
              " is written in another way than is known of: nnprof needs an update for this torch");
  ++replaced_count;
}

// --- data ----------------------------------------------------------------------------------------

setter own_set_data = nullptr;

int set_data(PyObject* self, PyObject* data, void* closure) {
  Tracer* tracer = tracer_of_program();
  if (tracer == nullptr || data == nullptr || !THPVariable_Check(self) ||
      !THPVariable_Check(data)) {
    return own_set_data(self, data, closure);
  }
  HANDLE_TH_ERRORS
  if (tracer->trace().assign_data(THPVariable_Unpack(self), THPVariable_Unpack(data))) return 0;
  return own_set_data(self, data, closure);
  END_HANDLE_TH_ERRORS_RET(-1)
}

// --- gradients -----------------------------------------------------------------------------------

setter own_set_gradient = nullptr;

// A real parameter takes a shape-only gradient: Python's own setter wants one on its device.
int set_gradient(PyObject* self, PyObject* gradient, void* closure) {
  Tracer* tracer = tracer_of_program();
  const bool told = gradient != nullptr && (gradient == Py_None || THPVariable_Check(gradient));
  if (tracer == nullptr || !told || !THPVariable_Check(self) ||
      !tracer->trace().options().backward) {
    return own_set_gradient(self, gradient, closure);
  }
  HANDLE_TH_ERRORS
  const Turn turn(tracer->trace());
  const at::Tensor given = gradient == Py_None ? at::Tensor() : THPVariable_Unpack(gradient);
  if (tracer->trace().assign_gradient(THPVariable_Unpack(self), given)) return 0;
  return own_set_gradient(self, gradient, closure);
  END_HANDLE_TH_ERRORS_RET(-1)
}

PyMethodDef* method_named(const char* name, int flags) {
  const py::object found = tensor_attribute(name);
  if (Py_TYPE(found.ptr()) != &PyMethodDescr_Type) return nullptr;
  PyMethodDef* method = reinterpret_cast<PyMethodDescrObject*>(found.ptr())->d_method;
  return method->ml_flags == flags ? method : nullptr;
}

}  // namespace

Tracer* tracer_of_program() {
  Tracer* tracer = Tracer::current();
  const bool runs = tracer != nullptr && c10::impl::tls_is_dispatch_key_included(kInterceptKey) &&
                    !c10::impl::tls_is_dispatch_key_excluded(kInterceptKey);
  return runs ? tracer : nullptr;
}

getter replace_getter(const char* name, getter by) {
  PyGetSetDef* attribute = attribute_named(name);
  return attribute == nullptr ? nullptr : std::exchange(attribute->get, by);
}

setter replace_setter(const char* name, setter by) {
  PyGetSetDef* attribute = attribute_named(name);
  return attribute == nullptr ? nullptr : std::exchange(attribute->set, by);
}

PyCFunctionWithKeywords replace_method(const char* name, PyCFunctionWithKeywords by) {
  PyMethodDef* method = method_named(name, METH_VARARGS | METH_KEYWORDS);
  if (method == nullptr) return nullptr;
  const auto own =
      reinterpret_cast<PyCFunctionWithKeywords>(reinterpret_cast<void (*)()>(method->ml_meth));
  method->ml_meth = reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(by));
  return own;
}

PyCFunction replace_plain_method(const char* name, PyCFunction by) {
  PyMethodDef* method = method_named(name, METH_NOARGS);
  return method == nullptr ? nullptr : std::exchange(method->ml_meth, by);
}

void bind_tensor_slots(py::module_& m) {
  own_set_data = replace_setter("data", &set_data);
  own_set_gradient = replace_setter("grad", &set_gradient);
  m.def("replace_tensor_method", &replace_by_python);
}

}  // namespace nnprof

// Module scopes: while a trace is active, nn.Module.__call__ comes through here, which enters and
// leaves them. Threads without a trace pass straight on. See nnprof/tracing/patches/scopes.py.
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/jit/frontend/tracer.h>

#include "bindings/bindings.h"
#include "bindings/tracer.h"
#include "dispatch/elsewhere.h"
#include "dispatch/torch_compat.h"

namespace py = pybind11;

namespace nnprof {
namespace {

// nn.Module's own ways to be called, kept for good.
struct OriginalCalls {
  PyObject* call = nullptr;       // nn.Module.__call__ as torch wrote it
  PyObject* call_impl = nullptr;  // nn.Module._call_impl
  std::vector<PyObject*> global_hooks;
  PyObject* in_scope = nullptr;  // what runs a generator in the scope of its module
};
OriginalCalls original;

// -1 for a dimension of which a nested tensor has several sizes.
void add_sizes(const at::Tensor& tensor, FlatShapes& shapes) {
  shapes.push_back(tensor.dim());
  if (!tensor.is_nested()) {
    shapes.append(tensor.sizes().begin(), tensor.sizes().end());
  } else if (tensor.layout() == at::kJagged) {
    for (const c10::SymInt& size : tensor.sym_sizes()) {
      shapes.push_back(size.maybe_as_int().value_or(-1));
    }
  } else {
    shapes.append(static_cast<size_t>(tensor.dim()), -1);
  }
}

void add_shapes(PyObject* value, FlatShapes& shapes, int depth = 0) {
  constexpr int kDeepest = 3;
  // Asking whether something is a tensor takes long where it is none.
  if (value == nullptr || value == Py_None) return;
  if (PyTuple_Check(value) || PyList_Check(value)) {
    const Py_ssize_t count = depth < kDeepest ? PySequence_Fast_GET_SIZE(value) : 0;
    for (Py_ssize_t i = 0; i < count; ++i) {
      add_shapes(PySequence_Fast_GET_ITEM(value, i), shapes, depth + 1);
    }
  } else if (PyDict_Check(value)) {
    Py_ssize_t position = 0;
    PyObject *key = nullptr, *item = nullptr;
    while (depth < kDeepest && PyDict_Next(value, &position, &key, &item)) {
      add_shapes(item, shapes, depth + 1);
    }
  } else if (THPVariable_Check(value)) {
    add_sizes(THPVariable_Unpack(value), shapes);
  }
}

bool is_empty_dict(PyObject* value) {
  return value != nullptr && PyDict_Check(value) && PyDict_GET_SIZE(value) == 0;
}

bool has_no_hooks(PyObject* attributes) {
  static const std::array<PyObject*, 4> kHooks = {
      interned("_backward_hooks"), interned("_backward_pre_hooks"), interned("_forward_hooks"),
      interned("_forward_pre_hooks")};
  return std::all_of(kHooks.begin(), kHooks.end(), [&](PyObject* name) {
    return is_empty_dict(PyDict_GetItemWithError(attributes, name));
  });
}

bool is_called_as_its_class(PyObject* attributes) {
  static const std::array<PyObject*, 3> kCalls = {interned("_compiled_call_impl"),
                                                  interned("_call_impl"), interned("forward")};
  return std::none_of(kCalls.begin(), kCalls.end(), [&](PyObject* name) {
    return PyDict_GetItemWithError(attributes, name) != nullptr;
  });
}

// What `self` is to be called through: a function that takes it first. Where nn.Module._call_impl
// would do nothing but call `forward`, that: we can do it in less time.
PyObject* callee(const Tracer& tracer, PyObject* self, int32_t number) {
  static PyObject* const kCallImpl = interned("_call_impl");
  static PyObject* const kForward = interned("forward");
  if (!kModuleCallIsKnown || torch::jit::tracer::isTracing()) return original.call;
  if (_PyType_Lookup(Py_TYPE(self), kCallImpl) != original.call_impl) return original.call;
  if (!std::all_of(original.global_hooks.begin(), original.global_hooks.end(), is_empty_dict)) {
    return original.call;
  }
  const auto dict = py::reinterpret_steal<py::object>(PyObject_GenericGetDict(self, nullptr));
  if (!dict) throw py::error_already_set();
  if (!tracer.modules().is_called_as_known(number, dict.ptr()) &&
      !(has_no_hooks(dict.ptr()) && is_called_as_its_class(dict.ptr()))) {
    return original.call;
  }
  PyObject* forward = _PyType_Lookup(Py_TYPE(self), kForward);
  return forward != nullptr && PyFunction_Check(forward) ? forward : original.call;
}

// The user's call again: self, then the positional and the keyword arguments it came with.
PyObject* call(PyObject* function, PyObject* self, PyObject* positional, PyObject* keywords) {
  const Py_ssize_t count = PyTuple_GET_SIZE(positional);
  c10::SmallVector<PyObject*, 16> arguments;
  arguments.push_back(self);
  for (Py_ssize_t i = 0; i < count; ++i) arguments.push_back(PyTuple_GET_ITEM(positional, i));
  return PyObject_VectorcallDict(function, arguments.data(), static_cast<size_t>(count + 1),
                                 keywords);
}

// Which scope autograd's functions are made in from here on.
void note_sequence(const Tracer& tracer, Session& session) {
  if (tracer.trace().options().backward) session.note_sequence(at::sequence_number::peek());
}

// A scope to come back to, by code of a module that runs after its call has returned.
class LeftScope {
 public:
  LeftScope(std::shared_ptr<Session> session, uint32_t scope)
      : session_(std::move(session)), scope_(scope) {}

  // Returns the scope around, for return_to(); None where the trace has ended, or is another one.
  std::optional<uint32_t> enter() const { return go_to(scope_); }
  void return_to(uint32_t around) const { go_to(around); }

 private:
  std::optional<uint32_t> go_to(uint32_t scope) const {
    Tracer* tracer = Tracer::current();
    if (tracer == nullptr || tracer->trace().session() != session_) return std::nullopt;
    const Turn turn(tracer->trace());
    const uint32_t around = session_->current_scope();
    session_->return_to_scope(scope);
    note_sequence(*tracer, *session_);
    return around;
  }

  std::shared_ptr<Session> session_;
  uint32_t scope_;
};

// Has a module returned something that goes on running when its items are asked for?
bool is_lazy(PyObject* result) {
  return PyIter_Check(result) || PyCoro_CheckExact(result) || PyAsyncGen_CheckExact(result);
}

PyObject* in_scope(const Tracer& tracer, PyObject* lazy, uint32_t scope) {
  const auto given = py::reinterpret_steal<py::object>(lazy);
  return py::handle(original.in_scope)(given, LeftScope(tracer.trace().session(), scope))
      .release()
      .ptr();
}

struct Entered {
  int32_t module;
  uint32_t around;
  uint32_t scope;
  bool again;  // a checkpoint runs it
};

Entered enter(Tracer& tracer, PyObject* self, PyObject* positional, PyObject* keywords) {
  const Turn turn(tracer.trace());
  Session& session = *tracer.trace().session();
  const uint32_t around = session.current_scope();
  const int32_t module = tracer.module_number(self);
  const uint32_t scope = session.enter_scope(module);
  note_sequence(tracer, session);
  const bool again = session.in_backward();
  if (!again && session.scope(scope).calls == 1) {
    add_shapes(positional, session.scope(scope).input_shapes);
    add_shapes(keywords, session.scope(scope).input_shapes);
  }
  return {module, around, scope, again};
}

void leave(Tracer& tracer, const Entered& entered, PyObject* result) {
  const Turn turn(tracer.trace());
  Session& session = *tracer.trace().session();
  if (result == nullptr) {
    tracer.note_failure();
  } else if (!entered.again) {
    FlatShapes shapes;
    add_shapes(result, shapes);
    session.module_returned(entered.scope, shapes);
  }
  session.return_to_scope(entered.around);
  note_sequence(tracer, session);
}

PyObject* call_in_scope(Tracer& tracer, PyObject* self, PyObject* positional, PyObject* keywords) {
  const Entered entered = enter(tracer, self, positional, keywords);
  const auto function = py::reinterpret_borrow<py::object>(callee(tracer, self, entered.module));
  PyObject* result = call(function.ptr(), self, positional, keywords);
  // In a thread of the program's the trace may be over by now.
  if (Tracer::current() != &tracer) return result;
  leave(tracer, entered, result);
  return result != nullptr && is_lazy(result) ? in_scope(tracer, result, entered.scope) : result;
}

// Some other thread's trace runs, or this would not be called.
void note_arguments_elsewhere(PyObject* positional, PyObject* keywords) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(positional); ++i) {
    PyObject* value = PyTuple_GET_ITEM(positional, i);
    if (THPVariable_Check(value)) note_elsewhere(THPVariable_Unpack(value));
  }
  Py_ssize_t position = 0;
  PyObject *key = nullptr, *value = nullptr;
  while (PyDict_Next(keywords, &position, &key, &value)) {
    if (THPVariable_Check(value)) note_elsewhere(THPVariable_Unpack(value));
  }
}

PyObject* scoped_call(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  if (count != 3 || !PyTuple_Check(arguments[1]) || !PyDict_Check(arguments[2])) {
    PyErr_SetString(PyExc_TypeError, "scoped_call(module, args, kwargs)");
    return nullptr;
  }
  try {
    Tracer* tracer = Tracer::current();
    if (tracer == nullptr) note_arguments_elsewhere(arguments[1], arguments[2]);
    if (tracer == nullptr || !tracer->trace().options().recording) {
      return call(original.call, arguments[0], arguments[1], arguments[2]);
    }
    return call_in_scope(*tracer, arguments[0], arguments[1], arguments[2]);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (torch::PyTorchError& error) {
    PyErr_SetString(error.python_type(), error.what());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyMethodDef scoped_call_definition = {
    "scoped_call", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&scoped_call)),
    METH_FASTCALL, nullptr};

}  // namespace

void bind_scopes(py::module_& m) {
  m.attr("scoped_call") =
      py::reinterpret_steal<py::object>(PyCFunction_New(&scoped_call_definition, nullptr));
  py::class_<LeftScope>(m, "LeftScope")
      .def("enter", &LeftScope::enter)
      .def("return_to", &LeftScope::return_to);
  m.def("set_original_calls",
        [](py::object call, py::object call_impl, py::object in_scope, const py::args& hooks) {
          original.call = call.release().ptr();
          original.call_impl = call_impl.release().ptr();
          original.in_scope = in_scope.release().ptr();
          for (py::handle global_hooks : hooks)
            original.global_hooks.push_back(global_hooks.inc_ref().ptr());
        });
}

}  // namespace nnprof

// The tracer: one trace's life, from the walk over the modules to what is put back at the end.
#include <ATen/ops/zeros.h>
#include <pybind11/stl.h>
#include <torch/csrc/DynamicTypes.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/device_lazy_init.h>

#include "bindings/bindings.h"
#include "bindings/count_caster.h"
#include "bindings/tracer.h"
#include "bindings/wrappers.h"
#include "core/errors.h"
#include "dispatch/autocast.h"
#include "dispatch/backward_task.h"
#include "dispatch/call.h"
#include "dispatch/carried.h"
#include "dispatch/elsewhere.h"
#include "dispatch/key.h"
#include "dispatch/optimizer_step.h"
#include "dispatch/values.h"
#include "dispatch/world.h"
#include "dispatch/wrapped.h"

namespace py = pybind11;

namespace nnprof {

Tracer::Tracer(TraceOptions options)
    : trace_(std::make_shared<Trace>(options)), snapshot_(trace_), modules_(trace_, snapshot_) {
  trace_->companion = this;
  trace_->host_is_apart = [this] {
    return trace_->options().accelerator && !shown_device().is_cpu();
  };
}

Tracer* Tracer::current() {
  Trace* trace = current_trace();
  return trace == nullptr ? nullptr : static_cast<Tracer*>(trace->companion);
}

void Tracer::start() {
  quick_attributes_.switch_on(modules_.types());
  snapshot_.begin();
  start_trace(trace_);
}

void Tracer::stop() {
  drop_casts_after_autocast(*trace_);
  trace_->session()->close();  // what is freed from here on is no part of it
  stop_trace();
  quick_attributes_.switch_off();
  function_caches.leave();
}

int32_t Tracer::module_number(PyObject* module) {
  const int32_t known = modules_.number_of(module);
  if (known >= 0) return known;
  // A module that belongs to no tree we were given: it is the root of its own.
  std::string path = Py_TYPE(module)->tp_name;
  return modules_.add(module, path);
}

void Tracer::note_failure() {
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (value != failed_exception_) {
    failed_exception_ = value;  // compared, never used
    failed_scope_ = trace_->session()->describe_scope();
  }
  PyErr_Restore(type, value, traceback);
}

// One for the whole trace, found when it is first asked for.
std::optional<at::Device> Tracer::given_device() {
  if (given_device_) return given_device_;
  given_device_ = modules_.device();
  if (given_device_ && !given_device_->is_meta()) return given_device_;
  if (has_inputs_) {
    given_device_ = input_device_.value_or(at::kMeta);
  } else if (!given_device_) {
    given_device_ = trace_->device_of_externals();
  }
  return given_device_;
}

at::Device Tracer::shown_device() {
  if (const auto given = given_device()) return *given;
  return trace_->asked_device.value_or(at::kCPU);
}

void Tracer::mark_input(const at::Tensor& input, bool made) {
  trace_->set_role(input, Role::input);
  has_inputs_ = true;
  if (!made && !input_device_ && !input.is_meta()) input_device_ = input.device();
}

namespace {

Trace& running_trace() {
  Trace* trace = current_trace();
  if (trace == nullptr) raise(ErrorKind::bad_value, "no trace is running in this thread");
  return *trace;
}

// The trace of this thread, in turn.
class InTrace {
 public:
  InTrace() : trace_(running_trace()), turn_(trace_) {}
  Trace* operator->() const { return &trace_; }
  Trace& operator*() const { return trace_; }

 private:
  Trace& trace_;
  const Turn turn_;
};

void wait_without_python(std::mutex& mutex) {
  if (PyGILState_Check() == 0) return mutex.lock();
  const py::gil_scoped_release released;
  mutex.lock();
}

void bind_carried(py::module_& m) {
  set_wait_for_lock(&wait_without_python);
  py::class_<Carried>(m, "Carried").def(py::init()).def("enter", &Carried::enter);
  py::class_<Carried::Work>(m, "CarriedWork").def("leave", &Carried::Work::leave);
}

PyObject* fake_tensor_type = nullptr;

bool is_instance_of_fake(const at::Tensor& tensor) {
  const py::gil_scoped_acquire gil;
  const auto object = py::reinterpret_steal<py::object>(THPVariable_Wrap(tensor));
  return PyObject_IsInstance(object.ptr(), fake_tensor_type) == 1;
}

// Returns the bytes that it holds.
int64_t mark_input(Tracer& tracer, py::handle value, bool made) {
  tracer.mark_input(THPVariable_Unpack(value.ptr()), made);
  int64_t bytes = 0;
  for (const at::Tensor& tensor : held_tensors(value)) {
    tracer.trace().set_role(tensor, Role::input);
    bytes += tensor.numel() * static_cast<int64_t>(tensor.element_size());
  }
  return bytes;
}

// Python answers what the program asks. It may raise, as code of the caller's own.
AskCaller asking(py::function answer) {
  // Let go of with the GIL held, whoever lets the trace go.
  const std::shared_ptr<py::function> function(new py::function(std::move(answer)),
                                               [](py::function* held) {
                                                 const py::gil_scoped_acquire gil;
                                                 delete held;
                                               });
  return [function](const Question& question) {
    const py::gil_scoped_acquire gil;
    try {
      const py::tuple answered =
          (*function)(question.path, question.operation, question.number,
                      py::tuple(py::cast(question.shape)), question.dtype, question.text);
      return CallersAnswer{answered[0].cast<std::optional<double>>(),
                           answered[1].cast<std::string>()};
    } catch (py::error_already_set& error) {
      error.restore();
      python_error raised;
      raised.persist();
      throw raised;
    }
  };
}

std::vector<std::string> assumptions_of(const Tracer& tracer) {
  std::vector<std::string> texts;
  for (const auto& [text, count] : tracer.trace().session()->assumptions()) texts.push_back(text);
  return texts;
}

// The running one, unless it has the module in its tree.
Tracer* tracer_that_lacks(py::handle module) {
  Tracer* tracer = Tracer::current();
  return tracer == nullptr || tracer->modules().number_of(module.ptr()) >= 0 ? nullptr : tracer;
}

OptimizerStep make_optimizer_step(const std::string& optimizer, const std::string& implementation,
                                  const std::vector<at::Tensor>& parameters,
                                  const std::map<std::string, double>& settings) {
  static const std::map<std::string, OptimizerKind> kinds = {
      {"SGD", OptimizerKind::sgd}, {"Adam", OptimizerKind::adam}, {"AdamW", OptimizerKind::adamw}};
  static const std::map<std::string, OptimizerImplementation> implementations = {
      {"loop", OptimizerImplementation::loop},
      {"foreach", OptimizerImplementation::foreach},
      {"fused", OptimizerImplementation::fused}};
  OptimizerSettings chosen;
  const auto momentum = settings.find("momentum");
  if (momentum != settings.end()) chosen.momentum = momentum->second;
  chosen.nesterov = settings.count("nesterov") != 0;
  const InTrace trace;
  return {kinds.at(optimizer), implementations.at(implementation), parameters, chosen, *trace};
}

void bind_optimizer_step(py::module_& m) {
  py::class_<OptimizerStep>(m, "OptimizerStep")
      .def(py::init(&make_optimizer_step), py::arg("optimizer"), py::arg("implementation"),
           py::arg("parameters"), py::arg("settings"))
      .def("step", [](OptimizerStep& self) { self.step(*InTrace()); });
}

}  // namespace

void bind_trace(py::module_& m) {
  bind_carried(m);
  bind_optimizer_step(m);
  py::class_<Tracer>(m, "Tracer")
      .def(py::init([](bool recording, bool backward, bool accelerator, int64_t integer_limit,
                       int64_t float_limit, int64_t input_float_limit, bool may_rerun) {
             TraceOptions options;
             options.recording = recording;
             options.backward = backward;
             options.accelerator = accelerator;
             options.integer_limit = integer_limit;
             options.float_limit = float_limit;
             options.input_float_limit = input_float_limit;
             options.may_rerun = may_rerun;
             return std::make_unique<Tracer>(options);
           }),
           py::kw_only(), py::arg("recording") = true, py::arg("backward") = false,
           py::arg("accelerator") = true, py::arg("integer_limit") = TraceOptions().integer_limit,
           py::arg("float_limit") = TraceOptions().float_limit,
           py::arg("input_float_limit") = TraceOptions().input_float_limit,
           py::arg("may_rerun") = false)
      .def("add_modules", [](Tracer& self, py::handle model,
                             const std::string& path) { self.modules().add(model, path); })
      .def("claim_modules", [](Tracer& self) { return self.modules().claim(); })
      .def("release_modules", [](Tracer& self) { self.modules().release(); })
      .def("container_types",
           [](const Tracer& self, const py::args& bases) {
             return self.modules().types_derived_from(bases);
           })
      .def("mark_input", &mark_input)
      .def("mark_cache",
           [](Tracer& self, const at::Tensor& tensor) { self.trace().mark_cache(tensor); })
      .def("on_question",
           [](Tracer& self, py::function answer) {
             self.trace().ask_caller = asking(std::move(answer));
           })
      .def("note",
           [](Tracer& self, const std::string& text) { self.trace().session()->assume(text); })
      .def("start", &Tracer::start)
      .def("stop", &Tracer::stop)
      .def("restore", [](Tracer& self) { self.snapshot().restore(); })
      .def("remember",
           [](Tracer& self, py::handle value) { self.snapshot().remember(value.ptr()); })
      .def("remember_container",
           [](Tracer& self, py::handle value) { self.snapshot().remember_loose(value.ptr()); })
      .def_property(
          "recording", [](const Tracer& self) { return self.trace().options().recording; },
          [](Tracer& self, bool recording) { self.trace().set_recording(recording); })
      .def_property_readonly(
          "rerun_wanted", [](const Tracer& self) { return self.trace().session()->rerun_wanted; })
      .def_property_readonly("assumptions", [](const Tracer& self) { return assumptions_of(self); })
      .def_property_readonly(
          "guessing_modules",
          [](const Tracer& self) { return self.trace().session()->guessing_modules; })
      .def_property_readonly(
          "used_elsewhere",
          [](const Tracer& self) { return was_elsewhere(*self.trace().session()); })
      .def_property_readonly("failed_scope", [](const Tracer& self) { return self.failed_scope(); })
      .def_property_readonly("facts", [](const Tracer& self) {
        const ModuleTree& tree = self.modules();
        py::dict facts;
        facts["params"] = tree.parameter_elements();
        facts["global_params"] = tree.global_parameter_elements();
        facts["trainable_params"] = tree.trainable_elements();
        facts["buffers"] = tree.buffer_elements();
        facts["parameter_bytes"] = tree.parameter_bytes();
        facts["buffer_bytes"] = tree.buffer_bytes();
        return facts;
      });
  // What a program changes outside of the model's own calls: asked for before it does.
  m.def("keep_module", [](py::handle module) {
    Tracer* tracer = tracer_that_lacks(module);
    if (tracer != nullptr) tracer->snapshot().remember_if_older(module.ptr());
  });
  m.def("keep_tree", [](py::handle module) {
    Tracer* tracer = tracer_that_lacks(module);
    if (tracer != nullptr) tracer->snapshot().remember_tree(module.ptr());
  });
  m.def("keep_tensor", [](py::handle tensor) {
    if (Tracer* tracer = Tracer::current()) tracer->snapshot().remember_tensor(tensor.ptr());
  });
  m.def("note_birth", [](py::handle module) {
    if (Tracer* tracer = Tracer::current()) tracer->snapshot().note_birth(module.ptr());
  });
  m.def("intercept_key", [] { return kInterceptKey; });
  m.def("set_fake_tensor_type", [](const py::object& type) {
    fake_tensor_type = py::object(type).release().ptr();  // kept for the life of the process
    set_fake_test(&is_instance_of_fake);
  });
  m.def("shadow", [](const at::Tensor& tensor) { return InTrace()->shadow(tensor); });
  // None where Python is to read the tensor itself, or to be told that it cannot.
  m.def("known_values", [](const at::Tensor& tensor, bool to_be_written) {
    const InTrace trace;
    const at::Tensor values = known_values(tensor, to_be_written, *current_trace());
    return values.defined() ? std::optional<at::Tensor>(values) : std::nullopt;
  });
  // Makes a lazy tensor real, in a trace as well. Zeros: memory that nobody touches costs nothing.
  m.def("materialize", [](const at::Tensor& lazy, const std::vector<int64_t>& sizes,
                          std::optional<at::ScalarType> dtype) {
    const c10::impl::ExcludeDispatchKeyGuard guard(kInterceptKey);
    lazy.set_data(at::zeros(sizes, lazy.options().dtype(dtype.value_or(lazy.scalar_type()))));
  });
  m.def("resize_storage", [](py::handle storage, int64_t bytes) {
    InTrace()->resize(torch::createStorage(storage.ptr()), bytes);
  });
  m.def("free_what_nobody_holds", [] { InTrace()->free_what_nobody_holds(); });
  // A tensor that the program has made by other means than an operator.
  m.def("adopt", [](const at::Tensor& tensor) {
    const InTrace trace;
    const size_t first = trace->session()->storages().size();
    trace->adopt(tensor, Values::known);
    trace->mark_host(tensor, first);
  });
  m.def("enter_world", &enter_world);
  m.def("leave_world", &leave_world);
  m.def("share_storage", &share_storage, py::arg("view"), py::arg("viewed"));
  m.def("shadow_for_transform",
        [](const at::Tensor& tensor) { return InTrace()->shadow_for_transform(tensor); });
  m.def("enter_batching", [](int32_t levels) { batching_levels += levels; });
  m.def("assume", [](const std::string& text) { InTrace()->session()->assume(text); });
  m.def("tracing", [] { return current_trace() != nullptr; });
  // Returns what it was before.
  m.def("set_only_tangents", [](bool only) {
    const InTrace trace;
    return std::exchange(trace->only_tangents, only);
  });
  m.def("traces_backward",
        [] { return current_trace() != nullptr && current_trace()->options().backward; });
  m.def("enter_backward",
        [](bool create_graph) { return InTrace()->session()->enter_backward(create_graph); });
  m.def("as_one_task", &as_one_task);
  m.def("enter_closure", [] { return InTrace()->session()->enter_closure(); });
  m.def("stage_depth", [] { return InTrace()->session()->stage_depth(); });
  m.def("leave_stage", [](size_t around) { InTrace()->session()->leave_stage(around); });
  m.def("enter_optimizer", [] { InTrace()->session()->enter_optimizer(); });
  m.def("leave_optimizer", [] { InTrace()->session()->leave_optimizer(); });
  m.def("set_device_needs_no_init",
        [](bool needless) { torch::utils::set_requires_device_init(at::kCUDA, !needless); });
}

}  // namespace nnprof

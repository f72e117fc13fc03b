// What Python reads of a tensor's device while a trace runs.
//
// Shape-only tensors are on the meta device, and known integers on the CPU. A model that compares
// devices, or asks `h.is_cuda`, is to see one device: that of its parameters and inputs; and the
// CPU where the program has made a tensor there, as optimizers do with their counts of steps. So
// the getters of torch.Tensor answer with it, in threads that trace, and only to Python: PyTorch's
// own C++ goes on to see where a tensor is. Without weights that is the meta device, but for layers
// of torch.nn that run fewer, larger kernels on a real one.
#include <pybind11/pybind11.h>
#include <torch/csrc/Device.h>
#include <torch/csrc/autograd/python_variable.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "bindings/bindings.h"
#include "bindings/tensor_slots.h"
#include "bindings/tracer.h"

namespace py = pybind11;

namespace nnprof {
namespace {

thread_local int true_devices = 0;

// Within it this thread is told where a tensor is: for what would read a tensor's memory.
class TrueDevices {
 public:
  TrueDevices() { ++true_devices; }
  ~TrueDevices() { --true_devices; }
  TrueDevices(const TrueDevices&) = delete;
  TrueDevices& operator=(const TrueDevices&) = delete;
};

// What stands for tensors of the program's own device. A class with a dispatch of its own answers
// for itself.
bool stands_for_another(const at::Tensor& tensor, const Trace& trace) {
  if (tensor.key_set().has(c10::DispatchKey::Python)) return false;
  return tensor.is_meta() || trace.is_placed(tensor);
}

// Layers of torch.nn that look at devices to choose their kernels.
constexpr std::array<std::string_view, 2> kChoosing = {"torch.nn.modules.activation",
                                                       "torch.nn.modules.transformer"};

bool chooses_kernels() {
  static PyObject* const kName = PyUnicode_InternFromString("__name__");
  PyObject* globals = PyEval_GetGlobals();  // of the Python function that asks
  PyObject* name = globals == nullptr ? nullptr : PyDict_GetItem(globals, kName);
  const char* text = name == nullptr || !PyUnicode_Check(name) ? nullptr : PyUnicode_AsUTF8(name);
  return text != nullptr && std::find(kChoosing.begin(), kChoosing.end(), text) != kChoosing.end();
}

// Kernels are those of the device that is counted for, wherever the weights are.
at::Device target(const Trace& trace) {
  return trace.options().accelerator ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
}

// The device that `self` shows, where it is to show another one than its own.
std::optional<at::Device> shown_device(PyObject* self) {
  if (true_devices != 0) return std::nullopt;
  Tracer* tracer = tracer_of_program();
  if (tracer == nullptr || !THPVariable_Check(self)) return std::nullopt;
  const at::Tensor& tensor = THPVariable_Unpack(self);
  const Trace& trace = tracer->trace();
  if (!tensor.defined() || !stands_for_another(tensor, trace)) return std::nullopt;
  const bool of_its_own = !tracer->given_device() && !trace.is_own(tensor);
  at::Device device = of_its_own ? tensor.device() : tracer->shown_device();
  if (device.is_meta() && chooses_kernels()) device = target(trace);
  return device == tensor.device() ? std::nullopt : std::optional(device);
}

// --- attributes ----------------------------------------------------------------------------------

getter own_device = nullptr;

PyObject* get_device_attribute(PyObject* self, void* closure) {
  const auto device = shown_device(self);
  return device ? THPDevice_New(*device) : own_device(self, closure);
}

struct DeviceTest {
  const char* name;
  at::DeviceType type;
};

constexpr std::array<DeviceTest, 10> kTests = {{
    {"is_cpu", at::kCPU},
    {"is_cuda", at::kCUDA},
    {"is_ipu", at::kIPU},
    {"is_maia", at::kMAIA},
    {"is_meta", at::kMeta},
    {"is_mps", at::kMPS},
    {"is_mtia", at::kMTIA},
    {"is_vulkan", at::kVulkan},
    {"is_xla", at::kXLA},
    {"is_xpu", at::kXPU},
}};
std::array<getter, kTests.size()> own_tests = {};

template <size_t test>
PyObject* test_device(PyObject* self, void* closure) {
  const auto device = shown_device(self);
  return device ? PyBool_FromLong(device->type() == kTests[test].type)
                : own_tests[test](self, closure);
}

template <size_t... tests>
constexpr std::array<getter, sizeof...(tests)> make_tests(std::index_sequence<tests...>) {
  return {&test_device<tests>...};
}

// --- methods -------------------------------------------------------------------------------------

PyCFunctionWithKeywords own_get_device = nullptr;
PyCFunctionWithKeywords own_type = nullptr;

PyObject* get_device(PyObject* self, PyObject* arguments, PyObject* keywords) {
  const auto device = shown_device(self);
  if (!device) return own_get_device(self, arguments, keywords);
  return PyLong_FromLong(device->is_cpu() ? -1 : std::max<int>(device->index(), 0));
}

// "torch.cuda.FloatTensor" of "torch.meta.FloatTensor".
std::string type_on(at::Device device, const std::string& type) {
  const std::string name = type.substr(type.rfind('.') + 1);
  const std::string where = device.is_cpu() ? "" : DeviceTypeName(device.type(), true) + ".";
  return "torch." + where + name;
}

PyObject* type(PyObject* self, PyObject* arguments, PyObject* keywords) {
  PyObject* result = own_type(self, arguments, keywords);
  if (result == nullptr || !PyUnicode_Check(result)) return result;  // it was a cast
  const auto device = shown_device(self);
  const char* text = device ? PyUnicode_AsUTF8(result) : nullptr;
  if (text == nullptr) return result;
  const std::string shown = type_on(*device, text);
  Py_DECREF(result);
  return PyUnicode_FromString(shown.c_str());
}

}  // namespace

void bind_shown_devices(py::module_& m) {
  // A getter that is not found is never called.
  static constexpr auto kByTest = make_tests(std::make_index_sequence<kTests.size()>());
  for (size_t test = 0; test < kTests.size(); ++test) {
    own_tests[test] = replace_getter(kTests[test].name, kByTest[test]);
  }
  own_get_device = replace_method("get_device", &get_device);
  own_type = replace_method("type", &type);
  own_device = replace_getter("device", &get_device_attribute);
  // None outside of a trace.
  m.def("shown_device", []() -> py::object {
    Tracer* tracer = Tracer::current();
    if (tracer == nullptr) return py::none();
    return py::reinterpret_steal<py::object>(THPDevice_New(tracer->shown_device()));
  });
  // A constant that the program has asked for on its device.
  m.def("place_on_device", [](const at::Tensor& tensor) {
    if (Trace* trace = current_trace()) trace->place_on_device(tensor);
  });
  m.def("with_true_devices",
        [](const py::object& function, const py::args& arguments, const py::kwargs& keywords) {
          const TrueDevices here;
          return function(*arguments, **keywords);
        });
}

}  // namespace nnprof

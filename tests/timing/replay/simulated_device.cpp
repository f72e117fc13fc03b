// A device that does not exist: its memory is the host's, its kernels are the CPU's, and its time
// is reckoned. It works through a queue behind the host's back, as an accelerator does: an operator
// takes the host so long to queue, and the device so long to run, as the test says.
#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <string>
#include <thread>

namespace {

constexpr auto kDevice = c10::DeviceType::PrivateUse1;

// Seconds.
struct Simulation {
  double host_now = 0;
  double device_free = 0;  // when it has done all that is queued
  double host_a_call = 5e-6;
  double event = 0.7e-6;  // what the device takes to record one
  double bytes_a_second = 1e12;
  std::map<std::string, double> durations;
  std::map<std::string, int64_t> calls;

  void queue(double seconds) {
    host_now += host_a_call;
    device_free = std::max(device_free, host_now) + seconds;
  }
  void run(std::string op) {
    op = op.substr(0, op.find('.'));  // without its overload: most come to us as their out= variant
    const auto found = durations.find(op);
    ++calls[op];
    queue(found == durations.end() ? 1e-6 : found->second);
  }
};

Simulation simulation;

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kDevice; }
  c10::Device exchangeDevice(c10::Device) const override { return getDevice(); }
  c10::Device getDevice() const override { return {kDevice, 0}; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }

  void record(void** event, const c10::Stream&, const c10::DeviceIndex,
              const c10::EventFlag) const override {
    if (*event == nullptr) *event = new double;
    simulation.device_free =
        std::max(simulation.device_free, simulation.host_now) + simulation.event;
    *static_cast<double*>(*event) = simulation.device_free;
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void* event) const override {
    return event == nullptr || *static_cast<double*>(event) <= simulation.host_now;
  }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override {
    delete static_cast<double*>(event);
  }
  void synchronizeEvent(void* event) const override {
    simulation.host_now = std::max(simulation.host_now, *static_cast<double*>(event));
  }
  double elapsedTime(void* start, void* end, const c10::DeviceIndex) const override {
    return (*static_cast<double*>(end) - *static_cast<double*>(start)) * 1e3;
  }
  // Whoever waits for the device really waits: rough times are told by the real clock.
  void synchronizeStream(const c10::Stream&) const override {
    const double wait = std::max(simulation.device_free - simulation.host_now, 0.0);
    std::this_thread::sleep_for(std::chrono::duration<double>(wait));
    simulation.host_now += wait;
  }
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct HostMemory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* memory = std::malloc(std::max<size_t>(bytes, 1));
    return {memory, memory, &std::free, c10::Device(kDevice, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }
};

HostMemory host_memory;
REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &host_memory);

const c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

at::Tensor empty(c10::IntArrayRef size, std::optional<c10::ScalarType> dtype,
                 std::optional<c10::Layout>, std::optional<c10::Device>, std::optional<bool>,
                 std::optional<c10::MemoryFormat> format) {
  return at::detail::empty_generic(size, &host_memory, kKeys, c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride,
                         std::optional<c10::ScalarType> dtype, std::optional<c10::Layout>,
                         std::optional<c10::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &host_memory, kKeys,
                                           c10::dtype_or_default(dtype));
}

at::Tensor as_strided(const at::Tensor& self, c10::IntArrayRef size, c10::IntArrayRef stride,
                      std::optional<int64_t> offset) {
  at::Tensor view = at::detail::make_tensor<at::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(self.storage()), self.key_set(), self.dtype());
  view.unsafeGetTensorImpl()->set_storage_offset(offset.value_or(self.storage_offset()));
  view.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride);
  return view;
}

at::Tensor& set_(at::Tensor& self, c10::Storage storage, int64_t offset, c10::IntArrayRef size,
                 c10::IntArrayRef stride) {
  self.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(storage));
  self.unsafeGetTensorImpl()->set_storage_offset(offset);
  self.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride);
  return self;
}

// The same memory, as a CPU tensor.
at::Tensor on_cpu(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.device().type() != kDevice) return tensor;
  const auto options = at::TensorOptions().dtype(tensor.dtype());
  if (tensor.numel() == 0) return at::empty(tensor.sizes(), options);  // may be resized
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), options);
}

at::Tensor& copy_(at::Tensor& self, const at::Tensor& from, bool) {
  on_cpu(self).copy_(on_cpu(from));
  simulation.run("aten::copy_");
  return self;
}

at::Tensor& fill_(at::Tensor& self, const at::Scalar&) {
  ++simulation.calls["aten::fill_"];
  simulation.queue(static_cast<double>(self.nbytes()) / simulation.bytes_a_second);
  return self;
}

at::Tensor to_device(const at::Tensor& tensor) {
  at::Tensor made =
      empty_strided(tensor.sizes(), tensor.strides(), tensor.scalar_type(), {}, {}, {});
  on_cpu(made).copy_(tensor);
  return made;
}

// Every other operator: the CPU's kernel on the same memory.
void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const size_t arguments = op.schema().arguments().size();
  const torch::jit::Stack given(stack->end() - static_cast<std::ptrdiff_t>(arguments),
                                stack->end());
  for (size_t i = stack->size() - arguments; i < stack->size(); ++i) {
    c10::IValue& value = (*stack)[i];
    if (value.isTensor()) value = on_cpu(value.toTensor());
    if (value.isDevice()) value = c10::Device(c10::kCPU);
    if (!value.isTensorList()) continue;
    c10::List<at::Tensor> list;
    for (const at::Tensor& tensor : value.toTensorVector()) list.push_back(on_cpu(tensor));
    value = list;
  }
  const torch::jit::Stack passed(stack->end() - static_cast<std::ptrdiff_t>(arguments),
                                 stack->end());
  op.callBoxed(stack);
  for (size_t i = stack->size() - op.schema().returns().size(); i < stack->size(); ++i) {
    if (!(*stack)[i].isTensor()) continue;
    at::Tensor result = (*stack)[i].toTensor();
    size_t same = 0;
    while (same < arguments &&
           !(passed[same].isTensor() && passed[same].toTensor().is_same(result))) {
      ++same;
    }
    if (same == arguments) {
      (*stack)[i] = to_device(result);
      continue;
    }
    at::Tensor original = given[same].toTensor();
    if (original.sizes() != result.sizes()) {  // it was empty, and the kernel made room
      const at::Tensor made = to_device(result);
      set_(original, made.storage(), 0, made.sizes(), made.strides());
    }
    (*stack)[i] = original;
  }
  simulation.run(toString(op.operator_name()));
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("as_strided", as_strided);
  library.impl("set_.source_Storage_storage_offset", set_);
  library.impl("copy_", copy_);
  library.impl("fill_.Scalar", fill_);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
}

TORCH_LIBRARY(nnprof_simulated, library) {
  library.def("reset() -> ()", [] { simulation = Simulation(); });
  library.def("set_duration(str op, float seconds) -> ()",
              [](const std::string& op, double seconds) { simulation.durations[op] = seconds; });
  library.def("set_host_a_call(float seconds) -> ()",
              [](double seconds) { simulation.host_a_call = seconds; });
  library.def("calls(str op) -> int", [](const std::string& op) { return simulation.calls[op]; });
}

}  // namespace

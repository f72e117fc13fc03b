#include "dispatch/autocast.h"

#include <ATen/autocast_mode.h>
#include <ATen/ops/_to_copy.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <array>
#include <unordered_map>

#include "dispatch/interceptor.h"
#include "dispatch/stack_walk.h"
#include "dispatch/trace.h"

namespace nnprof {
namespace {

using Policies = std::unordered_map<std::string_view, CastPolicy>;

// AT_FORALL_* call their argument with an op, or an op and an overload.
#define NNPROF_NAME1(OP) "aten::" #OP
#define NNPROF_NAME2(OP, OVERLOAD) "aten::" #OP "." #OVERLOAD
#define NNPROF_PICK(_1, _2, NAME, ...) NAME
#define NNPROF_NAME(...) NNPROF_PICK(__VA_ARGS__, NNPROF_NAME2, NNPROF_NAME1)(__VA_ARGS__)
#define NNPROF_LOWER(...) {NNPROF_NAME(__VA_ARGS__), CastPolicy::lower_precision},
#define NNPROF_FP32(...) {NNPROF_NAME(__VA_ARGS__), CastPolicy::fp32},
#define NNPROF_OPT(...) {NNPROF_NAME(__VA_ARGS__), CastPolicy::fp32_set_opt_dtype},
#define NNPROF_PROMOTE(...) {NNPROF_NAME(__VA_ARGS__), CastPolicy::promote},

const Policies& accelerator_policies() {
  static const Policies policies = {
      AT_FORALL_LOWER_PRECISION_FP(NNPROF_LOWER) AT_FORALL_FP32(NNPROF_FP32)
          AT_FORALL_FP32_SET_OPT_DTYPE(NNPROF_OPT)
              AT_FORALL_PROMOTE(NNPROF_PROMOTE){"aten::norm.Scalar", CastPolicy::fp32_append_dtype},
      {"aten::norm.ScalarOpt_dim", CastPolicy::fp32_append_dtype},
      // Made of convolutions that autocast casts one level further down.
      {"aten::conv1d.padding", CastPolicy::lower_precision},
      {"aten::conv2d.padding", CastPolicy::lower_precision},
      {"aten::conv3d.padding", CastPolicy::lower_precision},
      {"aten::_convolution_mode", CastPolicy::lower_precision},
      {"aten::convolution", CastPolicy::lower_precision},
      // cuDNN's layers: autocast casts their inputs, weights and states one level further down.
      {"aten::lstm.input", CastPolicy::lower_precision},
      {"aten::lstm.data", CastPolicy::lower_precision},
      {"aten::gru.input", CastPolicy::lower_precision},
      {"aten::gru.data", CastPolicy::lower_precision},
      {"aten::rnn_tanh.input", CastPolicy::lower_precision},
      {"aten::rnn_tanh.data", CastPolicy::lower_precision},
      {"aten::rnn_relu.input", CastPolicy::lower_precision},
      {"aten::rnn_relu.data", CastPolicy::lower_precision},
  };
  return policies;
}

CastPolicy find(const Policies& policies, std::string_view op) {
  const auto found = policies.find(op);
  return found == policies.end() ? CastPolicy::none : found->second;
}

// The devices whose autocast a program may switch on, in the order they are looked for.
constexpr std::array kAutocastDevices = {c10::DeviceType::CUDA, c10::DeviceType::CPU,
                                         c10::DeviceType::XPU};

const c10::DispatchKeySet kAutocastKeys = [] {
  c10::DispatchKeySet keys;
  for (const c10::DeviceType device : kAutocastDevices) {
    keys = keys.add(at::autocast::get_autocast_dispatch_key_from_device_type(device));
  }
  return keys;
}();

std::optional<c10::DeviceType> active_device() {
  // Every call asks: where it is off for all, one look is enough.
  if (c10::impl::tls_local_dispatch_key_set().excluded_.has_all(kAutocastKeys)) return std::nullopt;
  for (const c10::DeviceType device : kAutocastDevices) {
    if (at::autocast::is_autocast_enabled(device)) return device;
  }
  return std::nullopt;
}

bool eligible(const at::Tensor& tensor) {
  return tensor.is_floating_point() && tensor.scalar_type() != at::kDouble &&
         !tensor.unsafeGetTensorImpl()->is_wrapped_number();
}

at::Tensor cast(const at::Tensor& tensor, c10::ScalarType dtype, bool lower, Trace& trace) {
  if (!eligible(tensor) || tensor.scalar_type() == dtype) return tensor;
  const bool cached = lower && tensor.scalar_type() == at::kFloat && tensor.requires_grad() &&
                      tensor.is_leaf() && !tensor.is_view() &&
                      at::autocast::is_autocast_cache_enabled();
  if (!cached) return tensor.to(dtype);
  auto& [source, casted] = trace.cast_cache()[tensor.unsafeGetTensorImpl()];
  if (!casted.defined() || casted.scalar_type() != dtype) {
    at::Tensor made = tensor.to(dtype);
    auto& entry = trace.cast_cache()[tensor.unsafeGetTensorImpl()];
    entry = {tensor, made};
    return made;
  }
  return casted;
}

c10::ScalarType widest(const c10::IValue* arguments, size_t count, c10::ScalarType lower) {
  c10::ScalarType dtype = lower;
  for (size_t i = 0; i < count; ++i) {
    for_each_tensor(arguments[i], [&](const at::Tensor& tensor) {
      if (eligible(tensor) && tensor.scalar_type() == at::kFloat) dtype = at::kFloat;
    });
  }
  return dtype;
}

void set_optional_dtype(const Operator& op, c10::IValue* arguments) {
  for (size_t i = 0; i < op.arguments; ++i) {
    const bool is_dtype = op.handle.schema().arguments()[i].name() == "dtype";
    if (is_dtype && arguments[i].isNone()) {
      arguments[i] = c10::IValue(static_cast<int64_t>(at::kFloat));
    }
  }
}

}  // namespace

CastPolicy accelerator_cast_policy(std::string_view op) { return find(accelerator_policies(), op); }

bool autocast_enabled() { return active_device().has_value(); }

void drop_casts_after_autocast(Trace& trace) {
  if (trace.cast_cache().empty()) return;
  // There is no way to ask for the nesting alone.
  const int nesting = at::autocast::increment_nesting() - 1;
  at::autocast::decrement_nesting();
  if (nesting == 0) trace.cast_cache().clear();
}

bool run_autocast(const Operator& op, Stack& stack, Trace& trace) {
  const c10::DeviceType device = *active_device();
  const CastPolicy policy =
      device == c10::DeviceType::CPU ? op.cpu_autocast : op.accelerator_autocast;
  if (policy == CastPolicy::none) return false;
  const c10::ScalarType lower = at::autocast::get_autocast_dtype(device);
  const c10::impl::ExcludeDispatchKeyGuard guard(c10::autocast_dispatch_keyset);
  c10::IValue* arguments = stack.data() + (stack.size() - op.arguments);
  if (policy == CastPolicy::fp32_set_opt_dtype || policy == CastPolicy::fp32_append_dtype) {
    if (arguments[0].isTensor() && eligible(arguments[0].toTensor())) {
      if (policy == CastPolicy::fp32_append_dtype) {
        arguments[0] = cast(arguments[0].toTensor(), at::kFloat, false, trace);
      }
      set_optional_dtype(op, arguments);
    }
  } else {
    const c10::ScalarType dtype = policy == CastPolicy::lower_precision ? lower
                                  : policy == CastPolicy::fp32
                                      ? at::kFloat
                                      : widest(arguments, op.arguments, lower);
    for (size_t i = 0; i < op.arguments; ++i) {
      map_tensors(arguments[i], [&](const at::Tensor& tensor) {
        return cast(tensor, dtype, policy == CastPolicy::lower_precision, trace);
      });
    }
  }
  const Stack held(arguments, arguments + op.arguments);  // a cast lives until the kernel is done
  op.handle.callBoxed(stack);
  return true;
}

}  // namespace nnprof

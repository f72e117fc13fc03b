#include "dispatch/optimizer_step.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/addcdiv.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/div.h>
#include <ATen/ops/lerp.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sqrt.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>
#include <cmath>

#include "dispatch/call.h"
#include "dispatch/key.h"

namespace nnprof {
namespace {

// torch's defaults.
constexpr double kLearningRate = 1e-3;
constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;
constexpr double kAdamWDecay = 1e-2;
constexpr double kStep = 2;  // any but the first one, which makes the state

double bias_correction(double beta) { return 1 - std::pow(beta, kStep); }

at::Tensor meta_like(const at::Tensor& tensor, Trace& trace) {
  at::Tensor made(
      at::detail::empty_strided_meta(tensor.sizes(), tensor.strides(), tensor.scalar_type()));
  trace.adopt(made, Values::unknown);
  return made;
}

// A counter on the CPU, with a known value; fused kernels count on the device.
at::Tensor counter(bool on_device, Trace& trace) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  const auto options = at::TensorOptions().dtype(at::kFloat);
  at::Tensor made = on_device ? at::Tensor(at::detail::empty_meta({}, at::kFloat))
                              : at::Tensor(at::detail::empty_cpu({}, options));
  trace.adopt(made, on_device ? Values::unknown : Values::known);
  const bool in_other_memory = !on_device && trace.options().accelerator;
  if (in_other_memory) trace.session()->storage_resized(trace.identify(made).storage, 0);
  return made;
}

// Python gives an operator its numbers as tensors: of no dimension, and marked.
at::Tensor number(double value) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  at::Tensor made = at::detail::empty_cpu({}, at::TensorOptions().dtype(at::kDouble));
  *made.mutable_data_ptr<double>() = value;
  made.unsafeGetTensorImpl()->set_wrapped_number(true);
  return made;
}

using List = std::vector<at::Tensor>;

template <class Member>
List list_of(const std::vector<Member*>& group, at::Tensor Member::* field) {
  List tensors;
  tensors.reserve(group.size());
  for (const Member* state : group) tensors.push_back(state->*field);
  return tensors;
}

// Records the call of an operator that writes in place and returns nothing.
template <class... Arguments>
void record_in_place(const char* name, const char* overload, Trace& trace,
                     Arguments&&... arguments) {
  const auto handle = c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
  Stack stack;
  (stack.emplace_back(std::forward<Arguments>(arguments)), ...);
  record_known_call(operator_of(handle), stack, {}, trace);
}

c10::IValue numbers(double value, size_t count) {
  c10::List<at::Scalar> list;
  for (size_t i = 0; i < count; ++i) list.push_back(at::Scalar(value));
  return list;
}

class InPhase {
 public:
  explicit InPhase(Session& session) : session_(session) { session_.enter_optimizer(); }
  ~InPhase() { session_.leave_optimizer(); }
  InPhase(const InPhase&) = delete;
  InPhase& operator=(const InPhase&) = delete;

 private:
  Session& session_;
};

}  // namespace

OptimizerStep::OptimizerStep(OptimizerKind kind, OptimizerImplementation implementation,
                             const std::vector<at::Tensor>& parameters,
                             const OptimizerSettings& settings, Trace& trace)
    : kind_(kind), implementation_(implementation), settings_(settings) {
  const InPhase in_optimizer(*trace.session());
  const bool on_device = implementation == OptimizerImplementation::fused;
  for (const at::Tensor& parameter : parameters) {
    State& state = states_.emplace_back();
    state.parameter = parameter;
    const bool has_first = is_adam() || settings.momentum != 0;
    if (has_first) state.first = meta_like(parameter, trace);
    if (is_adam()) state.second = meta_like(parameter, trace);
    if (is_adam()) state.steps = counter(on_device, trace);
  }
}

// Of one dtype each, as list operators take them.
std::vector<OptimizerStep::Group> OptimizerStep::groups() {
  std::vector<Group> groups;
  for (State& state : states_) {
    if (!state.gradient.defined()) continue;
    const auto dtype = state.parameter.scalar_type();
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const Group& group) {
      return group[0]->parameter.scalar_type() == dtype;
    });
    if (same == groups.end()) {
      groups.push_back({&state});
    } else {
      same->push_back(&state);
    }
  }
  return groups;
}

void OptimizerStep::step(Trace& trace) {
  const InPhase in_optimizer(*trace.session());
  const at::NoGradGuard no_grad;
  for (State& state : states_) state.gradient = state.parameter.grad();
  if (implementation_ == OptimizerImplementation::loop) {
    for (const State& state : states_) {
      if (state.gradient.defined()) step_in_loop(state);
    }
  } else {
    step_groups(trace);
  }
  for (State& state : states_) state.gradient.reset();
}

void OptimizerStep::step_groups(Trace& trace) {
  for (const Group& group : groups()) {
    if (implementation_ == OptimizerImplementation::fused) {
      step_fused(group, trace);
    } else if (is_adam()) {
      step_adam(group, trace);
    } else {
      step_sgd(group, trace);
    }
  }
}

// torch/optim/adam.py, _single_tensor_adam; torch/optim/sgd.py, _single_tensor_sgd
void OptimizerStep::step_in_loop(const State& state) const {
  at::Tensor parameter = state.parameter, gradient = state.gradient;
  at::Tensor first = state.first, second = state.second, steps = state.steps;
  if (!is_adam()) {
    if (settings_.momentum != 0) {
      first.mul_(number(settings_.momentum)).add_(gradient, 1);
      gradient = settings_.nesterov ? gradient.add(first, settings_.momentum) : first;
    }
    parameter.add_(gradient, -kLearningRate);
    return;
  }
  steps.add_(number(1));
  if (kind_ == OptimizerKind::adamw) parameter.mul_(number(1 - kLearningRate * kAdamWDecay));
  first.lerp_(gradient, 1 - kBeta1);
  second.mul_(number(kBeta2)).addcmul_(gradient, gradient, 1 - kBeta2);
  const at::Tensor correction = number(std::sqrt(bias_correction(kBeta2)));
  at::Tensor denominator = second.sqrt().div(correction).add_(number(kEpsilon));
  parameter.addcdiv_(first, denominator, -(kLearningRate / bias_correction(kBeta1)));
}

// torch/optim/sgd.py, _multi_tensor_sgd
void OptimizerStep::step_sgd(const Group& group, Trace& trace) const {
  const List parameters = list_of(group, &State::parameter);
  List gradients = list_of(group, &State::gradient);
  if (settings_.momentum != 0) {
    const List momenta = list_of(group, &State::first);
    record_in_place("aten::_foreach_mul_", "Scalar", trace, momenta, settings_.momentum);
    record_in_place("aten::_foreach_add_", "List", trace, momenta, gradients, int64_t{1});
    if (settings_.nesterov) {
      record_in_place("aten::_foreach_add_", "List", trace, gradients, momenta, settings_.momentum);
    } else {
      gradients = momenta;
    }
  }
  record_in_place("aten::_foreach_add_", "List", trace, parameters, gradients, -kLearningRate);
}

// torch/optim/adam.py, _multi_tensor_adam
void OptimizerStep::step_adam(const Group& group, Trace& trace) const {
  const List parameters = list_of(group, &State::parameter);
  const List gradients = list_of(group, &State::gradient);
  const List first = list_of(group, &State::first);
  const List second = list_of(group, &State::second);
  const at::Tensor one = counter(/*on_device=*/false, trace);
  record_in_place("aten::_foreach_add_", "Tensor", trace, list_of(group, &State::steps), one,
                  double{1});
  if (kind_ == OptimizerKind::adamw) {
    record_in_place("aten::_foreach_mul_", "Scalar", trace, parameters,
                    1 - kLearningRate * kAdamWDecay);
  }
  record_in_place("aten::_foreach_lerp_", "Scalar", trace, first, gradients, 1 - kBeta1);
  record_in_place("aten::_foreach_mul_", "Scalar", trace, second, kBeta2);
  record_in_place("aten::_foreach_addcmul_", "Scalar", trace, second, gradients, gradients,
                  1 - kBeta2);
  List roots;
  for (const at::Tensor& average : second) roots.push_back(meta_like(average, trace));
  const auto sqrt = c10::Dispatcher::singleton().findSchemaOrThrow("aten::_foreach_sqrt", "");
  record_known_call(operator_of(sqrt), {second}, {roots}, trace);
  record_in_place("aten::_foreach_div_", "ScalarList", trace, roots,
                  numbers(std::sqrt(bias_correction(kBeta2)), roots.size()));
  record_in_place("aten::_foreach_add_", "Scalar", trace, roots, kEpsilon);
  record_in_place("aten::_foreach_addcdiv_", "ScalarList", trace, parameters, first, roots,
                  numbers(kLearningRate / bias_correction(kBeta1) * -1, roots.size()));
}

// torch/optim/adam.py, _fused_adam; torch/optim/sgd.py, _fused_sgd
void OptimizerStep::step_fused(const Group& group, Trace& trace) const {
  const List parameters = list_of(group, &State::parameter);
  const List gradients = list_of(group, &State::gradient);
  const c10::IValue none;
  if (!is_adam()) {
    const List momenta = settings_.momentum != 0 ? list_of(group, &State::first) : List();
    record_in_place("aten::_fused_sgd_", "", trace, parameters, gradients, momenta,
                    /*weight_decay=*/0.0, settings_.momentum, kLearningRate, /*dampening=*/0.0,
                    settings_.nesterov, /*maximize=*/false, /*is_first_step=*/false, none, none);
    return;
  }
  const List steps = list_of(group, &State::steps);
  record_in_place("aten::_foreach_add_", "Scalar", trace, steps, int64_t{1});
  const bool adamw = kind_ == OptimizerKind::adamw;
  record_in_place(adamw ? "aten::_fused_adamw_" : "aten::_fused_adam_", "", trace, parameters,
                  gradients, list_of(group, &State::first), list_of(group, &State::second), List(),
                  steps, kLearningRate, kBeta1, kBeta2, adamw ? kAdamWDecay : 0.0, kEpsilon,
                  /*amsgrad=*/false, /*maximize=*/false, none, none);
}

}  // namespace nnprof

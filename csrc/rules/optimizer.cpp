// Optimizers fused into one kernel, and the gradient scaling of mixed precision.
//
// Operations are counted for an element; what is the same for all elements of a tensor (bias
// corrections, the step size) is not. Formulas: ATen/native/cuda/fused_adam_utils.cuh,
// FusedSgdKernel.cu, and ATen/native/cpu/FusedAdagradKernel.cpp.
#include <ATen/core/List_inl.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <vector>

#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"

namespace nnprof {
namespace {

using Tensors = std::vector<at::Tensor>;

// Outputs -----------------------------------------------------------------------------------------

c10::List<at::Tensor> copies(const std::vector<at::Tensor>& tensors) {
  c10::List<at::Tensor> made;
  made.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) made.push_back(empty_preserving(tensor));
  return made;
}

void check_same_sizes(const Tensors& parameters, const Tensors& others) {
  TORCH_CHECK(parameters.size() == others.size(), "Tensor lists must have the same number of ",
              "tensors, got ", parameters.size(), " and ", others.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    TORCH_CHECK(parameters[i].sizes() == others[i].sizes(), "a tensor of size ", others[i].sizes(),
                " belongs to a parameter of size ", parameters[i].sizes());
  }
}

// Of `Count` arguments the first `Returned` are handed back changed. The first `Needed` of them are
// lists of tensors of equal sizes; those after may be empty.
template <size_t Count, size_t Returned, size_t Needed>
void changed_lists(Stack& stack) {
  const size_t first = stack.size() - Count;
  const Tensors parameters = stack[first].toTensorVector();
  std::vector<c10::IValue> outputs;
  for (size_t i = 0; i < Returned; ++i) {
    const Tensors list = stack[first + i].toTensorVector();
    if (i < Needed) check_same_sizes(parameters, list);
    outputs.emplace_back(copies(list));
  }
  torch::jit::drop(stack, Count);
  for (c10::IValue& output : outputs) stack.push_back(std::move(output));
}

void check_float_number(const at::Tensor& tensor, const char* name) {
  TORCH_CHECK(tensor.numel() == 1, name, " must be a 1-element tensor.");
  TORCH_CHECK(tensor.scalar_type() == at::kFloat, name, " must be a float tensor.");
}

std::tuple<Tensors, at::Tensor> unscaled(at::TensorList scaled, const at::Tensor& found_inf,
                                         const at::Tensor& inv_scale) {
  check_float_number(inv_scale, "inv_scale");
  check_float_number(found_inf, "found_inf");
  Tensors made;
  for (const at::Tensor& tensor : scaled) made.push_back(empty_preserving(tensor));
  return {std::move(made), empty_preserving(found_inf)};
}

std::tuple<at::Tensor, at::Tensor> updated_scale(const at::Tensor& self, const at::Tensor& tracker,
                                                 const at::Tensor& found_inf, double /*growth*/,
                                                 double /*backoff*/, int64_t /*interval*/) {
  check_float_number(self, "current_scale");
  check_float_number(found_inf, "found_inf");
  TORCH_CHECK(tracker.numel() == 1, "growth_tracker must be a 1-element tensor.");
  TORCH_CHECK(tracker.scalar_type() == at::kInt, "growth_tracker must be an int tensor.");
  return {empty_preserving(self), empty_preserving(tracker)};
}

// Costs -------------------------------------------------------------------------------------------

Count total_bytes(const std::vector<TensorSpec>& tensors) {
  Count bytes = 0;
  for (const TensorSpec& tensor : tensors) bytes += tensor.distinct_bytes();
  return bytes;
}

Count total_numel(const std::vector<TensorSpec>& tensors) {
  Count count = 0;
  for (const TensorSpec& tensor : tensors) count += tensor.numel();
  return count;
}

// Is the list written in place, and not handed back as copies?
bool in_place(const OpSignature& op, const std::vector<TensorSpec>& list) {
  return !list.empty() && std::any_of(op.outputs.begin(), op.outputs.end(), [&](const auto& out) {
    return out.storage == list.front().storage;
  });
}

// The schema says that it is written, the kernel leaves it as it is.
void leave_unwritten(const OpSignature& op, size_t argument, Cost& cost) {
  const std::vector<TensorSpec>& list = op.tensors(argument);
  if (in_place(op, list)) cost.bytes_written -= total_bytes(list);
}

// Gradients are divided by the scale, and that is kept, where there is one.
void unscale_gradients(const OpSignature& op, size_t grad_scale, Cost& cost) {
  if (op.has_tensor(grad_scale)) {
    cost.add({.division = 1}, total_numel(op.tensors(0)));
  } else {
    leave_unwritten(op, 1, cost);
  }
}

// g = g / grad_scale; g = -g if maximize
// Adam:  g = g + weight_decay p;  AdamW:  p = p - (lr weight_decay) p
// m = beta1 m + (1 - beta1) g
// v = beta2 v + ((1 - beta2) g) g;  vmax = max(vmax, v) if amsgrad
// p = p - step_size m / (sqrt(v) / bias_correction + eps)
void adam_cost(const OpSignature& op, Cost& cost) {
  const Count elements = total_numel(op.tensors(0));
  unscale_gradients(op, 13, cost);
  cost.add({.add = 4, .multiply = 6, .division = 2, .sqrt = 1}, elements);
  if (op.floating(9) != 0) cost.add({.add = 1, .multiply = 1}, elements);
  if (op.boolean(11)) cost.add({.compare = 1}, elements);
  if (op.boolean(12)) cost.add({.add = 1}, elements);
}

// g = g / grad_scale;  g = g + weight_decay p
// b = momentum b + (1 - dampening) g, but g itself at the first step
// g = g + momentum b if nesterov, else b
// p = p - lr g, or + if maximize
void sgd_cost(const OpSignature& op, Cost& cost) {
  const Count elements = total_numel(op.tensors(0));
  const bool momentum = op.floating(4) != 0, first_step = op.boolean(9);
  unscale_gradients(op, 10, cost);
  cost.add({.add = 1, .multiply = 1}, elements);
  if (op.floating(3) != 0) cost.add({.add = 1, .multiply = 1}, elements);
  if (momentum && !first_step) cost.add({.add = 1, .multiply = 2}, elements);
  if (momentum && op.boolean(7)) cost.add({.add = 1, .multiply = 1}, elements);
  if (first_step) cost.bytes_read -= total_bytes(op.tensors(2));
}

// g = g / grad_scale; g = -g if maximize;  g = g + weight_decay p
// s = s + g g
// p = p - clr g / (sqrt(s) + eps)
void adagrad_cost(const OpSignature& op, Cost& cost) {
  const Count elements = total_numel(op.tensors(0));
  unscale_gradients(op, 9, cost);
  leave_unwritten(op, 3, cost);
  cost.add({.add = 3, .multiply = 2, .division = 1, .sqrt = 1}, elements);
  if (op.floating(6) != 0) cost.add({.add = 1, .multiply = 1}, elements);
  if (op.boolean(8)) cost.add({.add = 1}, elements);
}

// Each gradient is looked at and multiplied.
void unscale_cost(const OpSignature& op, Cost& cost) {
  cost.add({.multiply = 1, .compare = 1}, total_numel(op.tensors(0)));
}

// The scale grows or shrinks by a factor; how often it did not is counted.
void update_scale_cost(const OpSignature& op, Cost& cost) {
  cost.add({.multiply = 1, .compare = 1}, 1);
  cost[FlopKind::int_ops] += 1;
  if (op.outputs.size() == 1) cost.bytes_written += op.tensor(1).distinct_bytes();
}

// Table -------------------------------------------------------------------------------------------

#define ADAM(NAME, LR)                                                                           \
  {"aten::" NAME                                                                                 \
   "(Tensor[] self, Tensor[] grads, Tensor[] exp_avgs, Tensor[] exp_avg_sqs, Tensor[] "          \
   "max_exp_avg_sqs, Tensor[] state_steps, *, " LR                                               \
   " lr, float beta1, float beta2, float weight_decay, float eps, bool amsgrad, bool maximize, " \
   "Tensor? grad_scale=None, Tensor? found_inf=None) -> (Tensor[] self_out, Tensor[] "           \
   "grads_out, Tensor[] exp_avgs_out, Tensor[] exp_avg_sqs_out, Tensor[] "                       \
   "max_exp_avg_sqs_out)",                                                                       \
   &changed_lists<15, 5, 4>, &adam_cost}
#define SGD(NAME, LR)                                                                       \
  {"aten::" NAME                                                                            \
   "(Tensor[] self, Tensor[] grads, Tensor[] momentum_buffer_list, *, float weight_decay, " \
   "float momentum, " LR                                                                    \
   " lr, float dampening, bool nesterov, bool maximize, bool is_first_step, Tensor? "       \
   "grad_scale=None, Tensor? found_inf=None) -> (Tensor[] self_out, Tensor[] grads_out, "   \
   "Tensor[] momentum_buffer_list_out)",                                                    \
   &changed_lists<12, 3, 2>, &sgd_cost}

const Rule kOptimizerTable[] = {
    ADAM("_fused_adam", "float"),
    ADAM("_fused_adam.tensor_lr", "Tensor"),
    ADAM("_fused_adamw", "float"),
    ADAM("_fused_adamw.tensor_lr", "Tensor"),
    SGD("_fused_sgd", "float"),
    SGD("_fused_sgd.tensor_lr", "Tensor"),
    {"aten::_fused_adagrad(Tensor[] self, Tensor[] grads, Tensor[] state_sums, Tensor[] "
     "state_steps, *, float lr, float lr_decay, float weight_decay, float eps, bool maximize, "
     "Tensor? grad_scale=None, Tensor? found_inf=None) -> (Tensor[] self_out, Tensor[] grads_out, "
     "Tensor[] state_sums_out, Tensor[] state_steps_out)",
     &changed_lists<11, 4, 3>, &adagrad_cost},
    {"aten::_fused_adagrad.tensor_lr(Tensor[] self, Tensor[] grads, Tensor[] state_sums, Tensor[] "
     "state_steps, *, Tensor lr, float lr_decay, float weight_decay, float eps, bool maximize, "
     "Tensor? grad_scale=None, Tensor? found_inf=None) -> (Tensor[] self_out, Tensor[] grads_out, "
     "Tensor[] state_sums_out)",
     &changed_lists<11, 3, 3>, &adagrad_cost},

    {"aten::_amp_foreach_non_finite_check_and_unscale(Tensor[] self, Tensor found_inf, Tensor "
     "inv_scale) -> (Tensor[] self_out, Tensor found_inf_out)",
     boxed<&unscaled>, &unscale_cost},
    {"aten::_amp_update_scale(Tensor self, Tensor growth_tracker, Tensor found_inf, float "
     "scale_growth_factor, float scale_backoff_factor, int growth_interval) -> (Tensor, Tensor "
     "growth_tracker_out)",
     boxed<&updated_scale>, &update_scale_cost},
};

#undef ADAM
#undef SGD

}  // namespace

const RuleFamily kOptimizerRules("optimizer", kOptimizerTable, OpClass::elementwise,
                                 kNothingSpecial);

}  // namespace nnprof

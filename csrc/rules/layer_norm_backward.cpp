// The gradients of layer, RMS and group normalization.
#include <array>
#include <tuple>

#include "rules/families.h"
#include "rules/gradients.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using c10::IntArrayRef;
using OptionalTensor = std::optional<at::Tensor>;
using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

void check_gradient(const char* function, const at::Tensor& grad_output, const at::Tensor& input) {
  TORCH_CHECK_NOT_IMPLEMENTED(input.is_floating_point(), "\"", function, "\" not implemented for '",
                              input.scalar_type(), "'");
  TORCH_CHECK(grad_output.numel() == input.numel(), function, ": grad_out of ", grad_output.sizes(),
              " and input of ", input.sizes(), " differ");
}

void check_trailing(const char* function, const at::Tensor& input, IntArrayRef normalized) {
  const size_t dims = input.sizes().size();
  TORCH_CHECK(!normalized.empty() && dims >= normalized.size() &&
                  input.sizes().slice(dims - normalized.size()) == normalized,
              function, ": expected an input that ends with the sizes ", normalized,
              ", but got one of ", input.sizes());
}

// As large as the parameter, which must be there.
at::Tensor gradient_of(const char* function, const OptionalTensor& parameter) {
  TORCH_CHECK(value_of(parameter).defined(), function,
              ": a gradient is asked for of a parameter that there is not");
  return empty_like_dtype(parameter->sizes(), *parameter);
}

Gradients layer_norm_backward(const at::Tensor& grad_output, const at::Tensor& input,
                              IntArrayRef normalized, const at::Tensor& /*mean*/,
                              const at::Tensor& /*rstd*/, const OptionalTensor& weight,
                              const OptionalTensor& bias, std::array<bool, 3> asked_for) {
  constexpr const char* kName = "native_layer_norm_backward";
  check_gradient(kName, grad_output, input);
  check_trailing(kName, input, normalized);
  return {asked_for[0] ? empty_like_dtype(input.sizes(), input) : at::Tensor(),
          asked_for[1] ? gradient_of(kName, weight) : at::Tensor(),
          asked_for[2] ? gradient_of(kName, bias) : at::Tensor()};
}

std::tuple<at::Tensor, at::Tensor> rms_norm_backward(
    const at::Tensor& grad_output, const at::Tensor& input, IntArrayRef normalized,
    const at::Tensor& /*rstd*/, const OptionalTensor& weight, std::array<bool, 2> asked_for) {
  check_gradient("_fused_rms_norm_backward", grad_output, input);
  check_trailing("_fused_rms_norm_backward", input, normalized);
  const bool of_weight = asked_for[1] && value_of(weight).defined();
  return {asked_for[0] ? empty_like_dtype(input.sizes(), input) : at::Tensor(),
          of_weight ? empty_like_dtype(weight->sizes(), *weight) : at::Tensor()};
}

Gradients group_norm_backward(const at::Tensor& grad_output, const at::Tensor& input,
                              const at::Tensor& /*mean*/, const at::Tensor& /*rstd*/,
                              const OptionalTensor& weight, int64_t batch, int64_t channels,
                              int64_t positions, int64_t groups, std::array<bool, 3> asked_for) {
  constexpr const char* kName = "native_group_norm_backward";
  check_gradient(kName, grad_output, input);
  TORCH_CHECK(groups > 0 && channels % groups == 0, "Expected number of channels ", channels,
              " to be evenly divisible by number of ", "groups ", groups);
  TORCH_CHECK(input.numel() == batch * channels * positions, "Expect input to have ", batch, " x ",
              channels, " x ", positions, " elements, but got one of ", input.sizes());
  const auto format = input.suggest_memory_format();
  return {asked_for[0] ? empty_of(input.sizes(), input.scalar_type(), format) : at::Tensor(),
          asked_for[1] ? gradient_of(kName, weight) : at::Tensor(),
          asked_for[2] ? gradient_of(kName, weight) : at::Tensor()};
}

// Costs -------------------------------------------------------------------------------------------

Count rows_of(const OpSignature& op) {
  const TensorSpec& input = op.tensor(1);
  const size_t normalized = op.integers(2).size();
  Count rows = 1;
  for (size_t i = 0; i + normalized < input.sizes.size(); ++i) rows *= input.sizes[i];
  return rows;
}

// Of a row, or a group: dx = rstd * g + b * x + c with g = dy * weight, and from a = sum(g * x)
// and s = sum(g)
//   b = (s * mean - a) * rstd^3 / n        c = -b * mean - s * rstd / n
constexpr FlopMix kFactors = {.add = 2, .multiply = 6, .division = 2};

void layer_norm_cost(const OpSignature& op, Cost& cost) {
  constexpr size_t kWeight = 5, kMask = 7;
  const Count elements = op.tensor(1).numel();
  if (asked(op, kMask, 0)) {
    if (op.has_tensor(kWeight)) add_elementwise(op, cost, {.multiply = 1}, elements);
    add_elementwise(op, cost, {.add = 4, .multiply = 3}, elements);  // the two sums, dx
    add_elementwise(op, cost, kFactors, rows_of(op));
  } else {
    not_read(op, cost, kWeight);
  }
  // sum(dy * (x - mean) * rstd)
  if (asked(op, kMask, 1)) add_elementwise(op, cost, {.add = 2, .multiply = 2}, elements);
  if (asked(op, kMask, 2)) add_elementwise(op, cost, {.add = 1}, elements);
  not_read(op, cost, kWeight + 1);  // of the bias only the sizes matter
}

// dx = rstd * g - x * rstd^3 * sum(g * x) / n
void rms_norm_cost(const OpSignature& op, Cost& cost) {
  constexpr size_t kWeight = 4, kMask = 5;
  const Count elements = op.tensor(1).numel();
  if (asked(op, kMask, 0)) {
    if (op.has_tensor(kWeight)) add_elementwise(op, cost, {.multiply = 1}, elements);
    add_elementwise(op, cost, {.add = 2, .multiply = 3}, elements);
    add_elementwise(op, cost, {.multiply = 3, .division = 1}, rows_of(op));
  } else {
    not_read(op, cost, kWeight);
  }
  if (asked(op, kMask, 1) && op.has_tensor(kWeight)) {  // sum(dy * x * rstd)
    add_elementwise(op, cost, {.add = 1, .multiply = 2}, elements);
  }
}

// As of a layer norm, but weights are of channels: first a = sum(dy * x) and s = sum(dy) are made
// of each sample and channel, and go into all of the gradients.
void group_norm_cost(const OpSignature& op, Cost& cost) {
  constexpr size_t kWeight = 4, kBatch = 5, kChannels = 6, kGroups = 8, kMask = 9;
  const Count elements = op.tensor(1).numel();
  const Count batch = op.integer(kBatch), rows = batch * op.integer(kChannels);
  const bool of_input = asked(op, kMask, 0), of_weight = asked(op, kMask, 1);
  add_elementwise(op, cost, {.add = 2, .multiply = 1}, elements);
  if (of_input) {
    if (op.has_tensor(kWeight)) add_elementwise(op, cost, {.multiply = 3}, rows);
    add_elementwise(op, cost, {.add = 2}, rows);
    add_elementwise(op, cost, kFactors, batch * op.integer(kGroups));
    add_elementwise(op, cost, {.add = 2, .multiply = 2}, elements);
  } else {
    not_read(op, cost, kWeight);
  }
  // sum over the samples of (a - s * mean) * rstd
  if (of_weight) add_elementwise(op, cost, {.add = 2, .multiply = 2}, rows);
  if (asked(op, kMask, 2)) add_elementwise(op, cost, {.add = 1}, rows);
}

const Rule kLayerNormBackwardTable[] = {
    {"aten::_fused_rms_norm_backward(Tensor grad_out, Tensor input, int[] normalized_shape, Tensor "
     "rstd, Tensor? weight, bool[2] output_mask) -> (Tensor, Tensor)",
     boxed<&rms_norm_backward>, rms_norm_cost},
    {"aten::native_group_norm_backward(Tensor grad_out, Tensor input, Tensor mean, Tensor rstd, "
     "Tensor? weight, SymInt N, SymInt C, SymInt HxW, int group, bool[3] output_mask) -> (Tensor, "
     "Tensor, Tensor)",
     boxed<&group_norm_backward>, group_norm_cost},
    {"aten::native_layer_norm_backward(Tensor grad_out, Tensor input, SymInt[] normalized_shape, "
     "Tensor mean, Tensor rstd, Tensor? weight, Tensor? bias, bool[3] output_mask) -> (Tensor, "
     "Tensor, Tensor)",
     boxed<&layer_norm_backward>, layer_norm_cost},
};

}  // namespace

const RuleFamily kLayerNormBackwardRules("layer_norm", kLayerNormBackwardTable, OpClass::layer_norm,
                                         kNothingSpecial);

}  // namespace nnprof

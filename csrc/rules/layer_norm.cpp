// Layer, RMS and group normalization: statistics for each sample, over its trailing dimensions or a
// group of its channels.
#include <ATen/OpMathType.h>
#include <ATen/native/cpu/mixed_data_type.h>

#include <tuple>

#include "core/torch_version.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using c10::DimVector;
using c10::IntArrayRef;
using OptionalTensor = std::optional<at::Tensor>;

const at::Tensor& value(const OptionalTensor& tensor) {
  static const at::Tensor undefined;
  return tensor ? *tensor : undefined;
}

void check_floating(const char* kernel, const at::Tensor& input) {
  TORCH_CHECK_NOT_IMPLEMENTED(c10::isFloatingType(input.scalar_type()), "\"", kernel,
                              "\" not implemented for '", input.scalar_type(), "'");
}

// The dtype of the statistics: that of the parameters, which for inputs of 16 bits may be float.
c10::ScalarType statistics_dtype(const at::Tensor& input, const OptionalTensor& weight,
                                 const OptionalTensor& bias) {
  const bool mixed = at::native::is_mixed_type(input, value(weight), value(bias));
  if (mixed) at::native::check_mixed_data_type(input, value(weight), value(bias));
  const auto dtype = at::native::param_scalar_type(input, mixed);
  for (const at::Tensor* tensor : {&value(weight), &value(bias)}) {
    TORCH_CHECK(!tensor->defined() || tensor->scalar_type() == dtype, "expected scalar type ",
                dtype, " but found ", tensor->scalar_type());
  }
  return dtype;
}

void check_parameter(const char* name, const OptionalTensor& tensor, IntArrayRef normalized) {
  TORCH_CHECK(!tensor || !tensor->defined() || tensor->sizes() == normalized, "Expected ", name,
              " to be of same shape as normalized_shape, but got ", name, " of shape ",
              tensor ? tensor->sizes() : IntArrayRef(), " and normalized_shape = ", normalized);
}

void check_trailing(const at::Tensor& input, IntArrayRef normalized) {
  TORCH_CHECK(!normalized.empty(),
              "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least "
              "one element, but got normalized_shape = ",
              normalized);
  const size_t dims = input.sizes().size();
  TORCH_CHECK(
      dims >= normalized.size() && input.sizes().slice(dims - normalized.size()) == normalized,
      "Given normalized_shape=", normalized, ", expected input with shape [*, ",
      c10::Join(", ", normalized), "], but got input of size", input.sizes());
}

// One value a row: the leading sizes, and ones in place of the normalized ones.
DimVector statistics_sizes(const at::Tensor& input, IntArrayRef normalized) {
  DimVector sizes(input.sizes());
  std::fill(sizes.end() - static_cast<std::ptrdiff_t>(normalized.size()), sizes.end(), 1);
  return sizes;
}

c10::ScalarType check_layer_norm(const at::Tensor& input, IntArrayRef normalized,
                                 const OptionalTensor& weight, const OptionalTensor& bias) {
  const auto dtype = statistics_dtype(input, weight, bias);
  check_parameter("weight", weight, normalized);
  check_parameter("bias", bias, normalized);
  check_trailing(input, normalized);
  check_floating("LayerNormKernelImpl", input);
  return dtype;
}

at::Tensor layer_norm(const at::Tensor& input, IntArrayRef normalized, const OptionalTensor& weight,
                      const OptionalTensor& bias, double, bool) {
  check_layer_norm(input, normalized, weight, bias);
  return empty_like_dtype(input.sizes(), input);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> native_layer_norm(const at::Tensor& input,
                                                                 IntArrayRef normalized,
                                                                 const OptionalTensor& weight,
                                                                 const OptionalTensor& bias,
                                                                 double) {
  const auto dtype = check_layer_norm(input, normalized, weight, bias);
  const DimVector sizes = statistics_sizes(input, normalized);
  return {empty_like_dtype(input.sizes(), input), empty_of(sizes, dtype), empty_of(sizes, dtype)};
}

at::Tensor rms_norm(const at::Tensor& input, IntArrayRef normalized, const OptionalTensor& weight,
                    std::optional<double>) {
  TORCH_CHECK(!normalized.empty(),
              "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least "
              "one element, but got normalized_shape = ",
              normalized);
  check_parameter("weight", weight, normalized);
  TORCH_CHECK_VALUE(input.sizes().size() >= normalized.size(), "Input tensor must have at least ",
                    normalized.size(), " dimensions, but got ", input.dim());
  check_trailing(input, normalized);
  TORCH_CHECK_NOT_IMPLEMENTED(c10::isFloatingType(input.scalar_type()) || input.is_complex(),
                              "\"rms_norm\" not implemented for '", input.scalar_type(), "'");
  return empty_of(input.sizes(), input.scalar_type(), input.suggest_memory_format());
}

// Also the inverse root mean square of each row.
std::tuple<at::Tensor, at::Tensor> fused_rms_norm(const at::Tensor& input, IntArrayRef normalized,
                                                  const OptionalTensor& weight,
                                                  std::optional<double> eps) {
  at::Tensor output = rms_norm(input, normalized, weight, eps);
  return {output,
          empty_of(statistics_sizes(input, normalized), at::toOpMathType(input.scalar_type()))};
}

void check_groups(const at::Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
                  int64_t channels, int64_t groups) {
  TORCH_CHECK(groups > 0, "Expected num groups to be greater than 0, got ", groups);
  TORCH_CHECK(channels % groups == 0,
              "Expected number of channels in input to be divisible by num_groups, but got input "
              "of shape ",
              input.sizes(), " and num_groups=", groups);
  const auto fits = [&](const OptionalTensor& tensor) {
    return !tensor || !tensor->defined() || (tensor->dim() == 1 && tensor->numel() == channels);
  };
  TORCH_CHECK(fits(weight),
              "Expected weight to be a vector of size equal to the number of channels in input, "
              "but got weight of shape ",
              weight->sizes(), " and input of shape ", input.sizes());
  TORCH_CHECK(fits(bias),
              "Expected bias to be a vector of size equal to the number of channels in input, "
              "but got bias of shape ",
              bias->sizes(), " and input of shape ", input.sizes());
  check_floating("GroupNormKernelImpl", input);
}

// Since 2.14 there has to be something to normalize.
void check_positions(int64_t channels, int64_t positions) {
  if (!torch_is_at_least(2, 14)) return;
  TORCH_CHECK(channels > 0, "Expected number of channels to be greater than 0, got ", channels);
  TORCH_CHECK(positions > 0, "Expected HxW to be greater than 0, got ", positions);
}

at::Tensor group_norm(const at::Tensor& input, int64_t groups, const OptionalTensor& weight,
                      const OptionalTensor& bias, double, bool) {
  TORCH_CHECK_INDEX(input.dim() >= 2,
                    "Dimension out of range: group_norm expects an input of at least 2 "
                    "dimensions, got ",
                    input.dim());
  check_groups(input, weight, bias, input.size(1), groups);
  check_positions(input.size(1), c10::multiply_integers(input.sizes().slice(2)));
  statistics_dtype(input, weight, bias);
  return empty_of(input.sizes(), input.scalar_type(), input.suggest_memory_format());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> native_group_norm(
    const at::Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
    int64_t batch, int64_t channels, int64_t positions, int64_t groups, double) {
  check_groups(input, weight, bias, channels, groups);
  check_positions(channels, positions);
  auto format = input.suggest_memory_format();
  if (!input.is_contiguous(format)) {
    TORCH_CHECK(torch_is_at_least(2, 14), "Expected X.is_contiguous(memory_format) to be true");
    format = c10::MemoryFormat::Contiguous;
  }
  TORCH_CHECK(input.numel() == batch * channels * positions, "Expected an input of ", batch, " x ",
              channels, " x ", positions, " elements, but got one of size ", input.sizes());
  const auto dtype = statistics_dtype(input, weight, bias);
  return {empty_of(input.sizes(), input.scalar_type(), format), empty_of({batch, groups}, dtype),
          empty_of({batch, groups}, dtype)};
}

// Costs
// --------------------------------------------------------------------------------------------

Count rows_of(const TensorSpec& input, const std::vector<int64_t>& normalized) {
  Count rows = 1;
  for (size_t i = 0; i + normalized.size() < input.sizes.size(); ++i) rows *= input.sizes[i];
  return rows;
}

// The mean takes one add an element, the variance a difference, its square and a sum; each is
// divided once a row, and the inverse deviation is an add (eps) and a root.
void add_statistics(const OpSignature& op, Cost& cost, Count rows) {
  add_elementwise(op, cost, {.add = 3, .multiply = 1}, op.tensor(0).numel());
  add_elementwise(op, cost, {.add = 1, .division = 2, .sqrt = 1}, rows);
}

// (x - mean) * rstd * weight + bias, each element having its own weight.
void layer_norm_cost(const OpSignature& op, Cost& cost) {
  const Count elements = op.tensor(0).numel();
  add_statistics(op, cost, rows_of(op.tensor(0), op.integers(1)));
  add_elementwise(op, cost, {.add = 1, .multiply = 1}, elements);
  if (op.has_tensor(2)) add_elementwise(op, cost, {.multiply = 1}, elements);
  if (op.has_tensor(3)) add_elementwise(op, cost, {.add = 1}, elements);
}

// x / sqrt(mean(x * x) + eps) * weight
void rms_norm_cost(const OpSignature& op, Cost& cost) {
  const Count elements = op.tensor(0).numel();
  add_elementwise(op, cost, {.add = 1, .multiply = 2}, elements);
  add_elementwise(op, cost, {.add = 1, .division = 1, .sqrt = 1},
                  rows_of(op.tensor(0), op.integers(1)));
  if (op.has_tensor(2)) add_elementwise(op, cost, {.multiply = 1}, elements);
}

// x * scale + shift, a channel having one weight: scale = rstd * weight and
// shift = bias - mean * scale are made once a sample and channel.
void add_group_norm(const OpSignature& op, Cost& cost, Count batch, Count channels, Count groups) {
  add_statistics(op, cost, batch * groups);
  add_elementwise(op, cost, {.add = 1, .multiply = 1}, op.tensor(0).numel());
  add_elementwise(op, cost, {.add = 1, .multiply = 2}, batch * channels);
}

void group_norm_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& input = op.tensor(0);
  add_group_norm(op, cost, input.size(0), input.size(1), op.integer(1));
  // contiguous(), in the format that the output has.
  if (input.numel() != 0 && input.strides != op.output().strides && !input.is_contiguous()) {
    add_copy(cost, input.numel() * input.element_size());
  }
}

void native_group_norm_cost(const OpSignature& op, Cost& cost) {
  add_group_norm(op, cost, op.integer(3), op.integer(4), op.integer(6));
}

const Rule kLayerNormTable[] = {
    {"aten::layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, Tensor? "
     "bias=None, float eps=1.0000000000000001e-05, bool cudnn_enable=True) -> Tensor",
     boxed<&layer_norm>, layer_norm_cost},
    {"aten::native_layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight, Tensor? "
     "bias, float eps) -> (Tensor, Tensor, Tensor)",
     boxed<&native_layer_norm>, layer_norm_cost},
    {"aten::rms_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, float? "
     "eps=None) -> Tensor",
     boxed<&rms_norm>, rms_norm_cost},
    {"aten::_fused_rms_norm(Tensor input, int[] normalized_shape, Tensor? weight, float? eps) -> "
     "(Tensor, Tensor)",
     boxed<&fused_rms_norm>, rms_norm_cost},
    {"aten::group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float "
     "eps=1.0000000000000001e-05, bool cudnn_enabled=True) -> Tensor",
     boxed<&group_norm>, group_norm_cost},
    {"aten::native_group_norm(Tensor input, Tensor? weight, Tensor? bias, SymInt N, SymInt C, "
     "SymInt HxW, int group, float eps) -> (Tensor, Tensor, Tensor)",
     boxed<&native_group_norm>, native_group_norm_cost},
};

}  // namespace

const RuleFamily kLayerNormRules("layer_norm", kLayerNormTable, OpClass::layer_norm,
                                 kNothingSpecial);

}  // namespace nnprof

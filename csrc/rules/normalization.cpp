// Batch and instance normalization: statistics for each channel, over the rest.
#include <ATen/MemoryOverlap.h>
#include <ATen/native/cpu/mixed_data_type.h>

#include <tuple>

#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using OptionalTensor = std::optional<at::Tensor>;

bool defined(const OptionalTensor& tensor) { return tensor && tensor->defined(); }

const at::Tensor& value(const OptionalTensor& tensor) {
  static const at::Tensor undefined;
  return tensor ? *tensor : undefined;
}

void check_elements(const char* name, const OptionalTensor& tensor, int64_t expected) {
  TORCH_CHECK(!defined(tensor) || tensor->numel() == expected, name, " should contain ", expected,
              " elements not ", tensor ? tensor->numel() : 0);
}

void check_floating(const char* name, const at::Tensor& input) {
  TORCH_CHECK_NOT_IMPLEMENTED(c10::isFloatingType(input.scalar_type()), "\"", name,
                              "\" not implemented for '", input.scalar_type(), "'");
}

// The learned and the running tensors of a batch normalization.
struct Channels {
  const OptionalTensor& weight;
  const OptionalTensor& bias;
  const OptionalTensor& running_mean;
  const OptionalTensor& running_var;
};

// The dtype of the statistics: that of the parameters, which for inputs of 16 bits may be float.
c10::ScalarType statistics_dtype(const at::Tensor& input, const Channels& channels) {
  const at::Tensor& weight = value(channels.weight);
  const at::Tensor& bias = value(channels.bias);
  const at::Tensor& mean = value(channels.running_mean);
  const at::Tensor& var = value(channels.running_var);
  const bool mixed = at::native::is_mixed_type(input, weight, bias, mean, var);
  if (mixed) at::native::check_mixed_data_type(input, weight, bias, mean, var);
  const auto dtype = at::native::param_scalar_type(input, mixed);
  for (const at::Tensor* tensor : {&weight, &bias, &mean, &var}) {
    TORCH_CHECK(!tensor->defined() || tensor->scalar_type() == dtype, "expected scalar type ",
                dtype, " but found ", tensor->scalar_type());
  }
  return dtype;
}

void check_channels(const at::Tensor& input, const Channels& channels, bool training) {
  const int64_t count = input.size(1);
  TORCH_CHECK(training || defined(channels.running_mean),
              "running_mean must be defined in evaluation mode");
  TORCH_CHECK(training || defined(channels.running_var),
              "running_var must be defined in evaluation mode");
  check_elements("running_mean", channels.running_mean, count);
  check_elements("running_var", channels.running_var, count);
  check_elements("weight", channels.weight, count);
  check_elements("bias", channels.bias, count);
}

at::Tensor normalized(const at::Tensor& input) {
  return empty_of(input.sizes(), input.scalar_type(), input.suggest_memory_format());
}

using ThreeTensors = std::tuple<at::Tensor, at::Tensor, at::Tensor>;
using FourTensors = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

// The output, and the saved mean and inverse deviation: empty in evaluation.
ThreeTensors normalize(const at::Tensor& input, const Channels& channels, bool training) {
  TORCH_CHECK_INDEX(input.dim() >= 2,
                    "Dimension out of range: batch_norm expects an input of at least 2 "
                    "dimensions, got ",
                    input.dim());
  check_floating("batch_norm", input);
  check_channels(input, channels, training);
  const auto dtype = statistics_dtype(input, channels);
  TORCH_CHECK(!training || input.numel() != 0,
              "input tensor must have at least one element, but got input_sizes = ", input.sizes());
  const int64_t saved = training ? input.size(1) : 0;
  return {normalized(input), empty_of({saved}, dtype), empty_of({saved}, dtype)};
}

at::Tensor no_reserve() { return empty_of({0}, at::kByte); }

at::Tensor batch_norm(const at::Tensor& input, const OptionalTensor& weight,
                      const OptionalTensor& bias, const OptionalTensor& running_mean,
                      const OptionalTensor& running_var, bool training, double, double, bool) {
  if (input.numel() == 0) return empty_preserving(input);
  return std::get<0>(normalize(input, {weight, bias, running_mean, running_var}, training));
}

ThreeTensors native_batch_norm(const at::Tensor& input, const OptionalTensor& weight,
                               const OptionalTensor& bias, const OptionalTensor& running_mean,
                               const OptionalTensor& running_var, bool training, double, double) {
  return normalize(input, {weight, bias, running_mean, running_var}, training);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, int64_t> batch_norm_impl_index(
    const at::Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
    const OptionalTensor& running_mean, const OptionalTensor& running_var, bool training, double,
    double, bool) {
  if (input.numel() == 0) {
    const auto dtype = input.scalar_type() == at::kHalf || input.scalar_type() == at::kBFloat16
                           ? at::kFloat
                           : at::kDouble;
    const int64_t count = input.dim() < 2 ? 0 : input.size(1);
    return {empty_preserving(input), empty_of({count}, dtype), empty_of({count}, dtype),
            no_reserve(), 0};
  }
  auto [output, mean, invstd] =
      normalize(input, {weight, bias, running_mean, running_var}, training);
  return {output, mean, invstd, no_reserve(), 0};
}

ThreeTensors batch_norm_legit(const at::Tensor& input, const OptionalTensor& weight,
                              const OptionalTensor& bias, const at::Tensor& running_mean,
                              const at::Tensor& running_var, bool training, double, double) {
  return normalize(input, {weight, bias, running_mean, running_var}, training);
}

ThreeTensors batch_norm_without_statistics(const at::Tensor& input, const OptionalTensor& weight,
                                           const OptionalTensor& bias, bool training, double,
                                           double) {
  return normalize(input, {weight, bias, {}, {}}, training);
}

ThreeTensors batch_norm_in_evaluation(const at::Tensor& input, const OptionalTensor& weight,
                                      const OptionalTensor& bias, const at::Tensor& running_mean,
                                      const at::Tensor& running_var, double, double) {
  return normalize(input, {weight, bias, running_mean, running_var}, false);
}

FourTensors batch_norm_with_update(const at::Tensor& input, const OptionalTensor& weight,
                                   const OptionalTensor& bias, const at::Tensor& running_mean,
                                   const at::Tensor& running_var, double, double) {
  return std::tuple_cat(normalize(input, {weight, bias, running_mean, running_var}, true),
                        std::make_tuple(no_reserve()));
}

FourTensors batch_norm_no_update(const at::Tensor& input, const OptionalTensor& weight,
                                 const OptionalTensor& bias, const OptionalTensor& running_mean,
                                 const OptionalTensor& running_var, double, double) {
  return std::tuple_cat(normalize(input, {weight, bias, running_mean, running_var}, false),
                        std::make_tuple(no_reserve()));
}

// cuDNN's. The statistics it keeps are float for inputs of 16 bits, as its parameters are.
FourTensors cudnn_batch_norm(const at::Tensor& input, const at::Tensor& weight,
                             const OptionalTensor& bias, const OptionalTensor& running_mean,
                             const OptionalTensor& running_var, bool training, double, double) {
  return std::tuple_cat(normalize(input, {weight, bias, running_mean, running_var}, training),
                        std::make_tuple(no_reserve()));
}

// The running statistics come back as new tensors instead of being written.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> batch_norm_functional(
    const at::Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
    const at::Tensor& running_mean, const at::Tensor& running_var, bool training, double, double) {
  return std::tuple_cat(
      normalize(input, {weight, bias, running_mean, running_var}, training),
      std::make_tuple(empty_preserving(running_mean), empty_preserving(running_var)));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>
batch_norm_with_update_functional(const at::Tensor& input, const OptionalTensor& weight,
                                  const OptionalTensor& bias, const at::Tensor& running_mean,
                                  const at::Tensor& running_var, double, double) {
  return std::tuple_cat(
      normalize(input, {weight, bias, running_mean, running_var}, true),
      std::make_tuple(no_reserve(), empty_preserving(running_mean), empty_preserving(running_var)));
}

// A batch normalization of one image with batch x channels channels, of a contiguous input.
at::Tensor instance_norm(const at::Tensor& input, const OptionalTensor& weight,
                         const OptionalTensor& bias, const OptionalTensor& running_mean,
                         const OptionalTensor& running_var, bool use_input_stats, double, double,
                         bool) {
  TORCH_CHECK(use_input_stats || (defined(running_mean) && defined(running_var)),
              "Expected running_mean and running_var to be defined when use_input_stats is false");
  TORCH_CHECK_INDEX(input.dim() >= 2,
                    "Dimension out of range: instance_norm expects an input of "
                    "at least 2 dimensions, got ",
                    input.dim());
  check_floating("batch_norm", input);
  const Channels channels = {weight, bias, running_mean, running_var};
  check_channels(input, channels, use_input_stats);
  statistics_dtype(input, channels);
  for (const OptionalTensor& running : {running_mean, running_var}) {
    if (use_input_stats && defined(running)) at::assert_no_internal_overlap(*running);
  }
  return empty_like_dtype(input.sizes(), input);
}

// Costs
// --------------------------------------------------------------------------------------------

// An affine transform a channel, y = x * scale + shift: scale = weight / sqrt(var + eps) and
// shift = bias - mean * scale are made once a channel.
void add_transform(const OpSignature& op, Cost& cost, Count channels) {
  add_elementwise(op, cost, {.add = 1, .multiply = 1}, op.tensor(0).numel());
  add_elementwise(op, cost, {.add = 2, .multiply = 1, .sqrt = 1}, channels);
  if (op.has_tensor(1)) add_elementwise(op, cost, {.multiply = 1}, channels);
}

// The mean takes one add an element, the variance a difference, its square and a sum: and each of
// the two a division a channel.
void add_statistics(const OpSignature& op, Cost& cost, Count channels) {
  add_elementwise(op, cost, {.add = 3, .multiply = 1}, op.tensor(0).numel());
  add_elementwise(op, cost, {.division = 2}, channels);
}

// running = (1 - momentum) * running + momentum * new, for mean and variance, which is made
// unbiased by one more multiply. Running statistics are written too.
void add_update(const OpSignature& op, Cost& cost, Count channels) {
  if (!op.has_tensor(3)) return;
  add_elementwise(op, cost, {.add = 2, .multiply = 5}, channels);
  cost.bytes_written += op.tensor(3).distinct_bytes() + op.tensor(4).distinct_bytes();
}

void training_cost(const OpSignature& op, Cost& cost) {
  const Count channels = op.tensor(0).size(1);
  add_statistics(op, cost, channels);
  add_transform(op, cost, channels);
}

void updating_cost(const OpSignature& op, Cost& cost) {
  training_cost(op, cost);
  add_update(op, cost, op.tensor(0).size(1));
}

void evaluation_cost(const OpSignature& op, Cost& cost) {
  add_transform(op, cost, op.tensor(0).size(1));
}

// In training running statistics are not read where there are none to update.
void batch_norm_cost(const OpSignature& op, Cost& cost) {
  return op.boolean(5) ? updating_cost(op, cost) : evaluation_cost(op, cost);
}

// The new running statistics are outputs here, so already written.
void functional_cost(const OpSignature& op, Cost& cost) {
  const Count channels = op.tensor(0).size(1);
  training_cost(op, cost);
  add_elementwise(op, cost, {.add = 2, .multiply = 5}, channels);
}

void legit_functional_cost(const OpSignature& op, Cost& cost) {
  return op.boolean(5) ? functional_cost(op, cost) : evaluation_cost(op, cost);
}

void instance_norm_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& input = op.tensor(0);
  const Count channels = input.size(0) * input.size(1);
  if (op.boolean(5)) {
    add_statistics(op, cost, channels);
    add_update(op, cost, channels);
  }
  add_transform(op, cost, channels);
  if (!input.is_contiguous()) add_copy(cost, input.numel() * input.element_size());
}

// v * (g / |v|), the norm over all dimensions but one; the norms come out too.
std::tuple<at::Tensor, at::Tensor> weight_norm(const at::Tensor& v, const at::Tensor& g,
                                               int64_t dim) {
  TORCH_CHECK(dim == 0 || dim == v.dim() - 1,
              "fused kernels can only be applied for first or last dim");
  const auto norms = g.scalar_type() == at::kBFloat16 ? at::kFloat : g.scalar_type();
  return {empty_like_dtype(v.sizes(), v), empty_strided_of(g.sizes(), g.strides(), norms)};
}

void weight_norm_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, {.add = 1, .multiply = 2}, op.tensor(0).numel());
  add_elementwise(op, cost, {.division = 1, .sqrt = 1}, op.tensor(1).numel());
}

const Rule kNormalizationTable[] = {
    {"aten::batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? "
     "running_var, bool training, float momentum, float eps, bool cudnn_enabled) -> Tensor",
     boxed<&batch_norm>, batch_norm_cost},
    {"aten::native_batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, "
     "Tensor? running_var, bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
     boxed<&native_batch_norm>, batch_norm_cost},
    {"aten::_batch_norm_impl_index(Tensor input, Tensor? weight, Tensor? bias, Tensor? "
     "running_mean, Tensor? running_var, bool training, float momentum, float eps, bool "
     "cudnn_enabled) -> (Tensor, Tensor, Tensor, Tensor, int)",
     boxed<&batch_norm_impl_index>, batch_norm_cost},
    {"aten::_native_batch_norm_legit(Tensor input, Tensor? weight, Tensor? bias, Tensor(a!) "
     "running_mean, Tensor(b!) running_var, bool training, float momentum, float eps) -> (Tensor, "
     "Tensor, Tensor)",
     boxed<&batch_norm_legit>, batch_norm_cost},
    {"aten::_native_batch_norm_legit.no_stats(Tensor input, Tensor? weight, Tensor? bias, bool "
     "training, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
     boxed<&batch_norm_without_statistics>, training_cost},
    {"aten::_native_batch_norm_legit_no_training(Tensor input, Tensor? weight, Tensor? bias, "
     "Tensor running_mean, Tensor running_var, float momentum, float eps) -> (Tensor, Tensor, "
     "Tensor)",
     boxed<&batch_norm_in_evaluation>, evaluation_cost},
    {"aten::_native_batch_norm_legit_functional(Tensor input, Tensor? weight, Tensor? bias, Tensor "
     "running_mean, Tensor running_var, bool training, float momentum, float eps) -> (Tensor, "
     "Tensor, Tensor, Tensor running_mean_out, Tensor running_var_out)",
     boxed<&batch_norm_functional>, legit_functional_cost},
    {"aten::_batch_norm_with_update(Tensor input, Tensor? weight, Tensor? bias, Tensor(a!) "
     "running_mean, Tensor(b!) running_var, float momentum, float eps) -> (Tensor, Tensor, Tensor, "
     "Tensor)",
     boxed<&batch_norm_with_update>, updating_cost},
    {"aten::_batch_norm_with_update_functional(Tensor input, Tensor? weight, Tensor? bias, Tensor "
     "running_mean, Tensor running_var, float momentum, float eps) -> (Tensor, Tensor, Tensor, "
     "Tensor, Tensor running_mean_out, Tensor running_var_out)",
     boxed<&batch_norm_with_update_functional>, functional_cost},
    {"aten::_batch_norm_no_update(Tensor input, Tensor? weight, Tensor? bias, Tensor? "
     "running_mean, Tensor? running_var, float momentum, float eps) -> (Tensor, Tensor, Tensor, "
     "Tensor)",
     boxed<&batch_norm_no_update>, evaluation_cost},
    {"aten::cudnn_batch_norm(Tensor input, Tensor weight, Tensor? bias, Tensor? running_mean, "
     "Tensor? running_var, bool training, float exponential_average_factor, float epsilon) -> "
     "(Tensor, Tensor, Tensor, Tensor)",
     boxed<&cudnn_batch_norm>, batch_norm_cost},
    {"aten::instance_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, "
     "Tensor? running_var, bool use_input_stats, float momentum, float eps, bool cudnn_enabled) -> "
     "Tensor",
     boxed<&instance_norm>, instance_norm_cost},
    {"aten::_weight_norm_interface(Tensor v, Tensor g, int dim=0) -> (Tensor, Tensor)",
     boxed<&weight_norm>, weight_norm_cost},
};

}  // namespace

const RuleFamily kNormalizationRules("normalization", kNormalizationTable, OpClass::normalization,
                                     kWritesUnsaid);

}  // namespace nnprof

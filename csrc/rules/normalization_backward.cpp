// The gradients of batch and weight normalization.
#include <ATen/native/cpu/mixed_data_type.h>

#include <array>
#include <tuple>

#include "rules/families.h"
#include "rules/gradients.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using OptionalTensor = std::optional<at::Tensor>;
using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor>;
using Mask = std::array<bool, 3>;

// What a batch normalization normalizes by: its own statistics, or the running ones.
struct Statistics {
  const OptionalTensor& mean;
  const OptionalTensor& deviation;
};

void check_channels(const char* name, const at::Tensor& tensor, int64_t channels) {
  TORCH_CHECK(!tensor.defined() || tensor.numel() == channels, name, " should contain ", channels,
              " elements not ", tensor.defined() ? tensor.numel() : 0);
}

// The dtype of the parameters' gradients: for inputs of 16 bits it may be float.
c10::ScalarType parameter_dtype(const at::Tensor& input, const OptionalTensor& weight,
                                const Statistics& running, const Statistics& saved) {
  const bool mixed = at::native::is_mixed_type(input, value_of(weight), value_of(running.mean),
                                               value_of(running.deviation), value_of(saved.mean),
                                               value_of(saved.deviation));
  return at::native::param_scalar_type(input, mixed);
}

Gradients gradients(const at::Tensor& grad_output, const at::Tensor& input,
                    const OptionalTensor& weight, const Statistics& running,
                    const Statistics& saved, bool training, const Mask& asked_for) {
  TORCH_CHECK_INDEX(input.dim() >= 2,
                    "Dimension out of range: batch_norm_backward expects an input of at least 2 "
                    "dimensions, got ",
                    input.dim());
  TORCH_CHECK_NOT_IMPLEMENTED(input.is_floating_point(),
                              "\"batch_norm_backward\" not implemented for '", input.scalar_type(),
                              "'");
  TORCH_CHECK(grad_output.sizes() == input.sizes(), "batch_norm_backward: grad_out of ",
              grad_output.sizes(), " and input of ", input.sizes(), " differ");
  const Statistics& used = training ? saved : running;
  TORCH_CHECK(value_of(used.mean).defined() && value_of(used.deviation).defined(),
              "batch_norm_backward: ", training ? "the saved" : "the running",
              " statistics must be defined");
  const int64_t channels = input.size(1);
  check_channels("weight", value_of(weight), channels);
  check_channels("mean", value_of(used.mean), channels);
  check_channels("variance", value_of(used.deviation), channels);
  const auto dtype = parameter_dtype(input, weight, running, saved);
  const auto format = input.suggest_memory_format();
  return {asked_for[0] ? empty_of(input.sizes(), input.scalar_type(), format) : at::Tensor(),
          asked_for[1] ? empty_of({channels}, dtype) : at::Tensor(),
          asked_for[2] ? empty_of({channels}, dtype) : at::Tensor()};
}

Gradients native_batch_norm_backward(const at::Tensor& grad_output, const at::Tensor& input,
                                     const OptionalTensor& weight,
                                     const OptionalTensor& running_mean,
                                     const OptionalTensor& running_var,
                                     const OptionalTensor& saved_mean,
                                     const OptionalTensor& saved_invstd, bool training, double,
                                     Mask asked_for) {
  return gradients(grad_output, input, weight, {running_mean, running_var},
                   {saved_mean, saved_invstd}, training, asked_for);
}

Gradients batch_norm_backward(const at::Tensor& grad_output, const at::Tensor& input,
                              const at::Tensor& weight, const OptionalTensor& running_mean,
                              const OptionalTensor& running_var, const OptionalTensor& saved_mean,
                              const OptionalTensor& saved_var, bool update, double, Mask asked_for,
                              const at::Tensor& /*reserve*/) {
  return gradients(grad_output, input, weight, {running_mean, running_var}, {saved_mean, saved_var},
                   update, asked_for);
}

Gradients cudnn_batch_norm_backward(const at::Tensor& input, const at::Tensor& grad_output,
                                    const at::Tensor& weight, const OptionalTensor& running_mean,
                                    const OptionalTensor& running_var,
                                    const OptionalTensor& saved_mean,
                                    const OptionalTensor& saved_var, double,
                                    const at::Tensor& /*reserve*/) {
  return gradients(grad_output, input, weight, {running_mean, running_var}, {saved_mean, saved_var},
                   true, {true, true, true});
}

// Costs -------------------------------------------------------------------------------------------

constexpr size_t kWeight = 2, kRunningMean = 3, kRunningVar = 4, kSavedMean = 5, kSavedVar = 6;

struct Asked {
  bool input, weight, bias;
};

// With d = sum(dy (x - mean)) a channel: dw = d * invstd, db = sum(dy), and
//   dx = (dy - sum(dy) / n - (x - mean) * d * invstd^2 / n) * invstd * weight
void training_cost(const OpSignature& op, Cost& cost, const Asked& wanted) {
  const Count elements = op.tensor(0).numel();
  const Count channels = op.tensor(0).size(1);
  if (wanted.input || wanted.bias) add_elementwise(op, cost, {.add = 1}, elements);
  if (wanted.input || wanted.weight) add_elementwise(op, cost, {.add = 2, .multiply = 1}, elements);
  if (wanted.weight) add_elementwise(op, cost, {.multiply = 1}, channels);
  if (wanted.input) {
    add_elementwise(op, cost, {.add = 3, .multiply = 2}, elements);
    add_elementwise(op, cost, {.multiply = 2, .division = 2}, channels);
    if (op.has_tensor(kWeight)) add_elementwise(op, cost, {.multiply = 1}, channels);
  }
  not_read(op, cost, kRunningMean);
  not_read(op, cost, kRunningVar);
}

// The statistics are numbers here: dx = dy * weight / sqrt(var + eps).
void evaluation_cost(const OpSignature& op, Cost& cost, const Asked& wanted) {
  const Count elements = op.tensor(0).numel();
  const Count channels = op.tensor(0).size(1);
  if (wanted.input || wanted.weight) {
    add_elementwise(op, cost, {.add = 1, .division = 1, .sqrt = 1}, channels);
  }
  if (wanted.input) {
    add_elementwise(op, cost, {.multiply = 1}, elements);
    if (op.has_tensor(kWeight)) add_elementwise(op, cost, {.multiply = 1}, channels);
  }
  if (wanted.weight) {
    add_elementwise(op, cost, {.add = 2, .multiply = 1}, elements);
    add_elementwise(op, cost, {.multiply = 1}, channels);
  } else {
    not_read(op, cost, 1);
  }
  if (wanted.bias) add_elementwise(op, cost, {.add = 1}, elements);
  not_read(op, cost, kSavedMean);
  not_read(op, cost, kSavedVar);
}

void masked_cost(const OpSignature& op, Cost& cost) {
  constexpr size_t kTraining = 7, kMask = 9;
  const Asked wanted = {asked(op, kMask, 0), asked(op, kMask, 1), asked(op, kMask, 2)};
  return op.boolean(kTraining) ? training_cost(op, cost, wanted)
                               : evaluation_cost(op, cost, wanted);
}

void cudnn_cost(const OpSignature& op, Cost& cost) {
  training_cost(op, cost, {.input = true, .weight = true, .bias = true});
}

// Weight normalization, w = v * g / |v| -----------------------------------------------------------

std::tuple<at::Tensor, at::Tensor> weight_norm_backward(const at::Tensor& grad_w,
                                                        const at::Tensor& v, const at::Tensor& g,
                                                        const at::Tensor& norms, int64_t dim) {
  TORCH_CHECK(dim == 0 || dim == v.dim() - 1,
              "fused kernels can only be applied for first or last dim");
  TORCH_CHECK(v.is_contiguous() && g.is_contiguous() && norms.is_contiguous(),
              "_weight_norm_interface_backward: what was saved must be contiguous");
  TORCH_CHECK(grad_w.sizes() == v.sizes(), "_weight_norm_interface_backward: a gradient of ",
              grad_w.sizes(), " does not fit a v of ", v.sizes());
  return {empty_like_dtype(v.sizes(), v), empty_like_dtype(g.sizes(), g)};
}

// With d = sum(dw * v): dv = (dw - v * d / |v|^2) * g / |v| and dg = d / |v|
void weight_norm_backward_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, {.add = 2, .multiply = 3}, op.tensor(0).numel());
  add_elementwise(op, cost, {.division = 3}, op.tensor(2).numel());
}

const Rule kNormalizationBackwardTable[] = {
    {"aten::_weight_norm_interface_backward(Tensor grad_w, Tensor saved_v, Tensor saved_g, Tensor "
     "saved_norms, int dim) -> (Tensor, Tensor)",
     boxed<&weight_norm_backward>, weight_norm_backward_cost},
    {"aten::batch_norm_backward(Tensor grad_out, Tensor input, Tensor weight, Tensor? "
     "running_mean, Tensor? running_var, Tensor? save_mean, Tensor? save_var, bool update, float "
     "eps, bool[3] output_mask, Tensor reserve) -> (Tensor, Tensor, Tensor)",
     boxed<&batch_norm_backward>, masked_cost},
    {"aten::cudnn_batch_norm_backward(Tensor input, Tensor grad_output, Tensor weight, Tensor? "
     "running_mean, Tensor? running_var, Tensor? save_mean, Tensor? save_var, float epsilon, "
     "Tensor reserveSpace) -> (Tensor, Tensor, Tensor)",
     boxed<&cudnn_batch_norm_backward>, cudnn_cost},
    {"aten::native_batch_norm_backward(Tensor grad_out, Tensor input, Tensor? weight, Tensor? "
     "running_mean, Tensor? running_var, Tensor? save_mean, Tensor? save_invstd, bool train, float "
     "eps, bool[3] output_mask) -> (Tensor, Tensor, Tensor)",
     boxed<&native_batch_norm_backward>, masked_cost},
};

}  // namespace

const RuleFamily kNormalizationBackwardRules("normalization", kNormalizationBackwardTable,
                                             OpClass::normalization, kWritesUnsaid);

}  // namespace nnprof

// Convolutions, plain and transposed, in one to three dimensions.
#include <ATen/TensorUtils.h>

#include <array>
#include <string_view>

#include "rules/convolution_sizes.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using c10::DimVector;
using c10::IntArrayRef;
using OptionalTensor = std::optional<at::Tensor>;

at::Tensor convolution(const at::Tensor& input, const at::Tensor& weight,
                       const OptionalTensor& bias, IntArrayRef stride, IntArrayRef padding,
                       IntArrayRef dilation, bool transposed, IntArrayRef output_padding,
                       int64_t groups) {
  Window window = window_of(weight, stride, padding, dilation, groups);
  window.output_padding = each_dimension(output_padding, "output_padding", window.stride.size());
  window.transposed = transposed;
  check_types(input, weight, bias);
  return convolve(as_is(input), weight, bias, window);
}

at::Tensor convolution_with_flags(const at::Tensor& input, const at::Tensor& weight,
                                  const OptionalTensor& bias, IntArrayRef stride,
                                  IntArrayRef padding, IntArrayRef dilation, bool transposed,
                                  IntArrayRef output_padding, int64_t groups, bool, bool, bool,
                                  bool) {
  return convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding,
                     groups);
}

at::Tensor deprecated_convolution(const at::Tensor& input, const at::Tensor& weight,
                                  const OptionalTensor& bias, IntArrayRef stride,
                                  IntArrayRef padding, IntArrayRef dilation, bool transposed,
                                  IntArrayRef output_padding, int64_t groups, bool, bool, bool) {
  return convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding,
                     groups);
}

template <int64_t Dims>
constexpr const char* kConvolutionName = Dims == 1   ? "conv1d"
                                         : Dims == 2 ? "conv2d"
                                                     : "conv3d";
template <int64_t Dims>
constexpr const char* kTransposedName = Dims == 1   ? "conv_transpose1d"
                                        : Dims == 2 ? "conv_transpose2d"
                                                    : "conv_transpose3d";

template <int64_t Dims>
at::Tensor conv(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation, int64_t groups) {
  const Batched batched = with_batch(input, Dims, kConvolutionName<Dims>);
  const Window window = window_of(weight, stride, padding, dilation, groups);
  check_types(input, weight, bias);
  return convolve(batched, weight, bias, window);
}

template <int64_t Dims>
at::Tensor conv_transpose(const at::Tensor& input, const at::Tensor& weight,
                          const OptionalTensor& bias, IntArrayRef stride, IntArrayRef padding,
                          IntArrayRef output_padding, int64_t groups, IntArrayRef dilation) {
  const Batched batched = with_batch(input, Dims, kTransposedName<Dims>);
  Window window = window_of(weight, stride, padding, dilation, groups);
  window.output_padding = each_dimension(output_padding, "output_padding", window.stride.size());
  window.transposed = true;
  check_types(input, weight, bias);
  return convolve(batched, weight, bias, window);
}

// "same" keeps the sizes (the stride must be 1): dilation * (kernel - 1) is padded in all, its odd
// one on the right by a copy of the input.
at::Tensor convolve_same(Batched input, const at::Tensor& weight, const OptionalTensor& bias,
                         IntArrayRef stride, IntArrayRef dilation, int64_t groups) {
  const size_t dims = spatial_dims_of(weight);
  TORCH_CHECK(weight.dim() == static_cast<int64_t>(input.dim()), "Expected ", weight.dim(),
              "-dimensional input for ", weight.dim(), "-dimensional weight", weight.sizes(),
              ", but got ", input.dim(), "-dimensional input of size ", IntArrayRef(input.sizes),
              " instead");
  TORCH_CHECK(stride.size() == dims || stride.size() == 1, "stride cannot broadcast to ", dims,
              " dimensions");
  TORCH_CHECK(dilation.size() == dims || dilation.size() == 1, "dilation cannot broadcast to ",
              dims, " dimensions");
  for (int64_t s : stride) {
    TORCH_CHECK(s == 1, "padding='same' is not supported for strided convolutions");
  }
  Window window = window_of(weight, stride, 0, dilation, groups);
  bool copied = false;
  const bool last = like_channels_last(input.sizes, input.strides);
  for (size_t d = 0; d < dims; ++d) {
    const int64_t total = window.dilation[d] * (weight.size(static_cast<int64_t>(d) + 2) - 1);
    window.padding[d] = total / 2;
    input.sizes[d + 2] += total % 2;
    copied = copied || total % 2 != 0;
  }
  if (copied) {
    input.strides = last ? channels_last_strides(input.sizes) : contiguous_strides(input.sizes);
  }
  return convolve(input, weight, bias, window);
}

at::Tensor convolve_named(const Batched& input, const at::Tensor& weight,
                          const OptionalTensor& bias, IntArrayRef stride, std::string_view padding,
                          IntArrayRef dilation, int64_t groups) {
  if (padding == "same") return convolve_same(input, weight, bias, stride, dilation, groups);
  TORCH_CHECK(padding == "valid", "Invalid padding string: '", padding, "'");
  return convolve(input, weight, bias, window_of(weight, stride, 0, dilation, groups));
}

at::Tensor convolution_mode(const at::Tensor& input, const at::Tensor& weight,
                            const OptionalTensor& bias, IntArrayRef stride,
                            std::string_view padding, IntArrayRef dilation, int64_t groups) {
  check_types(input, weight, bias);
  return convolve_named(as_is(input), weight, bias, stride, padding, dilation, groups);
}

template <int64_t Dims>
at::Tensor conv_padding(const at::Tensor& input, const at::Tensor& weight,
                        const OptionalTensor& bias, IntArrayRef stride, std::string_view padding,
                        IntArrayRef dilation, int64_t groups) {
  const Batched batched = with_batch(input, Dims, kConvolutionName<Dims>);
  check_types(input, weight, bias);
  return convolve_named(batched, weight, bias, stride, padding, dilation, groups);
}

// The kernel multiplies the rows of what one place of the kernel sees as one matrix: a view of it.
void check_rows(const at::Tensor& self, int64_t shift, int64_t length) {
  const int64_t steps =
      std::min(self.size(0) + std::min<int64_t>(shift, 0), length) - std::max<int64_t>(shift, 0);
  if (steps <= 0) return;
  const std::array<int64_t, 3> seen = {steps, self.size(1), self.size(2)};
  const DimVector rows = {steps * self.size(1), self.size(2)};
  TORCH_CHECK(at::detail::computeStride(seen, self.strides(), rows).has_value(),
              "view size is not compatible with input tensor's size and stride (at least one "
              "dimension spans across two contiguous subspaces). Use .reshape(...) instead.");
}

at::Tensor conv_tbc(const at::Tensor& self, const at::Tensor& weight, const at::Tensor& bias,
                    int64_t pad) {
  TORCH_CHECK(self.dim() == 3, "Input must have 3 dims: time, batch, in_channel.");
  TORCH_CHECK(weight.dim() == 3,
              "Weight tensor must have 3 dims: kernel_width, in_channels, "
              "out_channels.");
  TORCH_CHECK(bias.dim() == 1, "Bias must be 1-D");
  TORCH_CHECK(self.size(2) == weight.size(1),
              "Input dim 2 (input channels) is not == dim 1 in the weight tensor");
  TORCH_CHECK(weight.size(2) == bias.size(0),
              "Bias size must equal dim 2 in the weight tensor (output channels).");
  const int64_t length = self.size(0) + 2 * pad - weight.size(0) + 1;
  TORCH_CHECK(length >= 0, "conv_tbc(): a kernel of ", weight.size(0),
              " is greater than the padded input of ", self.size(0) + 2 * pad);
  for (int64_t k = 0; k < weight.size(0); ++k) check_rows(self, pad - k, length);
  return empty_like_dtype({length, self.size(1), weight.size(2)}, self);
}

// Costs. Positions that lie in the padding count, as FlopCounterMode has it.

void add_bias(const OpSignature& op, Cost& cost) {
  if (op.has_tensor(2)) add_elementwise(op, cost, {.add = 1}, op.output().numel());
}

// outputs x (input channels / groups) x kernel; weight: (outputs, inputs / groups, *kernel)
void convolution_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& weight = op.tensor(1);
  const Count per_output = weight.numel() / std::max<Count>(weight.size(0), 1);
  cost.add_macs(op.output().numel() * per_output, op.output().is_complex());
  add_bias(op, cost);
}

// inputs x (output channels / groups) x kernel; weight: (inputs, outputs / groups, *kernel)
void transposed_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& weight = op.tensor(1);
  const Count per_input = weight.numel() / std::max<Count>(weight.size(0), 1);
  cost.add_macs(op.tensor(0).numel() * per_input, op.output().is_complex());
  add_bias(op, cost);
}

void either_cost(const OpSignature& op, Cost& cost) {
  return op.boolean(6) ? transposed_cost(op, cost) : convolution_cost(op, cost);
}

// "same" padding with an odd total pads a copy of the input first.
void named_padding_cost(const OpSignature& op, Cost& cost) {
  convolution_cost(op, cost);
  if (op.string(4) != "same") return;
  const TensorSpec& input = op.tensor(0);
  const TensorSpec& weight = op.tensor(1);
  const std::vector<int64_t>& dilation = op.integers(5);
  Count padded = input.numel();
  bool copied = false;
  for (int64_t d = 2; d < weight.dim(); ++d) {
    const size_t i = dilation.size() == 1 ? 0 : static_cast<size_t>(d - 2);
    if (dilation[i] * (weight.size(d) - 1) % 2 == 0) continue;
    const Count size = input.size(d - weight.dim());
    padded = padded / std::max<Count>(size, 1) * (size + 1);
    copied = true;
  }
  if (copied) add_copy(cost, padded * input.element_size());
}

// outputs x kernel width x input channels; weight: (kernel width, inputs, outputs)
void conv_tbc_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& weight = op.tensor(1);
  cost.add_macs(op.output().numel() * weight.size(0) * weight.size(1));
  add_bias(op, cost);
}

const Rule kConvolutionTable[] = {
    {"aten::conv1d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], SymInt[1] "
     "padding=[0], SymInt[1] dilation=[1], SymInt groups=1) -> Tensor",
     boxed<&conv<1>>, convolution_cost},
    {"aten::conv2d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], "
     "SymInt[2] padding=[0, 0], SymInt[2] dilation=[1, 1], SymInt groups=1) -> Tensor",
     boxed<&conv<2>>, convolution_cost},
    {"aten::conv3d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, 1], "
     "SymInt[3] padding=[0, 0, 0], SymInt[3] dilation=[1, 1, 1], SymInt groups=1) -> Tensor",
     boxed<&conv<3>>, convolution_cost},
    {"aten::conv1d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], "
     "str padding=\"valid\", SymInt[1] dilation=[1], SymInt groups=1) -> Tensor",
     boxed<&conv_padding<1>>, named_padding_cost},
    {"aten::conv2d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, "
     "1], str padding=\"valid\", SymInt[2] dilation=[1, 1], SymInt groups=1) -> Tensor",
     boxed<&conv_padding<2>>, named_padding_cost},
    {"aten::conv3d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, "
     "1], str padding=\"valid\", SymInt[3] dilation=[1, 1, 1], SymInt groups=1) -> Tensor",
     boxed<&conv_padding<3>>, named_padding_cost},
    {"aten::conv_transpose1d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], "
     "SymInt[1] padding=[0], SymInt[1] output_padding=[0], SymInt groups=1, SymInt[1] "
     "dilation=[1]) -> Tensor",
     boxed<&conv_transpose<1>>, transposed_cost},
    {"aten::conv_transpose2d.input(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] "
     "stride=[1, 1], SymInt[2] padding=[0, 0], SymInt[2] output_padding=[0, 0], SymInt groups=1, "
     "SymInt[2] dilation=[1, 1]) -> Tensor",
     boxed<&conv_transpose<2>>, transposed_cost},
    {"aten::conv_transpose3d.input(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] "
     "stride=[1, 1, 1], SymInt[3] padding=[0, 0, 0], SymInt[3] output_padding=[0, 0, 0], SymInt "
     "groups=1, SymInt[3] dilation=[1, 1, 1]) -> Tensor",
     boxed<&conv_transpose<3>>, transposed_cost},
    {"aten::convolution(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] "
     "padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, SymInt groups) -> "
     "Tensor",
     boxed<&convolution>, either_cost},
    {"aten::convolution_overrideable(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, "
     "SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, SymInt "
     "groups) -> Tensor",
     boxed<&convolution>, either_cost},
    {"aten::_convolution(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] "
     "padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, SymInt groups, bool "
     "benchmark, bool deterministic, bool cudnn_enabled, bool allow_tf32) -> Tensor",
     boxed<&convolution_with_flags>, either_cost},
    {"aten::_convolution.deprecated(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, "
     "SymInt[] padding, SymInt[] dilation, bool transposed, int[] output_padding, SymInt groups, "
     "bool benchmark, bool deterministic, bool cudnn_enabled) -> Tensor",
     boxed<&deprecated_convolution>, either_cost},
    {"aten::_convolution_mode(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, str "
     "padding, SymInt[] dilation, SymInt groups) -> Tensor",
     boxed<&convolution_mode>, named_padding_cost},
    {"aten::conv_tbc(Tensor self, Tensor weight, Tensor bias, int pad=0) -> Tensor",
     boxed<&conv_tbc>, conv_tbc_cost},
};

}  // namespace

at::Tensor convolve(const Batched& input, const at::Tensor& weight, const OptionalTensor& bias,
                    const Window& window) {
  check_window(window);
  check_shapes(input, weight.sizes(), bias, window);
  const DimVector sizes = convolved_sizes(input, weight.sizes(), window);
  const IntArrayRef shown = IntArrayRef(sizes).slice(input.is_batched ? 0 : 1);
  if (!runs_channels_last(input, weight)) return empty_of(shown, weight.scalar_type());
  const DimVector strides = channels_last_strides(sizes);
  return empty_strided_of(shown, IntArrayRef(strides).slice(input.is_batched ? 0 : 1),
                          weight.scalar_type());
}

const RuleFamily kConvolutionRules("convolution", kConvolutionTable, OpClass::convolution,
                                   kNothingSpecial);

}  // namespace nnprof

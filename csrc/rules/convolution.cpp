// Convolutions, plain and transposed, in one to three dimensions.
#include <ATen/TensorUtils.h>
#include <c10/core/MemoryFormat.h>

#include <array>
#include <string_view>

#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using c10::DimVector;
using c10::IntArrayRef;
using OptionalTensor = std::optional<at::Tensor>;

// The options of a convolution, one value a spatial dimension.
struct Window {
  DimVector stride;
  DimVector padding;
  DimVector dilation;
  DimVector output_padding;  // of transposed convolutions
  bool transposed = false;
  int64_t groups = 1;
};

// Sizes and strides of an input with its batch dimension, which it may lack.
struct Batched {
  DimVector sizes;
  DimVector strides;
  bool is_batched = true;

  size_t dim() const { return sizes.size(); }
  int64_t numel() const { return c10::multiply_integers(sizes); }
};

Batched as_is(const at::Tensor& input) {
  return {DimVector(input.sizes()), DimVector(input.strides()), true};
}

Batched with_batch(const at::Tensor& input, int64_t spatial_dims, const char* function) {
  const bool is_batched = input.dim() == spatial_dims + 2;
  TORCH_CHECK(is_batched || input.dim() == spatial_dims + 1, "Expected ", spatial_dims + 1,
              "D (unbatched) or ", spatial_dims + 2, "D (batched) input to ", function,
              ", but got input of size: ", input.sizes());
  Batched batched = as_is(input);
  batched.is_batched = is_batched;
  if (!is_batched) {
    batched.sizes.insert(batched.sizes.begin(), 1);
    batched.strides.insert(batched.strides.begin(), input.size(0) * input.stride(0));
  }
  return batched;
}

DimVector each_dimension(IntArrayRef values, const char* name, size_t spatial_dims) {
  if (values.size() == 1) return DimVector(spatial_dims, values[0]);
  TORCH_CHECK(values.size() == spatial_dims, "expected ", name,
              " to be a single integer value or a list of ", spatial_dims,
              " values to match the convolution dimensions, but got ", name, "=", values);
  return DimVector(values);
}

size_t spatial_dims_of(const at::Tensor& weight) {
  TORCH_CHECK(weight.dim() > 2, "weight should have at least three dimensions");
  return static_cast<size_t>(weight.dim() - 2);
}

void check_types(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias) {
  TORCH_CHECK(input.scalar_type() == weight.scalar_type(), "Input type (", input.scalar_type(),
              ") and weight type (", weight.scalar_type(), ") should be the same");
  TORCH_CHECK(!bias || !bias->defined() || input.scalar_type() == bias->scalar_type(),
              "Input type (", input.scalar_type(), ") and bias type (",
              bias ? bias->scalar_type() : c10::ScalarType::Undefined, ") should be the same");
}

void check_window(const Window& window) {
  for (int64_t p : window.padding) TORCH_CHECK(p >= 0, "negative padding is not supported");
  for (int64_t p : window.output_padding) {
    TORCH_CHECK(p >= 0, "negative output_padding is not supported");
  }
  for (int64_t s : window.stride) TORCH_CHECK(s > 0, "non-positive stride is not supported");
  for (int64_t d : window.dilation) TORCH_CHECK(d > 0, "dilation should be greater than zero");
  TORCH_CHECK(window.groups > 0,
              "expected groups to be greater than 0, but got groups=", window.groups);
}

void check_kernel_fits(const Batched& input, IntArrayRef weight, const Window& window) {
  DimVector padded, kernel;
  bool fits = true;
  for (size_t i = 2; i < input.dim(); ++i) {
    padded.push_back(input.sizes[i] + 2 * window.padding[i - 2]);
    kernel.push_back(window.dilation[i - 2] * (weight[i] - 1) + 1);
    fits = fits && padded.back() >= kernel.back();
  }
  TORCH_CHECK(fits, "Calculated padded input size per channel: (", c10::Join(" x ", padded),
              "). Kernel size: (", c10::Join(" x ", kernel),
              "). Kernel size can't be greater than actual input size");
}

void check_shapes(const Batched& input, IntArrayRef weight, const OptionalTensor& bias,
                  const Window& window) {
  const int64_t groups = window.groups;
  TORCH_CHECK(weight.size() == input.dim(), "Expected ", weight.size(), "-dimensional input for ",
              weight.size(), "-dimensional weight ", weight, ", but got ", input.dim(),
              "-dimensional input of size ", IntArrayRef(input.sizes), " instead");
  TORCH_CHECK(weight[0] >= groups, "Given groups=", groups, ", expected weight to be at least ",
              groups, " at dimension 0, but got weight of size ", weight, " instead");
  TORCH_CHECK(weight[0] % groups == 0, "Given groups=", groups,
              ", expected weight to be divisible by ", groups,
              " at dimension 0, but got weight of size ", weight, " instead");
  const int64_t in_channels = window.transposed ? weight[0] : weight[1] * groups;
  const int64_t out_channels = window.transposed ? weight[1] * groups : weight[0];
  TORCH_CHECK(input.sizes[1] == in_channels, "Given ",
              window.transposed ? "transposed=1" : "groups=" + std::to_string(groups),
              ", weight of size ", weight, ", expected input", IntArrayRef(input.sizes),
              " to have ", in_channels, " channels, but got ", input.sizes[1], " channels instead");
  TORCH_CHECK(!bias || !bias->defined() || (bias->dim() == 1 && bias->size(0) == out_channels),
              "Given weight of size ", weight, ", expected bias to be 1-dimensional with ",
              out_channels, " elements, but got bias of size ",
              bias && bias->defined() ? bias->sizes() : IntArrayRef(), " instead");
  if (!window.transposed) check_kernel_fits(input, weight, window);
  TORCH_CHECK(input.sizes[0] == 0 || input.sizes[1] == 0 || input.numel() != 0,
              "Only zero batch or zero channel inputs are supported, but got input shape: ",
              IntArrayRef(input.sizes));
}

DimVector output_sizes(const Batched& input, IntArrayRef weight, const Window& window) {
  DimVector sizes = {input.sizes[0], window.transposed ? weight[1] * window.groups : weight[0]};
  if (input.sizes[1] == 0) sizes[1] = 0;
  for (size_t i = 2; i < input.dim(); ++i) {
    const size_t d = i - 2;
    const int64_t reach = window.dilation[d] * (weight[i] - 1);
    sizes.push_back((input.sizes[i] + 2 * window.padding[d] - reach - 1) / window.stride[d] + 1);
  }
  return sizes;
}

DimVector transposed_output_sizes(const Batched& input, IntArrayRef weight, const Window& window) {
  DimVector sizes = {input.sizes[0], weight[1] * window.groups};
  for (size_t i = 2; i < input.dim(); ++i) {
    const size_t d = i - 2;
    const int64_t extra = window.output_padding[d];
    TORCH_CHECK(extra < window.stride[d] || extra < window.dilation[d],
                "output padding must be smaller than either stride or dilation, but got "
                "output_padding=",
                IntArrayRef(window.output_padding), ", stride=", IntArrayRef(window.stride),
                ", dilation=", IntArrayRef(window.dilation));
    const int64_t reach = window.dilation[d] * (weight[i] - 1);
    sizes.push_back((input.sizes[i] - 1) * window.stride[d] - 2 * window.padding[d] + reach +
                    extra + 1);
    TORCH_CHECK(sizes.back() >= 0,
                "Given input size per channel: ", IntArrayRef(input.sizes).slice(2),
                ", the calculated output size ", sizes.back(), " is too small");
  }
  return sizes;
}

bool like_channels_last(IntArrayRef sizes, IntArrayRef strides) {
  if (sizes.size() == 4) return c10::is_channels_last_strides_2d<int64_t>(sizes, strides);
  return sizes.size() == 5 && c10::is_channels_last_strides_3d<int64_t>(sizes, strides);
}

DimVector contiguous_strides(IntArrayRef sizes) {
  DimVector strides(sizes.size());
  int64_t stride = 1;
  for (size_t i = sizes.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= std::max<int64_t>(sizes[i], 1);
  }
  return strides;
}

DimVector channels_last_strides(IntArrayRef sizes) {
  DimVector strides(sizes.size());
  strides[1] = 1;
  int64_t stride = sizes[1];
  for (size_t i = sizes.size(); i-- > 2;) {
    strides[i] = stride;
    stride *= sizes[i];
  }
  strides[0] = stride;
  return strides;
}

// A one-dimensional convolution runs as a two-dimensional one of height 1.
void insert_height(DimVector& sizes, DimVector& strides) {
  const int64_t stride = sizes[2] * strides[2];
  sizes.insert(sizes.begin() + 2, 1);
  strides.insert(strides.begin() + 2, stride);
}

// Do the kernels work channels last? They do when input or weight are so, as cuDNN has it: never in
// float64, and in 3d too, where oneDNN on the CPU has a special case for small batches.
bool runs_channels_last(Batched input, const at::Tensor& weight) {
  if (weight.scalar_type() == at::kDouble || input.numel() == 0) return false;
  if (weight.dim() != 3) {
    return like_channels_last(input.sizes, input.strides) ||
           like_channels_last(weight.sizes(), weight.strides());
  }
  DimVector weight_sizes(weight.sizes()), weight_strides(weight.strides());
  const DimVector dense = contiguous_strides(input.sizes);
  for (size_t i = 0; i < 3; ++i) {
    if (input.sizes[i] != 1 && input.strides[i] != dense[i]) input.strides = dense;
  }
  insert_height(input.sizes, input.strides);
  insert_height(weight_sizes, weight_strides);
  return like_channels_last(input.sizes, input.strides) ||
         like_channels_last(weight_sizes, weight_strides);
}

at::Tensor convolve(const Batched& input, const at::Tensor& weight, const OptionalTensor& bias,
                    const Window& window) {
  check_window(window);
  check_shapes(input, weight.sizes(), bias, window);
  const DimVector sizes = window.transposed ? transposed_output_sizes(input, weight.sizes(), window)
                                            : output_sizes(input, weight.sizes(), window);
  const IntArrayRef shown = IntArrayRef(sizes).slice(input.is_batched ? 0 : 1);
  if (!runs_channels_last(input, weight)) return empty_of(shown, weight.scalar_type());
  const DimVector strides = channels_last_strides(sizes);
  return empty_strided_of(shown, IntArrayRef(strides).slice(input.is_batched ? 0 : 1),
                          weight.scalar_type());
}

Window window_of(const at::Tensor& weight, IntArrayRef stride, IntArrayRef padding,
                 IntArrayRef dilation, int64_t groups) {
  const size_t dims = spatial_dims_of(weight);
  return {each_dimension(stride, "stride", dims),
          each_dimension(padding, "padding", dims),
          each_dimension(dilation, "dilation", dims),
          {},
          false,
          groups};
}

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
  const int64_t per_output = weight.numel() / std::max<int64_t>(weight.size(0), 1);
  cost.add_macs(op.output().numel() * per_output, op.output().is_complex());
  add_bias(op, cost);
}

// inputs x (output channels / groups) x kernel; weight: (inputs, outputs / groups, *kernel)
void transposed_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& weight = op.tensor(1);
  const int64_t per_input = weight.numel() / std::max<int64_t>(weight.size(0), 1);
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
  int64_t padded = input.numel();
  bool copied = false;
  for (int64_t d = 2; d < weight.dim(); ++d) {
    const size_t i = dilation.size() == 1 ? 0 : static_cast<size_t>(d - 2);
    if (dilation[i] * (weight.size(d) - 1) % 2 == 0) continue;
    const int64_t size = input.size(d - weight.dim());
    padded = padded / std::max<int64_t>(size, 1) * (size + 1);
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

const Rule kTable[] = {
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

const RuleFamily kConvolutionRules = {"convolution", kTable};

}  // namespace nnprof

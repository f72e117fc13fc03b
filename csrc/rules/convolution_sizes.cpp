#include "rules/convolution_sizes.h"

#include <c10/core/MemoryFormat.h>

#include <string>

namespace nnprof {

using c10::DimVector;
using c10::IntArrayRef;
using OptionalTensor = std::optional<at::Tensor>;

namespace {

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

// A one-dimensional convolution runs as a two-dimensional one of height 1.
void insert_height(DimVector& sizes, DimVector& strides) {
  const int64_t stride = sizes[2] * strides[2];
  sizes.insert(sizes.begin() + 2, 1);
  strides.insert(strides.begin() + 2, stride);
}

}  // namespace

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

DimVector convolved_sizes(const Batched& input, IntArrayRef weight, const Window& window) {
  return window.transposed ? transposed_output_sizes(input, weight, window)
                           : output_sizes(input, weight, window);
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

}  // namespace nnprof

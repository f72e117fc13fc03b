// Sizes and layouts of convolutions, for the operators that do them and for their gradients.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/DimVector.h>

#include <optional>

namespace nnprof {

// The options of a convolution, one value a spatial dimension.
struct Window {
  c10::DimVector stride;
  c10::DimVector padding;
  c10::DimVector dilation;
  c10::DimVector output_padding;  // of transposed convolutions
  bool transposed = false;
  int64_t groups = 1;
};

// Sizes and strides of an input with its batch dimension, which it may lack.
struct Batched {
  c10::DimVector sizes;
  c10::DimVector strides;
  bool is_batched = true;

  size_t dim() const { return sizes.size(); }
  int64_t numel() const { return c10::multiply_integers(sizes); }
};

Batched as_is(const at::Tensor& input);
Batched with_batch(const at::Tensor& input, int64_t spatial_dims, const char* function);

size_t spatial_dims_of(const at::Tensor& weight);
c10::DimVector each_dimension(c10::IntArrayRef values, const char* name, size_t spatial_dims);
Window window_of(const at::Tensor& weight, c10::IntArrayRef stride, c10::IntArrayRef padding,
                 c10::IntArrayRef dilation, int64_t groups);

// Raise where PyTorch does.
void check_window(const Window& window);
void check_types(const at::Tensor& input, const at::Tensor& weight,
                 const std::optional<at::Tensor>& bias);
void check_shapes(const Batched& input, c10::IntArrayRef weight,
                  const std::optional<at::Tensor>& bias, const Window& window);

// Of the output, with a batch dimension. Raises where there is none.
c10::DimVector convolved_sizes(const Batched& input, c10::IntArrayRef weight, const Window& window);

bool like_channels_last(c10::IntArrayRef sizes, c10::IntArrayRef strides);
c10::DimVector contiguous_strides(c10::IntArrayRef sizes);
c10::DimVector channels_last_strides(c10::IntArrayRef sizes);

// Do the kernels work channels last? They do when input or weight are so, as cuDNN has it: never in
// float64, and in 3d too, where oneDNN on the CPU has a special case for small batches.
bool runs_channels_last(Batched input, const at::Tensor& weight);

// The output, on meta; raises where PyTorch does.
at::Tensor convolve(const Batched& input, const at::Tensor& weight,
                    const std::optional<at::Tensor>& bias, const Window& window);

}  // namespace nnprof

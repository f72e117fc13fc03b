// Tensors with a scale, shape-only; and the tensors inside of packed weights.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <optional>
#include <utility>
#include <vector>

namespace nnprof {

// The quantizer of `like` in front of the memory of `plain`, whose dtype is a quantized one.
at::Tensor quantized_like(const at::Tensor& plain, const at::Tensor& like);

// The scale and zero point that a call gives its output: one for all, or of the channels.
struct AskedScale {
  std::optional<std::pair<double, int64_t>> one;
  std::optional<std::pair<at::Tensor, at::Tensor>> of_channels;
  int64_t axis = 0;
};
// The same with the scale that was asked for; else that of `like`, where it is defined; else 1.
at::Tensor quantized(const at::Tensor& plain, const AskedScale& asked, const at::Tensor& like);

// Of the scales and zero points, where each channel has its own.
int64_t bytes_of_scales(const at::Tensor& quantized);

// Weights that PyTorch has packed are script objects (torch.classes) and show no sizes. What a
// script object is made of are the tensors in its state, in order: for a linear layer weight and
// bias, for a convolution its window as integers before these. `state` is unpacked from the object,
// which takes a copy of the weights.
std::vector<at::Tensor> tensors_in_state(const c10::IValue& object);

}  // namespace nnprof

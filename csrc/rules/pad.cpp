// Padding: by a constant, by reflection, replication or wrapping around, and their gradients.
#include <ATen/core/Tensor.h>
#include <ATen/ops/reflection_pad1d_backward_meta_dispatch.h>
#include <ATen/ops/reflection_pad1d_meta_dispatch.h>
#include <ATen/ops/reflection_pad3d_backward_meta_dispatch.h>
#include <ATen/ops/reflection_pad3d_meta_dispatch.h>
#include <ATen/ops/replication_pad1d_backward_meta_dispatch.h>
#include <ATen/ops/replication_pad1d_meta_dispatch.h>
#include <ATen/ops/replication_pad2d_meta_dispatch.h>
#include <ATen/ops/replication_pad3d_meta_dispatch.h>

#include <algorithm>
#include <string_view>

#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

// Padding comes in pairs (before, after), the last dimension first.
c10::DimVector padded_sizes(at::IntArrayRef sizes, at::IntArrayRef pad) {
  c10::DimVector padded(sizes);
  for (size_t i = 0; i < pad.size() / 2; ++i) {
    padded[padded.size() - 1 - i] += pad[2 * i] + pad[2 * i + 1];
  }
  return padded;
}

at::Tensor constant_pad(const at::Tensor& self, at::IntArrayRef pad, const at::Scalar& /*value*/) {
  TORCH_CHECK(pad.size() % 2 == 0, "Length of pad must be even but instead it equals ", pad.size());
  TORCH_CHECK(static_cast<int64_t>(pad.size()) <= 2 * self.dim(),
              "Length of pad should be no more than twice the number of dimensions of the input. "
              "Pad length is ",
              pad.size(), " while the input has ", self.dim(), " dimensions.");
  const c10::DimVector sizes = padded_sizes(self.sizes(), pad);
  for (size_t d = 0; d < sizes.size(); ++d) {
    TORCH_CHECK(sizes[d] >= 0, "The input size ", self.size(static_cast<int64_t>(d)),
                ", with negative padding ", pad,
                " resulted in a negative output size, which is invalid. Check dimension ", d,
                " of your input.");
  }
  const bool only_crops = std::all_of(pad.begin(), pad.end(), [](int64_t p) { return p <= 0; });
  if (!only_crops) return empty_of(sizes, self.scalar_type(), self.suggest_memory_format());
  return empty_preserving(empty_strided_of(sizes, self.strides(), self.scalar_type()));
}

at::Tensor reflection_pad2d(const at::Tensor& self, at::IntArrayRef pad) {
  TORCH_CHECK(pad.size() == 4, "padding size is expected to be 4, but got: ", pad.size());
  const int64_t ndim = self.dim();
  const bool planes_exist = (ndim == 3 || (ndim == 4 && self.size(1) != 0)) &&
                            self.size(ndim - 3) != 0 && self.size(-1) != 0 && self.size(-2) != 0;
  TORCH_CHECK(planes_exist,
              "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
              "dimensions for input, but got: ",
              self.sizes());
  for (size_t i = 0; i < 4; ++i) {
    const int64_t dim = ndim - 1 - static_cast<int64_t>(i / 2);
    TORCH_CHECK(pad[i] < self.size(dim),
                "Padding size should be less than the corresponding input dimension, but got: "
                "padding ",
                pad, " at dimension ", dim, " of input ", self.sizes());
  }
  const c10::DimVector sizes = padded_sizes(self.sizes(), pad);
  TORCH_CHECK(sizes[ndim - 1] >= 1 || sizes[ndim - 2] >= 1, "input ", self.sizes(),
              " is too small: calculated output ", sizes);
  return empty_like_dtype(sizes, self);  // as on CUDA: the CPU keeps channels last
}

at::Tensor circular_pad(const at::Tensor& self, at::IntArrayRef pad) {
  const c10::DimVector sizes = padded_sizes(self.sizes(), pad);
  for (size_t i = 0; i < pad.size(); ++i) {
    const int64_t dim = self.dim() - 1 - static_cast<int64_t>(i / 2);
    TORCH_CHECK(pad[i] <= self.size(dim), "Padding value causes wrapping around more than once.");
    TORCH_CHECK(sizes[dim] >= 0, "Negative padding value is resulting in an empty dimension");
  }
  return empty_like_dtype(sizes, self);
}

at::Tensor padded(const at::Tensor& self, at::IntArrayRef pad, std::string_view mode,
                  std::optional<double> value) {
  const bool known =
      mode == "constant" || mode == "circular" || mode == "reflect" || mode == "replicate";
  TORCH_CHECK_NOT_IMPLEMENTED(known, "Unrecognised padding mode ", mode);
  TORCH_CHECK(pad.size() % 2 == 0, "Padding length must be divisible by 2");
  TORCH_CHECK(static_cast<int64_t>(pad.size()) <= 2 * self.dim(),
              "Padding length should be less than or equal to two times the input dimension but "
              "got padding length ",
              pad.size(), " and input of dimension ", self.dim());
  if (mode == "constant") return constant_pad(self, pad, value.value_or(0));
  TORCH_CHECK(value.value_or(0) == 0, "Padding mode \"", mode, "\" doesn't take in value argument");
  const auto padded_dims = static_cast<int64_t>(pad.size() / 2);
  const bool supported = padded_dims >= 1 && padded_dims <= 3 &&
                         (self.dim() == padded_dims + 1 || self.dim() == padded_dims + 2);
  TORCH_CHECK_NOT_IMPLEMENTED(
      supported, "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now");
  if (mode == "circular") return circular_pad(self, pad);
  const bool reflect = mode == "reflect";
  if (padded_dims == 1) {
    return reflect ? at::meta::reflection_pad1d(self, pad) : at::meta::replication_pad1d(self, pad);
  }
  if (padded_dims == 2) {
    return reflect ? reflection_pad2d(self, pad) : at::meta::replication_pad2d(self, pad);
  }
  return reflect ? at::meta::reflection_pad3d(self, pad) : at::meta::replication_pad3d(self, pad);
}

at::Tensor pad_gradient(const at::Tensor& gradient, const at::Tensor& self, at::IntArrayRef pad) {
  TORCH_CHECK(gradient.sizes() == at::IntArrayRef(padded_sizes(self.sizes(), pad)),
              "the gradient of a padded ", self.sizes(), " has sizes ", gradient.sizes());
  return empty_like_dtype(self.sizes(), self);
}

// What negative padding cuts off is not read.
void pad_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& self = op.tensor(0);
  const auto& pad = op.integers(1);
  Count kept = 1;
  for (int64_t d = 0; d < self.dim(); ++d) {
    const auto pair = static_cast<size_t>(2 * (self.dim() - 1 - d));
    Count size = self.sizes[d];
    if (pair < pad.size())
      size += std::min<Count>(pad[pair], 0) + std::min<Count>(pad[pair + 1], 0);
    kept *= self.strides[d] == 0 ? std::min<Count>(size, 1) : std::max<Count>(size, 0);
  }
  cost.bytes_read = kept * self.element_size();
}

// Each element of the output's gradient is added to the one that it was copied from.
void pad_gradient_cost(const OpSignature& op, Cost& cost) {
  cost.bytes_read = op.tensor(0).distinct_bytes();
  add_elementwise(op, cost, {.add = 1}, op.tensor(0).numel());
}

const Rule kPadTable[] = {
    {"aten::pad(Tensor self, SymInt[] pad, str mode=\"constant\", float? value=None) -> Tensor",
     boxed<&padded>, pad_cost},
    {"aten::constant_pad_nd(Tensor self, SymInt[] pad, Scalar value=0) -> Tensor",
     boxed<&constant_pad>, pad_cost},
    {"aten::reflection_pad1d(Tensor self, SymInt[2] padding) -> Tensor",
     boxed<&at::meta::reflection_pad1d>, pad_cost},
    {"aten::reflection_pad2d(Tensor self, SymInt[4] padding) -> Tensor", boxed<&reflection_pad2d>,
     pad_cost},
    {"aten::reflection_pad3d(Tensor self, SymInt[6] padding) -> Tensor",
     boxed<&at::meta::reflection_pad3d>, pad_cost},
    {"aten::replication_pad1d(Tensor self, SymInt[2] padding) -> Tensor",
     boxed<&at::meta::replication_pad1d>, pad_cost},
    {"aten::replication_pad2d(Tensor self, SymInt[4] padding) -> Tensor",
     boxed<&at::meta::replication_pad2d>, pad_cost},
    {"aten::replication_pad3d(Tensor self, SymInt[6] padding) -> Tensor",
     boxed<&at::meta::replication_pad3d>, pad_cost},
    {"aten::_pad_circular(Tensor self, SymInt[] pad) -> Tensor", boxed<&circular_pad>, pad_cost},
    {"aten::reflection_pad1d_backward(Tensor grad_output, Tensor self, SymInt[2] padding) -> "
     "Tensor",
     boxed<&at::meta::reflection_pad1d_backward>, pad_gradient_cost},
    {"aten::reflection_pad2d_backward(Tensor grad_output, Tensor self, SymInt[4] padding) -> "
     "Tensor",
     boxed<&pad_gradient>, pad_gradient_cost},
    {"aten::reflection_pad3d_backward(Tensor grad_output, Tensor self, SymInt[6] padding) -> "
     "Tensor",
     boxed<&at::meta::reflection_pad3d_backward>, pad_gradient_cost},
    {"aten::replication_pad1d_backward(Tensor grad_output, Tensor self, SymInt[2] padding) -> "
     "Tensor",
     boxed<&at::meta::replication_pad1d_backward>, pad_gradient_cost},
    {"aten::replication_pad2d_backward(Tensor grad_output, Tensor self, SymInt[4] padding) -> "
     "Tensor",
     boxed<&pad_gradient>, pad_gradient_cost},
    {"aten::replication_pad3d_backward(Tensor grad_output, Tensor self, SymInt[6] padding) -> "
     "Tensor",
     boxed<&pad_gradient>, pad_gradient_cost},
};

}  // namespace

const RuleFamily kPadRules("pad", kPadTable, OpClass::copy, kNothingSpecial);

}  // namespace nnprof

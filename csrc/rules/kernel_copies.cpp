#include "rules/kernel_copies.h"

#include <ATen/ExpandUtils.h>
#include <c10/core/ScalarType.h>

namespace nnprof {
namespace {

constexpr int64_t kNumber = sizeof(int64_t);

}  // namespace

Count contiguous_copy(const TensorSpec& tensor) {
  return tensor.is_contiguous() ? 0 : tensor.numel() * tensor.element_size();
}

Count copied_gradient(const OpSignature& op) { return contiguous_copy(op.tensor(0)); }

// aten/src/ATen/native/BucketizationUtils.h
Count copied_sequences(const OpSignature& op) {
  if (!op.has_tensor(0) || !op.has_tensor(1)) return 0;
  const auto common = c10::promoteTypes(op.tensor(0).dtype, op.tensor(1).dtype);
  Count bytes = 0;
  for (const size_t i : {0, 1}) {
    const TensorSpec& given = op.tensor(i);
    const auto element = static_cast<int64_t>(c10::elementSize(common));
    bytes += given.dtype == common ? contiguous_copy(given) : given.numel() * element;
  }
  return bytes;
}

Count left_alone(const OpSignature& op) {
  const TensorSpec& self = op.tensor(0);
  Count elements = self.numel();
  int64_t dim = 0;
  for (const TensorSpec& index : op.tensors(1)) {
    const int64_t dims = index.defined && is_mask(index.dtype) ? index.dim() : 1;
    for (int64_t d = 0; d < dims; ++d, ++dim) {
      if (index.defined && self.size(dim) != 0) elements /= self.size(dim);
    }
  }
  return elements;
}

Count indexed_places(const OpSignature& op) {
  Count places = 1;
  c10::DimVector broadcast;
  for (const TensorSpec& index : op.tensors(1)) {
    if (!index.defined) continue;
    const c10::DimVector count{static_cast<int64_t>(index.numel())};
    broadcast = at::infer_size_dimvector(broadcast, is_mask(index.dtype) ? count : index.sizes);
  }
  for (const Count size : broadcast) places *= size;
  return places;
}

// aten/src/ATen/native/TensorAdvancedIndexingUtils.h, make_info: indices are broadcast first. How
// many places a mask has, what is read or written there tells.
Count converted_indices(const OpSignature& op) {
  const bool puts = op.arguments.size() > 2;
  const Count chosen = puts ? op.tensor(2).numel() : op.output().numel();
  // One number for all places is written by masked_fill, which takes the mask as it is.
  const Count others = left_alone(op);
  if (others == 0 || (puts && chosen == 1)) return 0;
  int64_t in_masks = 0, narrow = 0;
  for (const TensorSpec& index : op.tensors(1)) {
    if (!index.defined) continue;
    if (is_mask(index.dtype)) in_masks += index.dim();
    if (index.dtype == c10::ScalarType::Int) narrow += 1;
  }
  if (in_masks + narrow == 0) return 0;
  const Count places = in_masks != 0 ? chosen / others : indexed_places(op);
  return (in_masks + narrow) * places * kNumber;
}

}  // namespace nnprof

// What kernels copy of their inputs before they start, on every device: bytes.
#pragma once

#include "core/count.h"
#include "core/signature.h"

namespace nnprof {

// Of the contiguous copy of a tensor that is not.
Count contiguous_copy(const TensorSpec& tensor);

// aten::embedding_dense_backward(Tensor grad_output, ...): the gradient of a sum is expanded.
Count copied_gradient(const OpSignature& op);

// aten::searchsorted.Tensor(Tensor sorted_sequence, Tensor self, ...) and aten::bucketize.Tensor(
// Tensor self, Tensor boundaries, ...): made contiguous, and of one type.
Count copied_sequences(const OpSignature& op);

// aten::index.Tensor(Tensor self, Tensor?[] indices) and index_put(Tensor self, Tensor?[] indices,
// Tensor values, ...): masks become the places where they are true, a number for each dimension,
// and 32-bit indices 64-bit ones.
Count converted_indices(const OpSignature& op);

// Of an indexed tensor: elements of the dimensions that its indices leave alone, and how many
// places there are in the others: the broadcast indices, a mask taken as all true.
Count left_alone(const OpSignature& op);
Count indexed_places(const OpSignature& op);

inline bool is_mask(c10::ScalarType dtype) {
  return dtype == c10::ScalarType::Bool || dtype == c10::ScalarType::Byte;
}

}  // namespace nnprof

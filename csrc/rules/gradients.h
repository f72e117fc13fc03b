// For the operators that autograd calls: gradients come only where a mask asks for them.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/cost.h"
#include "core/record.h"

namespace nnprof {

// Whether the mask in argument `mask` asks for gradient number `which`.
inline bool asked(const OpSignature& op, size_t mask, size_t which) {
  return op.integers(mask)[which] != 0;
}

// Takes the tensor in argument `index` out of what is read, unless another argument is the same.
void not_read(const OpSignature& op, Cost& cost, size_t index);

// The tensor in an optional argument, undefined where there is none.
inline const at::Tensor& value_of(const std::optional<at::Tensor>& tensor) {
  static const at::Tensor undefined;
  return tensor ? *tensor : undefined;
}

}  // namespace nnprof

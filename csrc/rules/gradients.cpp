#include "rules/gradients.h"

#include <algorithm>

namespace nnprof {
namespace {

bool same_elements(const TensorSpec& a, const TensorSpec& b) {
  return a.storage == b.storage && a.offset == b.offset && a.sizes == b.sizes &&
         a.strides == b.strides && a.dtype == b.dtype;
}

}  // namespace

void not_read(const OpSignature& op, Cost& cost, size_t index) {
  const TensorSpec& tensor = op.tensor(index);
  if (!tensor.defined || tensor.wrapped_number) return;
  for (size_t i = 0; i < op.inputs().size(); ++i) {
    if (i == index) continue;
    const std::vector<TensorSpec>& others = op.arguments[i].tensors;
    const bool elsewhere = std::any_of(others.begin(), others.end(), [&](const TensorSpec& other) {
      return other.defined && same_elements(other, tensor);
    });
    if (elsewhere) return;
  }
  cost.bytes_read -= tensor.distinct_bytes();
}

}  // namespace nnprof

#include "rules/outputs.h"

#include <ATen/ExpandUtils.h>
#include <ATen/TensorIterator.h>

namespace nnprof {

at::Tensor empty_preserving(const at::Tensor& like, std::optional<c10::ScalarType> dtype,
                            std::optional<c10::MemoryFormat> format) {
  const c10::ScalarType type = dtype.value_or(like.scalar_type());
  if (format.value_or(c10::MemoryFormat::Preserve) != c10::MemoryFormat::Preserve) {
    return empty_of(like.sizes(), type, format);
  }
  if (like.is_non_overlapping_and_dense()) {
    return empty_strided_of(like.sizes(), like.strides(), type);
  }
  return empty_strided_of(like.sizes(), at::infer_dense_strides(like.sizes(), like.strides()),
                          type);
}

}  // namespace nnprof

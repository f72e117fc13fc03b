#include "rules/elementwise.h"

#include <c10/core/ScalarType.h>

namespace nnprof {
namespace {

at::Tensor with_strides_of(const at::Tensor& operand, c10::ScalarType dtype) {
  return empty_strided_of(operand.sizes(), operand.strides(), dtype);
}

bool channels_last(const at::Tensor& tensor) {
  return tensor.is_contiguous(c10::MemoryFormat::ChannelsLast);
}

// Inputs of one size: contiguous strides for contiguous inputs, whatever their trivial dimensions
// say, as TensorIterator's fast set-up has it.
at::Tensor of_same_size(const at::Tensor& self, const at::Tensor& other, c10::ScalarType dtype) {
  if (self.is_contiguous() && other.is_contiguous()) return empty_of(self.sizes(), dtype);
  if (channels_last(self) && channels_last(other)) {
    return empty_of(self.sizes(), dtype, c10::MemoryFormat::ChannelsLast);
  }
  const bool dense = self.is_non_overlapping_and_dense() && other.is_non_overlapping_and_dense();
  if (dense && self.strides() == other.strides()) return with_strides_of(self, dtype);
  return {};
}

// True when broadcasting `small` and `full` gives the sizes of `full`.
bool broadcasts_into(at::IntArrayRef small, at::IntArrayRef full) {
  if (small.size() > full.size()) return false;
  const size_t shift = full.size() - small.size();
  for (size_t d = 0; d < small.size(); ++d) {
    if (small[d] != 1 && small[d] != full[shift + d]) return false;
  }
  return true;
}

bool has_one_long_dimension_at_most(at::IntArrayRef sizes) {
  return std::count_if(sizes.begin(), sizes.end(), [](int64_t size) { return size != 1; }) <= 1;
}

// A number that changes nothing about the tensor it meets. Booleans are left to be refused (`sub`).
bool joins(const at::Tensor& number, const at::Tensor& tensor) {
  const c10::ScalarType dtype = number.scalar_type();
  return number.dim() == 0 && tensor.dim() != 0 && !c10::isComplexType(dtype) && dtype != at::kBool;
}

bool dense_floating(const at::Tensor& tensor) {
  return c10::isFloatingType(tensor.scalar_type()) && tensor.is_non_overlapping_and_dense();
}

}  // namespace

at::Tensor quick_output(const at::Tensor& self, c10::ScalarType dtype) {
  if (self.is_contiguous()) return empty_of(self.sizes(), dtype);
  if (channels_last(self)) return empty_of(self.sizes(), dtype, c10::MemoryFormat::ChannelsLast);
  if (self.is_non_overlapping_and_dense()) return with_strides_of(self, dtype);
  return {};
}

at::Tensor quick_output(const at::Tensor& self, const at::Tensor& other, bool boolean) {
  const auto dtype_of = [&](const at::Tensor& t) { return boolean ? at::kBool : t.scalar_type(); };
  if (dense_floating(self) && joins(other, self)) return with_strides_of(self, dtype_of(self));
  if (dense_floating(other) && joins(self, other)) return with_strides_of(other, dtype_of(other));
  if (self.scalar_type() != other.scalar_type() || self.dim() == 0 || other.dim() == 0) return {};
  if (!c10::isFloatingType(self.scalar_type())) return {};
  if (self.sizes() == other.sizes()) return of_same_size(self, other, dtype_of(self));
  // The first operand's strides come first in deciding the output's, where it is not broadcast.
  if (self.is_non_overlapping_and_dense() && broadcasts_into(other.sizes(), self.sizes())) {
    return with_strides_of(self, dtype_of(self));
  }
  if (other.is_non_overlapping_and_dense() && broadcasts_into(self.sizes(), other.sizes()) &&
      has_one_long_dimension_at_most(self.sizes())) {
    return with_strides_of(other, dtype_of(other));
  }
  return {};
}

at::Tensor wrapped_number(const at::Scalar& number) {
  at::Tensor wrapped = empty_of({}, number.type());
  wrapped.unsafeGetTensorImpl()->set_wrapped_number(true);
  return wrapped;
}

void check_has_kernel(bool has_kernel, c10::ScalarType dtype) {
  TORCH_CHECK_NOT_IMPLEMENTED(has_kernel, "not implemented for '", dtype, "'");
}

}  // namespace nnprof

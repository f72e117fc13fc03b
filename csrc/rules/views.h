// What views and the operators that are a view where they can be (reshape, to) have in common.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/cost.h"
#include "core/record.h"
#include "rules/rule.h"

namespace nnprof {

// A new tensor on the storage of `self`. Nothing is checked.
at::Tensor view_of(const at::Tensor& self, at::IntArrayRef sizes, at::IntArrayRef strides,
                   int64_t storage_offset);
inline at::Tensor view_of(const at::Tensor& self, at::IntArrayRef sizes, at::IntArrayRef strides) {
  return view_of(self, sizes, strides, self.storage_offset());
}
inline at::Tensor alias_of(const at::Tensor& self) {
  return view_of(self, self.sizes(), self.strides());
}
// `length` elements of dimension `dim`, from `start`, `step` apart. Nothing is checked.
at::Tensor slice_of(const at::Tensor& self, int64_t dim, int64_t start, int64_t length,
                    int64_t step = 1);

// The outputs of aten::select.int, slice.Tensor, diagonal and as_strided, with their checks.
at::Tensor selected(const at::Tensor& self, int64_t dim, int64_t index);
at::Tensor sliced(const at::Tensor& self, int64_t dim, std::optional<int64_t> start,
                  std::optional<int64_t> end, int64_t step);
at::Tensor diagonal_of(const at::Tensor& self, int64_t offset, int64_t dim1, int64_t dim2);
at::Tensor strided(const at::Tensor& self, at::IntArrayRef sizes, at::IntArrayRef strides,
                   std::optional<int64_t> storage_offset);

// The first tensor is read and copied, the others are not looked at; free where the output is a
// view of it.
void copy_unless_view(const OpSignature& op, Cost& cost);

// The table lines of both.
constexpr Rule free_view(const char* schema, OutputsFunction outputs, uint32_t more = kDefault) {
  return {schema, outputs, nullptr, {}, kView | more};
}
constexpr Rule view_or_copy(const char* schema, OutputsFunction outputs, uint32_t more = kDefault) {
  return {schema, outputs, copy_unless_view, {}, kReturnsInput | more};
}

}  // namespace nnprof

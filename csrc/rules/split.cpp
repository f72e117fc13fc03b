// All parts of a tensor: views (split, chunk, unbind), and copies of them.
#include <ATen/WrapDimUtils.h>

#include <algorithm>
#include <vector>

#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/views.h"

namespace nnprof {
namespace {

using Tensors = std::vector<at::Tensor>;

// Parts of the given lengths, one after the other.
template <class Lengths>
Tensors parts(const at::Tensor& self, const Lengths& lengths, int64_t dim) {
  Tensors views;
  views.reserve(lengths.size());
  int64_t start = 0;
  for (const int64_t length : lengths) {
    views.push_back(slice_of(self, dim, start, length));
    start += length;
  }
  return views;
}

Tensors split(const at::Tensor& self, int64_t split_size, int64_t dim) {
  TORCH_CHECK(self.dim() != 0, "split expects at least a 1-dimensional tensor");
  TORCH_CHECK(split_size >= 0,
              "split expects split_size be non-negative, but got split_size=", split_size);
  dim = at::maybe_wrap_dim(dim, self.dim());
  const int64_t size = self.size(dim);
  TORCH_CHECK(split_size > 0 || size == 0,
              "split_size can only be 0 if dimension size is 0, but got dimension size of ", size);
  c10::DimVector lengths;
  for (int64_t start = 0; start < size; start += split_size) {
    lengths.push_back(std::min(split_size, size - start));
  }
  if (lengths.empty()) lengths.push_back(0);
  return parts(self, lengths, dim);
}

Tensors split_with_sizes(const at::Tensor& self, at::IntArrayRef sizes, int64_t dim) {
  TORCH_CHECK(self.dim() != 0, "split expects at least a 1-dimensional tensor");
  dim = at::maybe_wrap_dim(dim, self.dim());
  int64_t sum = 0;
  for (const int64_t size : sizes) {
    TORCH_CHECK(size >= 0,
                "split_with_sizes expects split_sizes have only non-negative entries, but got "
                "split_sizes=",
                sizes);
    sum += size;
  }
  TORCH_CHECK(sum == self.size(dim), "split_with_sizes expects split_sizes to sum exactly to ",
              self.size(dim), " (input tensor's size at dimension ", dim,
              "), but got split_sizes=", sizes);
  return parts(self, sizes, dim);
}

Tensors chunk(const at::Tensor& self, int64_t chunks, int64_t dim) {
  TORCH_CHECK(self.dim() > 0, "chunk expects at least a 1-dimensional tensor");
  TORCH_CHECK(chunks > 0, "chunk expects `chunks` to be greater than 0, got: ", chunks);
  const int64_t size = self.size(dim);
  if (size == 0) return split_with_sizes(self, c10::DimVector(chunks, 0), dim);
  return split(self, (size + chunks - 1) / chunks, dim);
}

// `sections` parts of lengths that differ by one at most.
Tensors tensor_split(const at::Tensor& self, int64_t sections, int64_t dim) {
  TORCH_CHECK(self.dim() > 0,
              "tensor_split expected at least a 1-dimensional tensor, but got a tensor with ",
              self.dim(), " dims");
  dim = at::maybe_wrap_dim(dim, self.dim());
  TORCH_CHECK(sections > 0, "number of sections must be larger than 0, got ", sections);
  const int64_t size = self.size(dim);
  c10::DimVector lengths(sections, size / sections);
  for (int64_t i = 0; i < size % sections; ++i) ++lengths[i];
  return parts(self, lengths, dim);
}

Tensors unbind(const at::Tensor& self, int64_t dim) {
  TORCH_CHECK_INDEX(self.dim() > 0, "Dimension specified as ", dim,
                    " but tensor has no dimensions");
  dim = at::maybe_wrap_dim(dim, self.dim());
  c10::DimVector sizes(self.sizes()), strides(self.strides());
  sizes.erase(sizes.begin() + dim);
  strides.erase(strides.begin() + dim);
  Tensors views;
  views.reserve(self.size(dim));
  for (int64_t i = 0; i < self.size(dim); ++i) {
    views.push_back(view_of(self, sizes, strides, self.storage_offset() + i * self.stride(dim)));
  }
  return views;
}

// Copies of the parts.
template <auto Function>
struct Copied;
template <class... Args, Tensors (*Function)(const at::Tensor&, Args...)>
struct Copied<Function> {
  static Tensors call(const at::Tensor& self, Args... args) {
    Tensors copies = Function(self, args...);
    for (at::Tensor& part : copies) part = empty_like_dtype(part.sizes(), part);
    return copies;
  }
};
template <auto Function>
constexpr auto copied = boxed<&Copied<Function>::call>;

const Rule kSplitTable[] = {
    free_view(
        "aten::split.Tensor(Tensor(a -> *) self, SymInt split_size, int dim=0) -> Tensor(a)[]",
        boxed<&split>),
    free_view(
        "aten::split.sizes(Tensor(a -> *) self, SymInt[] split_size, int dim=0) -> Tensor(a)[]",
        boxed<&split_with_sizes>),
    free_view("aten::split_with_sizes(Tensor(a -> *) self, SymInt[] split_sizes, int dim=0) -> "
              "Tensor(a)[]",
              boxed<&split_with_sizes>),
    free_view("aten::unsafe_split.Tensor(Tensor self, SymInt split_size, int dim=0) -> Tensor[]",
              boxed<&split>),
    free_view(
        "aten::unsafe_split_with_sizes(Tensor self, SymInt[] split_sizes, int dim=0) -> Tensor[]",
        boxed<&split_with_sizes>),
    {"aten::split_with_sizes_copy(Tensor self, SymInt[] split_sizes, int dim=0) -> Tensor[]",
     copied<&split_with_sizes>},
    {"aten::split_copy.Tensor(Tensor self, SymInt split_size, int dim=0) -> Tensor[]",
     copied<&split>},
    {"aten::unbind_copy.int(Tensor self, int dim=0) -> Tensor[]", copied<&unbind>},
    free_view("aten::chunk(Tensor(a -> *) self, int chunks, int dim=0) -> Tensor(a)[]",
              boxed<&chunk>),
    free_view("aten::unsafe_chunk(Tensor self, int chunks, int dim=0) -> Tensor[]", boxed<&chunk>),
    free_view("aten::tensor_split.sections(Tensor(a -> *) self, SymInt sections, int dim=0) -> "
              "Tensor(a)[]",
              boxed<&tensor_split>),
    free_view("aten::unbind.int(Tensor(a -> *) self, int dim=0) -> Tensor(a)[]", boxed<&unbind>),
};

}  // namespace

const RuleFamily kSplitRules("split", kSplitTable, OpClass::copy, kNothingSpecial);

}  // namespace nnprof

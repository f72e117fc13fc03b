// Copies: of one tensor (clone, to, repeat, flip), or of many into one (cat, stack).
#include <ATen/ExpandUtils.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/TensorUtils.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/WrapDimUtilsMulti.h>
#include <ATen/ops/cat_meta_dispatch.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "rules/families.h"
#include "rules/known_integers.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/views.h"

namespace nnprof {
namespace {

using Format = std::optional<c10::MemoryFormat>;
using Dtype = std::optional<c10::ScalarType>;

// Of one tensor ------------------------------------------------------------------------------

at::Tensor cloned(const at::Tensor& self, Format format) {
  return empty_preserving(self, std::nullopt, format);
}

at::Tensor contiguous(const at::Tensor& self, c10::MemoryFormat format) {
  if (self.is_contiguous(format)) return self;
  TORCH_CHECK(format != c10::MemoryFormat::Preserve,
              "preserve memory format is unsupported by the contiguous operator");
  return empty_of(self.sizes(), self.scalar_type(), format);
}

at::Tensor copied_into(const at::Tensor& self, const at::Tensor& source, bool /*non_blocking*/) {
  TORCH_CHECK(self.defined() && source.defined(), "copy_(): self and src must be defined");
  if (self.is_same(source)) return self;
  at::assert_no_internal_overlap(self);
  TORCH_CHECK(at::is_expandable_to(source.sizes(), self.sizes()), "The size of tensor a ",
              self.sizes(), " must match the size of tensor b ", source.sizes(),
              " that is copied into it");
  return self;
}

// `self` itself where nothing changes. The device never does: every tensor of a trace is on one.
at::Tensor converted(const at::Tensor& self, c10::ScalarType dtype, bool copy, Format format) {
  const auto wanted = format.value_or(c10::MemoryFormat::Preserve);
  const bool same_format =
      wanted == c10::MemoryFormat::Preserve || self.suggest_memory_format() == wanted;
  if (!copy && self.scalar_type() == dtype && same_format) return self;
  return empty_preserving(self, dtype, format);
}

at::Tensor to_device(const at::Tensor& self, at::Device /*device*/, c10::ScalarType dtype,
                     bool /*non_blocking*/, bool copy, Format format) {
  return converted(self, dtype, copy, format);
}

at::Tensor to_dtype(const at::Tensor& self, c10::ScalarType dtype, bool /*non_blocking*/, bool copy,
                    Format format) {
  return converted(self, dtype, copy, format);
}

at::Tensor to_other(const at::Tensor& self, const at::Tensor& other, bool /*non_blocking*/,
                    bool copy, Format format) {
  return converted(self, other.scalar_type(), copy, format);
}

at::Tensor to_options(const at::Tensor& self, Dtype dtype, std::optional<at::Layout> layout,
                      std::optional<at::Device> /*device*/, std::optional<bool> /*pin_memory*/,
                      bool /*non_blocking*/, bool copy, Format format) {
  TORCH_CHECK(layout.value_or(self.layout()) == self.layout(),
              "to(options) doesn't support converting to a different layout, but got self.layout ",
              "being ", self.layout(), " and options.layout set as ",
              layout.value_or(at::kStrided));
  return converted(self, dtype.value_or(self.scalar_type()), copy, format);
}

at::Tensor type_as(const at::Tensor& self, const at::Tensor& other) {
  return converted(self, other.scalar_type(), /*copy=*/false, std::nullopt);
}

at::Tensor to_copy(const at::Tensor& self, Dtype dtype, std::optional<at::Layout> /*layout*/,
                   std::optional<at::Device> /*device*/, std::optional<bool> /*pin_memory*/,
                   bool /*non_blocking*/, Format format) {
  return empty_preserving(self, dtype, format);
}

// Of many tensors into one ---------------------------------------------------------------------

at::Tensor stacked(at::TensorList tensors, int64_t dim) {
  TORCH_CHECK(!tensors.empty(), "stack expects a non-empty TensorList");
  const at::IntArrayRef each = tensors[0].sizes();
  const int64_t ndim = tensors[0].dim();
  dim = at::maybe_wrap_dim(dim, ndim + 1);
  for (size_t i = 1; i < tensors.size(); ++i) {
    TORCH_CHECK(tensors[i].sizes() == each, "stack expects each tensor to be equal size, but got ",
                each, " at entry 0 and ", tensors[i].sizes(), " at entry ", i);
  }
  // As PyTorch does it, for the strides: joined along an existing dimension that is then split, or
  // along a new last one.
  if (dim < ndim) {
    const at::Tensor joined = at::meta::cat(tensors, dim);
    c10::DimVector sizes(each);
    sizes.insert(sizes.begin() + dim, static_cast<int64_t>(tensors.size()));
    const auto strides = at::detail::computeStride(joined.sizes(), joined.strides(), sizes);
    return view_of(joined, sizes, *strides);
  }
  std::vector<at::Tensor> columns;
  for (const at::Tensor& tensor : tensors) {
    c10::DimVector sizes(tensor.sizes()), strides(tensor.strides());
    sizes.push_back(1);
    strides.push_back(1);
    columns.push_back(view_of(tensor, sizes, strides));
  }
  return at::meta::cat(at::TensorList(columns), dim);
}

// Each tensor in `chunks` rows along `dim`, padded with zeros, and the rows of all one after
// another.
at::Tensor chunks_joined(at::TensorList tensors, int64_t dim, int64_t chunks) {
  TORCH_CHECK(!tensors.empty(), "_chunk_cat expects a non-empty input tensor list");
  TORCH_CHECK(chunks >= 1, "_chunk_cat expects positive num_chunks");
  const at::Tensor& first = tensors[0];
  dim = at::maybe_wrap_dim(dim, first.dim());
  const auto leading = [&](const at::Tensor& tensor) { return tensor.sizes().slice(0, dim); };
  int64_t columns = 0;
  for (const at::Tensor& tensor : tensors) {
    TORCH_CHECK(tensor.scalar_type() == first.scalar_type(),
                "_chunk_cat expects all input tensors with the same dtype");
    TORCH_CHECK(tensor.numel() > 0, "_chunk_cat expects non-empty tensor");
    TORCH_CHECK(dim < tensor.dim(), "_chunk_cat expects dim < tensor.dim()");
    TORCH_CHECK(leading(tensor) == leading(first),
                "_chunk_cat expects same sizes of 0,...,dim-1 dimensions");
    const int64_t rows = (tensor.size(dim) + chunks - 1) / chunks;
    columns += rows * c10::multiply_integers(tensor.sizes().slice(dim + 1));
  }
  c10::DimVector sizes(leading(first));
  sizes.push_back(chunks);
  sizes.push_back(columns);
  return empty_like_dtype(sizes, first);
}

// The same elements more than once --------------------------------------------------------------

at::Tensor repeated(const at::Tensor& self, at::IntArrayRef repeats) {
  TORCH_CHECK(static_cast<int64_t>(repeats.size()) >= self.dim(),
              "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
              "tensor");
  const size_t added = repeats.size() - static_cast<size_t>(self.dim());
  c10::DimVector sizes(repeats);
  for (size_t d = 0; d < sizes.size(); ++d) {
    TORCH_CHECK(repeats[d] >= 0, "Trying to create tensor with negative dimension ", repeats[d],
                ": ", repeats);
    if (d >= added) sizes[d] *= self.size(static_cast<int64_t>(d - added));
  }
  return empty_like_dtype(sizes, self);
}

at::Tensor tiled(const at::Tensor& self, at::IntArrayRef dims) {
  c10::DimVector repeats(dims);
  while (static_cast<int64_t>(repeats.size()) < self.dim()) repeats.insert(repeats.begin(), 1);
  return repeated(self, repeats);
}

at::Tensor each_repeated(const at::Tensor& self, int64_t repeats, std::optional<int64_t> dim,
                         std::optional<int64_t> output_size) {
  TORCH_CHECK(repeats >= 0, "Repeats must be non-negative");
  c10::DimVector sizes(self.sizes());
  if (!dim || sizes.empty()) sizes = {self.numel()};
  const int64_t wrapped = at::maybe_wrap_dim(dim.value_or(0), static_cast<int64_t>(sizes.size()));
  sizes[wrapped] *= repeats;
  TORCH_CHECK(!output_size || *output_size == sizes[wrapped],
              "repeat_interleave: Invalid output_size, expected ", sizes[wrapped], " but got ",
              output_size.value_or(0));
  return empty_like_dtype(sizes, self);
}

// Row i of the result is its row number repeated repeats[i] times: once, where that is not known.
at::Tensor repeated_indices(const at::Tensor& repeats, std::optional<int64_t> output_size) {
  TORCH_CHECK(repeats.dim() == 1, "repeat_interleave only accept 1D vector as repeat");
  TORCH_CHECK(repeats.scalar_type() == at::kLong || repeats.scalar_type() == at::kInt,
              "repeats has to be Long or Int tensor");
  if (!output_size) note_guess();
  return empty_like_dtype({output_size.value_or(repeats.size(0))}, repeats);
}

// In another order -------------------------------------------------------------------------------

at::Tensor flipped(const at::Tensor& self, at::IntArrayRef dims) {
  at::dim_list_to_bitset(dims, static_cast<size_t>(self.dim()));  // checks them
  return empty_preserving(self);
}

at::Tensor rolled_along(const at::Tensor& self, int64_t shift, int64_t dim) {
  if (self.numel() == 0) return empty_preserving(self);
  dim = at::maybe_wrap_dim(dim, self.dim());
  const int64_t size = self.size(dim);
  const int64_t start = ((size - shift) % size + size) % size;
  // As PyTorch does it, for the strides.
  const std::vector<at::Tensor> halves = {slice_of(self, dim, start, size - start),
                                          slice_of(self, dim, 0, start)};
  return at::meta::cat(at::TensorList(halves), dim);
}

at::Tensor rolled(const at::Tensor& self, at::IntArrayRef shifts, at::IntArrayRef dims) {
  TORCH_CHECK(!shifts.empty(), "`shifts` required");
  if (dims.empty() && shifts.size() == 1) return empty_like_dtype(self.sizes(), self);
  TORCH_CHECK(shifts.size() == dims.size(),
              "shifts and dimensions must align. shifts: ", shifts.size(), ", dims:", dims.size());
  at::Tensor result = rolled_along(self, shifts[0], dims[0]);
  for (size_t i = 1; i < dims.size(); ++i) result = rolled_along(result, shifts[i], dims[i]);
  return result;
}

at::Tensor rotated(const at::Tensor& self, int64_t k, at::IntArrayRef dims) {
  TORCH_CHECK(dims.size() == 2, "expected total rotation dims == 2, but got dims = ", dims.size());
  TORCH_CHECK(self.dim() >= 2, "expected total dims >= 2, but got total dims = ", self.dim());
  TORCH_CHECK(dims[0] != dims[1] && std::abs(dims[0] - dims[1]) != self.dim(),
              "expected rotation dims to be different, but got dim0 = ", dims[0],
              " and dim1 = ", dims[1]);
  for (const int64_t dim : dims) at::maybe_wrap_dim(dim, self.dim());
  const int64_t quarters = (k % 4 + 4) % 4;
  if (quarters == 0) return empty_of(self.sizes(), self.scalar_type());
  const at::Tensor result = empty_preserving(self);
  if (quarters == 2) return result;
  c10::DimVector sizes(result.sizes()), strides(result.strides());
  const int64_t a = at::maybe_wrap_dim(dims[0], self.dim());
  const int64_t b = at::maybe_wrap_dim(dims[1], self.dim());
  std::swap(sizes[a], sizes[b]);
  std::swap(strides[a], strides[b]);
  return view_of(result, sizes, strides);
}

const Rule kCopyTable[] = {
    {"aten::clone(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor", boxed<&cloned>},
    view_or_copy("aten::contiguous(Tensor(a) self, *, MemoryFormat memory_format=0) -> Tensor(a)",
                 boxed<&contiguous>),
    {"aten::copy_(Tensor(a!) self, Tensor src, bool non_blocking=False) -> Tensor(a!)",
     boxed<&copied_into>,
     nullptr,
     {},
     kWritesOnly},
    view_or_copy(
        "aten::to.device(Tensor(a) self, Device device, ScalarType dtype, bool non_blocking=False, "
        "bool copy=False, MemoryFormat? memory_format=None) -> Tensor(a)",
        boxed<&to_device>),
    view_or_copy("aten::to.dtype(Tensor(a) self, ScalarType dtype, bool non_blocking=False, bool "
                 "copy=False, MemoryFormat? memory_format=None) -> Tensor(a)",
                 boxed<&to_dtype>),
    view_or_copy("aten::to.other(Tensor(a) self, Tensor other, bool non_blocking=False, bool "
                 "copy=False, MemoryFormat? memory_format=None) -> Tensor(a)",
                 boxed<&to_other>),
    view_or_copy(
        "aten::to.dtype_layout(Tensor(a) self, *, ScalarType? dtype=None, Layout? layout=None, "
        "Device? device=None, bool? pin_memory=None, bool non_blocking=False, bool copy=False, "
        "MemoryFormat? memory_format=None) -> Tensor(a)",
        boxed<&to_options>),
    view_or_copy("aten::type_as(Tensor self, Tensor other) -> Tensor", boxed<&type_as>,
                 kLikeSecond),
    {"aten::_to_copy(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, Device? "
     "device=None, bool? pin_memory=None, bool non_blocking=False, MemoryFormat? "
     "memory_format=None) -> Tensor",
     boxed<&to_copy>},
    {"aten::cat(Tensor[] tensors, int dim=0) -> Tensor",
     boxed<&at::meta::cat>,
     nullptr,
     {},
     kOutApart},
    {"aten::concat(Tensor[] tensors, int dim=0) -> Tensor",
     boxed<&at::meta::cat>,
     nullptr,
     {},
     kOutApart},
    {"aten::concatenate(Tensor[] tensors, int dim=0) -> Tensor",
     boxed<&at::meta::cat>,
     nullptr,
     {},
     kOutApart},
    {"aten::stack(Tensor[] tensors, int dim=0) -> Tensor", boxed<&stacked>},
    {"aten::_stack(Tensor[] tensors, int dim=0) -> Tensor", boxed<&stacked>},
    {"aten::_chunk_cat(Tensor[] tensors, int dim, int num_chunks) -> Tensor",
     boxed<&chunks_joined>},
    {"aten::repeat(Tensor self, SymInt[] repeats) -> Tensor", boxed<&repeated>},
    {"aten::tile(Tensor self, SymInt[] dims) -> Tensor", boxed<&tiled>},
    {"aten::repeat_interleave.self_int(Tensor self, SymInt repeats, int? dim=None, *, SymInt? "
     "output_size=None) -> Tensor",
     boxed<&each_repeated>},
    {"aten::repeat_interleave.Tensor(Tensor repeats, *, SymInt? output_size=None) -> Tensor",
     boxed<&repeated_indices>,
     nullptr,
     {},
     kDataDependent},
    {"aten::flip(Tensor self, int[] dims) -> Tensor", boxed<&flipped>},
    {"aten::roll(Tensor self, SymInt[1] shifts, int[1] dims=[]) -> Tensor", boxed<&rolled>},
    {"aten::rot90(Tensor self, int k=1, int[] dims=[0, 1]) -> Tensor", boxed<&rotated>},
};

}  // namespace

const RuleFamily kCopyRules("copy", kCopyTable, OpClass::copy, kKeepsGuesses);

}  // namespace nnprof

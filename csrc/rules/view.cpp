// Views: they share their input's storage and cost nothing.
#include <ATen/ExpandUtils.h>
#include <ATen/InferSize.h>
#include <ATen/TensorUtils.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/WrapDimUtilsMulti.h>
#include <ATen/ops/view_as_complex_meta_dispatch.h>
#include <ATen/ops/view_as_real_meta_dispatch.h>
#include <ATen/ops/view_native.h>

#include <algorithm>
#include <bitset>
#include <limits>
#include <utility>

#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/views.h"

namespace nnprof {

at::Tensor view_of(const at::Tensor& self, at::IntArrayRef sizes, at::IntArrayRef strides,
                   int64_t storage_offset) {
  c10::DispatchKeySet keys = self.key_set();
  // A quantized tensor has a class of its own: the dispatcher's side makes one of this plain one.
  if (keys.has(c10::DispatchKey::Quantized)) {
    keys = keys.remove(c10::DispatchKey::Quantized).add(c10::DispatchKey::Dense);
  }
  at::Tensor view = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(self.storage()), keys, self.dtype());
  view.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides, storage_offset);
  return view;
}

at::Tensor slice_of(const at::Tensor& self, int64_t dim, int64_t start, int64_t length,
                    int64_t step) {
  c10::DimVector sizes(self.sizes()), strides(self.strides());
  const int64_t offset = self.storage_offset() + start * strides[dim];
  sizes[dim] = length;
  strides[dim] *= step;
  return view_of(self, sizes, strides, offset);
}

at::Tensor selected(const at::Tensor& self, int64_t dim, int64_t index) {
  TORCH_CHECK_INDEX(self.dim() > 0, "select() cannot be applied to a 0-dim tensor.");
  dim = at::maybe_wrap_dim(dim, self.dim());
  const int64_t size = self.size(dim);
  TORCH_CHECK_INDEX(-size <= index && index < size, "select(): index ", index,
                    " out of range for tensor of size ", self.sizes(), " at dimension ", dim);
  if (index < 0) index += size;
  c10::DimVector sizes(self.sizes()), strides(self.strides());
  const int64_t offset = self.storage_offset() + index * strides[dim];
  sizes.erase(sizes.begin() + dim);
  strides.erase(strides.begin() + dim);
  return view_of(self, sizes, strides, offset);
}

at::Tensor sliced(const at::Tensor& self, int64_t dim, std::optional<int64_t> start,
                  std::optional<int64_t> end, int64_t step) {
  TORCH_CHECK_INDEX(self.dim() > 0, "slice() cannot be applied to a 0-dim tensor.");
  TORCH_CHECK_VALUE(step > 0, "slice step must be positive");
  dim = at::maybe_wrap_dim(dim, self.dim());
  const int64_t size = self.size(dim);
  const auto position = [size](int64_t at) {
    return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size);
  };
  const int64_t first = position(start.value_or(0));
  const int64_t last = std::max(first, position(end.value_or(std::numeric_limits<int64_t>::max())));
  return slice_of(self, dim, first, (last - first + step - 1) / step, step);
}

at::Tensor diagonal_of(const at::Tensor& self, int64_t offset, int64_t dim1, int64_t dim2) {
  const int64_t rows = at::maybe_wrap_dim(dim1, self.dim());
  const int64_t columns = at::maybe_wrap_dim(dim2, self.dim());
  TORCH_CHECK(rows != columns, "diagonal dimensions cannot be identical ", dim1, ", ", dim2);
  const int64_t below = std::max<int64_t>(-offset, 0), right = std::max<int64_t>(offset, 0);
  const int64_t length =
      std::max<int64_t>(std::min(self.size(rows) - below, self.size(columns) - right), 0);
  c10::DimVector sizes(self.sizes()), strides(self.strides());
  int64_t start = self.storage_offset();
  if (length != 0) start += below * strides[rows] + right * strides[columns];
  const int64_t step = strides[rows] + strides[columns];
  for (const int64_t dim : {std::max(rows, columns), std::min(rows, columns)}) {
    sizes.erase(sizes.begin() + dim);
    strides.erase(strides.begin() + dim);
  }
  sizes.push_back(length);
  strides.push_back(step);
  return view_of(self, sizes, strides, start);
}

at::Tensor strided(const at::Tensor& self, at::IntArrayRef sizes, at::IntArrayRef strides,
                   std::optional<int64_t> storage_offset) {
  const int64_t offset = storage_offset.value_or(self.storage_offset());
  TORCH_CHECK(sizes.size() == strides.size(), "mismatch in length of strides and shape");
  for (const int64_t size : sizes) {
    TORCH_CHECK(size >= 0, "Storage size calculation overflowed with sizes=", sizes);
  }
  for (const int64_t stride : strides) {
    TORCH_CHECK(stride >= 0, "as_strided: Negative strides are not supported at the moment, got ",
                "strides: ", strides);
  }
  TORCH_CHECK(offset >= 0, "Tensor: invalid storage offset ", offset);
  const auto item = static_cast<size_t>(self.element_size());
  const size_t bytes =
      at::detail::computeStorageNbytes(sizes, strides, item, static_cast<size_t>(offset));
  TORCH_CHECK(c10::multiply_integers(sizes) == 0 || bytes <= self.storage().nbytes(),
              "setStorage: sizes ", sizes, ", strides ", strides, ", storage offset ", offset,
              ", and itemsize ", item, " requiring a storage size of ", bytes,
              " are out of bounds for storage of size ", self.storage().nbytes());
  return view_of(self, sizes, strides, offset);
}

void copy_unless_view(const OpSignature& op, Cost& cost) {
  if (op.output().storage == op.tensor(0).storage) {
    cost = Cost();
  } else {
    cost.bytes_read = op.tensor(0).distinct_bytes();
  }
}

namespace {

// Other shapes for the same elements -----------------------------------------------------------

at::Tensor viewed(const at::Tensor& self, at::IntArrayRef size) {
  const c10::DimVector sizes = at::infer_size_dv(size, self.numel());
  const auto strides = at::detail::computeStride(self.sizes(), self.strides(), sizes);
  TORCH_CHECK(strides, "view size is not compatible with input tensor's size and stride (at least ",
              "one dimension spans across two contiguous subspaces). Use .reshape(...) instead.");
  return view_of(self, sizes, *strides);
}

at::Tensor viewed_as(const at::Tensor& self, const at::Tensor& other) {
  return viewed(self, other.sizes());
}

// A view where the strides allow it, else a contiguous copy.
at::Tensor reshaped(const at::Tensor& self, at::IntArrayRef shape) {
  const c10::DimVector sizes = at::infer_size_dv(shape, self.numel());
  const auto strides = at::detail::computeStride(self.sizes(), self.strides(), sizes);
  return strides ? view_of(self, sizes, *strides) : empty_like_dtype(sizes, self);
}

at::Tensor reshaped_as(const at::Tensor& self, const at::Tensor& other) {
  return reshaped(self, other.sizes());
}

at::Tensor reshape_alias(const at::Tensor& self, at::IntArrayRef sizes, at::IntArrayRef strides) {
  return view_of(self, sizes, strides);
}

// The bit alone changes: who needs the elements in memory makes a clone.
at::Tensor conjugated(const at::Tensor& self) {
  at::Tensor view = alias_of(self);
  view._set_conj(!self.is_conj());
  return view;
}

at::Tensor negated(const at::Tensor& self) {
  at::Tensor view = alias_of(self);
  view._set_neg(!self.is_neg());
  return view;
}

at::Tensor flattened(const at::Tensor& self, int64_t start_dim, int64_t end_dim) {
  start_dim = at::maybe_wrap_dim(start_dim, self.dim());
  end_dim = at::maybe_wrap_dim(end_dim, self.dim());
  TORCH_CHECK(start_dim <= end_dim,
              "flatten() has invalid args: start_dim cannot come after end_dim");
  if (self.dim() == 0) return reshaped(self, {1});
  if (start_dim == end_dim) return self;
  c10::DimVector sizes(self.sizes());
  for (int64_t d = start_dim + 1; d <= end_dim; ++d) sizes[start_dim] *= sizes[d];
  sizes.erase(sizes.begin() + start_dim + 1, sizes.begin() + end_dim + 1);
  return reshaped(self, sizes);
}

at::Tensor unflattened(const at::Tensor& self, int64_t dim, at::IntArrayRef sizes) {
  dim = at::maybe_wrap_dim(dim, self.dim());
  TORCH_CHECK(!sizes.empty(), "unflatten: sizes must be non-empty");
  const int64_t numel = self.dim() == 0 ? 1 : self.size(dim);
  TORCH_CHECK(
      std::count(sizes.begin(), sizes.end(), -1) != 0 || c10::multiply_integers(sizes) == numel,
      "unflatten: Provided sizes ", sizes, " don't multiply up to the size of dim ", dim, " (",
      numel, ") in the input tensor");
  const c10::DimVector inferred = at::infer_size_dv(sizes, numel);
  c10::DimVector shape(self.sizes());
  if (!shape.empty()) shape.erase(shape.begin() + dim);
  shape.insert(shape.begin() + dim, inferred.begin(), inferred.end());
  return viewed(self, shape);
}

// Dimensions in another order ------------------------------------------------------------------

at::Tensor transposed(const at::Tensor& self, int64_t dim0, int64_t dim1) {
  dim0 = at::maybe_wrap_dim(dim0, self.dim());
  dim1 = at::maybe_wrap_dim(dim1, self.dim());
  if (dim0 == dim1) return alias_of(self);
  c10::DimVector sizes(self.sizes()), strides(self.strides());
  std::swap(sizes[dim0], sizes[dim1]);
  std::swap(strides[dim0], strides[dim1]);
  return view_of(self, sizes, strides);
}

at::Tensor t(const at::Tensor& self) {
  TORCH_CHECK(self.dim() <= 2, "t() expects a tensor with <= 2 dimensions, but self is ",
              self.dim(), "D");
  return transposed(self, 0, self.dim() < 2 ? 0 : 1);
}

at::Tensor permuted(const at::Tensor& self, at::IntArrayRef dims) {
  const int64_t ndim = self.dim();
  TORCH_CHECK(ndim == static_cast<int64_t>(dims.size()), "permute: a tensor of ", ndim,
              " dimensions cannot be put in an order of ", dims.size(), " dimensions (", dims, ")");
  c10::DimVector sizes(dims.size()), strides(dims.size());
  uint64_t seen = 0;
  for (int64_t i = 0; i < ndim; ++i) {
    const int64_t dim = at::maybe_wrap_dim(dims[i], ndim);
    TORCH_CHECK((seen >> dim & 1) == 0, "permute(): duplicate dims are not allowed.");
    seen |= uint64_t{1} << dim;
    sizes[i] = self.size(dim);
    strides[i] = self.stride(dim);
  }
  return view_of(self, sizes, strides);
}

// Dimensions of size one, and of stride zero ----------------------------------------------------

at::Tensor expanded(const at::Tensor& self, at::IntArrayRef size, bool /*implicit*/) {
  TORCH_CHECK(static_cast<int64_t>(size.size()) >= self.dim(), "expand(", self.toString(),
              self.sizes(), ", size=", size, "): the number of sizes provided (", size.size(),
              ") must be greater or equal to the number of dimensions in the tensor (", self.dim(),
              ")");
  const auto geometry = at::inferExpandGeometry_dimvector(self.sizes(), self.strides(), size);
  return view_of(self, geometry.sizes, geometry.strides);
}

at::Tensor broadcast(const at::Tensor& self, at::IntArrayRef size) {
  return expanded(self, size, false);
}

at::Tensor expanded_as(const at::Tensor& self, const at::Tensor& other) {
  return expanded(self, other.sizes(), false);
}

using DimSet = std::bitset<at::dim_bitset_size>;

at::Tensor without_ones(const at::Tensor& self, const DimSet& chosen) {
  c10::DimVector sizes, strides;
  for (int64_t d = 0; d < self.dim(); ++d) {
    if (chosen[static_cast<size_t>(d)] && self.size(d) == 1) continue;
    sizes.push_back(self.size(d));
    strides.push_back(self.stride(d));
  }
  return view_of(self, sizes, strides);
}

at::Tensor squeezed(const at::Tensor& self) { return without_ones(self, DimSet().set()); }

at::Tensor squeezed_dims(const at::Tensor& self, at::IntArrayRef dims) {
  return without_ones(self, at::dim_list_to_bitset(dims, static_cast<size_t>(self.dim())));
}

at::Tensor squeezed_dim(const at::Tensor& self, int64_t dim) { return squeezed_dims(self, dim); }

at::Tensor unsqueezed(const at::Tensor& self, int64_t dim) {
  dim = at::maybe_wrap_dim(dim, self.dim() + 1);
  c10::DimVector sizes(self.sizes()), strides(self.strides());
  const int64_t stride = dim < self.dim() ? sizes[dim] * strides[dim] : 1;
  sizes.insert(sizes.begin() + dim, 1);
  strides.insert(strides.begin() + dim, stride);
  return view_of(self, sizes, strides);
}

// Parts ------------------------------------------------------------------------------------------

at::Tensor narrowed(const at::Tensor& self, int64_t dim, int64_t start, int64_t length) {
  TORCH_CHECK(self.dim() > 0, "narrow() cannot be applied to a 0-dim tensor.");
  TORCH_CHECK(length >= 0, "narrow(): length must be non-negative.");
  dim = at::maybe_wrap_dim(dim, self.dim());
  const int64_t size = self.size(dim);
  TORCH_CHECK_INDEX(-size <= start && start <= size,
                    "start out of range (expected to be in range of [", -size, ", ", size,
                    "], but got ", start, ")");
  if (start < 0) start += size;
  TORCH_CHECK(start <= size - length, "start (", start, ") + length (", length,
              ") exceeds dimension size (", size, ").");
  return slice_of(self, dim, start, length);
}

// Tensor.unfold: every window of `size` along a dimension, in a new last dimension.
at::Tensor windows(const at::Tensor& self, int64_t dim, int64_t size, int64_t step) {
  dim = at::maybe_wrap_dim(dim, self.dim());
  const int64_t length = self.dim() == 0 ? 1 : self.size(dim);
  const int64_t stride = self.dim() == 0 ? 1 : self.stride(dim);
  TORCH_CHECK(size >= 0, "size is ", size, " but must be >= 0");
  TORCH_CHECK(size <= length, "maximum size for tensor at dimension ", dim, " is ", length,
              " but size is ", size);
  TORCH_CHECK(step > 0, "step is ", step, " but must be > 0");
  c10::DimVector sizes(self.sizes()), strides(self.strides());
  if (self.dim() != 0) {
    sizes[dim] = (length - size) / step + 1;
    strides[dim] *= step;
  }
  sizes.push_back(size);
  strides.push_back(stride);
  return view_of(self, sizes, strides);
}

// In place: the tensor keeps its storage and gets another shape --------------------------------

template <auto Function>
struct InPlace;
template <class... Args, at::Tensor (*Function)(const at::Tensor&, Args...)>
struct InPlace<Function> {
  static at::Tensor call(const at::Tensor& self, Args... args) {
    const at::Tensor changed = Function(self, args...);
    self.unsafeGetTensorImpl()->set_sizes_and_strides(changed.sizes(), changed.strides(),
                                                      changed.storage_offset());
    return self;
  }
};
template <auto Function>
constexpr auto boxed_in_place = boxed<&InPlace<Function>::call>;

// Copies of views (torch.diag of a matrix makes one): what the view shows, in memory of its own
// -----

template <auto Function>
struct Copied;
template <class... Args, at::Tensor (*Function)(const at::Tensor&, Args...)>
struct Copied<Function> {
  static at::Tensor call(const at::Tensor& self, Args... args) {
    const at::Tensor view = Function(self, args...);
    return empty_like_dtype(view.sizes(), view);
  }
};
// Of a part no more is read than the copy holds; of what is expanded, each element once.
void copy_what_is_seen(const OpSignature& /*op*/, Cost& cost) {
  cost.bytes_read = std::min(cost.bytes_read, cost.bytes_written);
}

template <auto Function>
constexpr Rule view_copy(const char* schema) {
  return {schema, boxed<&Copied<Function>::call>, copy_what_is_seen};
}

// Other sizes, and more storage where it takes more. The same sizes keep their strides.
at::Tensor resized(const at::Tensor& self, at::IntArrayRef sizes,
                   std::optional<c10::MemoryFormat> format) {
  c10::TensorImpl* tensor = self.unsafeGetTensorImpl();
  if (self.sizes() != sizes) tensor->set_sizes_contiguous(sizes);
  if (format) {
    TORCH_CHECK(*format != c10::MemoryFormat::Preserve, "Unsupported memory format ", *format);
    tensor->empty_tensor_restride(*format);
  }
  const size_t bytes = at::detail::computeStorageNbytes(self.sizes(), self.strides(),
                                                        self.element_size(), self.storage_offset());
  c10::StorageImpl* storage = self.storage().unsafeGetStorageImpl();
  if (bytes > storage->nbytes()) {
    TORCH_CHECK(storage->resizable(), "Trying to resize storage that is not resizable");
    storage->set_nbytes(bytes);
  }
  return self;
}

at::Tensor resized_as(const at::Tensor& self, const at::Tensor& like,
                      std::optional<c10::MemoryFormat> format) {
  if (format == c10::MemoryFormat::Preserve) format = like.suggest_memory_format();
  return resized(self, like.sizes(), format);
}

at::Tensor set_to(const at::Tensor& self, const at::Tensor& source) {
  self.unsafeGetTensorImpl()->set_storage_keep_dtype(source.storage());
  self.unsafeGetTensorImpl()->set_sizes_and_strides(source.sizes(), source.strides(),
                                                    source.storage_offset());
  return self;
}

const Rule kViewTable[] = {
    free_view("aten::view(Tensor(a) self, SymInt[] size) -> Tensor(a)", boxed<&viewed>),
    free_view("aten::view.dtype(Tensor(a) self, ScalarType dtype) -> Tensor(a)",
              boxed<&at::native::view_dtype>),
    free_view("aten::view_as(Tensor(a) self, Tensor other) -> Tensor(a)", boxed<&viewed_as>,
              kLikeSecond),
    free_view("aten::_unsafe_view(Tensor self, SymInt[] size) -> Tensor", boxed<&viewed>),
    view_or_copy("aten::reshape(Tensor(a) self, SymInt[] shape) -> Tensor(a)", boxed<&reshaped>),
    view_or_copy("aten::reshape_as(Tensor(a) self, Tensor other) -> Tensor(a)", boxed<&reshaped_as>,
                 kLikeSecond),
    free_view("aten::_reshape_alias(Tensor(a) self, SymInt[] size, SymInt[] stride) -> Tensor(a)",
              boxed<&reshape_alias>),
    view_or_copy(
        "aten::flatten.using_ints(Tensor(a) self, int start_dim=0, int end_dim=-1) -> Tensor(a)",
        boxed<&flattened>),
    free_view("aten::unflatten.int(Tensor(a) self, int dim, SymInt[] sizes) -> Tensor(a)",
              boxed<&unflattened>),
    free_view("aten::transpose.int(Tensor(a) self, int dim0, int dim1) -> Tensor(a)",
              boxed<&transposed>),
    free_view("aten::swapaxes(Tensor(a) self, int axis0, int axis1) -> Tensor(a)",
              boxed<&transposed>),
    free_view("aten::swapdims(Tensor(a) self, int dim0, int dim1) -> Tensor(a)",
              boxed<&transposed>),
    free_view("aten::t(Tensor(a) self) -> Tensor(a)", boxed<&t>),
    free_view("aten::permute(Tensor(a) self, int[] dims) -> Tensor(a)", boxed<&permuted>),
    free_view("aten::expand(Tensor(a) self, SymInt[] size, *, bool implicit=False) -> Tensor(a)",
              boxed<&expanded>),
    free_view("aten::expand_as(Tensor(a) self, Tensor other) -> Tensor(a)", boxed<&expanded_as>,
              kLikeSecond),
    free_view("aten::broadcast_to(Tensor(a) self, SymInt[] size) -> Tensor(a)", boxed<&broadcast>),
    free_view("aten::squeeze(Tensor(a) self) -> Tensor(a)", boxed<&squeezed>),
    free_view("aten::squeeze.dim(Tensor(a) self, int dim) -> Tensor(a)", boxed<&squeezed_dim>),
    free_view("aten::squeeze.dims(Tensor(a) self, int[] dim) -> Tensor(a)", boxed<&squeezed_dims>),
    free_view("aten::unsqueeze(Tensor(a) self, int dim) -> Tensor(a)", boxed<&unsqueezed>),
    free_view("aten::select.int(Tensor(a) self, int dim, SymInt index) -> Tensor(a)",
              boxed<&selected>),
    free_view("aten::slice.Tensor(Tensor(a) self, int dim=0, SymInt? start=None, SymInt? end=None, "
              "SymInt step=1) -> Tensor(a)",
              boxed<&sliced>),
    free_view("aten::narrow(Tensor(a) self, int dim, SymInt start, SymInt length) -> Tensor(a)",
              boxed<&narrowed>),
    free_view("aten::diagonal(Tensor(a) self, int offset=0, int dim1=0, int dim2=1) -> Tensor(a)",
              boxed<&diagonal_of>),
    free_view("aten::unfold(Tensor(a) self, int dimension, int size, int step) -> Tensor(a)",
              boxed<&windows>),
    free_view("aten::as_strided(Tensor(a) self, SymInt[] size, SymInt[] stride, SymInt? "
              "storage_offset=None) -> Tensor(a)",
              boxed<&strided>),
    free_view("aten::alias(Tensor(a) self) -> Tensor(a)", boxed<&alias_of>),
    free_view("aten::detach(Tensor(a) self) -> Tensor(a)", boxed<&alias_of>),
    free_view("aten::_conj(Tensor(a) self) -> Tensor(a)", boxed<&conjugated>),
    free_view("aten::_neg_view(Tensor(a) self) -> Tensor(a)", boxed<&negated>),
    free_view("aten::view_as_real(Tensor(a) self) -> Tensor(a)", boxed<&at::meta::view_as_real>),
    free_view("aten::view_as_complex(Tensor(a) self) -> Tensor(a)",
              boxed<&at::meta::view_as_complex>),
    free_view("aten::transpose_(Tensor(a!) self, int dim0, int dim1) -> Tensor(a!)",
              boxed_in_place<&transposed>),
    free_view("aten::swapaxes_(Tensor(a!) self, int axis0, int axis1) -> Tensor(a!)",
              boxed_in_place<&transposed>),
    free_view("aten::swapdims_(Tensor(a!) self, int dim0, int dim1) -> Tensor(a!)",
              boxed_in_place<&transposed>),
    free_view("aten::t_(Tensor(a!) self) -> Tensor(a!)", boxed_in_place<&t>),
    free_view("aten::squeeze_(Tensor(a!) self) -> Tensor(a!)", boxed_in_place<&squeezed>),
    free_view("aten::squeeze_.dim(Tensor(a!) self, int dim) -> Tensor(a!)",
              boxed_in_place<&squeezed_dim>),
    free_view("aten::squeeze_.dims(Tensor(a!) self, int[] dim) -> Tensor(a!)",
              boxed_in_place<&squeezed_dims>),
    free_view("aten::unsqueeze_(Tensor(a!) self, int dim) -> Tensor(a!)",
              boxed_in_place<&unsqueezed>),
    free_view("aten::as_strided_(Tensor(a!) self, SymInt[] size, SymInt[] stride, SymInt? "
              "storage_offset=None) -> Tensor(a!)",
              boxed_in_place<&strided>),
    free_view("aten::resize_(Tensor(a!) self, SymInt[] size, *, MemoryFormat? memory_format=None) "
              "-> Tensor(a!)",
              boxed<&resized>),
    free_view("aten::resize_as_(Tensor(a!) self, Tensor the_template, *, MemoryFormat? "
              "memory_format=None) -> Tensor(a!)",
              boxed<&resized_as>),
    free_view("aten::set_.source_Tensor(Tensor(a!) self, Tensor source) -> Tensor(a!)",
              boxed<&set_to>),
    free_view("aten::detach_(Tensor(a!) self) -> Tensor(a!)", boxed_in_place<&alias_of>),
    view_copy<&reshaped>("aten::view_copy(Tensor self, SymInt[] size) -> Tensor"),
    view_copy<&at::native::view_dtype>(
        "aten::view_copy.dtype(Tensor self, ScalarType dtype) -> Tensor"),
    view_copy<&transposed>("aten::transpose_copy.int(Tensor self, int dim0, int dim1) -> Tensor"),
    view_copy<&t>("aten::t_copy(Tensor self) -> Tensor"),
    view_copy<&permuted>("aten::permute_copy(Tensor self, int[] dims) -> Tensor"),
    view_copy<&expanded>(
        "aten::expand_copy(Tensor self, SymInt[] size, *, bool implicit=False) -> Tensor"),
    view_copy<&squeezed>("aten::squeeze_copy(Tensor self) -> Tensor"),
    view_copy<&squeezed_dim>("aten::squeeze_copy.dim(Tensor self, int dim) -> Tensor"),
    view_copy<&squeezed_dims>("aten::squeeze_copy.dims(Tensor self, int[] dim) -> Tensor"),
    view_copy<&unsqueezed>("aten::unsqueeze_copy(Tensor self, int dim) -> Tensor"),
    view_copy<&selected>("aten::select_copy.int(Tensor self, int dim, SymInt index) -> Tensor"),
    view_copy<&sliced>("aten::slice_copy.Tensor(Tensor self, int dim=0, SymInt? start=None, "
                       "SymInt? end=None, SymInt step=1) -> Tensor"),
    view_copy<&narrowed>(
        "aten::narrow_copy(Tensor self, int dim, SymInt start, SymInt length) -> Tensor"),
    view_copy<&diagonal_of>(
        "aten::diagonal_copy(Tensor self, int offset=0, int dim1=0, int dim2=1) -> Tensor"),
    view_copy<&windows>(
        "aten::unfold_copy(Tensor self, int dimension, int size, int step) -> Tensor"),
    view_copy<&strided>("aten::as_strided_copy(Tensor self, SymInt[] size, SymInt[] stride, "
                        "SymInt? storage_offset=None) -> Tensor"),
    view_copy<&alias_of>("aten::alias_copy(Tensor self) -> Tensor"),
    view_copy<&alias_of>("aten::detach_copy(Tensor self) -> Tensor"),
    view_copy<&at::meta::view_as_real>("aten::view_as_real_copy(Tensor self) -> Tensor"),
    view_copy<&at::meta::view_as_complex>("aten::view_as_complex_copy(Tensor self) -> Tensor"),
};

}  // namespace

const RuleFamily kViewRules("view", kViewTable, OpClass::copy, kNothingSpecial);

}  // namespace nnprof

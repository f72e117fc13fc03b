// Writing parts of a copy of a tensor: scatter, index_add, slice_scatter; and the gradients of the
// views and lookups that read a part.
#include <ATen/MemoryOverlap.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/ops/index_add_meta_dispatch.h>
#include <ATen/ops/index_copy_meta_dispatch.h>
#include <ATen/ops/index_reduce_meta_dispatch.h>
#include <ATen/ops/scatter_add_meta_dispatch.h>
#include <ATen/ops/scatter_meta_dispatch.h>
#include <ATen/ops/scatter_reduce_meta_dispatch.h>

#include <algorithm>
#include <string_view>

#include "rules/families.h"
#include "rules/known_integers.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"
#include "rules/views.h"

namespace nnprof {
namespace {

using at::Scalar;
using at::Tensor;

// By index ----------------------------------------------------------------------------------------

int64_t size_along(const Tensor& self, int64_t dim) { return self.dim() == 0 ? 1 : self.size(dim); }

// PyTorch's own functions for the shapes, which cannot look at values.
template <auto Meta>
struct Scattered;
template <class Source, class... Rest,
          Tensor (*Meta)(const Tensor&, int64_t, const Tensor&, Source, Rest...)>
struct Scattered<Meta> {
  static Tensor call(const Tensor& self, int64_t dim, const Tensor& index, Source source,
                     Rest... rest) {
    const int64_t wrapped = at::maybe_wrap_dim(dim, self.dim());
    check_gathered(index, size_along(self, wrapped), wrapped);
    return Meta(self, dim, without_values(index), source, rest...);
  }
};

// Of an index that is out of bounds.
template <auto Meta>
constexpr bool kRaisesNoIndexError = false;
template <>
constexpr bool kRaisesNoIndexError<&at::meta::index_add> = true;

template <auto Meta>
struct IndexWritten;
template <class... Rest,
          Tensor (*Meta)(const Tensor&, int64_t, const Tensor&, const Tensor&, Rest...)>
struct IndexWritten<Meta> {
  static Tensor call(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& source,
                     Rest... rest) {
    const int64_t wrapped = at::maybe_wrap_dim(dim, self.dim());
    if constexpr (kRaisesNoIndexError<Meta>) {
      check_gathered(index, size_along(self, wrapped), wrapped);
    } else {
      check_index(index, size_along(self, wrapped), wrapped);
    }
    if (index.numel() == 0 && self.numel() > 0 && has_no_rows(source, wrapped)) {
      return Meta(self, dim, empty_of({1}, index.scalar_type()), one_row(source, wrapped), rest...);
    }
    return Meta(self, dim, without_values(index), without_values(source), rest...);
  }

 private:
  // PyTorch's meta functions compare a first row of both, which an expert that no token was sent to
  // does not have.
  static bool has_no_rows(const Tensor& source, int64_t dim) {
    return dim < source.dim() && source.size(dim) == 0;
  }
  static Tensor one_row(const Tensor& source, int64_t dim) {
    c10::DimVector sizes(source.sizes());
    sizes[static_cast<size_t>(dim)] = 1;
    return empty_of(sizes, source.scalar_type());
  }
};

Tensor index_filled(const Tensor& self, int64_t dim, const Tensor& index, const Scalar& value) {
  dim = at::maybe_wrap_dim(dim, self.dim());
  TORCH_CHECK_INDEX(index.scalar_type() == at::kLong,
                    "index_fill_(): Expected dtype int64 for index.");
  TORCH_CHECK(index.dim() <= 1, "Index has to be a vector/scalar.");
  check_index(index, size_along(self, dim), dim, /*from_end=*/true);
  TORCH_CHECK(!value.isComplex() || self.is_complex(),
              "index_fill_(): Converting complex Scalar to non-complex type is not supported");
  return empty_preserving(self);
}

Tensor index_filled_tensor(const Tensor& self, int64_t dim, const Tensor& index,
                           const Tensor& value) {
  TORCH_CHECK(value.dim() == 0, "Only supports 0-dimensional value tensor, but got tensor with ",
              value.dim(), " dimension(s).");
  TORCH_CHECK(!value.is_complex() || self.is_complex(),
              "index_fill_(): Converting complex Scalar to non-complex type is not supported");
  return index_filled(self, dim, index, 0);
}

Tensor put_into(const Tensor& self, const Tensor& index, const Tensor& source,
                bool /*accumulate*/) {
  TORCH_CHECK(index.scalar_type() == at::kLong,
              "put_(): Expected a long tensor for index, but got ", index.scalar_type());
  TORCH_CHECK(self.scalar_type() == source.scalar_type(),
              "put_(): self and source expected to have the same dtype, but got self.dtype = ",
              self.scalar_type(), " and source.dtype = ", source.scalar_type());
  TORCH_CHECK_INDEX(
      index.numel() == source.numel(),
      "put_(): Expected source and index to have the same number of elements, but got "
      "source.numel() = ",
      source.numel(), ", index.numel() = ", index.numel());
  TORCH_CHECK_INDEX(self.numel() != 0 || index.numel() == 0,
                    "put_(): Tried to put elements into an empty tensor");
  check_index(index, self.numel(), 0, /*from_end=*/true);
  return empty_preserving(self);
}

// Parts that a view names
// --------------------------------------------------------------------------

// As PyTorch copies it, for the strides: the whole storage, of which the result is the same view.
Tensor with_part(const Tensor& self, const Tensor& part, const Tensor& source) {
  TORCH_CHECK(part.sizes() == source.sizes(),
              "expected src to have a size equal to the slice of self. src size = ", source.sizes(),
              ", slice size = ", part.sizes());
  if (at::has_internal_overlap(self) == at::MemOverlap::Yes) return empty_preserving(self);
  const auto elements = static_cast<int64_t>(self.storage().nbytes()) / self.element_size();
  return view_of(empty_like_dtype({elements}, self), self.sizes(), self.strides(),
                 self.storage_offset());
}

Tensor select_scattered(const Tensor& self, const Tensor& source, int64_t dim, int64_t index) {
  return with_part(self, selected(self, dim, index), source);
}

Tensor slice_scattered(const Tensor& self, const Tensor& source, int64_t dim,
                       std::optional<int64_t> start, std::optional<int64_t> end, int64_t step) {
  return with_part(self, sliced(self, dim, start, end, step), source);
}

Tensor diagonal_scattered(const Tensor& self, const Tensor& source, int64_t offset, int64_t dim1,
                          int64_t dim2) {
  return with_part(self, diagonal_of(self, offset, dim1, dim2), source);
}

Tensor strided_scattered(const Tensor& self, const Tensor& source, at::IntArrayRef sizes,
                         at::IntArrayRef strides, std::optional<int64_t> storage_offset) {
  const bool cloned = at::has_internal_overlap(self) == at::MemOverlap::Yes;
  const Tensor whole = cloned ? empty_preserving(self) : self;
  return with_part(whole, strided(whole, sizes, strides, storage_offset), source);
}

// The gradient of a part: zero everywhere else.
template <class... Args>
Tensor part_gradient(const Tensor& gradient, at::IntArrayRef sizes, Args...) {
  return empty_like_dtype(sizes, gradient);
}

// Costs
// --------------------------------------------------------------------------------------------

// A functional call copies the first tensor and then does what the in-place one does: writes (and
// reads first, to combine) the `touched` elements that the source goes to.
void written_into(const OpSignature& op, Cost& cost, const TensorSpec& index, Count source_bytes,
                  Count touched, bool combines) {
  const TensorSpec& self = op.tensor(0);
  const Count bytes = std::min(touched, self.numel()) * self.element_size();
  const bool in_place = op.output().storage == self.storage;
  cost.bytes_read = index.distinct_bytes() + source_bytes;
  if (in_place) {
    cost.bytes_read += combines ? bytes : 0;
    cost.bytes_written = bytes;
  } else {
    cost.bytes_read += self.distinct_bytes();
  }
}

FlopMix combination(std::string_view reduce) {
  if (reduce == "sum" || reduce == "add" || reduce == "mean") return {.add = 1};
  if (reduce == "prod" || reduce == "multiply") return {.multiply = 1};
  return {.compare = 1};
}

// Of the source, as much as there is of the index is used.
void scatter_by(const OpSignature& op, Cost& cost, const FlopMix& mix, bool combines) {
  const TensorSpec& index = op.tensor(2);
  const bool tensor =
      op.arguments[3].kind == Argument::Kind::tensor && !op.tensor(3).wrapped_number;
  const Count source = tensor ? index.numel() * op.tensor(3).element_size() : 0;
  written_into(op, cost, index, source, index.numel(), combines);
  add_elementwise(op, cost, mix, index.numel());
}

void scatter_cost(const OpSignature& op, Cost& cost) { scatter_by(op, cost, {}, false); }

void scatter_add_cost(const OpSignature& op, Cost& cost) { scatter_by(op, cost, {.add = 1}, true); }

void scatter_reduce_cost(const OpSignature& op, Cost& cost) {
  scatter_by(op, cost, combination(op.string(4)), true);
  // The mean divides by how often each element was hit.
  if (op.string(4) == "mean") add_elementwise(op, cost, {.division = 1}, op.output().numel());
}

// Rows of the first tensor, one for each index.
void rows_by(const OpSignature& op, Cost& cost, const FlopMix& mix, bool combines) {
  const TensorSpec& self = op.tensor(0);
  const TensorSpec& index = op.tensor(2);
  const bool tensor =
      op.arguments[3].kind == Argument::Kind::tensor && !op.tensor(3).wrapped_number;
  const Count size = self.dim() == 0 ? 1 : self.size(op.integer(1));
  const Count elements = size == 0 ? 0 : self.numel() / size * index.numel();
  written_into(op, cost, index, tensor ? op.tensor(3).distinct_bytes() : 0, elements, combines);
  add_elementwise(op, cost, mix, elements);
}

void index_copy_cost(const OpSignature& op, Cost& cost) { rows_by(op, cost, {}, false); }

void index_add_cost(const OpSignature& op, Cost& cost) {
  const bool scaled =
      op.arguments[4].kind == Argument::Kind::integer ? op.integer(4) != 1 : op.floating(4) != 1;
  rows_by(op, cost, {.add = 1, .multiply = scaled ? 1 : 0}, true);
}

void index_reduce_cost(const OpSignature& op, Cost& cost) {
  rows_by(op, cost, combination(op.string(4)), true);
  if (op.string(4) == "mean") add_elementwise(op, cost, {.division = 1}, op.output().numel());
}

void put_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& index = op.tensor(1);
  const bool accumulate = op.boolean(3);
  written_into(op, cost, index, op.tensor(2).distinct_bytes(), index.numel(), accumulate);
  if (accumulate) add_elementwise(op, cost, {.add = 1}, index.numel());
}

// What the source replaces is not read.
void part_cost(const OpSignature& op, Cost& cost) {
  cost.bytes_read = std::max<Count>(op.tensor(0).distinct_numel() - op.tensor(1).numel(), 0) *
                        op.tensor(0).element_size() +
                    op.tensor(1).distinct_bytes();
}

// Windows overlap: what each adds to an element of the input is summed up.
void unfold_gradient_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, {.add = 1}, op.tensor(0).numel());
}

template <auto Meta>
constexpr auto scattered = boxed<&Scattered<Meta>::call>;
template <auto Meta>
constexpr auto index_written = boxed<&IndexWritten<Meta>::call>;

using Meta = Tensor(const Tensor&, int64_t, const Tensor&, const Tensor&);
using MetaValue = Tensor(const Tensor&, int64_t, const Tensor&, const Scalar&);
using MetaReduce = Tensor(const Tensor&, int64_t, const Tensor&, const Tensor&, std::string_view);
using MetaValueReduce = Tensor(const Tensor&, int64_t, const Tensor&, const Scalar&,
                               std::string_view);

// Rows on the diagonals of matrices that are zero elsewhere.
at::Tensor diag_embed(const at::Tensor& self, int64_t offset, int64_t dim1, int64_t dim2) {
  const int64_t dims = self.dim() + 1;
  const int64_t first = at::maybe_wrap_dim(dim1, dims), second = at::maybe_wrap_dim(dim2, dims);
  TORCH_CHECK(first != second, "diagonal dimensions cannot be identical ", dim1, ", ", dim2);
  const int64_t length = std::abs(offset) + self.size(-1);
  c10::DimVector sizes(self.sizes().begin(), self.sizes().end() - 1);
  sizes.insert(sizes.begin() + std::min(first, second), length);
  sizes.insert(sizes.begin() + std::max(first, second), length);
  return empty_like_dtype(sizes, self);
}

// What the mask chose, one after the other; zeros follow where the source had more.
at::Tensor masked_scatter_gradient(const at::Tensor& grad_output, const at::Tensor& mask,
                                   at::IntArrayRef sizes) {
  TORCH_CHECK(mask.scalar_type() == at::kBool,
              "masked_scatter_backward: expected a mask of bools, "
              "but got ",
              mask.scalar_type());
  return empty_like_dtype(sizes, grad_output);
}

void masked_scatter_gradient_cost(const OpSignature& op, Cost& cost) {
  add_copy(cost, op.output().distinct_bytes());
}

const Rule kScatterTable[] = {
    {"aten::diag_embed(Tensor self, int offset=0, int dim1=-2, int dim2=-1) -> Tensor",
     boxed<&diag_embed>},
    {"aten::masked_scatter_backward(Tensor grad_output, Tensor mask, SymInt[] sizes) -> Tensor",
     boxed<&masked_scatter_gradient>, masked_scatter_gradient_cost},
    {"aten::scatter.src(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
     scattered<overload<Meta>(&at::meta::scatter)>,
     scatter_cost,
     {},
     kKnownIntegers | kExactOut},
    {"aten::scatter.value(Tensor self, int dim, Tensor index, Scalar value) -> Tensor",
     scattered<overload<MetaValue>(&at::meta::scatter)>,
     scatter_cost,
     {},
     kKnownIntegers | kExactOut},
    {"aten::scatter.reduce(Tensor self, int dim, Tensor index, Tensor src, *, str reduce) -> "
     "Tensor",
     scattered<overload<MetaReduce>(&at::meta::scatter)>,
     scatter_reduce_cost,
     {},
     kKnownIntegers | kExactOut},
    {"aten::scatter.value_reduce(Tensor self, int dim, Tensor index, Scalar value, *, str reduce) "
     "-> Tensor",
     scattered<overload<MetaValueReduce>(&at::meta::scatter)>,
     scatter_reduce_cost,
     {},
     kKnownIntegers | kExactOut},
    {"aten::scatter_add(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
     scattered<&at::meta::scatter_add>,
     scatter_add_cost,
     {},
     kKnownIntegers | kExactOut},
    {"aten::scatter_reduce.two(Tensor self, int dim, Tensor index, Tensor src, str reduce, *, bool "
     "include_self=True) -> Tensor",
     scattered<&at::meta::scatter_reduce>,
     scatter_reduce_cost,
     {},
     kKnownIntegers | kExactOut},
    {"aten::index_add(Tensor self, int dim, Tensor index, Tensor source, *, Scalar alpha=1) -> "
     "Tensor",
     index_written<&at::meta::index_add>,
     index_add_cost,
     {},
     kKnownIntegers | kExactOut},
    {"aten::index_copy(Tensor self, int dim, Tensor index, Tensor source) -> Tensor",
     index_written<&at::meta::index_copy>,
     index_copy_cost,
     {},
     kKnownIntegers | kExactOut},
    {"aten::index_reduce(Tensor self, int dim, Tensor index, Tensor source, str reduce, *, bool "
     "include_self=True) -> Tensor",
     index_written<&at::meta::index_reduce>,
     index_reduce_cost,
     {},
     kKnownIntegers},
    {"aten::index_fill.int_Scalar(Tensor self, int dim, Tensor index, Scalar value) -> Tensor",
     boxed<&index_filled>,
     index_copy_cost,
     {},
     kKnownIntegers},
    {"aten::index_fill.int_Tensor(Tensor self, int dim, Tensor index, Tensor value) -> Tensor",
     boxed<&index_filled_tensor>,
     index_copy_cost,
     {},
     kKnownIntegers},
    {"aten::put(Tensor self, Tensor index, Tensor source, bool accumulate=False) -> Tensor",
     boxed<&put_into>,
     put_cost,
     {},
     kKnownIntegers},
    {"aten::select_scatter(Tensor self, Tensor src, int dim, SymInt index) -> Tensor",
     boxed<&select_scattered>, part_cost},
    {"aten::slice_scatter(Tensor self, Tensor src, int dim=0, SymInt? start=None, SymInt? "
     "end=None, SymInt step=1) -> Tensor",
     boxed<&slice_scattered>, part_cost},
    {"aten::diagonal_scatter(Tensor self, Tensor src, int offset=0, int dim1=0, int dim2=1) -> "
     "Tensor",
     boxed<&diagonal_scattered>, part_cost},
    {"aten::as_strided_scatter(Tensor self, Tensor src, SymInt[] size, SymInt[] stride, SymInt? "
     "storage_offset=None) -> Tensor",
     boxed<&strided_scattered>, part_cost},
    {"aten::select_backward(Tensor grad_output, SymInt[] input_sizes, int dim, SymInt index) -> "
     "Tensor",
     boxed<&part_gradient<int64_t, int64_t>>},
    {"aten::slice_backward(Tensor grad_output, SymInt[] input_sizes, int dim, SymInt start, SymInt "
     "end, SymInt step) -> Tensor",
     boxed<&part_gradient<int64_t, int64_t, int64_t, int64_t>>},
    {"aten::diagonal_backward(Tensor grad_output, SymInt[] input_sizes, int offset, int dim1, int "
     "dim2) -> Tensor",
     boxed<&part_gradient<int64_t, int64_t, int64_t>>},
    {"aten::unfold_backward(Tensor grad_in, SymInt[] input_sizes, int dim, int size, int step) -> "
     "Tensor",
     boxed<&part_gradient<int64_t, int64_t, int64_t>>, unfold_gradient_cost},
};

}  // namespace

const RuleFamily kScatterRules("scatter", kScatterTable, OpClass::gather, kNothingSpecial);

}  // namespace nnprof

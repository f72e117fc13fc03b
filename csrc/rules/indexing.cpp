// Reading and writing by index tensors and masks: index, gather, masked_fill, nonzero.
#include <ATen/ExpandUtils.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/core/List.h>
#include <ATen/ops/gather_meta_dispatch.h>
#include <ATen/ops/index_meta_dispatch.h>

#include <algorithm>

#include "rules/families.h"
#include "rules/kernel_copies.h"
#include "rules/known_integers.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using Indices = c10::List<std::optional<at::Tensor>>;
// x[indices] --------------------------------------------------------------------------------------

// A mask stands for the integer indices of its true elements, one tensor a dimension.
void push_mask(Indices& integers, const at::Tensor& self, const at::Tensor& mask) {
  const auto first = static_cast<int64_t>(integers.size());
  for (int64_t d = 0; d < mask.dim(); ++d) {
    TORCH_CHECK_INDEX(first + d < self.dim() && mask.size(d) == self.size(first + d),
                      "The shape of the mask ", mask.sizes(), " at index ", d,
                      " does not match the shape of the indexed tensor ", self.sizes(),
                      " at index ", first + d);
  }
  const int64_t count = count_true(mask);
  for (int64_t d = 0; d < mask.dim(); ++d) integers.push_back(empty_of({count}, at::kLong));
}

// The indices as meta tensors of integers.
Indices shape_only(const at::Tensor& self, const Indices& indices) {
  Indices integers;
  for (const std::optional<at::Tensor>& index : indices) {
    if (!index || !index->defined()) {
      integers.push_back(index);
    } else if (is_mask(index->scalar_type())) {
      push_mask(integers, self, *index);
    } else {
      const auto dim = static_cast<int64_t>(integers.size());
      if (dim < self.dim()) check_index(*index, self.size(dim), dim, /*from_end=*/true);
      integers.push_back(without_values(*index));
    }
  }
  return integers;
}

at::Tensor indexed(const at::Tensor& self, const Indices& indices) {
  return at::meta::index(self, shape_only(self, indices));
}

at::Tensor indexed_put(const at::Tensor& self, const Indices& indices, const at::Tensor& values,
                       bool /*accumulate*/) {
  TORCH_CHECK_INDEX(static_cast<int64_t>(indices.size()) <= self.dim(),
                    "too many indices for tensor of dimension ", self.dim(), " (got ",
                    indices.size(), ")");
  const at::Tensor part = indexed(self, indices);
  TORCH_CHECK(at::is_expandable_to(values.sizes(), part.sizes()),
              "shape mismatch: value tensor of shape ", values.sizes(),
              " cannot be broadcast to indexing result of shape ", part.sizes());
  TORCH_CHECK(self.scalar_type() == values.scalar_type(),
              "Index put requires the source and destination dtypes match, got ",
              self.scalar_type(), " for the destination and ", values.scalar_type(),
              " for the source.");
  return empty_preserving(self);
}

at::Tensor index_put_in_place(const at::Tensor& self, const Indices& indices,
                              const at::Tensor& values, bool accumulate, bool /*unsafe*/) {
  indexed_put(self, indices, values, accumulate);
  return self;
}

at::Tensor index_select(const at::Tensor& self, int64_t dim, const at::Tensor& index) {
  dim = at::maybe_wrap_dim(dim, self.dim());
  TORCH_CHECK_INDEX(index.dim() <= 1, "index_select(): Index is supposed to be a vector");
  TORCH_CHECK(index.scalar_type() == at::kLong || index.scalar_type() == at::kInt,
              "index_select(): Expected dtype int32 or int64 for index");
  TORCH_CHECK(self.dim() != 0 || index.numel() == 1,
              "index_select(): Index to scalar can have only 1 value, got ", index.numel());
  c10::DimVector sizes(self.sizes());
  check_index(index, sizes.empty() ? 1 : sizes[dim], dim);
  if (!sizes.empty()) sizes[dim] = index.numel();
  return empty_like_dtype(sizes, self);
}

at::Tensor take(const at::Tensor& self, const at::Tensor& index) {
  TORCH_CHECK(index.scalar_type() == at::kLong,
              "take(): Expected a long tensor for index, but got ", index.scalar_type());
  TORCH_CHECK_INDEX(self.numel() != 0 || index.numel() == 0,
                    "take(): tried to take from an empty tensor");
  check_index(index, self.numel(), 0, /*from_end=*/true);
  return empty_like_dtype(index.sizes(), self);
}

at::Tensor gathered(const at::Tensor& self, int64_t dim, const at::Tensor& index,
                    bool sparse_grad) {
  const int64_t wrapped = at::maybe_wrap_dim(dim, self.dim());
  check_gathered(index, self.dim() == 0 ? 1 : self.size(wrapped), wrapped);
  return at::meta::gather(self, dim, without_values(index), sparse_grad);
}

// As gather, with the other dimensions broadcast. PyTorch's composite asks for one device.
at::Tensor take_along_dim(const at::Tensor& self, const at::Tensor& indices,
                          std::optional<int64_t> along) {
  TORCH_CHECK(indices.scalar_type() == at::kLong,
              "torch.take_along_dim(): dtype of indices should be Long but got ",
              indices.scalar_type());
  if (!along) {
    check_gathered(indices, self.numel(), 0, /*from_end=*/true);
    return empty_like_dtype({indices.numel()}, self);
  }
  TORCH_CHECK(self.dim() == indices.dim(),
              "torch.take_along_dim(): input and indices should have the same number of "
              "dimensions, but got ",
              self.dim(), " dimensions for input, and ", indices.dim(), " dimensions for indices");
  const int64_t dim = at::maybe_wrap_dim(*along, self.dim());
  check_gathered(indices, self.dim() == 0 ? 1 : self.size(dim), dim, /*from_end=*/true);
  c10::DimVector sizes(self.sizes());
  if (!sizes.empty()) sizes[dim] = indices.size(dim);
  return empty_like_dtype(at::infer_size_dimvector(sizes, indices.sizes()), self);
}

// Masks ------------------------------------------------------------------------------------------

void check_mask(const char* op, const at::Tensor& mask) {
  TORCH_CHECK(mask.scalar_type() == at::kBool, op, " only supports boolean masks, but got mask ",
              "with dtype ", mask.scalar_type());
}

at::Tensor masked_fill_number(const at::Tensor& self, const at::Tensor& mask,
                              const at::Scalar& value) {
  check_mask("masked_fill", mask);
  TORCH_CHECK(!value.isComplex() || self.is_complex() || value.toComplexDouble().imag() == 0,
              "value cannot be converted to type ", self.scalar_type(), " without overflow");
  return empty_like_dtype(at::infer_size_dimvector(self.sizes(), mask.sizes()), self);
}

at::Tensor masked_fill_tensor(const at::Tensor& self, const at::Tensor& mask,
                              const at::Tensor& value) {
  TORCH_CHECK(value.dim() == 0,
              "masked_fill only supports a 0-dimensional value tensor, but got tensor with ",
              value.dim(), " dimension(s).");
  TORCH_CHECK(!value.is_complex() || self.is_complex(), "value cannot be converted to type ",
              self.scalar_type(), " without overflow");
  return masked_fill_number(self, mask, 0);
}

at::Tensor masked_scatter(const at::Tensor& self, const at::Tensor& mask,
                          const at::Tensor& source) {
  TORCH_CHECK(self.scalar_type() == source.scalar_type(),
              "masked_scatter: expected self and source to have same dtypes but got ",
              self.scalar_type(), " and ", source.scalar_type());
  check_mask("masked_scatter_", mask);
  return empty_like_dtype(at::infer_size_dimvector(self.sizes(), mask.sizes()), self);
}

at::Tensor masked_select(const at::Tensor& self, const at::Tensor& mask) {
  check_mask("masked_select", mask);
  const c10::DimVector sizes = at::infer_size_dimvector(self.sizes(), mask.sizes());
  const int64_t copies =
      mask.numel() == 0 ? 0 : c10::multiply_integers(sizes) / mask.numel();  // of the mask
  return empty_like_dtype({count_true(mask) * copies}, self);
}

at::Tensor nonzero(const at::Tensor& self) {
  return empty_of({count_true(self), self.dim()}, at::kLong);
}

at::Tensor nonzero_static(const at::Tensor& self, int64_t size, int64_t /*fill_value*/) {
  TORCH_CHECK(size >= 0, "nonzero_static: 'size' must be an non-negative integer");
  return empty_of({size, self.dim()}, at::kLong);
}

// Costs ------------------------------------------------------------------------------------------

bool in_place(const OpSignature& op) { return op.output().storage == op.tensor(0).storage; }

// Of the first tensor only the elements that the output has are read, each once.
void gather_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& self = op.tensor(0);
  const Count gathered = std::min(op.output().numel(), self.distinct_numel());
  cost.bytes_read += gathered * self.element_size() - self.distinct_bytes();
}

void index_cost(const OpSignature& op, Cost& cost) {
  gather_cost(op, cost);
  cost.temporary_bytes += converted_indices(op);
}

// In place, only what is indexed is written (and read, to add to it).
void index_put_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& self = op.tensor(0);
  const bool accumulate = op.boolean(3);
  const Count written = left_alone(op) * indexed_places(op);
  const Count touched = std::min(written, self.numel()) * self.element_size();
  if (in_place(op)) {
    cost.bytes_read += (accumulate ? touched : 0) - self.distinct_bytes();
    cost.bytes_written = touched;
  }
  if (accumulate) add_elementwise(op, cost, {.add = 1}, written);
  cost.temporary_bytes += converted_indices(op);
}

// One select an element; in place the mask alone is read.
void masked_fill_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, {.compare = 1}, op.output().numel());
  if (in_place(op)) cost.bytes_read -= op.tensor(0).distinct_bytes();
}

const Rule kIndexingTable[] = {
    {"aten::index.Tensor(Tensor self, Tensor?[] indices) -> Tensor",
     boxed<&indexed>,
     index_cost,
     {},
     kKnownIntegers},
    {"aten::_unsafe_index.Tensor(Tensor self, Tensor?[] indices) -> Tensor",
     boxed<&indexed>,
     index_cost,
     {},
     kKnownIntegers},
    {"aten::index_put(Tensor self, Tensor?[] indices, Tensor values, bool accumulate=False) -> "
     "Tensor",
     boxed<&indexed_put>,
     index_put_cost,
     {},
     kKnownIntegers | kOverlaps},
    {"aten::_unsafe_index_put(Tensor self, Tensor?[] indices, Tensor values, bool "
     "accumulate=False) -> Tensor",
     boxed<&indexed_put>,
     index_put_cost,
     {},
     kKnownIntegers},
    {"aten::_index_put_impl_(Tensor(a!) self, Tensor?[] indices, Tensor values, bool "
     "accumulate=False, bool unsafe=False) -> Tensor(a!)",
     boxed<&index_put_in_place>,
     index_put_cost,
     {},
     kKnownIntegers},
    {"aten::index_select(Tensor self, int dim, Tensor index) -> Tensor",
     boxed<&index_select>,
     gather_cost,
     {},
     kKnownIntegers | kExactOut | kOutApart},
    {"aten::gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False) -> Tensor",
     boxed<&gathered>,
     gather_cost,
     {},
     kKnownIntegers | kExactOut | kOutApart},
    {"aten::take_along_dim(Tensor self, Tensor indices, int? dim=None) -> Tensor",
     boxed<&take_along_dim>,
     gather_cost,
     {},
     kKnownIntegers},
    {"aten::take(Tensor self, Tensor index) -> Tensor",
     boxed<&take>,
     gather_cost,
     {},
     kKnownIntegers | kExactOut | kOutApart},
    {"aten::masked_fill.Scalar(Tensor self, Tensor mask, Scalar value) -> Tensor",
     boxed<&masked_fill_number>,
     masked_fill_cost,
     {},
     kOverlaps},
    {"aten::masked_fill.Tensor(Tensor self, Tensor mask, Tensor value) -> Tensor",
     boxed<&masked_fill_tensor>,
     masked_fill_cost,
     {},
     kOverlaps},
    {"aten::masked_scatter(Tensor self, Tensor mask, Tensor source) -> Tensor",
     boxed<&masked_scatter>, masked_fill_cost},
    {"aten::masked_select(Tensor self, Tensor mask) -> Tensor",
     boxed<&masked_select>,
     nullptr,
     {},
     kDataDependent | kKnownIntegers | kExactOut | kOutApart},
    {"aten::nonzero(Tensor self) -> Tensor",
     boxed<&nonzero>,
     per_input_element,
     {.compare = 1},
     kDataDependent | kKnownIntegers | kChoices},
    {"aten::nonzero_static(Tensor self, *, SymInt size, int fill_value=-1) -> Tensor",
     boxed<&nonzero_static>,
     per_input_element,
     {.compare = 1}},
};

}  // namespace

const RuleFamily kIndexingRules("indexing", kIndexingTable, OpClass::gather, kLooksUp);

}  // namespace nnprof

// Sorting, selecting, searching and counting into bins.
#include <ATen/ScalarOps.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/ops/_convert_indices_from_coo_to_csr_meta_dispatch.h>
#include <ATen/ops/_convert_indices_from_csr_to_coo_meta_dispatch.h>
#include <ATen/ops/sort_meta_dispatch.h>
#include <ATen/ops/topk_meta_dispatch.h>

#include <algorithm>
#include <climits>
#include <cmath>

#include "rules/dtype_checks.h"
#include "rules/families.h"
#include "rules/kernel_copies.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using Pair = std::tuple<at::Tensor, at::Tensor>;
using Triple = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

Count length(const TensorSpec& self, int64_t dim) { return self.dim() == 0 ? 1 : self.size(dim); }

// Sorting ---------------------------------------------------------------------------------------

Pair sort_stable(const at::Tensor& self, std::optional<bool> stable, int64_t dim, bool descending) {
  at::maybe_wrap_dim(dim, self.dim());
  TORCH_CHECK(!self.is_complex(), "Sort does not support complex dtypes");
  return at::meta::sort(self, stable, dim, descending);
}

Pair sort(const at::Tensor& self, int64_t dim, bool descending) {
  return sort_stable(self, false, dim, descending);
}

// n log2(n) comparisons for each row of n. `Dim` is the argument that says which way rows run.
template <size_t Dim>
void sort_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& self = op.tensor(0);
  const int64_t steps = log2_ceil(length(self, op.integer(Dim)));
  add_elementwise(op, cost, {.compare = steps}, self.numel());
}

Pair topk(const at::Tensor& self, int64_t k, int64_t dim, bool largest, bool sorted) {
  TORCH_CHECK(!self.is_complex() && self.scalar_type() != at::kBool, "topk does not support ",
              self.scalar_type());
  return at::meta::topk(self, k, dim, largest, sorted);
}

// A heap of k that every element is held against: n log2(k) comparisons a row.
void topk_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, {.compare = log2_ceil(op.integer(1))}, op.tensor(0).numel());
}

// Selecting: quickselect compares each element about twice ---------------------------------------

void check_has_elements(const at::Tensor& self, int64_t dim) {
  TORCH_CHECK_INDEX(self.dim() == 0 || self.size(dim) != 0, "Expected reduction dim ", dim,
                    " to have non-zero size.");
}

Pair one_of_each_row(const at::Tensor& self, int64_t dim, bool keepdim) {
  dim = at::maybe_wrap_dim(dim, self.dim());
  check_has_elements(self, dim);
  check_kernel(is_real(self.scalar_type()), self);
  c10::DimVector sizes(self.sizes());
  if (!sizes.empty() && keepdim) sizes[dim] = 1;
  if (!sizes.empty() && !keepdim) sizes.erase(sizes.begin() + dim);
  return {empty_like_dtype(sizes, self), empty_of(sizes, at::kLong)};
}

Pair median_of_rows(const at::Tensor& self, int64_t dim, bool keepdim) {
  Pair outputs = one_of_each_row(self, dim, keepdim);
  check_kernel(self.scalar_type() != at::kBool, self);
  return outputs;
}

at::Tensor median(const at::Tensor& self) {
  check_kernel(is_real(self.scalar_type()) && self.scalar_type() != at::kBool, self);
  return empty_like_dtype({}, self);
}

Pair kthvalue(const at::Tensor& self, int64_t k, int64_t dim, bool keepdim) {
  Pair outputs = median_of_rows(self, dim, keepdim);
  TORCH_CHECK(k >= 1 && k <= (self.dim() == 0 ? 1 : self.size(dim)),
              "kthvalue(): selected number k out of range for dimension ", dim);
  return outputs;
}

// A sort, and the longest run in it.
void mode_cost(const OpSignature& op, Cost& cost) {
  sort_cost<1>(op, cost);
  add_elementwise(op, cost, {.compare = 1}, op.tensor(0).numel());
}

// Searching -------------------------------------------------------------------------------------

void check_side(bool right, const std::optional<std::string_view>& side) {
  if (!side) return;
  TORCH_CHECK(side == "left" || side == "right",
              "torch.searchsorted(): side can only be 'left' or 'right' but got ", *side);
  TORCH_CHECK(!right || side == "right",
              "torch.searchsorted(): side and right can't be set to opposites, got side of left "
              "while right was True");
}

void check_sorter(const at::Tensor& sequence, const std::optional<at::Tensor>& sorter) {
  if (!sorter || !sorter->defined()) return;
  TORCH_CHECK(sorter->sizes() == sequence.sizes(),
              "torch.searchsorted(): boundary and sorter must have the same size, but got boundary "
              "tensor ",
              sequence.sizes(), " and got sorter tensor ", sorter->sizes());
  TORCH_CHECK(sorter->scalar_type() == at::kLong,
              "torch.searchsorted(): sorter must be a tensor of long dtype but got dtype ",
              sorter->scalar_type());
}

// Rows of a sequence of more dimensions are searched for the rows of the values.
void check_rows(at::IntArrayRef sequence, at::IntArrayRef values) {
  TORCH_CHECK(!values.empty() || sequence.size() == 1,
              "torch.searchsorted(): input value can be a scalar only when boundaries tensor "
              "dimension is 1, but we got boundaries tensor dim(",
              sequence.size(), ")");
  TORCH_CHECK(!sequence.empty(),
              "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 "
              "dimension");
  const bool same_rows = sequence.size() == values.size() &&
                         std::equal(sequence.begin(), sequence.end() - 1, values.begin());
  TORCH_CHECK(sequence.size() == 1 || same_rows,
              "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
              "dimensions of boundaries tensor and input value tensor must match, but we got "
              "boundaries tensor ",
              sequence, " and input value tensor ", values);
}

void check_positions_fit(const at::Tensor& sequence, bool out_int32) {
  TORCH_CHECK(!out_int32 || sequence.size(-1) < INT_MAX,
              "torch.searchsorted(): the size of boundaries' last dimension should be less than ",
              INT_MAX, ", but we got ", sequence.size(-1));
}

at::Tensor positions(at::IntArrayRef sizes, bool out_int32) {
  return empty_of(sizes, out_int32 ? at::kInt : at::kLong);
}

at::Tensor searchsorted(const at::Tensor& sequence, const at::Tensor& values, bool out_int32,
                        bool right, std::optional<std::string_view> side,
                        const std::optional<at::Tensor>& sorter) {
  check_side(right, side);
  check_sorter(sequence, sorter);
  check_rows(sequence.sizes(), values.sizes());
  check_positions_fit(sequence, out_int32);
  check_kernel(is_real(sequence.scalar_type()) && is_real(values.scalar_type()), values);
  return positions(values.sizes(), out_int32);
}

at::Tensor searchsorted_number(const at::Tensor& sequence, const at::Scalar& /*value*/,
                               bool out_int32, bool right, std::optional<std::string_view> side,
                               const std::optional<at::Tensor>& sorter) {
  check_side(right, side);
  check_sorter(sequence, sorter);
  check_rows(sequence.sizes(), {});
  check_positions_fit(sequence, out_int32);
  check_kernel(is_real(sequence.scalar_type()), sequence);
  return positions({}, out_int32);
}

void check_boundaries(const at::Tensor& boundaries) {
  TORCH_CHECK(boundaries.dim() == 1, "boundaries tensor must be 1 dimension, but got dim(",
              boundaries.dim(), ")");
}

at::Tensor bucketize(const at::Tensor& self, const at::Tensor& boundaries, bool out_int32,
                     bool /*right*/) {
  check_boundaries(boundaries);
  check_positions_fit(boundaries, out_int32);
  check_kernel(is_real(self.scalar_type()) && is_real(boundaries.scalar_type()), self);
  return positions(self.sizes(), out_int32);
}

at::Tensor bucketize_number(const at::Scalar& /*self*/, const at::Tensor& boundaries,
                            bool out_int32, bool /*right*/) {
  check_boundaries(boundaries);
  check_positions_fit(boundaries, out_int32);
  check_kernel(is_real(boundaries.scalar_type()), boundaries);
  return positions({}, out_int32);
}

// A binary search of log2(n + 1) steps for each value, which may see less than the whole sequence.
void add_search(const OpSignature& op, Cost& cost, const TensorSpec& sequence) {
  const Count values = op.output().numel();
  const int64_t steps = log2_ceil(length(sequence, -1) + 1);
  add_elementwise(op, cost, {.compare = steps}, values);
  const Count unseen = std::max<Count>(sequence.distinct_numel() - values * steps, 0);
  cost.bytes_read -= unseen * sequence.element_size();
}

void searchsorted_cost(const OpSignature& op, Cost& cost) {
  cost.temporary_bytes += copied_sequences(op);
  add_search(op, cost, op.tensor(0));
  const TensorSpec& sorter = op.tensor(5);
  if (!sorter.defined) return;
  const Count seen = op.output().numel() * log2_ceil(length(sorter, -1) + 1);
  cost.bytes_read -= std::max<Count>(sorter.distinct_numel() - seen, 0) * sorter.element_size();
}

void bucketize_cost(const OpSignature& op, Cost& cost) {
  cost.temporary_bytes += copied_sequences(op);
  add_search(op, cost, op.tensor(1));
}

// Distinct values: all of them, where nobody knows ------------------------------------------------

Triple distinct(const at::Tensor& self, bool /*sorted*/, bool inverse, bool counts) {
  check_kernel(is_real(self.scalar_type()), self);
  return {empty_of({self.numel()}, self.scalar_type()),
          inverse ? empty_of(self.sizes(), at::kLong) : empty_of({0}, at::kLong),
          empty_of({counts ? self.numel() : 0}, at::kLong)};
}

Pair distinct_pair(const at::Tensor& self, bool sorted, bool inverse) {
  auto [values, positions, counts] = distinct(self, sorted, inverse, false);
  return {std::move(values), std::move(positions)};
}

// Slices are brought to the front, compared as rows, and put back as a view.
Triple distinct_slices(const at::Tensor& self, int64_t dim, bool /*sorted*/, bool /*inverse*/,
                       bool /*counts*/) {
  dim = at::maybe_wrap_dim(dim, self.dim());
  check_kernel(is_real(self.scalar_type()), self);
  c10::DimVector sizes(self.sizes()), strides(sizes.size());
  TORCH_CHECK(
      self.numel() != 0 || std::count(sizes.begin(), sizes.end(), 0) == 1 || sizes[dim] == 0,
      "There are 0 sized dimensions, and they aren't selected, so unique cannot be applied");
  int64_t stride = 1;
  for (int64_t d = self.dim() - 1; d >= 0; --d) {
    if (d == dim) continue;
    strides[d] = stride;
    stride *= sizes[d];
  }
  strides[dim] = stride;
  return {empty_strided_of(sizes, strides, self.scalar_type()), empty_of({sizes[dim]}, at::kLong),
          empty_of({sizes[dim]}, at::kLong)};
}

Triple distinct_slices_in_a_row(const at::Tensor& self, int64_t dim, bool inverse, bool counts) {
  return distinct_slices(self, dim, false, inverse, counts);
}

Triple distinct_in_a_row(const at::Tensor& self, bool inverse, bool counts,
                         std::optional<int64_t> dim) {
  if (dim) return distinct_slices_in_a_row(self, *dim, inverse, counts);
  return distinct(self, false, inverse, counts);
}

// All elements sorted, then each held against the one before it.
void unique_cost(const OpSignature& op, Cost& cost) {
  const Count elements = op.tensor(0).numel();
  add_elementwise(op, cost, {.compare = log2_ceil(elements) + 1}, elements);
}

void unique_dim_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& self = op.tensor(0);
  const int64_t steps = log2_ceil(length(self, op.integer(1)));
  add_elementwise(op, cost, {.compare = steps + 1}, self.numel());
}

// Bins ------------------------------------------------------------------------------------------

// How many bins there are is the largest value's to say: `minlength`, or one an element.
at::Tensor bincount(const at::Tensor& self, const std::optional<at::Tensor>& weights,
                    int64_t minlength) {
  TORCH_CHECK(minlength >= 0, "minlength should be >= 0");
  const bool weighted = weights && weights->defined();
  if (self.dim() == 1 && self.numel() == 0) return empty_of({minlength}, at::kLong);
  TORCH_CHECK(self.dim() == 1, "bincount only supports 1-d non-negative integral inputs.");
  TORCH_CHECK(!weighted || (weights->dim() == 1 && weights->size(0) == self.size(0)),
              "weights should be 1-d and have the same length as input");
  check_kernel(c10::isIntegralType(self.scalar_type(), /*includeBool=*/false), self);
  const int64_t bins = minlength != 0 ? minlength : self.numel();
  if (!weighted) return empty_of({bins}, at::kLong);
  return empty_of({bins}, weights->scalar_type() == at::kFloat ? at::kFloat : at::kDouble);
}

void check_bins(int64_t bins) {
  TORCH_CHECK(bins > 0, "torch.histogram(): bins must be > 0, but got ", bins, " for dimension 0");
}

at::Tensor histc(const at::Tensor& self, int64_t bins, const at::Scalar& min,
                 const at::Scalar& max) {
  check_bins(bins);
  const double first = min.toDouble(), last = max.toDouble();
  TORCH_CHECK(std::isfinite(first) && std::isfinite(last), "torch.histc: range of [", first, ", ",
              last, "] is not finite");
  TORCH_CHECK(first <= last, "torch.histc: max must be larger than min");
  TORCH_CHECK_NOT_IMPLEMENTED(is_real(self.scalar_type()) && self.scalar_type() != at::kBool,
                              "histc is not implemented for '", self.scalar_type(), "'");
  return empty_of({bins}, self.scalar_type());
}

// The range is looked for where none is given.
void histc_cost(const OpSignature& op, Cost& cost) {
  const Count elements = op.tensor(0).numel();
  add_elementwise(op, cost, op.rule->mix, elements);
  if (op.floating(2) == op.floating(3)) add_elementwise(op, cost, {.compare = 2}, elements);
}

void check_weight(const at::Tensor& self, const std::optional<at::Tensor>& weight) {
  if (!weight || !weight->defined()) return;
  TORCH_CHECK(weight->scalar_type() == self.scalar_type(),
              "torch.histogramdd: if weight tensor is provided, input tensor and weight tensor "
              "should have the same dtype, but got input(",
              self.scalar_type(), "), and weight(", weight->scalar_type(), ")");
  TORCH_CHECK(
      weight->numel() == self.numel(),
      "torch.histogramdd: if weight tensor is provided it should have the same shape as the "
      "input tensor excluding its innermost dimension, but got input with shape ",
      self.sizes(), " and weight with shape ", weight->sizes());
}

bool has_histogram(c10::ScalarType dtype) { return dtype == at::kFloat || dtype == at::kDouble; }

Pair histogram(const at::Tensor& self, int64_t bins,
               const std::optional<at::ArrayRef<double>>& range,
               const std::optional<at::Tensor>& weight, bool /*density*/) {
  check_bins(bins);
  if (range) {
    TORCH_CHECK(
        range->size() == 2,
        "torch.histogramdd: for a 1-dimensional histogram range should have 2 elements, but "
        "got ",
        range->size());
    TORCH_CHECK((*range)[0] <= (*range)[1],
                "torch.histogramdd: min should not exceed max, but got min ", (*range)[0], " max ",
                (*range)[1], " for dimension 0");
  }
  check_weight(self, weight);
  check_kernel(has_histogram(self.scalar_type()), self);
  return {empty_like_dtype({bins}, self), empty_like_dtype({bins + 1}, self)};
}

Pair histogram_of_bins(const at::Tensor& self, const at::Tensor& bins,
                       const std::optional<at::Tensor>& weight, bool /*density*/) {
  TORCH_CHECK(
      self.scalar_type() == bins.scalar_type(),
      "torch.histogramdd: input tensor and bins tensors should have the same dtype, but got "
      "input with dtype ",
      self.scalar_type(), " and bins for dimension 0 with dtype ", bins.scalar_type());
  TORCH_CHECK(bins.dim() == 1, "torch.histogramdd: bins tensor should have one dimension, but got ",
              bins.dim(), " dimensions in the bins tensor for dimension 0");
  TORCH_CHECK(
      bins.numel() > 0,
      "torch.histogramdd: bins tensor should have at least 1 element, but got 0 elements in "
      "the bins tensor for dimension 0");
  check_bins(bins.numel() - 1);
  check_weight(self, weight);
  check_kernel(has_histogram(self.scalar_type()), self);
  return {empty_like_dtype({bins.numel() - 1}, self), empty_like_dtype({bins.numel()}, self)};
}

void histogram_cost(const OpSignature& op, Cost& cost) {
  const Count elements = op.tensor(0).numel();
  add_elementwise(op, cost, op.rule->mix, elements);
  if (op.is_none(2)) add_elementwise(op, cost, {.compare = 2}, elements);
}

// A binary search among the edges, and the counting.
void histogram_of_bins_cost(const OpSignature& op, Cost& cost) {
  const int64_t steps = log2_ceil(op.tensor(1).numel());
  add_elementwise(op, cost, {.add = 1, .compare = steps}, op.tensor(0).numel());
}

const Rule kSortingTable[] = {
    {"aten::sort(Tensor self, int dim=-1, bool descending=False) -> (Tensor values, Tensor "
     "indices)",
     boxed<&sort>,
     sort_cost<1>,
     {},
     kChoices | kExactOut},
    {"aten::sort.stable(Tensor self, *, bool? stable, int dim=-1, bool descending=False) -> "
     "(Tensor values, Tensor indices)",
     boxed<&sort_stable>,
     sort_cost<2>,
     {},
     kChoices | kExactOut},
    {"aten::topk(Tensor self, SymInt k, int dim=-1, bool largest=True, bool sorted=True) -> "
     "(Tensor values, Tensor indices)",
     boxed<&topk>,
     topk_cost,
     {},
     kChoices | kExactOut},
    {"aten::median(Tensor self) -> Tensor", boxed<&median>, reduction, {.compare = 2}},
    {"aten::median.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor "
     "indices)",
     boxed<&median_of_rows>,
     reduction,
     {.compare = 2},
     kChoices},
    {"aten::nanmedian(Tensor self) -> Tensor", boxed<&median>, reduction, {.compare = 3}},
    {"aten::nanmedian.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor "
     "indices)",
     boxed<&median_of_rows>,
     reduction,
     {.compare = 3},
     kChoices},
    {"aten::kthvalue(Tensor self, SymInt k, int dim=-1, bool keepdim=False) -> (Tensor values, "
     "Tensor indices)",
     boxed<&kthvalue>,
     reduction,
     {.compare = 2},
     kChoices | kOutApart},
    {"aten::mode(Tensor self, int dim=-1, bool keepdim=False) -> (Tensor values, Tensor indices)",
     boxed<&one_of_each_row>,
     mode_cost,
     {},
     kChoices},
    {"aten::searchsorted.Tensor(Tensor sorted_sequence, Tensor self, *, bool out_int32=False, bool "
     "right=False, str? side=None, Tensor? sorter=None) -> Tensor",
     boxed<&searchsorted>, searchsorted_cost},
    {"aten::searchsorted.Scalar(Tensor sorted_sequence, Scalar self, *, bool out_int32=False, bool "
     "right=False, str? side=None, Tensor? sorter=None) -> Tensor",
     boxed<&searchsorted_number>, searchsorted_cost},
    {"aten::_convert_indices_from_coo_to_csr(Tensor self, int size, *, bool out_int32=False) -> "
     "Tensor",
     boxed<&at::meta::_convert_indices_from_coo_to_csr>},
    {"aten::_convert_indices_from_csr_to_coo(Tensor crow_indices, Tensor col_indices, *, bool "
     "out_int32=False, bool transpose=False) -> Tensor",
     boxed<&at::meta::_convert_indices_from_csr_to_coo>},
    {"aten::bucketize.Tensor(Tensor self, Tensor boundaries, *, bool out_int32=False, bool "
     "right=False) -> Tensor",
     boxed<&bucketize>, bucketize_cost},
    {"aten::bucketize.Scalar(Scalar self, Tensor boundaries, *, bool out_int32=False, bool "
     "right=False) -> Tensor",
     boxed<&bucketize_number>, bucketize_cost},
    {"aten::_unique(Tensor self, bool sorted=True, bool return_inverse=False) -> (Tensor, Tensor)",
     boxed<&distinct_pair>,
     unique_cost,
     {},
     kDataDependent},
    {"aten::_unique2(Tensor self, bool sorted=True, bool return_inverse=False, bool "
     "return_counts=False) -> (Tensor, Tensor, Tensor)",
     boxed<&distinct>,
     unique_cost,
     {},
     kDataDependent},
    {"aten::unique_dim(Tensor self, int dim, bool sorted=True, bool return_inverse=False, bool "
     "return_counts=False) -> (Tensor, Tensor, Tensor)",
     boxed<&distinct_slices>,
     unique_dim_cost,
     {},
     kDataDependent},
    {"aten::unique_consecutive(Tensor self, bool return_inverse=False, bool return_counts=False, "
     "int? dim=None) -> (Tensor, Tensor, Tensor)",
     boxed<&distinct_in_a_row>,
     per_input_element,
     {.compare = 1},
     kDataDependent},
    {"aten::unique_dim_consecutive(Tensor self, int dim, bool return_inverse=False, bool "
     "return_counts=False) -> (Tensor, Tensor, Tensor)",
     boxed<&distinct_slices_in_a_row>,
     per_input_element,
     {.compare = 1},
     kDataDependent},
    {"aten::bincount(Tensor self, Tensor? weights=None, SymInt minlength=0) -> Tensor",
     boxed<&bincount>,
     per_input_element,
     {.add = 1},
     kDataDependent},
    // Within the range? Then the bin is floor((x - min) bins / (max - min)), and one more is in it.
    {"aten::histc(Tensor self, int bins=100, Scalar min=0, Scalar max=0) -> Tensor",
     boxed<&histc>,
     histc_cost,
     {.add = 3, .multiply = 1, .division = 1, .compare = 2},
     kExactOut},
    {"aten::histogram.bin_ct(Tensor self, int bins=100, *, float[]? range=None, Tensor? "
     "weight=None, bool density=False) -> (Tensor hist, Tensor bin_edges)",
     boxed<&histogram>,
     histogram_cost,
     {.add = 3, .multiply = 1, .division = 1, .compare = 2}},
    {"aten::histogram.bins_tensor(Tensor self, Tensor bins, *, Tensor? weight=None, bool "
     "density=False) -> (Tensor hist, Tensor bin_edges)",
     boxed<&histogram_of_bins>, histogram_of_bins_cost},
};

}  // namespace

const RuleFamily kSortingRules("sorting", kSortingTable, OpClass::sort, kNothingSpecial);

}  // namespace nnprof

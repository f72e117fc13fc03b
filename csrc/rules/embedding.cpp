// Lookups of rows of a table, alone or summed up in bags.
#include <ATen/TensorUtils.h>
#include <ATen/ops/_sparse_coo_tensor_unsafe.h>

#include <algorithm>
#include <tuple>

#include "rules/families.h"
#include "rules/kernel_copies.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

void check_indices(const char* op, const at::Tensor& indices, const char* name, int position) {
  at::checkScalarTypes(op, at::TensorArg(indices, name, position), {at::kLong, at::kInt});
}

at::Tensor embedding(const at::Tensor& weight, const at::Tensor& indices, int64_t /*padding_idx*/,
                     bool /*scale_grad_by_freq*/, bool /*sparse*/) {
  TORCH_CHECK(weight.dim() == 2, "'weight' must be 2-D");
  check_indices("embedding", indices, "indices", 1);
  c10::DimVector sizes(indices.sizes());
  sizes.push_back(weight.size(1));
  return empty_like_dtype(sizes, weight);
}

// Divides the looked-up rows of the table, in place, by what their norm is too large.
at::Tensor renormalized(const at::Tensor& self, const at::Tensor& indices, double /*max_norm*/,
                        double /*norm_type*/) {
  TORCH_CHECK(self.dim() == 2, "'self' must be 2-D");
  check_indices("embedding_renorm_", indices, "indices", 2);
  return self;
}

at::Tensor embedding_gradient(const at::Tensor& gradient, const at::Tensor& indices,
                              int64_t num_weights, int64_t /*padding_idx*/,
                              bool /*scale_grad_by_freq*/) {
  check_indices("embedding_backward", indices, "indices", 2);
  return empty_like_dtype({num_weights, gradient.size(-1)}, gradient);
}

enum BagMode : int64_t { kSumOfBag = 0, kMeanOfBag = 1, kMaxOfBag = 2 };

using BagOutputs = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

// The sums, and what the backward pass wants to know, in the sizes that CUDA's kernel gives them.
BagOutputs embedding_bag(const at::Tensor& weight, const at::Tensor& indices,
                         const at::Tensor& offsets, bool /*scale_grad_by_freq*/, int64_t mode,
                         bool /*sparse*/, const std::optional<at::Tensor>& per_sample_weights,
                         bool include_last_offset, int64_t /*padding_idx*/) {
  TORCH_CHECK(indices.dim() == 1 && offsets.dim() == 1 && weight.dim() == 2,
              "embedding_bag: expected a 2-D weight and 1-D indices and offsets, got ",
              weight.dim(), ", ", indices.dim(), " and ", offsets.dim(), " dimensions");
  check_indices("embedding_bag", indices, "indices", 1);
  check_indices("embedding_bag", offsets, "offsets", 1);
  TORCH_CHECK(weight.is_floating_point(), "expected weight to be floating point type, got ",
              weight.scalar_type());
  TORCH_CHECK(mode >= kSumOfBag && mode <= kMaxOfBag, "embedding_bag: mode ", mode,
              " is not known");
  const int64_t bags = offsets.size(0) - (include_last_offset ? 1 : 0);
  TORCH_CHECK(bags >= 0, "include_last_offset: numBags should be at least 1");
  if (per_sample_weights && per_sample_weights->defined()) {
    TORCH_CHECK(mode == kSumOfBag,
                "embedding_bag: per_sample_weights only supported with mode='sum'");
    TORCH_CHECK(per_sample_weights->sizes() == indices.sizes(),
                "expected per_sample_weights to be like indices, got ", per_sample_weights->sizes(),
                " and ", indices.sizes());
    TORCH_CHECK(per_sample_weights->scalar_type() == weight.scalar_type(),
                "expected per_sample_weights of ", weight.scalar_type(), ", got ",
                per_sample_weights->scalar_type());
  }
  const at::Tensor largest = mode == kMaxOfBag ? empty_like_dtype({bags, weight.size(1)}, indices)
                                               : empty_like_dtype({0}, indices);
  return {empty_like_dtype({bags, weight.size(1)}, weight),
          empty_like_dtype({indices.size(0)}, indices), empty_like_dtype(offsets.sizes(), indices),
          largest};
}

at::Tensor embedding_bag_gradient(const at::Tensor& gradient, const at::Tensor& /*indices*/,
                                  const at::Tensor& /*offset2bag*/, const at::Tensor& /*bag_size*/,
                                  const at::Tensor& /*maximum_indices*/, int64_t num_weights,
                                  bool /*scale_grad_by_freq*/, int64_t /*mode*/,
                                  const std::optional<at::Tensor>& /*per_sample_weights*/,
                                  int64_t /*padding_idx*/) {
  return empty_like_dtype({num_weights, gradient.size(1)}, gradient);
}

void check_contiguous_indices(const at::Tensor& indices, const char* name, int position) {
  check_indices("embedding_bag", indices, name, position);
  at::checkContiguous("embedding_bag", at::TensorArg(indices, name, position));
}

// The same from one operator higher, where a sparse gradient may be asked for: the rows that were
// looked up, and which they are.
at::Tensor embedding_bag_backward(const at::Tensor& gradient, const at::Tensor& indices,
                                  const at::Tensor& offsets, const at::Tensor& offset2bag,
                                  const at::Tensor& /*bag_size*/,
                                  const at::Tensor& /*maximum_indices*/, int64_t num_weights,
                                  bool /*scale_grad_by_freq*/, int64_t /*mode*/, bool sparse,
                                  const std::optional<at::Tensor>& /*per_sample_weights*/,
                                  int64_t /*padding_idx*/) {
  check_contiguous_indices(indices, "indices", 1);
  check_contiguous_indices(offsets, "offsets", 1);
  check_contiguous_indices(offset2bag, "offset2bag", 1);
  if (!sparse) return empty_like_dtype({num_weights, gradient.size(1)}, gradient);
  // The indices that were looked up are those of the gradient.
  const bool same = indices.scalar_type() == at::kLong;
  return at::_sparse_coo_tensor_unsafe(
      same ? indices.view({1, indices.numel()}) : empty_of({1, indices.numel()}, at::kLong),
      empty_like_dtype({indices.numel(), gradient.size(1)}, gradient),
      {num_weights, gradient.size(1)});
}

// Each index' weight takes the product of its row and its bag's gradient.
at::Tensor sample_weights_gradient(const at::Tensor& gradient, const at::Tensor& weight,
                                   const at::Tensor& indices, const at::Tensor& /*offsets*/,
                                   const at::Tensor& offset2bag, int64_t mode,
                                   int64_t /*padding_idx*/) {
  TORCH_CHECK(mode == kSumOfBag,
              "embedding_bag_backward: per_sample_weights only supported for mode='sum'");
  TORCH_CHECK(gradient.dim() == 2 && weight.dim() == 2 && indices.dim() == 1 &&
                  gradient.size(1) == weight.size(1),
              "embedding_bag_backward: a gradient of ", gradient.sizes(),
              " does not fit a weight of ", weight.sizes());
  check_contiguous_indices(indices, "indices", 1);
  check_contiguous_indices(offset2bag, "offset2bag", 1);
  return empty_like_dtype({indices.size(0)}, gradient);
}

// Of a table of `weight`, as many rows as there are indices, but each at most once.
Count rows_read(const TensorSpec& weight, const TensorSpec& indices) {
  return std::min(indices.numel(), weight.size(0));
}

Count row_bytes(const TensorSpec& weight) { return weight.size(1) * weight.element_size(); }

void embedding_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& weight = op.tensor(0);
  const TensorSpec& indices = op.tensor(1);
  cost.bytes_read = indices.distinct_bytes() + rows_read(weight, indices) * row_bytes(weight);
}

// A norm (a multiply, an add) and a scaling (a multiply) of each row that is looked up.
void embedding_renorm_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& weight = op.tensor(0);
  const TensorSpec& indices = op.tensor(1);
  const Count rows = rows_read(weight, indices);
  cost.bytes_read = indices.distinct_bytes() + rows * row_bytes(weight);
  cost.bytes_written = rows * row_bytes(weight);
  cost.add({.add = 1, .multiply = 2}, rows * weight.size(1));
  cost.add({.division = 1, .sqrt = 1}, rows);
}

// Each row of the gradient is added to the table's row that it came from.
void embedding_gradient_cost(const OpSignature& op, Cost& cost) {
  cost.temporary_bytes += copied_gradient(op);
  add_elementwise(op, cost, {.add = 1}, op.tensor(0).numel());
}

void embedding_bag_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& weight = op.tensor(0);
  const TensorSpec& indices = op.tensor(1);
  const int64_t mode = op.integer(4);
  cost.bytes_read += rows_read(weight, indices) * row_bytes(weight) - weight.distinct_bytes();
  const Count elements = indices.numel() * weight.size(1);
  cost.add(mode == kMaxOfBag ? FlopMix{.compare = 1} : FlopMix{.add = 1}, elements);
  if (mode == kMeanOfBag) cost.add({.division = 1}, op.output().numel());
  if (op.has_tensor(6)) cost.add({.multiply = 1}, elements);
}

void embedding_bag_gradient_cost(const OpSignature& op, Cost& cost) {
  cost.add({.add = 1}, op.tensor(1).numel() * op.output().size(1));
}

void embedding_bag_backward_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& gradient = op.tensor(0);
  const Count rows = op.tensor(1).numel(), width = gradient.size(1);
  const int64_t mode = op.integer(8);
  const bool sparse = op.boolean(9);
  if (!sparse) cost.add({.add = 1}, rows * width);
  if (mode == kMeanOfBag) cost.add({.division = 1}, gradient.numel());
  if (op.has_tensor(10)) cost.add({.multiply = 1}, rows * width);
  if (sparse) cost.bytes_written = rows * (row_bytes(gradient) + int64_t{sizeof(int64_t)});
}

void sample_weights_gradient_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& weight = op.tensor(1);
  cost.add_macs(op.tensor(2).numel() * weight.size(1));
  cost.bytes_read += rows_read(weight, op.tensor(2)) * row_bytes(weight) - weight.distinct_bytes();
}

const Rule kEmbeddingTable[] = {
    {"aten::embedding(Tensor weight, Tensor indices, SymInt padding_idx=-1, bool "
     "scale_grad_by_freq=False, bool sparse=False) -> Tensor",
     boxed<&embedding>, embedding_cost},
    {"aten::embedding_renorm_(Tensor(a!) self, Tensor indices, float max_norm, float norm_type) -> "
     "Tensor(a!)",
     boxed<&renormalized>, embedding_renorm_cost},
    {"aten::embedding_dense_backward(Tensor grad_output, Tensor indices, SymInt num_weights, "
     "SymInt padding_idx, bool scale_grad_by_freq) -> Tensor",
     boxed<&embedding_gradient>, embedding_gradient_cost},
    {"aten::_embedding_bag(Tensor weight, Tensor indices, Tensor offsets, bool "
     "scale_grad_by_freq=False, int mode=0, bool sparse=False, Tensor? per_sample_weights=None, "
     "bool include_last_offset=False, int padding_idx=-1) -> (Tensor, Tensor, Tensor, Tensor)",
     boxed<&embedding_bag>, embedding_bag_cost},
    {"aten::_embedding_bag_forward_only(Tensor weight, Tensor indices, Tensor offsets, bool "
     "scale_grad_by_freq=False, int mode=0, bool sparse=False, Tensor? per_sample_weights=None, "
     "bool include_last_offset=False, int padding_idx=-1) -> (Tensor, Tensor, Tensor, Tensor)",
     boxed<&embedding_bag>, embedding_bag_cost},
    {"aten::_embedding_bag_backward(Tensor grad, Tensor indices, Tensor offsets, Tensor "
     "offset2bag, Tensor bag_size, Tensor maximum_indices, SymInt num_weights, bool "
     "scale_grad_by_freq, int mode, bool sparse, Tensor? per_sample_weights, int padding_idx=-1) "
     "-> Tensor",
     boxed<&embedding_bag_backward>, embedding_bag_backward_cost},
    {"aten::_embedding_bag_per_sample_weights_backward(Tensor grad, Tensor weight, Tensor indices, "
     "Tensor offsets, Tensor offset2bag, int mode, int padding_idx=-1) -> Tensor",
     boxed<&sample_weights_gradient>, sample_weights_gradient_cost},
    {"aten::_embedding_bag_dense_backward(Tensor grad, Tensor indices, Tensor offset2bag, Tensor "
     "bag_size, Tensor maximum_indices, SymInt num_weights, bool scale_grad_by_freq, int mode, "
     "Tensor? per_sample_weights, int padding_idx=-1) -> Tensor",
     boxed<&embedding_bag_gradient>, embedding_bag_gradient_cost},
};

}  // namespace

const RuleFamily kEmbeddingRules("embedding", kEmbeddingTable, OpClass::gather, kLooksUp);

}  // namespace nnprof

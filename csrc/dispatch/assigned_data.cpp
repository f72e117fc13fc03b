#include "dispatch/assigned_data.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>

namespace nnprof {
namespace {

// A leaf's gradient is expected where its data was, and of its dtype: the function that expects it
// is made anew, as PyTorch's own assignment has it.
void forget_other_gradients(const at::Tensor& leaf) {
  torch::autograd::AutogradMeta* meta = torch::autograd::impl::get_autograd_meta(leaf);
  if (meta == nullptr) return;
  const auto accumulator = meta->grad_accumulator_.lock();
  if (!accumulator || accumulator->num_inputs() == 0) return;
  const at::TensorOptions expected = accumulator->input_metadata(0).options();
  if (!expected.type_equal(leaf.options())) meta->grad_accumulator_.reset();
}

}  // namespace

void AssignedData::remember(const at::Tensor& tensor) {
  const bool known = std::any_of(before_.begin(), before_.end(),
                                 [&](const auto& kept) { return kept.first.is_same(tensor); });
  if (!known) before_.emplace_back(tensor, tensor.variable_data());
}

void AssignedData::assign(const at::Tensor& tensor, const at::Tensor& other) {
  tensor.unsafeGetTensorImpl()->shallow_copy_from(other.getIntrusivePtr());
  forget_other_gradients(tensor);
}

void AssignedData::restore() {
  for (const auto& [tensor, before] : before_) assign(tensor, before);
  before_.clear();
}

}  // namespace nnprof

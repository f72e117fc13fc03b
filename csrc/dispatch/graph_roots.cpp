#include "dispatch/graph_roots.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>

namespace nnprof {
namespace {

void expect_gradient_like(torch::autograd::Node& accumulator, const at::Tensor& tensor) {
  accumulator.clear_input_metadata();
  accumulator.add_input_metadata(tensor);
}

// A real tensor that a custom function of the program returned: its gradient comes shape-only.
void join_result(const at::Tensor& real, const at::Tensor& shadow) {
  const torch::autograd::Edge edge = torch::autograd::impl::gradient_edge(real);
  auto& metadata = edge.function->mutable_input_metadata(edge.input_nr);
  if (!metadata.device().is_meta()) {
    // It holds constants, and has no assignment.
    std::destroy_at(&metadata);
    std::construct_at(&metadata, shadow);
  }
  torch::autograd::impl::set_gradient_edge(shadow, edge);
}

}  // namespace

void GraphRoots::join(const at::Tensor& real, const at::Tensor& shadow) {
  if (!real.requires_grad() || shadow.requires_grad()) return;
  if (!real.is_leaf()) return join_result(real, shadow);
  const auto accumulator = torch::autograd::impl::grad_accumulator(real);
  torch::autograd::impl::set_gradient_edge(shadow, {accumulator, 0});
  if (accumulator->input_metadata(0).device().is_meta()) return;
  expect_gradient_like(*accumulator, shadow);
  leaves_.push_back(real);
}

void GraphRoots::remember_gradient(const at::Tensor& leaf) {
  const auto [entry, made] =
      gradients_.emplace(leaf.unsafeGetTensorImpl(), std::pair<at::Tensor, at::Tensor>());
  if (made) entry->second = {leaf, leaf.grad()};
}

void GraphRoots::restore() {
  for (const at::Tensor& leaf : leaves_) {
    if (!leaf.requires_grad()) continue;
    expect_gradient_like(*torch::autograd::impl::grad_accumulator(leaf), leaf);
  }
  leaves_.clear();
  for (auto& [impl, leaf_and_gradient] : gradients_) {
    auto& [leaf, gradient] = leaf_and_gradient;
    if (!leaf.grad().is_same(gradient)) leaf.mutable_grad() = gradient;
  }
  gradients_.clear();
}

RunningNode running_node() {
  const auto node = torch::autograd::get_current_node();
  if (!node) return {};
  // Leaves' functions come before all others, and so have the last number.
  if (node->sequence_nr() != UINT64_MAX) return {static_cast<int64_t>(node->sequence_nr()), {}};
  const auto* accumulate = dynamic_cast<const torch::autograd::AccumulateGrad*>(node.get());
  return {-1, accumulate == nullptr ? at::Tensor() : accumulate->variable};
}

}  // namespace nnprof

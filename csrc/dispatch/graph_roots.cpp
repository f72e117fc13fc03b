#include "dispatch/graph_roots.h"

#include <ATen/EmptyTensor.h>
#include <ATen/SequenceNumber.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>

#include "dispatch/backward_task.h"

namespace nnprof {
namespace {

// The engine takes the highest number first, and so leaves' functions have the last one.
constexpr uint64_t kOfLeaf = UINT64_MAX;

at::Tensor on_meta(const torch::autograd::InputMetadata& metadata) {
  const c10::SymIntArrayRef sizes = metadata.shape_as_dim_vector();
  const auto dtype = c10::typeMetaToScalarType(metadata.options().dtype());
  return at::Tensor(at::detail::empty_meta(C10_AS_INTARRAYREF_SLOW(sizes), dtype));
}

// It holds constants, and has no assignment.
void replace_metadata(const torch::autograd::Edge& edge, const torch::autograd::InputMetadata& by) {
  if (edge.function->num_inputs() <= edge.input_nr) return;
  auto& metadata = edge.function->mutable_input_metadata(edge.input_nr);
  std::destroy_at(&metadata);
  std::construct_at(&metadata, by);
}

}  // namespace

GraphRoots::GraphRoots() : first_number_(at::sequence_number::peek()) {}

void GraphRoots::join(const at::Tensor& real, const at::Tensor& shadow) {
  if (!real.requires_grad() || shadow.requires_grad()) return;
  const torch::autograd::Edge edge = torch::autograd::impl::gradient_edge(real);
  expect_meta_from(edge);
  torch::autograd::impl::set_gradient_edge(shadow, edge);
}

void GraphRoots::expect_meta_from(const torch::autograd::Edge& first) {
  std::vector<torch::autograd::Edge> edges = {first};
  while (!edges.empty()) {
    const torch::autograd::Edge edge = edges.back();
    edges.pop_back();
    if (!edge.is_valid() || edge.function->num_inputs() <= edge.input_nr) continue;
    auto& metadata = edge.function->mutable_input_metadata(edge.input_nr);
    if (metadata.device().is_meta()) continue;
    // The trace's own go with it, and what they hold is freed when it would be.
    const uint64_t number = edge.function->sequence_nr();
    if (number < first_number_ || number == kOfLeaf) {
      undo_.emplace_back([edge, before = metadata] { replace_metadata(edge, before); });
    }
    replace_metadata(edge, torch::autograd::InputMetadata(on_meta(metadata)));
    const auto& next = edge.function->next_edges();
    edges.insert(edges.end(), next.begin(), next.end());
  }
}

void GraphRoots::remember_gradient(const at::Tensor& leaf) {
  const auto [entry, made] =
      gradients_.emplace(leaf.unsafeGetTensorImpl(), std::pair<at::Tensor, at::Tensor>());
  if (made) entry->second = {leaf, leaf.grad()};
}

void GraphRoots::restore() {
  for (const auto& undo : undo_) undo();
  undo_.clear();
  for (auto& [impl, leaf_and_gradient] : gradients_) {
    auto& [leaf, gradient] = leaf_and_gradient;
    if (!leaf.grad().is_same(gradient)) leaf.mutable_grad() = gradient;
  }
  gradients_.clear();
}

RunningNode running_node() {
  const auto task = torch::autograd::get_current_node();
  if (!task) return {};
  const torch::autograd::Node* inside = running_inside(*task);
  const torch::autograd::Node* node = inside == nullptr ? task.get() : inside;
  if (node->sequence_nr() != kOfLeaf) {
    return {static_cast<int64_t>(node->sequence_nr()), node->thread_id(), nullptr};
  }
  const auto* accumulate = dynamic_cast<const torch::autograd::AccumulateGrad*>(node);
  return {-1, 0, accumulate == nullptr ? nullptr : &accumulate->variable};
}

}  // namespace nnprof

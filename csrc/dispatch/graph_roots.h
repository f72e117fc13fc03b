// Where autograd's graph of shape-only tensors meets the user's own leaves.
//
// A real parameter is stood for by a meta tensor, and the engine checks that a gradient is on the
// device of what it is for. So the leaf's AccumulateGrad is told, while the trace runs, that its
// gradient is on the meta device: hooks, `autograd.grad` and the user's optimizer see the leaf
// itself. What the program's own functions, or those of a graph from before the trace, hand on real
// tensors is told likewise.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/flat_hash_map.h>

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace torch::autograd {
struct Edge;
}

namespace nnprof {

class GraphRoots {
 public:
  GraphRoots();
  // Gradients of `shadow` go on to `real`, where that wants them.
  void join(const at::Tensor& real, const at::Tensor& shadow);
  // Before the first gradient of a leaf is accumulated: its `.grad` is put back at the end.
  void remember_gradient(const at::Tensor& leaf);
  // Tells the functions what they knew before, and gives the leaves their `.grad` back.
  void restore();

 private:
  // The function that a gradient goes to, and those that this hands gradients on to.
  void expect_meta_from(const torch::autograd::Edge& first);

  const uint64_t first_number_;  // of a gradient function that is made in the trace
  std::vector<std::function<void()>> undo_;
  ska::flat_hash_map<c10::TensorImpl*, std::pair<at::Tensor, at::Tensor>> gradients_;
};

// The gradient function that is running.
struct RunningNode {
  int64_t number = -1;               // in the order they were made; -1: none runs, or a leaf's
  uint64_t thread = 0;               // in which it was made, and which has this order
  const at::Tensor* leaf = nullptr;  // whose gradient is being accumulated
};
RunningNode running_node();

}  // namespace nnprof

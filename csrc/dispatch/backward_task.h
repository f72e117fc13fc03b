// A whole backward as one task of PyTorch's engine.
//
// Around each gradient function the engine saves and puts back all of a thread's state, which takes
// longer than the function does on shape-only tensors: a third of a Llama's backward. So a graph of
// PyTorch's own functions is given to it as one function, which runs them as the engine would: in
// its order, with its checks and its sums.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>
#include <vector>

namespace torch::autograd {
struct Node;
}

namespace nnprof {

// A root, and its gradient, to call backward with in place of `roots`. None where somebody could
// tell the difference: where functions are the program's own or hooks wait at them, or in PyTorch's
// anomaly mode. Those ask the engine what it is at.
std::optional<std::pair<at::Tensor, at::Tensor>> as_one_task(
    const std::vector<at::Tensor>& roots, const std::vector<at::Tensor>& gradients,
    bool keep_graph);

// The gradient function that this one runs at present; null where it is none of ours.
const torch::autograd::Node* running_inside(const torch::autograd::Node& node);

}  // namespace nnprof

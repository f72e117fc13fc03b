// How torch versions hold gradient functions.
#pragma once

#include <torch/csrc/autograd/function.h>
#include <torch/headeronly/version.h>

#include <memory>

namespace nnprof {

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 13)
template <class Node>
c10::intrusive_ptr<Node> make_node() {
  return c10::make_intrusive<Node>();
}
#else
template <class Node>
std::shared_ptr<Node> make_node() {
  return std::shared_ptr<Node>(new Node(), torch::autograd::deleteNode);
}
#endif

}  // namespace nnprof

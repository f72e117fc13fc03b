// `tensor.data = other` in a trace, where the two are on different devices for PyTorch.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

namespace nnprof {

// A real parameter is assigned what was computed of it, which is shape-only: PyTorch refuses other
// data than of the parameter's own device. It becomes a tensor on meta, for the rest of the trace.
class AssignedData {
 public:
  // Remembers what `tensor`, one of the user's, is at first.
  void remember(const at::Tensor& tensor);
  // Gives `tensor` the data of `other`, wherever that is; it keeps its history and its version.
  static void assign(const at::Tensor& tensor, const at::Tensor& other);
  // Gives the user's tensors their own back.
  void restore();

 private:
  std::vector<std::pair<at::Tensor, at::Tensor>> before_;
};

}  // namespace nnprof

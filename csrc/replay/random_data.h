// Fills tensors on a device as replay/fills.h says. Drawn from torch's own generators, so that a
// seed set before decides all of it.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <utility>

#include "replay/fills.h"

namespace nnprof {

class RandomData {
 public:
  // `elements` is the whole storage as one dimension; `tensor` the argument that it is filled for.
  void fill(const at::Tensor& elements, const at::Tensor& tensor, const Fill& fill);

 private:
  at::Tensor drawn(const Fill& fill, c10::ScalarType dtype, c10::Device device, int64_t count);

  // Drawing takes long, and the same million numbers over and over are as good.
  std::map<std::pair<Data, c10::ScalarType>, at::Tensor> pools_;
  int64_t position_ = 0;
};

// Copies bytes between storages of one device. On the CPU by this thread alone: waking others for
// each of many small copies takes longer than the copies, where cores are shared.
void copy_bytes(const at::Tensor& to, const at::Tensor& from);

// Copies known values.
void fill_with(const at::Tensor& tensor, const std::vector<int64_t>& values);

}  // namespace nnprof

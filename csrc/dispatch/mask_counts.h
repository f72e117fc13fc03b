// How much the masks of attention hide, counted once for all layers that are given the same one.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace nnprof {

// Of a mask of attention: its distinct elements, and how many of them hide nothing.
struct MaskCount {
  int64_t elements = 0;
  int64_t kept = 0;
};

// Dimensions that are expanded, once.
at::Tensor unexpanded(const at::Tensor& tensor);

// A number of this or less drives exp to zero.
bool hides(double number);

class MaskCounts {
 public:
  // Of a real tensor: booleans that are true, or numbers that do not drive exp to zero.
  MaskCount of(const at::Tensor& mask);
  // It was written to, or will be.
  void forget(const at::Tensor& mask);

 private:
  struct Known {
    c10::weak_intrusive_ptr<c10::StorageImpl> storage;  // weak: its address is not used again
    at::Tensor alias;                                   // sizes, strides and offset, on meta
    MaskCount count;
  };
  std::vector<Known> known_;
};

}  // namespace nnprof

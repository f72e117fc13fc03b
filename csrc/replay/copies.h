// Memory for the copies of arguments, which one operator after another uses: new pages would cost
// more time than a short operator's samples.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace nnprof {

// That of a device's allocator: decides how memory is read.
inline constexpr int64_t kAlignment = 256;

class CopyMemory {
 public:
  CopyMemory() = default;  // has none: each copy gets memory of its own
  explicit CopyMemory(int64_t bytes);

  // A copy of `bytes` (a tensor of bytes); it is written over after the next `reuse`.
  at::Tensor copy_of(const at::Tensor& bytes);
  void reuse() { used_ = 0; }
  int64_t bytes() const { return memory_.defined() ? memory_.numel() : 0; }

 private:
  at::Tensor place_for(const at::Tensor& bytes);

  at::Tensor memory_;
  int64_t used_ = 0;
};

}  // namespace nnprof

#include "replay/copies.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "core/count.h"
#include "replay/random_data.h"

namespace nnprof {

CopyMemory::CopyMemory(int64_t bytes)
    : memory_(at::empty({bytes}, at::TensorOptions().dtype(at::kByte).device(at::kCPU))) {}

at::Tensor CopyMemory::copy_of(const at::Tensor& bytes) {
  at::Tensor copy = place_for(bytes);
  copy_bytes(copy, bytes);
  return copy;
}

at::Tensor CopyMemory::place_for(const at::Tensor& bytes) {
  const int64_t size = round_up(bytes.numel(), kAlignment);
  if (!memory_.defined() || !bytes.is_cpu() || used_ + size > this->bytes()) {
    return at::empty(bytes.sizes(), bytes.options());
  }
  at::Tensor place =
      at::from_blob(memory_.mutable_data_ptr<uint8_t>() + used_, bytes.sizes(), bytes.options());
  used_ += size;
  return place;
}

}  // namespace nnprof

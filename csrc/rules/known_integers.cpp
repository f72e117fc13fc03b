#include "rules/known_integers.h"

#include <ATen/ops/aminmax.h>
#include <ATen/ops/count_nonzero.h>

#include <utility>

#include "rules/outputs.h"

namespace nnprof {
namespace {

thread_local bool guessed = false;

int64_t only_value(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kInt ? *tensor.const_data_ptr<int32_t>()
                                          : *tensor.const_data_ptr<int64_t>();
}

}  // namespace

int64_t count_true(const at::Tensor& mask) {
  if (!mask.is_meta()) return only_value(at::count_nonzero(mask));
  note_guess();
  return mask.numel();
}

void note_guess() { guessed = true; }

bool take_guess() { return std::exchange(guessed, false); }

void check_bounds(const at::Tensor& index, int64_t size, int64_t dim, bool negative_too) {
  const bool integers = index.scalar_type() == at::kLong || index.scalar_type() == at::kInt;
  if (index.is_meta() || !integers || index.numel() == 0) return;
  const auto [least, most] = at::aminmax(index);
  for (const int64_t value : {only_value(least), only_value(most)}) {
    TORCH_CHECK_INDEX((negative_too ? -size : 0) <= value && value < size, "index ", value,
                      " is out of bounds for dimension ", dim, " with size ", size);
  }
}

at::Tensor without_values(const at::Tensor& index) {
  if (index.is_meta()) return index;
  return empty_strided_of(index.sizes(), index.strides(), index.scalar_type());
}

}  // namespace nnprof

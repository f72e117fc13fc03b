#include "rules/masks.h"

#include <ATen/ops/count_nonzero.h>

#include <utility>

namespace nnprof {
namespace {

thread_local bool guessed = false;

}  // namespace

int64_t count_true(const at::Tensor& mask) {
  if (!mask.is_meta()) return *at::count_nonzero(mask).const_data_ptr<int64_t>();
  guessed = true;
  return mask.numel();
}

bool take_guess() { return std::exchange(guessed, false); }

}  // namespace nnprof

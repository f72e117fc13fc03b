#include "rules/known_integers.h"

#include <ATen/ops/count_nonzero.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "rules/outputs.h"

namespace nnprof {
namespace {

thread_local bool guessed = false;

template <class Integer>
std::optional<int64_t> outside(const at::Tensor& index, int64_t least, int64_t size) {
  const auto* values = index.const_data_ptr<Integer>();
  const auto* found = std::find_if(values, values + index.numel(),
                                   [=](Integer value) { return value < least || value >= size; });
  return found == values + index.numel() ? std::nullopt : std::optional<int64_t>(*found);
}

// Each value that an expanded tensor repeats, once.
at::Tensor unexpanded(const at::Tensor& index) {
  c10::DimVector sizes(index.sizes());
  for (size_t dim = 0; dim < sizes.size(); ++dim) {
    if (index.strides()[dim] == 0) sizes[dim] = std::min<int64_t>(sizes[dim], 1);
  }
  return index.as_strided(sizes, index.strides());
}

// The first value that is known to be outside of [least, size).
std::optional<int64_t> out_of_bounds(const at::Tensor& index, int64_t least, int64_t size) {
  if (index.is_meta()) return std::nullopt;
  const at::Tensor dense = unexpanded(index).contiguous();
  if (index.scalar_type() == at::kLong) return outside<int64_t>(dense, least, size);
  if (index.scalar_type() == at::kInt) return outside<int32_t>(dense, least, size);
  return std::nullopt;
}

}  // namespace

int64_t count_true(const at::Tensor& mask) {
  if (!mask.is_meta()) return *at::count_nonzero(mask).const_data_ptr<int64_t>();
  note_guess();
  return mask.numel();
}

void note_guess() { guessed = true; }

bool take_guess() { return std::exchange(guessed, false); }

void check_index(const at::Tensor& index, int64_t size, int64_t dim, bool from_end) {
  const auto bad = out_of_bounds(index, from_end ? -size : 0, size);
  TORCH_CHECK_INDEX(!bad, "index ", *bad, " is out of bounds for dimension ", dim, " with size ",
                    size);
}

void check_gathered(const at::Tensor& index, int64_t size, int64_t dim, bool from_end) {
  const auto bad = out_of_bounds(index, from_end ? -size : 0, size);
  TORCH_CHECK(!bad, "index ", *bad, " is out of bounds for dimension ", dim, " with size ", size);
}

at::Tensor without_values(const at::Tensor& index) {
  if (index.is_meta()) return index;
  return empty_strided_of(index.sizes(), index.strides(), index.scalar_type());
}

}  // namespace nnprof

#include "dispatch/mask_counts.h"

#include <ATen/EmptyTensor.h>
#include <ATen/ops/count_nonzero.h>
#include <ATen/ops/gt.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>

#include "dispatch/key.h"

namespace nnprof {
namespace {

// Scores are some hundreds at most, and exp(-104) is zero in float32. Models write -10,000, -1e9,
// the least number of a dtype and -inf.
constexpr double kHides = -9999;

constexpr size_t kMostMasks = 16;

MaskCount counted(const at::Tensor& mask) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  const at::Tensor once = unexpanded(mask);
  const bool booleans = once.scalar_type() == at::kBool;
  const at::Tensor kept = at::count_nonzero(booleans ? once : at::gt(once, kHides));
  return {once.numel(), *kept.const_data_ptr<int64_t>()};
}

}  // namespace

bool hides(double number) { return number <= kHides; }

at::Tensor unexpanded(const at::Tensor& tensor) {
  c10::DimVector sizes(tensor.sizes());
  for (size_t dim = 0; dim < sizes.size(); ++dim) {
    if (tensor.strides()[dim] == 0) sizes[dim] = std::min<int64_t>(sizes[dim], 1);
  }
  return tensor.as_strided(sizes, tensor.strides());
}

void MaskCounts::forget(const at::Tensor& mask) {
  if (known_.empty() || !mask.has_storage()) return;
  const c10::StorageImpl* storage = mask.storage().unsafeGetStorageImpl();
  std::erase_if(known_,
                [&](const Known& known) { return known.storage._unsafe_get_target() == storage; });
}

MaskCount MaskCounts::of(const at::Tensor& mask) {
  const c10::StorageImpl* storage = mask.storage().unsafeGetStorageImpl();
  for (const Known& known : known_) {
    if (known.storage._unsafe_get_target() == storage && known.alias.sizes() == mask.sizes() &&
        known.alias.strides() == mask.strides() &&
        known.alias.storage_offset() == mask.storage_offset() &&
        known.alias.scalar_type() == mask.scalar_type()) {
      return known.count;
    }
  }
  const MaskCount count = counted(mask);
  if (known_.size() >= kMostMasks) known_.erase(known_.begin());
  at::Tensor alias(at::detail::empty_meta({0}, mask.scalar_type()));
  alias.unsafeGetTensorImpl()->set_sizes_and_strides(mask.sizes(), mask.strides(),
                                                     mask.storage_offset());
  known_.push_back({mask.storage().getWeakStorageImpl(), alias, count});
  return count;
}

}  // namespace nnprof

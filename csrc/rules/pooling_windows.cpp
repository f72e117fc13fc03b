#include "rules/pooling_windows.h"

#include <ATen/ops/squeeze_native.h>
#include <ATen/ops/unsqueeze_native.h>

#include <vector>

#include "rules/outputs.h"

namespace nnprof {

at::MemoryFormat volume_format(const at::Tensor& self) {
  if (self.dim() == 5) return self.suggest_memory_format();
  const bool channels_last = !self.is_contiguous() && at::native::unsqueeze(self, 0).is_contiguous(
                                                          at::MemoryFormat::ChannelsLast3d);
  return channels_last ? at::MemoryFormat::ChannelsLast3d : at::MemoryFormat::Contiguous;
}

at::Tensor empty_volumes(at::IntArrayRef sizes, c10::ScalarType dtype, at::MemoryFormat format) {
  if (sizes.size() == 5) return empty_of(sizes, dtype, format);
  c10::DimVector batch = {1};
  batch.append(sizes.begin(), sizes.end());
  return at::native::squeeze(empty_of(batch, dtype, format), 0);
}

namespace {

struct Windows {
  int64_t kernel, stride, padding, dilation;
};

Reads reads_along(int64_t size, int64_t outputs, const Windows& windows) {
  Reads reads{0, 0};
  std::vector<bool> seen(static_cast<size_t>(size));
  for (int64_t output = 0; output < outputs; ++output) {
    for (int64_t k = 0; k < windows.kernel; ++k) {
      const int64_t at = output * windows.stride - windows.padding + k * windows.dilation;
      if (at < 0 || at >= size) continue;  // padding is not read
      reads.taken += 1;
      if (!seen[static_cast<size_t>(at)]) reads.distinct += 1;
      seen[static_cast<size_t>(at)] = true;
    }
  }
  return reads;
}

// Adaptive window o of O over S elements is [floor(o S / O), ceil((o + 1) S / O)): they overlap
// where O does not divide S, and leave nothing out.
Reads adaptive_reads_along(int64_t size, int64_t outputs) {
  Reads reads{0, outputs == 0 ? 0 : size};
  for (int64_t o = 0; o < outputs; ++o) {
    reads.taken += ((o + 1) * size + outputs - 1) / outputs - o * size / outputs;
  }
  return reads;
}

Windows windows_of(const OpSignature& op, size_t first, size_t dim, bool dilated) {
  const auto argument = [&](size_t index, int64_t if_empty) {
    const std::vector<int64_t>& list = op.integers(index);
    return list.empty() ? if_empty : list[list.size() == 1 ? 0 : dim];
  };
  const int64_t kernel = argument(first, 1);
  return {kernel, argument(first + 1, kernel), argument(first + 2, 0),
          dilated ? argument(first + 3, 1) : 1};
}

// Windows are boxes, so that both counts are products over the dimensions; `along(dimension, size,
// outputs)` tells those along one of them.
template <class Along>
Reads reads_of_planes(const TensorSpec& self, const TensorSpec& pooled, size_t dims, Along along) {
  Reads reads;
  for (int64_t d = 0; d < self.dim(); ++d) {
    const int64_t dim = d - self.dim() + static_cast<int64_t>(dims);
    const Reads more = dim < 0 ? Reads{self.size(d), self.size(d)}
                               : along(static_cast<size_t>(dim), self.sizes[d], pooled.sizes[d]);
    reads.taken *= more.taken;
    reads.distinct *= more.distinct;
  }
  return reads;
}

}  // namespace

Reads fixed_reads(const OpSignature& op, const TensorSpec& self, const TensorSpec& pooled,
                  size_t first, size_t dims, bool dilated) {
  return reads_of_planes(self, pooled, dims, [&](size_t dim, int64_t size, int64_t outputs) {
    return reads_along(size, outputs, windows_of(op, first, dim, dilated));
  });
}

Reads adaptive_reads(const TensorSpec& self, const TensorSpec& pooled, size_t dims) {
  return reads_of_planes(self, pooled, dims, [](size_t, int64_t size, int64_t outputs) {
    return adaptive_reads_along(size, outputs);
  });
}

}  // namespace nnprof

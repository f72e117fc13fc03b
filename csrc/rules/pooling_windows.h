// The windows of poolings, for the operators that do them and for their gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/record.h"

namespace nnprof {

// (C, D, H, W) may be laid out with its channels innermost, too.
at::MemoryFormat volume_format(const at::Tensor& self);
at::Tensor empty_volumes(at::IntArrayRef sizes, c10::ScalarType dtype, at::MemoryFormat format);

// What all windows of all planes hold: with repetitions, and each element once.
struct Reads {
  Count taken = 1;
  Count distinct = 1;
};

// Of a pooling from `self` to `pooled`, over the last `dims` dimensions. Kernel, stride, padding
// and (for max) dilation are the arguments from `first` on.
Reads fixed_reads(const OpSignature& op, const TensorSpec& self, const TensorSpec& pooled,
                  size_t first, size_t dims, bool dilated);
Reads adaptive_reads(const TensorSpec& self, const TensorSpec& pooled, size_t dims);

}  // namespace nnprof

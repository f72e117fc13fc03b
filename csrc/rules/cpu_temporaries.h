// What PyTorch's CPU kernels allocate on the way and free before they return.
//
// oneDNN computes convolutions and LSTMs on tensors in layouts of its own: channels in blocks as
// wide as a vector. Inputs, weights and results are reordered into buffers of PyTorch's allocator.
// Seen with `torch.profiler` and `profile_memory=True` on torch 2.13.
#pragma once

#include <cstdint>

#include "core/record.h"

namespace nnprof {

// Bytes beyond the call's outputs; 0 for operators whose kernels take none.
Count cpu_temporary_bytes(const OpSignature& op);

}  // namespace nnprof

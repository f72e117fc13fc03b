// What PyTorch's CUDA kernels ask the caching allocator for beside their outputs.
#pragma once

#include "core/cost.h"
#include "core/record.h"
#include "core/requests.h"

namespace nnprof {

// All that a rule counts beside (`cost.temporary_bytes`) is one block.
Working gpu_working(const OpSignature& op, const Cost& cost);

}  // namespace nnprof

// What PyTorch's CUDA kernels ask the caching allocator for beside their outputs.
#pragma once

#include "core/cost.h"
#include "core/record.h"
#include "core/requests.h"

namespace nnprof {

// `cublaslt_workspace`: bytes that a product with a bias takes while it runs, as it did before
// torch 2.8; 0: it uses the workspace of the thread's cuBLAS handle (CublasHandlePool.cpp). All
// that a rule counts beside (`cost.temporary_bytes`) is one block.
Working gpu_working(const OpSignature& op, const Cost& cost, int64_t cublaslt_workspace);

}  // namespace nnprof

// What a traced program asks of its device's allocator, in order.
#pragma once

#include <cstdint>
#include <vector>

#include "core/session.h"

namespace nnprof {

// An allocation of `bytes`, or with 0 bytes the end of one; `block` says which. `record` is the
// call it belongs to: a free belongs to the call before it, -1 where there was none.
struct Request {
  uint32_t block;
  int32_t record;
  int64_t bytes;
};

// What a kernel asks for beside its outputs.
struct Working {
  std::vector<int64_t> bytes;  // each freed when the kernel has been launched
  bool uses_blas = false;      // the library's workspace: asked for once by each thread, and kept
};

// `working`: per signature. `blas_workspace`: bytes, 0 for none. What was there before the trace is
// not among the requests.
std::vector<Request> requests(const Session& session, const std::vector<Working>& working,
                              int64_t blas_workspace);

}  // namespace nnprof

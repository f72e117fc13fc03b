// What a traced program asks of its device's allocator, in order.
#pragma once

#include <cstdint>
#include <vector>

#include "core/session.h"

namespace nnprof {

// The allocation of a library's workspace, whose size is the device's: its `bytes`.
constexpr int64_t kBlasWorkspace = -1;

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

// `working`: per signature. What was there before the trace is not among the requests.
std::vector<Request> requests(const Session& session, const std::vector<Working>& working);

// A whole program: what it puts on its device first, in that order, and what its calls ask for.
struct Program {
  std::vector<int64_t> parameters;  // bytes
  std::vector<int64_t> others;      // buffers, inputs
  std::vector<Request> requests;
  size_t calls = 0;
};

}  // namespace nnprof

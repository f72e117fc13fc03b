// What PyTorch's caching allocator holds of a device while a trace's requests run.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/caching_allocator.h"
#include "core/requests.h"

namespace nnprof {

struct DeviceUse {
  int64_t peak_allocated = 0;
  int64_t peak_reserved = 0;
  int32_t peak_record = -1;  // the call that reserved the most first; -1: before any
  int64_t unused_at_peak = 0;
  int64_t retries = 0;
  // Where it ran out: nothing was simulated from there on.
  struct OutOfMemory {
    int32_t record;
    int64_t bytes;
    int64_t allocated;
    int64_t reserved;
  };
  std::optional<OutOfMemory> out_of_memory;
  // Per call: after it.
  std::vector<int64_t> allocated;
  std::vector<int64_t> reserved;
};

// `resident`: bytes of what was there before, in the order in which it was put there. `records`:
// how many calls there are.
DeviceUse device_use(const std::vector<int64_t>& resident, const std::vector<Request>& requests,
                     size_t records, const AllocatorOptions& options);

}  // namespace nnprof

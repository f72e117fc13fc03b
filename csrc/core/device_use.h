// What PyTorch's caching allocator holds of a device while a trace's requests run.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
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

// What the allocator did, in order: as PyTorch's snapshots of memory have it.
struct AllocatorEvent {
  enum class Action : uint8_t { alloc, free, driver };
  Action action;
  CachingAllocator::DriverCall call;  // of the driver's
  int32_t record;                     // -1: before any call
  int64_t address;
  int64_t size;  // as it was asked for
};

struct DeviceHistory {
  std::vector<AllocatorEvent> events;
  std::vector<std::pair<CachingAllocator::InUse, bool>> layout;  // at the end; in use?
};

// `beside`: bytes of what the trace has not seen, put there behind the parameters.
// `blas_workspace`: bytes of one, 0 for none.
DeviceUse device_use(const Program& program, const std::vector<int64_t>& beside,
                     int64_t blas_workspace, const AllocatorOptions& options,
                     DeviceHistory* history = nullptr);

}  // namespace nnprof

// What a measurement asks of the machine: memory that is free, the size of the cache, and whether
// someone else used the processor meanwhile.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace nnprof {

// Bytes that an allocation may hope for; the largest integer where nobody knows.
int64_t available_memory(c10::Device device);

// An allocator keeps what was freed, and the device does not count it as free: gives it back.
void release_cached_memory(c10::Device device);

// Of the largest cache that all cores share.
int64_t last_level_cache_bytes();

// Counts up whenever this process was taken off a core, or the whole machine was.
struct Disturbances {
  int64_t involuntary_switches = 0;
  int64_t stolen_ticks = 0;

  static Disturbances now();
  bool operator==(const Disturbances&) const = default;
};

}  // namespace nnprof

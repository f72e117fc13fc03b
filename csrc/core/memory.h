// Memory over time: what the storages of a trace hold, as eager PyTorch would allocate and free
// them. Library workspaces and the device's context are not in it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/session.h"

namespace nnprof {

enum class MemoryKind : uint8_t {
  parameters,
  buffers,
  inputs,  // and whatever else was there before and was used
  kv_cache,
  gradients,
  optimizer,    // what a step leaves behind
  activations,  // made in the forward and there when the backward starts; recomputed ones, too
  temporaries,
};
inline constexpr size_t kMemoryKinds = 8;
inline constexpr std::array<const char*, kMemoryKinds> kMemoryKindNames = {
    "parameters", "buffers",   "inputs",      "kv_cache",
    "gradients",  "optimizer", "activations", "temporaries"};

using BytesByKind = std::array<Count, kMemoryKinds>;
Count total(const BytesByKind& bytes);

// What stays for the whole trace, whether or not a call used it.
struct ResidentBytes {
  Count parameters;
  Count buffers;
};

struct PhaseMemory {
  bool met = false;
  Count peak;
  BytesByKind after{};  // its last call
};

struct MemoryUse {
  Count peak;
  int64_t peak_record = -1;  // the call that was running then
  BytesByKind at_peak{};
  std::vector<BytesByKind> at_peak_by_scope;  // where the storages were made
  // Activations at the first call of a backward, by the scope they were made in; empty without one.
  std::vector<Count> kept_by_scope;
  std::array<PhaseMemory, 3> phases;
  std::vector<Count> live;     // per call: after it
  std::vector<Count> highest;  // per call: while it ran, its own temporaries included
};

// `temporaries`: per signature, what its kernel takes beyond the outputs. `granule`: an allocation
// takes a multiple of so many bytes.
MemoryUse memory_use(const Session& session, const std::vector<Count>& temporaries,
                     const ResidentBytes& resident, int64_t granule);

}  // namespace nnprof

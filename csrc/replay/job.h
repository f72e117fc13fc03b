// One unique call to be made again, and whether it can be.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

#include "core/record.h"
#include "dispatch/operators.h"

namespace nnprof {

// One unique call, and what decides how much of the time it is worth.
struct ReplayJob {
  const Operator* op = nullptr;
  OpSignature signature;
  CallState state;
  int64_t calls = 0;  // that the model makes
  double weight = 0;  // seconds that the model is thought to spend in it, over all its calls
  bool memory_bound = false;
  Count temporary_bytes;
};

enum class ReplayStatus : uint8_t {
  measured,
  scaled,  // a part of the batch, times its number of parts
  view,
  not_replayable,
  failed,
  no_memory,
  no_time,
  interrupted,
};
inline constexpr const char* kReplayStatusNames[] = {"measured",       "scaled",     "view",
                                                     "not replayable", "failed",     "no memory",
                                                     "no time",        "interrupted"};

// Views cost nothing, some calls cannot be made alone. Empty for all others.
struct Obstacle {
  ReplayStatus status = ReplayStatus::measured;
  std::string note;
};
Obstacle obstacle_of(const ReplayJob& job, c10::Device device);

// Is the output's memory that of an argument?
bool aliases_argument(const OpSignature& signature, const TensorSpec& output);
// Of outputs that have memory of their own.
Count output_bytes(const OpSignature& signature);

}  // namespace nnprof

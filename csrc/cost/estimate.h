// How long calls take: each by itself, and one after the other.
#pragma once

#include <vector>

#include "core/aggregate.h"
#include "cost/traffic.h"

namespace nnprof {

enum class Bound : uint8_t { none, compute, memory, launch };
inline constexpr std::array<const char*, 4> kBoundNames = {"", "compute", "memory", "launch"};

struct Estimate {
  OpClass op_class = OpClass::free;
  Bound bound = Bound::none;
  double seconds = 0;  // on the device
  double compute = 0;  // of these, were nothing else to be waited for
  double memory = 0;
  double host = 0;   // seconds that the call keeps the host busy
  double flops = 0;  // executed
  double bytes = 0;
  double peak = 0;   // FLOP/s at most, in the precision it computes in
  double error = 0;  // share of `seconds` that the estimate is off by, typically
};

std::vector<Estimate> estimate(const Session& session, const Aggregate& aggregate,
                               const Hardware& hardware, const EstimateOptions& options);

// Host and device side by side: the host queues call after call, the device works them off.
struct Timeline {
  double device = 0;  // seconds that it computes
  double host = 0;    // seconds that the host needs to queue all
  double wall = 0;    // until the last result is there
};
// `seconds` and `host` by signature. `synchronous`: the host computes itself.
Timeline timeline(const Session& session, const std::vector<double>& seconds,
                  const std::vector<double>& host, double launch_latency, bool synchronous);

}  // namespace nnprof

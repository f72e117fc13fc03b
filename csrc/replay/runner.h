// Replays recorded calls, one unique signature at a time, and times them.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "replay/job.h"

namespace nnprof {

struct ReplayOptions {
  c10::Device device = c10::Device(c10::kCPU);
  double time_budget = 60;
  std::optional<int64_t> memory_limit;  // else: what is free
  bool warm = true;                     // memory-bound calls with weights in the cache, too
  int64_t flush_bytes = int64_t{128} << 20;
};

struct ReplayMeasurement {
  ReplayStatus status = ReplayStatus::no_time;
  std::string note;
  // Of one call each, in the order taken: weights not in the cache; in the cache; the host's part.
  std::vector<double> seconds;
  std::vector<double> warm_seconds;
  std::vector<double> host_seconds;
  int64_t discarded = 0;  // samples thrown away
  int64_t disturbed = 0;  // samples kept although someone else had the processor
};

struct ReplayReport {
  std::vector<ReplayMeasurement> measurements;
  bool interrupted = false;
  double took_s = 0;
  int64_t peak_bytes = 0;  // of arguments, outputs, temporaries and the flush buffer at once
};

// What the runner asks of whoever called it. Neither may throw.
struct ReplayObserver {
  // Asked before each sample; false: stop and keep what is there.
  std::function<bool()> keep_going = [] { return true; };
  std::function<void(size_t done, size_t of, const std::string& op)> progress;
  // The message of what an operator raised.
  std::function<std::string(const std::exception&)> describe = [](const std::exception& error) {
    return std::string(error.what());
  };
};

ReplayReport replay(const std::vector<ReplayJob>& jobs, const ReplayOptions& options,
                    const ReplayObserver& observer);

}  // namespace nnprof

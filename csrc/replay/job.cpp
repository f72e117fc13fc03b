#include "replay/job.h"

#include <algorithm>

#include "core/collectives.h"
#include "replay/materialize.h"

namespace nnprof {
namespace {

bool returns_what_it_got(const ReplayJob& job) {
  const auto& outputs = job.signature.outputs;
  if (!job.op->written.empty() || outputs.empty()) return false;
  return std::all_of(outputs.begin(), outputs.end(), [&](const TensorSpec& output) {
    return !output.defined || aliases_argument(job.signature, output);
  });
}

}  // namespace

Obstacle obstacle_of(const ReplayJob& job, c10::Device device) {
  const Rule* rule = job.signature.rule;
  const bool view = rule != nullptr ? rule->has(kView) : job.op->view;
  if (view || returns_what_it_got(job)) return {ReplayStatus::view, ""};
  if (is_collective(job.signature.op)) {
    return {ReplayStatus::not_replayable, "it talks to other processes"};
  }
  // What is registered for every device may call what a CPU has no kernel for.
  const bool never_on_cpu = rule != nullptr && rule->has(kNeverReal) && device.is_cpu();
  if (never_on_cpu || !job.op->has_kernel_for(device)) {
    return {ReplayStatus::not_replayable, "it has no kernel for " + device.str()};
  }
  const std::string reason = why_not_materialized(*job.op, job.signature);
  if (!reason.empty()) return {ReplayStatus::not_replayable, reason};
  return {};
}

Count output_bytes(const OpSignature& signature) {
  Count sum;
  for (const TensorSpec& output : signature.outputs) {
    if (output.defined && !aliases_argument(signature, output)) sum += output.distinct_bytes();
  }
  return sum;
}

bool aliases_argument(const OpSignature& signature, const TensorSpec& output) {
  for (const Argument& argument : signature.arguments) {
    for (const TensorSpec& input : argument.tensors) {
      if (input.defined && !input.wrapped_number && input.storage == output.storage) return true;
    }
  }
  return false;
}

}  // namespace nnprof

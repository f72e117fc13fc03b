#include "cost/estimate.h"

#include <algorithm>

#include "cost/attention.h"
#include "cost/memory_bound.h"
#include "cost/recurrent.h"

namespace nnprof {
namespace {

double model_weights(const Session& session) {
  const auto& storages = session.storages();
  std::vector<bool> counted(storages.size(), false);
  double bytes = 0;
  for (uint32_t storage : session.touched_storages()) {
    const StorageInfo& info = storages[storage];
    if (counted[storage] || (info.role != Role::parameter && info.role != Role::buffer)) continue;
    counted[storage] = true;
    bytes += static_cast<double>(info.bytes);
  }
  return bytes;
}

Parts parts_of(const PricedCall& call) {
  switch (call.op_class) {
    case OpClass::free:
      return {};
    case OpClass::matmul:
      return matmul_time(call);
    case OpClass::convolution:
      return convolution_time(call);
    case OpClass::attention:
      return attention_time(call);
    case OpClass::recurrent:
      return recurrent_time(call);
    default:
      return memory_bound_time(call);
  }
}

// glibc hands out what is larger as pages of its own, and gives them back at once: each such output
// is new memory.
constexpr double kLargestReused = 32 * 1024 * 1024;
constexpr double kPage = 4096;

double fresh_pages(const OpSignature& op) {
  double pages = 0;
  for (const TensorSpec& output : op.outputs) {
    if (!output.defined) continue;
    const auto bytes = static_cast<double>(output.distinct_bytes());
    const bool own =
        std::none_of(op.arguments.begin(), op.arguments.end(), [&](const Argument& argument) {
          return std::any_of(argument.tensors.begin(), argument.tensors.end(),
                             [&](const TensorSpec& input) {
                               return input.defined && input.storage == output.storage;
                             });
        });
    if (own && bytes > kLargestReused) pages += bytes / kPage;
  }
  return pages;
}

Bound bound_of(const Parts& parts, double launch) {
  if (parts.seconds == 0) return Bound::none;
  if (launch >= parts.seconds / 2) return Bound::launch;
  return parts.compute > parts.memory ? Bound::compute : Bound::memory;
}

double peak_of(const PricedCall& call) {
  const bool convolution = call.op_class == OpClass::convolution;
  const bool tf32 = convolution ? call.options.convolution_tf32 : call.options.matmul_tf32;
  if (call.cost.macs == 0) return call.hardware.peak(Precision::fp32);
  return call.hardware.peak(precision_of(computed_dtype(call.op), tf32, call.hardware));
}

Estimate estimate_one(const PricedCall& call) {
  const Hardware& hardware = call.hardware;
  Parts parts = parts_of(call);
  if (hardware.cpu() && call.op_class != OpClass::free) {
    const double faults = fresh_pages(call.op) * hardware.page_fault;
    parts.seconds += faults;
    parts.memory += faults;
  }
  Estimate made;
  made.op_class = call.op_class;
  made.seconds = parts.seconds;
  made.compute = parts.compute;
  made.memory = parts.memory;
  made.bound = bound_of(parts, hardware.launch);
  made.host = call.op_class == OpClass::free ? hardware.host_view : hardware.host;
  made.flops = static_cast<double>(call.cost.flops() - call.cost.flops_skipped);
  made.bytes = static_cast<double>(call.cost.bytes_read + call.cost.bytes_written);
  made.peak = peak_of(call);
  made.error = hardware.error[static_cast<size_t>(call.op_class)];
  return made;
}

}  // namespace

std::vector<Estimate> estimate(const Session& session, const Aggregate& aggregate,
                               const Hardware& hardware, const EstimateOptions& options) {
  const double weights = model_weights(session);
  std::vector<Estimate> estimates;
  estimates.reserve(aggregate.signatures.size());
  for (const PricedSignature& priced : aggregate.signatures) {
    estimates.push_back(estimate_one({priced.signature, priced.cost, hardware, options, weights,
                                      op_class(priced.signature, priced.cost)}));
  }
  return estimates;
}

Timeline timeline(const Session& session, const std::vector<double>& seconds,
                  const std::vector<double>& host, double launch_latency, bool synchronous) {
  Timeline line;
  double done = 0;
  for (const OpRecord& record : session.records()) {
    const double busy = seconds[record.signature];
    line.device += busy;
    line.host += host[record.signature];
    if (busy == 0) continue;
    if (synchronous) {
      done += busy;
    } else {
      done = std::max(done, line.host + launch_latency) + busy;
    }
  }
  line.wall = synchronous ? done + line.host : std::max(done, line.host);
  return line;
}

}  // namespace nnprof

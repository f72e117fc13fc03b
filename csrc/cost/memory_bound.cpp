// t = launch + bytes / (bandwidth * the class's share), which is the curve of achieved bandwidth:
// half of it at launch * bandwidth bytes.
//
// Norms and softmax go over a row more than once. What they read again comes from the last cache
// as long as the rows in flight fit there, else from memory.
#include "cost/memory_bound.h"

#include <algorithm>
#include <cmath>
#include <string_view>

namespace nnprof {
namespace {

// Columns that a warp keeps in registers: a softmax of more goes over memory again.
constexpr int64_t kWarpSoftmax = 1024;
constexpr double kRowsInFlight = 16;  // of a layer norm, on each multiprocessor

double share_missed(double in_flight, double from, double to) {
  return std::clamp((in_flight - from) / (to - from), 0.0, 1.0);
}

// The length of the rows that are reduced, in bytes; 0 where there are none.
double row_bytes(const OpSignature& op, bool whole_normalized_shape) {
  const TensorSpec& input = op.tensor(0);
  if (!input.defined || input.dim() == 0) return 0;
  int64_t elements = input.size(-1);
  if (whole_normalized_shape && op.arguments.size() > 1 &&
      op.arguments[1].kind == Argument::Kind::integers) {
    elements = 1;
    for (int64_t size : op.arguments[1].integers) elements *= size;
  }
  return static_cast<double>(elements * input.element_size());
}

// How many times more than once the input is read from memory.
double reads_again(const Subject& subject) {
  const Hardware& hardware = subject.hardware;
  if (hardware.cpu()) return 0;
  const std::string_view family = subject.op.family;
  if (family == "layer_norm") {
    const double in_flight = hardware.units() * kRowsInFlight * row_bytes(subject.op, true);
    return share_missed(in_flight / hardware.usable_cache(), 0.6, 1.4);
  }
  if (family == "softmax") {
    const TensorSpec& input = subject.op.tensor(0);
    if (!input.defined || input.dim() == 0 || input.size(-1) <= kWarpSoftmax) return 0;
    const double in_flight = hardware.units() * row_bytes(subject.op, false);
    return 2 * share_missed(in_flight / hardware.usable_cache(), 0.18, 0.4);
  }
  return 0;
}

// What is computed, in multiplications of the device's ordinary units.
double compute_seconds(const Subject& subject) {
  double work = 0;
  for (size_t kind = 0; kind < subject.hardware.kind_cost.size(); ++kind) {
    work +=
        static_cast<double>(subject.cost.flops_by_kind[kind]) * subject.hardware.kind_cost[kind];
  }
  const Precision precision =
      computed_dtype(subject.op) == c10::ScalarType::Double ? Precision::fp64 : Precision::fp32;
  // A window is gone through element by element.
  const double share = subject.op_class == OpClass::pooling ? subject.hardware.pooling : 1.0;
  return work / (subject.hardware.vector_sustained(precision) * share);
}

// A CPU reads a line before it writes to it; in place that is read anyway.
double in_place_share(const Subject& subject) {
  if (!subject.hardware.cpu() || subject.op.outputs.empty()) return 1;
  const TensorSpec& input = subject.op.tensor(0);
  const TensorSpec& output = subject.op.output();
  return input.defined && input.storage == output.storage ? 2.0 / 3 : 1.0;
}

// Elements that a kernel goes through.
double elements(const OpSignature& op) {
  int64_t most = 0;
  for (const TensorSpec& output : op.outputs) most = std::max(most, output.numel());
  if (!op.arguments.empty() && op.tensor(0).defined) most = std::max(most, op.tensor(0).numel());
  return static_cast<double>(most);
}

// A CPU's second thread starts where there is enough to do; until then one core does it.
double threaded(const Subject& subject, double compute, double memory) {
  const Hardware& hardware = subject.hardware;
  if (!hardware.cpu()) return overlapped(compute, memory);
  if (elements(subject.op) > hardware.grain) return hardware.fork + overlapped(compute, memory);
  return overlapped(compute * hardware.units(), memory / hardware.single_core);
}

}  // namespace

Parts memory_bound_time(const Subject& subject) {
  const Traffic traffic = traffic_of(subject.op, subject.cost);
  const double again = reads_again(subject);
  const double once = in_place_share(subject) * memory_seconds(subject, traffic);
  const double bytes = std::max(traffic.bytes(), 1.0);
  const double memory = once * (bytes + again * traffic.read) / bytes;
  const double compute = compute_seconds(subject);
  const double fixed = subject.hardware.fixed[static_cast<size_t>(subject.op_class)];
  return {fixed + threaded(subject, compute, memory), compute, memory};
}

}  // namespace nnprof

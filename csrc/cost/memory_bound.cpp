// t = launch + bytes / (bandwidth * the class's share), which is the curve of achieved bandwidth:
// half of it at launch * bandwidth bytes.
//
// Norms and softmax go over a row more than once. What they read again comes from the last cache
// as long as the rows in flight fit there, else from memory.
#include "cost/memory_bound.h"

#include <algorithm>
#include <cmath>

#include "cost/op_class.h"

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
  Count elements = input.size(-1);
  const size_t place = is_backward(op) ? 2 : 1;
  if (whole_normalized_shape && op.arguments.size() > place &&
      op.arguments[place].kind == Argument::Kind::integers) {
    elements = 1;
    for (Count size : op.arguments[place].integers) elements *= size;
  }
  return static_cast<double>(elements * input.element_size());
}

// How many times more than once the input is read from memory.
double reads_again(const PricedCall& call) {
  const Hardware& hardware = call.hardware;
  if (hardware.cpu()) return 0;
  const RowsReadAgain again = traits_of(call.op.op_class).again;
  if (again == RowsReadAgain::normalized) {
    const double in_flight = hardware.units() * kRowsInFlight * row_bytes(call.op, true);
    return share_missed(in_flight / hardware.usable_cache(), 0.6, 1.4);
  }
  if (again == RowsReadAgain::past_registers) {
    const TensorSpec& input = call.op.tensor(0);
    if (!input.defined || input.dim() == 0 || input.size(-1) <= kWarpSoftmax) return 0;
    const double in_flight = hardware.units() * row_bytes(call.op, false);
    return 2 * share_missed(in_flight / hardware.usable_cache(), 0.18, 0.4);
  }
  return 0;
}

// What is computed, in multiplications of the device's ordinary units.
double compute_seconds(const PricedCall& call) {
  double work = 0;
  for (size_t kind = 0; kind < call.hardware.kind_cost.size(); ++kind) {
    work += static_cast<double>(call.cost.flops_by_kind[kind]) * call.hardware.kind_cost[kind];
  }
  const Precision precision =
      computed_dtype(call.op) == c10::ScalarType::Double ? Precision::fp64 : Precision::fp32;
  // A window is gone through element by element.
  const double share = call.op_class == OpClass::pooling ? call.hardware.pooling : 1.0;
  return work / (call.hardware.vector_sustained(precision) * share);
}

// A CPU reads a line before it writes to it; in place that is read anyway.
double in_place_share(const PricedCall& call) {
  if (!call.hardware.cpu() || call.op.outputs.empty()) return 1;
  const TensorSpec& input = call.op.tensor(0);
  const TensorSpec& output = call.op.output();
  return input.defined && output.defined && input.storage == output.storage ? 2.0 / 3 : 1.0;
}

// Elements that a kernel goes through.
double elements(const OpSignature& op) {
  Count most = 0;
  for (const TensorSpec& output : op.outputs) most = std::max(most, output.numel());
  if (!op.arguments.empty() && op.tensor(0).defined) most = std::max(most, op.tensor(0).numel());
  return static_cast<double>(most);
}

// A CPU's second thread starts where there is enough to do; until then one core does it.
double threaded(const PricedCall& call, double compute, double memory) {
  const Hardware& hardware = call.hardware;
  if (!hardware.cpu()) return overlapped(compute, memory);
  if (elements(call.op) > hardware.grain) return hardware.fork + overlapped(compute, memory);
  return overlapped(compute * hardware.units(), memory / hardware.single_core);
}

}  // namespace

Parts memory_bound_time(const PricedCall& call) {
  const Traffic traffic = traffic_of(call.op, call.cost);
  const double again = reads_again(call);
  const double once = in_place_share(call) * memory_seconds(call, traffic);
  const double bytes = std::max(traffic.bytes(), 1.0);
  const double memory = once * (bytes + again * traffic.read) / bytes;
  const double compute = compute_seconds(call);
  return {call.fixed() + threaded(call, compute, memory), compute, memory};
}

}  // namespace nnprof

#include "cost/traffic.h"

#include <algorithm>

namespace nnprof {
namespace {

bool is_weight(const TensorSpec& tensor) {
  return tensor.defined && !tensor.wrapped_number &&
         (tensor.role == Role::parameter || tensor.role == Role::buffer);
}

double activation_bytes(const Traffic& traffic) { return traffic.read + traffic.written; }

}  // namespace

Traffic traffic_of(const OpSignature& op, const Cost& cost) {
  Traffic traffic;
  for (const Argument& argument : op.inputs()) {
    for (const TensorSpec& tensor : argument.tensors) {
      if (is_weight(tensor)) traffic.weights += static_cast<double>(tensor.distinct_bytes());
    }
  }
  // Of an embedding's table only some rows are read.
  traffic.weights = std::min(traffic.weights, static_cast<double>(cost.bytes_read));
  traffic.read = static_cast<double>(cost.bytes_read) - traffic.weights;
  traffic.written = static_cast<double>(cost.bytes_written);
  return traffic;
}

Traffic traffic_between(std::initializer_list<const TensorSpec*> read, const TensorSpec& written) {
  Traffic traffic;
  for (const TensorSpec* tensor : read) {
    double& found = is_weight(*tensor) ? traffic.weights : traffic.read;
    found += static_cast<double>(tensor->distinct_bytes());
  }
  traffic.written = static_cast<double>(written.distinct_bytes());
  return traffic;
}

double memory_seconds(const PricedCall& call, const Traffic& traffic) {
  const double activations = activation_bytes(traffic);
  const double footprint = std::max(call.model_weights, traffic.weights) + activations;
  return traffic.weights * call.hardware.seconds_per_byte(call.op_class, footprint) +
         activations * call.hardware.seconds_per_byte(call.op_class, traffic.bytes());
}

double store_seconds(const PricedCall& call, const Traffic& traffic) {
  return traffic.written * call.hardware.seconds_per_byte(call.op_class, traffic.bytes());
}

}  // namespace nnprof

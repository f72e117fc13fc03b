#include "cost/recurrent.h"

#include <algorithm>

namespace nnprof {
namespace {

bool is_cell(const OpSignature& op) { return op.op.find("_cell") != std::string::npos; }

// Whether the input has its batch before its steps.
bool is_batch_first(const OpSignature& op) {
  constexpr size_t kCudnn = 10, kCudnnBackward = 14;
  if (op.op.starts_with("aten::_cudnn_rnn")) {
    return op.boolean(op.op.ends_with("_backward") ? kCudnnBackward : kCudnn);
  }
  return op.op.ends_with(".input") && op.arguments.back().kind == Argument::Kind::boolean &&
         op.arguments.back().integer != 0;
}

// Matrices among the weights: of the input and of the state, in turns.
std::vector<const TensorSpec*> matrices(const OpSignature& op) {
  std::vector<const TensorSpec*> found;
  for (size_t i = 1; i < op.arguments.size(); ++i) {
    for (const TensorSpec& tensor : op.arguments[i].tensors) {
      if (tensor.defined && tensor.dim() == 2 && tensor.role == Role::parameter) {
        found.push_back(&tensor);
      }
    }
  }
  return found;
}

Product product_with(const TensorSpec& weight, double rows, Precision precision) {
  Product product;
  product.precision = precision;
  product.rows = rows;
  product.columns = static_cast<double>(weight.size(0));
  product.depth = static_cast<double>(weight.size(1));
  return product;
}

Traffic traffic_with(const TensorSpec& weight, double rows) {
  const auto element = static_cast<double>(weight.element_size());
  return {static_cast<double>(weight.distinct_bytes()),
          rows * static_cast<double>(weight.size(1)) * element,
          rows * static_cast<double>(weight.size(0)) * element};
}

void add(Parts& total, const Parts& part, double times = 1) {
  total.seconds += times * part.seconds;
  total.compute += times * part.compute;
  total.memory += times * part.memory;
}

}  // namespace

Parts recurrent_time(const PricedCall& call) {
  const Hardware& hardware = call.hardware;
  const Precision precision =
      precision_of(computed_dtype(call.op), call.options.convolution_tf32, hardware);
  const auto weights = matrices(call.op);
  const TensorSpec& input = call.op.tensor(0);
  double macs_a_row = 0;
  for (const TensorSpec* weight : weights) {
    macs_a_row += static_cast<double>(weight->numel());
  }
  if (macs_a_row == 0 || input.dim() == 0) return matmul_time(call);
  // A row of the input goes once through every matrix.
  const double rows = static_cast<double>(call.cost.macs) / macs_a_row;
  const bool cell = is_cell(call.op) || input.dim() < 2;
  const bool batch_first = is_batch_first(call.op);
  const double steps =
      cell ? 1 : static_cast<double>(std::max<Count>(input.size(batch_first ? 1 : 0), 1));
  Parts total;
  for (size_t i = 0; i < weights.size(); ++i) {
    const bool of_state = i % 2 == 1;
    const double at_once = of_state ? rows / steps : rows;
    Traffic traffic = traffic_with(*weights[i], at_once);
    // The state's matrix stays in caches and registers from step to step.
    if (of_state && steps > 1) traffic.weights /= steps;
    Parts part = product_time(call, product_with(*weights[i], at_once, precision), traffic);
    if (of_state) part.seconds += hardware.step - (hardware.cpu() ? 0 : hardware.launch);
    add(total, part, of_state ? steps : 1);
  }
  total.seconds += hardware.launch;
  return total;
}

}  // namespace nnprof

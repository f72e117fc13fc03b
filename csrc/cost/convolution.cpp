// Convolutions as implicit matrix products: rows are output positions, the depth is the window.
#include <algorithm>

#include "cost/matmul.h"
#include "cost/op_class.h"

namespace nnprof {
namespace {

constexpr double kFewChannels = 4;  // a group: no matrix unit is filled by so few

// A convolution as products, one for each group of channels.
struct Products {
  double groups = 1;
  double channels = 1;  // in a group: of the input
  double rows = 1;
  double columns = 1;
  double depth = 1;
};

// The weight is (out, in / groups, kernel...), of a transposed convolution (in, out / groups, ...).
Products products_of(const OpSignature& op, const Cost& cost) {
  const TensorSpec& weight = op.tensor(1);
  const TensorSpec& output = op.output();
  const auto macs = static_cast<double>(cost.macs);
  const auto outputs = static_cast<double>(output.numel());
  const auto out_channels = static_cast<double>(output.size(output.dim() > 1 ? 1 : 0));
  const auto second = static_cast<double>(weight.size(1));
  const bool transposed = op.op.find("transpose") != std::string::npos;
  const double groups =
      transposed
          ? std::max(out_channels / second, 1.0)
          : std::max(static_cast<double>(op.tensor(0).size(-weight.dim() + 1)) / second, 1.0);
  const double channels = transposed ? static_cast<double>(weight.size(0)) / groups : second;
  const double columns = std::max(out_channels / groups, 1.0);
  return {groups, channels, outputs / groups / columns, columns,
          std::max(macs / std::max(outputs, 1.0), 1.0)};
}

Parts product_time_of(const PricedCall& call, const Products& products, const Traffic& traffic) {
  const Hardware& hardware = call.hardware;
  Product product;
  product.precision =
      precision_of(computed_dtype(call.op), call.options.convolution_tf32, hardware);
  product.operations = static_cast<double>(call.cost[FlopKind::contraction]) /
                       static_cast<double>(std::max<Count>(call.cost.macs, 1));
  product.batch = products.groups;
  product.rows = products.rows;
  product.columns = products.columns;
  product.depth = products.depth;
  const bool depthwise = products.groups > 1 && products.channels <= kFewChannels;
  if (depthwise) {
    const double work =
        product.operations * product.batch * product.rows * product.columns * product.depth;
    const double compute = work / (hardware.vector_sustained(Precision::fp32) * hardware.depthwise);
    const double memory = memory_seconds(call, traffic);
    return {call.fixed() + overlapped(compute, memory), compute, memory};
  }
  product.operations /= hardware.convolution;
  return product_time(call, product, traffic);
}

void add(Parts& total, const Parts& parts) {
  total.seconds += parts.seconds;
  total.compute += parts.compute;
  total.memory += parts.memory;
}

// One after the other: the input's gradient, a row for each of its positions, that of the weight,
// which sums over all positions, and that of the bias, a sum alone.
Parts gradients_time(const PricedCall& call) {
  const OpSignature& op = call.op;
  const TensorSpec &grad = op.tensor(0), &input = op.tensor(1), &weight = op.tensor(2);
  const std::vector<int64_t>& mask = op.integers(10);
  const bool of_input = mask[0] != 0, of_weight = mask[1] != 0, of_bias = mask[2] != 0;
  const double macs = static_cast<double>(call.cost.macs) / (of_input && of_weight ? 2 : 1);
  const auto groups = static_cast<double>(std::max<Count>(op.integer(9), 1));
  const auto channels = std::max(static_cast<double>(input.size(1)) / groups, 1.0);
  Parts total;
  if (of_input) {
    const auto inputs = std::max(static_cast<double>(input.numel()), 1.0);
    const Products products = {groups, channels, inputs / groups / channels, channels,
                               std::max(macs / inputs, 1.0)};
    add(total, product_time_of(call, products, traffic_between({&grad, &weight}, input)));
  }
  if (of_weight) {
    const auto weights = std::max(static_cast<double>(weight.numel()), 1.0);
    const double rows = std::max(static_cast<double>(grad.size(1)) / groups, 1.0);
    const Products products = {groups, channels, rows, weights / groups / rows,
                               std::max(macs / weights, 1.0)};
    add(total, product_time_of(call, products, traffic_between({&grad, &input}, weight)));
  }
  if (of_bias) {
    const double memory = memory_seconds(call, traffic_between({&grad}, op.output(2)));
    add(total, {call.fixed() + memory, 0, memory});
  }
  return total;
}

}  // namespace

Parts convolution_time(const PricedCall& call) {
  if (is_backward(call.op)) return gradients_time(call);
  return product_time_of(call, products_of(call.op, call.cost), traffic_of(call.op, call.cost));
}

}  // namespace nnprof

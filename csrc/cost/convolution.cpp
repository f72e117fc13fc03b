// Convolutions as implicit matrix products: rows are output positions, the depth is the window.
#include <algorithm>

#include "cost/matmul.h"

namespace nnprof {
namespace {

constexpr double kFewChannels = 4;  // a group: no matrix unit is filled by so few

struct Window {
  double groups;
  double channels;  // of the input, in a group
  double columns;   // of the output, in a group
  double depth;
};

// The weight is (out, in / groups, kernel...), of a transposed convolution (in, out / groups, ...).
Window window_of(const OpSignature& op, const Cost& cost) {
  const TensorSpec& weight = op.tensor(1);
  const TensorSpec& output = op.output();
  const auto macs = static_cast<double>(cost.macs);
  const auto outputs = static_cast<double>(std::max<int64_t>(output.numel(), 1));
  double kernel = 1;
  for (int64_t d = 2; d < weight.dim(); ++d) kernel *= static_cast<double>(weight.size(d));
  const auto out_channels = static_cast<double>(output.size(output.dim() > 1 ? 1 : 0));
  const auto second = static_cast<double>(weight.size(1));
  const bool transposed = op.op.find("transpose") != std::string::npos;
  const double groups =
      transposed
          ? std::max(out_channels / second, 1.0)
          : std::max(static_cast<double>(op.tensor(0).size(-weight.dim() + 1)) / second, 1.0);
  const double depth = std::max(macs / outputs, 1.0);
  const double channels = transposed ? static_cast<double>(weight.size(0)) / groups : second;
  return {groups, channels, std::max(out_channels / groups, 1.0), depth};
}

}  // namespace

Parts convolution_time(const PricedCall& call) {
  const Hardware& hardware = call.hardware;
  const Window window = window_of(call.op, call.cost);
  const Traffic traffic = traffic_of(call.op, call.cost);
  Product product;
  product.precision =
      precision_of(computed_dtype(call.op), call.options.convolution_tf32, hardware);
  product.operations = static_cast<double>(call.cost[FlopKind::contraction]) /
                       static_cast<double>(std::max<int64_t>(call.cost.macs, 1));
  product.batch = window.groups;
  product.columns = window.columns;
  product.depth = window.depth;
  product.rows = static_cast<double>(call.op.output().numel()) / window.groups / window.columns;
  const bool depthwise = window.groups > 1 && window.channels <= kFewChannels;
  if (depthwise) {
    const double work = product.operations * static_cast<double>(call.cost.macs);
    const double compute = work / (hardware.vector_sustained(Precision::fp32) * hardware.depthwise);
    const double memory = memory_seconds(call, traffic);
    return {call.fixed() + overlapped(compute, memory), compute, memory};
  }
  product.operations /= hardware.convolution;
  return product_time(call, product, traffic);
}

}  // namespace nnprof

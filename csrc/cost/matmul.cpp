// The time of a matrix product on a GPU:
//
//   min over tiles (bm, bn) and splits s of the depth:
//     blocks  = batch * ceil(M / bm) * ceil(N / bn) * s
//     compute = ceil(blocks / SM) * operations * bm * bn * ceil64(K / s) / (P / SM * tile's share)
//     memory  = (bytes + partial sums) / bandwidth
//     t       = launch + (compute^4 + memory^4)^(1/4) + epilogue * result's store + second kernel
//
// which is a roofline with the two things that it lacks most: whole waves of whole tiles, and the
// library's choice among tiles and split depths. The constants are in nnprof/hardware.
#include "cost/matmul.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace nnprof {
namespace {

constexpr std::array<double, 10> kSplits = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32};
constexpr double kLeastDepth = 128;  // of a split

Parts gpu_product(const PricedCall& call, const Product& product, const Traffic& traffic) {
  const Hardware& hardware = call.hardware;
  const bool matrix = hardware.has_matrix_units(product.precision);
  const double memory = memory_seconds(call, traffic);
  const double store = hardware.epilogue * store_seconds(call, traffic);
  const double partial_sums = hardware.split_traffic * 2 * product.batch * product.rows *
                              product.columns *
                              hardware.seconds_per_byte(call.op_class, traffic.bytes());
  const double depth = std::ceil(product.depth / 64) * 64;
  Parts best;
  for (const Tile& tile : hardware.tiles) {
    const double share = matrix ? tile.matrix_share : tile.vector_share;
    const double blocks = product.batch * std::ceil(product.rows / static_cast<double>(tile.rows)) *
                          std::ceil(product.columns / static_cast<double>(tile.columns));
    const double rate = hardware.sustained(product.precision) / hardware.units() * share;
    const double area = product.operations * static_cast<double>(tile.rows * tile.columns);
    for (const double split : kSplits) {
      if (split > 1 && depth / split < kLeastDepth) break;
      const double waves = std::ceil(blocks * split / hardware.units());
      const double compute = waves * area * std::ceil(product.depth / split / 64) * 64 / rate;
      const double moved = memory + (split > 1 ? split * partial_sums : 0);
      const double seconds =
          call.fixed() + overlapped(compute, moved) + store + (split > 1 ? hardware.split : 0);
      if (best.seconds == 0 || seconds < best.seconds) best = {seconds, compute, moved + store};
    }
  }
  return best;
}

// On a CPU there are no waves; what counts is how well a kernel's registers are filled.
Parts cpu_product(const PricedCall& call, const Product& product, const Traffic& traffic) {
  const Hardware& hardware = call.hardware;
  const double work =
      product.operations * product.batch * product.rows * product.columns * product.depth;
  const double filled = product.rows / (product.rows + hardware.half_rows) * product.columns /
                        (product.columns + hardware.half_columns) * product.depth /
                        (product.depth + hardware.half_depth);
  const double compute = work / (hardware.sustained(product.precision) * filled);
  const double memory = memory_seconds(call, traffic);
  return {call.fixed() + hardware.fork + overlapped(compute, memory), compute, memory};
}

}  // namespace

double overlapped(double compute, double memory) {
  const double c = compute * compute, m = memory * memory;
  return std::sqrt(std::sqrt(c * c + m * m));
}

Precision precision_of(c10::ScalarType dtype, bool tf32, const Hardware& hardware) {
  switch (dtype) {
    case c10::ScalarType::Double:
    case c10::ScalarType::ComplexDouble:
      return Precision::fp64;
    case c10::ScalarType::Half:
      return Precision::fp16;
    case c10::ScalarType::BFloat16:
      return Precision::bf16;
    case c10::ScalarType::Float8_e4m3fn:
    case c10::ScalarType::Float8_e5m2:
    case c10::ScalarType::Float8_e4m3fnuz:
    case c10::ScalarType::Float8_e5m2fnuz:
      return Precision::fp8;
    case c10::ScalarType::Char:
    case c10::ScalarType::Byte:
    case c10::ScalarType::QInt8:
    case c10::ScalarType::QUInt8:
      return Precision::int8;
    default:
      return tf32 && hardware.has_matrix_units(Precision::tf32) ? Precision::tf32 : Precision::fp32;
  }
}

c10::ScalarType computed_dtype(const OpSignature& op) {
  const TensorSpec* first = nullptr;
  for (const Argument& argument : op.inputs()) {
    for (const TensorSpec& tensor : argument.tensors) {
      if (!tensor.defined || tensor.wrapped_number) continue;
      if (tensor.is_floating() || tensor.is_complex()) return tensor.dtype;
      if (first == nullptr) first = &tensor;
    }
  }
  return first == nullptr ? c10::ScalarType::Float : first->dtype;
}

Parts product_time(const PricedCall& call, const Product& product, const Traffic& traffic) {
  return call.hardware.cpu() ? cpu_product(call, product, traffic)
                             : gpu_product(call, product, traffic);
}

namespace {

// A weight or a matrix is shared by all rows; operands of three dimensions are products in a row.
double batches(const OpSignature& op, const TensorSpec& output) {
  const TensorSpec* last = nullptr;
  for (const Argument& argument : op.inputs()) {
    if (argument.tensors.size() == 1 && argument.tensors[0].defined &&
        argument.tensors[0].dim() >= 2) {
      last = &argument.tensors[0];
    }
  }
  if (last == nullptr || last->dim() < 3) return 1;
  if (output.dim() < 3) return static_cast<double>(last->size(0));  // groups of rows
  double batch = 1;
  for (int64_t d = 0; d + 2 < output.dim(); ++d) batch *= static_cast<double>(output.size(d));
  return batch;
}

}  // namespace

Product product_of(const PricedCall& call) {
  const TensorSpec& output = call.op.output();
  Product product;
  product.precision =
      precision_of(computed_dtype(call.op), call.options.matmul_tf32, call.hardware);
  const auto macs = static_cast<double>(std::max<Count>(call.cost.macs, 1));
  const auto elements = static_cast<double>(std::max<Count>(output.numel(), 1));
  product.operations = static_cast<double>(call.cost[FlopKind::contraction]) / macs;
  product.depth = std::max(macs / elements, 1.0);
  product.columns = output.dim() > 0 ? static_cast<double>(std::max<Count>(output.size(-1), 1)) : 1;
  product.batch = std::min(batches(call.op, output), elements / product.columns);
  product.rows = elements / product.columns / product.batch;
  return product;
}

Parts matmul_time(const PricedCall& call) {
  return product_time(call, product_of(call), traffic_of(call.op, call.cost));
}

}  // namespace nnprof

// Attention by a flash kernel: a block computes 128 query rows of one head against all keys, by
// tiles of 128 keys.
//
//   compute = max(all tiles / P, longest block * SM / P), P = peak * share of the head size
//   memory  = (Q + K + V + O bytes) / bandwidth
//
// A causal block skips the tiles above the diagonal; windows, other documents and empty blocks are
// skipped too, as many pairs of a query and a key as the rule says, and the tiles cut at the edges
// of what is left. Where a few query rows meet many keys (decode), heads that share keys are packed
// into one block and the keys are split over blocks. The kernel is the one that PyTorch picks for
// the device, dtype and arguments. A gradient is made by the same kernel's other half, at the same
// share of the peak.
#include "cost/attention.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "cost/op_class.h"

namespace nnprof {
namespace {

constexpr double kBlock = 128;  // query rows, and keys, of a tile

struct Shape {
  double batch, heads, kv_heads, queries, keys, size, value_size;
  bool causal;
  double skipped;  // the share of the work that the kernel leaves out
  bool direct;     // a kernel called by itself: documents, windows, other layouts
  bool masked;
  bool backward;
  c10::ScalarType dtype;

  // The work, in forwards: a gradient takes five products where the forward takes two.
  double forwards() const {
    return backward ? (3 * size + 2 * value_size) / (size + value_size) : 1;
  }
};

double extent(const TensorSpec& tensor, int64_t from_end) {
  return tensor.dim() >= from_end ? static_cast<double>(tensor.size(-from_end)) : 1.0;
}

bool has_part(const std::string& name, std::string_view part) {
  return name.find(part) != std::string::npos;
}

// Of (B, S, H, D) or (T, H, D), except cuDNN's; what is written may come first.
Shape direct_shape(const PricedCall& call) {
  const OpSignature& op = call.op;
  Shape shape{};
  shape.direct = true;
  shape.backward = is_backward(op);
  const size_t first = shape.backward || has_part(op.op, "inplace") || has_part(op.op, "_out");
  const TensorSpec &query = op.tensor(first), &key = op.tensor(first + 1),
                   &value = op.tensor(first + 2);
  const bool heads_first = has_part(op.op, "cudnn") && query.dim() == 4;
  shape.heads = extent(query, heads_first ? 3 : 2);
  shape.kv_heads = std::max(extent(key, heads_first ? 3 : 2), 1.0);
  shape.size = std::max(extent(query, 1), 1.0);
  shape.value_size = std::max(extent(value, 1), 1.0);
  const double rows = std::max(static_cast<double>(query.numel()) / shape.size, 1.0);
  // Documents are taken to be alike, as long as they are on an average.
  shape.batch = query.dim() == 4 ? extent(query, 4) : 1;
  for (const Argument& argument : op.inputs().subspan(first + 3)) {
    const bool starts = argument.kind == Argument::Kind::tensor && argument.tensors[0].defined &&
                        argument.tensors[0].dim() == 1 && !argument.tensors[0].is_floating();
    if (!starts || query.dim() == 4) continue;
    shape.batch = std::max(extent(argument.tensors[0], 1) - 1, 1.0);
    break;
  }
  shape.queries = std::max(rows / shape.heads / shape.batch, 1.0);
  const double width = shape.forwards() * (shape.size + shape.value_size);
  const double pairs = static_cast<double>(call.cost.macs) / width;
  shape.keys = std::max(pairs / rows, 1.0);
  shape.dtype = query.dtype;
  return shape;
}

Shape sdpa_shape(const PricedCall& call) {
  const OpSignature& op = call.op;
  const bool backward = is_backward(op);
  const size_t first = backward ? 1 : 0;  // after the output's gradient
  const TensorSpec &query = op.tensor(first), &key = op.tensor(first + 1),
                   &value = op.tensor(first + 2);
  Shape shape{};
  shape.backward = backward;
  shape.heads = extent(query, 3);
  shape.kv_heads = std::max(extent(key, 3), 1.0);
  shape.queries = std::max(extent(query, 2), 1.0);
  shape.keys = std::max(extent(key, 2), 1.0);
  shape.size = std::max(extent(query, 1), 1.0);
  shape.value_size = std::max(extent(value, 1), 1.0);
  shape.batch = static_cast<double>(query.numel()) / shape.heads / shape.queries / shape.size;
  shape.masked = !backward && op.arguments.size() > 3 &&
                 op.arguments[3].kind == Argument::Kind::tensor && op.tensor(3).defined;
  shape.dtype = query.dtype;
  return shape;
}

Shape shape_of(const PricedCall& call) {
  const std::string& name = call.op.op;
  const bool sdpa = has_part(name, "scaled_dot") || has_part(name, "flex_attention");
  Shape shape = sdpa ? sdpa_shape(call) : direct_shape(call);
  const auto all = static_cast<double>(call.cost[FlopKind::contraction]);
  shape.skipped = all > 0 ? static_cast<double>(call.cost.flops_skipped) / all : 0;
  shape.causal = shape.skipped > 0 && sdpa && !has_part(name, "flex_attention");
  return shape;
}

struct NamedKernel {
  std::string_view part;  // of the operator's name
  const char* kernel;
};
constexpr NamedKernel kNamedKernels[] = {
    {"cudnn_attention", "cudnn"},
    {"efficient_attention", "efficient"},
    {"flash_attention_for_cpu", "cpu"},
    {"flash_attention", "fa2"},
    {"attention_math", "math"},
    {"flash_attn_3::", "fa3"},
    {"flash_attn::", "fa2"},
    {"varlen_attn", "fa2"},
};

bool is_half(c10::ScalarType dtype) {
  return dtype == c10::ScalarType::Half || dtype == c10::ScalarType::BFloat16;
}

bool whole(double size, double alignment) { return std::fmod(size, alignment) == 0; }

// What each kernel takes, and the order they are asked in: torch 2.13's
// aten/src/ATen/native/transformers/cuda/sdp_utils.cpp. cuDNN comes first on the data-center cards
// of Hopper and Blackwell.
const char* accelerator_kernel(const std::string& architecture, const Shape& shape) {
  const bool before_ampere = architecture == "volta" || architecture == "turing" ||
                             architecture == "turing-geforce" || architecture == "pascal";
  const bool half = is_half(shape.dtype);
  const bool one_size = shape.size == shape.value_size && shape.size <= 256;
  const bool prefers_cudnn = architecture == "hopper" || architecture == "blackwell";
  if (prefers_cudnn && half && one_size && whole(shape.size, 8) && shape.keys > 1) return "cudnn";
  const bool square = !shape.causal || shape.queries == shape.keys;
  if (!before_ampere && half && one_size && !shape.masked && square) return "fa2";
  const bool has_dtype = half ? !(before_ampere && shape.dtype == c10::ScalarType::BFloat16)
                              : shape.dtype == c10::ScalarType::Float;
  const double alignment = half && !before_ampere ? 8 : 4;
  const bool aligned = whole(shape.size, alignment) && whole(shape.value_size, alignment);
  return has_dtype && aligned ? "efficient" : "math";
}

std::string picked_kernel(const PricedCall& call, const Shape& shape) {
  if (call.hardware.cpu()) return shape.size == shape.value_size ? "cpu" : "math";
  for (const NamedKernel& named : kNamedKernels) {
    if (call.op.op.find(named.part) != std::string::npos) return named.kernel;
  }
  return accelerator_kernel(call.hardware.architecture(), shape);
}

std::string kernel_of(const PricedCall& call, const Shape& shape) {
  return call.options.attention.empty() ? picked_kernel(call, shape) : call.options.attention;
}

bool is_decode(const Shape& shape) {
  return shape.queries * shape.heads / shape.kv_heads < kBlock / 2;
}

double share_of(const AttentionKernel& kernel, double size) {
  const size_t index = size <= 64 ? 0 : size <= 128 ? 1 : size <= 192 ? 2 : 3;
  return kernel.share[index];
}

// Work of `rows` query rows against one tile of keys.
double tile_work(const Shape& shape, double rows) {
  return shape.forwards() * 2 * rows * kBlock * (shape.size + shape.value_size);
}

// Tiles that the blocks of one head compute, of `blocks` x `tiles`.
double tiles_seen(const Shape& shape, double blocks, double tiles) {
  const double all = blocks * tiles;
  if (shape.causal) return all - blocks * (blocks - 1) / 2;
  if (shape.skipped <= 0) return all;
  // Half a tile is computed in vain at an edge of what is seen: a causal mask has one a block, a
  // window two, and what a block mask leaves is whole.
  const double edges = !shape.direct ? 0 : shape.skipped > 0.55 ? 2 : 1;
  const double pairs = (1 - shape.skipped) * shape.queries * shape.keys;
  return std::min(all, pairs / (kBlock * kBlock) + edges / 2 * blocks);
}

double prefill_compute(const Shape& shape, const AttentionKernel& kernel, double rate,
                       double units) {
  const double blocks = std::ceil(shape.queries / kBlock);
  const double tiles = std::ceil(shape.keys / kBlock);
  const double seen = tiles_seen(shape, blocks, tiles);
  const double one = tile_work(shape, std::min(kBlock, std::max(shape.queries, 64.0)));
  const double all =
      shape.batch * shape.heads * (std::max(seen, blocks) + blocks * kernel.setup) * one;
  const double most = shape.skipped > 0.55 ? std::ceil(seen / blocks) : tiles;
  const double longest = (most + kernel.setup) * one;
  return std::max(all, longest * units) / rate;
}

double decode_compute(const Shape& shape, const AttentionKernel& kernel, double rate) {
  const double packed = shape.queries * shape.heads / shape.kv_heads;
  const double rows = std::max(kernel.decode_rows, packed);
  const double keys = shape.causal ? shape.keys : (1 - shape.skipped) * shape.keys;
  const double tiles = std::ceil(keys / kBlock) + kernel.setup;
  return shape.batch * shape.kv_heads * tiles * tile_work(shape, rows) / rate;
}

// The kernel for CPUs goes over tiles of 512 keys: what a causal mask hides of one is computed.
double cpu_compute(const PricedCall& call, const Shape& shape, double rate) {
  const double skipped = std::max(1 - 512 / shape.keys, 0.0);
  return (static_cast<double>(call.cost[FlopKind::contraction]) -
          skipped * static_cast<double>(call.cost.flops_skipped)) /
         rate;
}

// The memory-efficient kernel makes a float32 product of three TF32 ones where there are units for
// them (cutlass' OpMultiplyAddFastF32), which is faster than the ordinary units.
double peak_of(const Hardware& hardware, Precision precision, const std::string& kernel) {
  const bool as_three = kernel == "efficient" && precision == Precision::fp32 &&
                        hardware.has_matrix_units(Precision::tf32);
  return as_three ? hardware.peak(Precision::tf32) / 3 : hardware.peak(precision);
}

Parts fused_time(const PricedCall& call, const Shape& shape, const std::string& name) {
  const Hardware& hardware = call.hardware;
  const AttentionKernel& kernel = hardware.attention(name);
  const Precision precision = precision_of(shape.dtype, call.options.matmul_tf32, hardware);
  const double rate = peak_of(hardware, precision, name) * share_of(kernel, shape.size);
  const bool decode = is_decode(shape);
  const double compute = hardware.cpu() ? cpu_compute(call, shape, rate)
                         : decode       ? decode_compute(shape, kernel, rate)
                                        : prefill_compute(shape, kernel, rate, hardware.units());
  const double memory = memory_seconds(call, traffic_of(call.op, call.cost));
  const bool split = decode && shape.keys > kBlock;
  const double fixed = kernel.fixed + (split ? kernel.combine : 0);
  return {fixed + overlapped(compute, memory), compute, memory};
}

// Two products with the scores in memory between them, and what is done to the scores there.
Parts math_time(const PricedCall& call, const Shape& shape) {
  const Hardware& hardware = call.hardware;
  const double element = static_cast<double>(c10::elementSize(shape.dtype));
  const double batch = shape.batch * shape.heads;
  const double scores = batch * shape.queries * shape.keys * element;
  Product product;
  product.precision = precision_of(shape.dtype, call.options.matmul_tf32, hardware);
  product.batch = batch;
  product.rows = shape.queries;
  product.columns = shape.keys;
  product.depth = shape.size;
  const Traffic first = {0, batch * (shape.queries + shape.keys) * shape.size * element, scores};
  Parts total = product_time(call, product, first);
  const Traffic second = {0, scores + batch * shape.keys * shape.value_size * element,
                          batch * shape.queries * shape.value_size * element};
  product.columns = shape.value_size;
  product.depth = shape.keys;
  const Parts last = product_time(call, product, second);
  // The scores pass through memory for the softmax, and once more for a mask.
  const double passes = shape.masked || shape.causal ? 2 : 1;
  const Traffic between = {0, scores, scores};
  const double softmax = passes * (hardware.launch + memory_seconds(call, between));
  const double times = shape.forwards();
  return {times * (total.seconds + last.seconds + softmax), times * (total.compute + last.compute),
          times * (total.memory + last.memory + softmax)};
}

}  // namespace

Parts attention_time(const PricedCall& call) {
  const Shape shape = shape_of(call);
  const std::string kernel = kernel_of(call, shape);
  return kernel == "math" ? math_time(call, shape) : fused_time(call, shape, kernel);
}

}  // namespace nnprof

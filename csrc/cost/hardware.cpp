#include "cost/hardware.h"

#include <algorithm>
#include <stdexcept>

namespace nnprof {
namespace {

double constant(const Constants& constants, const std::string& name) {
  const auto found = constants.find(name);
  if (found == constants.end()) {
    throw std::out_of_range("the time model's constants lack \"" + name + "\"");
  }
  return found->second;
}

struct TileSize {
  int64_t rows, columns;
};
// Those of cuBLAS that matter to the time, taller than wide; the transposed ones are added.
constexpr TileSize kTiles[] = {{256, 128}, {128, 128}, {128, 64}, {64, 64}, {64, 32}, {64, 16}};

std::vector<Tile> tiles(const Constants& all) {
  std::vector<Tile> made;
  for (const TileSize& size : kTiles) {
    const std::string name =
        "tile." + std::to_string(size.rows) + "x" + std::to_string(size.columns);
    const double matrix = constant(all, name + ".matrix");
    const double vector = constant(all, name + ".vector");
    made.push_back({size.rows, size.columns, matrix, vector});
    if (size.rows != size.columns) made.push_back({size.columns, size.rows, matrix, vector});
  }
  return made;
}

constexpr std::array kAttentionKernels = {"fa2", "fa3", "cudnn", "efficient", "cpu"};
constexpr std::array kHeadSizes = {"64", "128", "192", "256"};

AttentionKernel attention_kernel(const std::string& name, const Constants& all) {
  const std::string prefix = "attention." + name + ".";
  AttentionKernel kernel;
  for (size_t i = 0; i < kHeadSizes.size(); ++i) {
    kernel.share[i] = constant(all, prefix + "share_" + kHeadSizes[i]);
  }
  kernel.setup = constant(all, prefix + "setup");
  kernel.decode_rows = constant(all, prefix + "decode_rows");
  kernel.fixed = constant(all, prefix + "fixed_s");
  kernel.combine = constant(all, prefix + "combine_s");
  return kernel;
}

}  // namespace

Hardware::Hardware(Datasheet datasheet, const Constants& all) : sheet_(std::move(datasheet)) {
  launch = constant(all, "launch_s");
  host = constant(all, "host_s");
  host_view = constant(all, "host_view_s");
  split_traffic = constant(all, "split_traffic");
  split = constant(all, "split_s");
  epilogue = constant(all, "epilogue");
  tiles = nnprof::tiles(all);
  half_rows = constant(all, "half_rows");
  half_columns = constant(all, "half_columns");
  half_depth = constant(all, "half_depth");
  fork = constant(all, "fork_s");
  grain = constant(all, "grain");
  single_core = constant(all, "single_core");
  page_fault = constant(all, "page_fault_s");
  convolution = constant(all, "convolution");
  depthwise = constant(all, "depthwise");
  pooling = constant(all, "pooling");
  step = constant(all, "step_s");
  for (size_t kind = 0; kind < kind_cost.size(); ++kind) {
    kind_cost[kind] = constant(all, std::string("kind.") + kFlopKindNames[kind]);
  }
  for (size_t i = 1; i < kOpClasses; ++i) {
    bandwidth_[i] =
        sheet_.bandwidth * constant(all, std::string("bandwidth.") + kOpClassTraits[i].name);
    fixed[i] = launch * constant(all, std::string("launches.") + kOpClassTraits[i].name);
    error[i] = constant(all, std::string("error.") + kOpClassTraits[i].name);
  }
  const double matrix_share = constant(all, "matrix_share");
  const double vector_share = constant(all, "vector_share");
  for (size_t i = 0; i < kPrecisions; ++i) {
    const double vector = sheet_.vector_flops[i] > 0
                              ? sheet_.vector_flops[i]
                              : sheet_.vector_flops[static_cast<size_t>(Precision::fp32)];
    vector_sustained_[i] = vector * vector_share;
    peak_[i] = sheet_.matrix_flops[i] > 0 ? sheet_.matrix_flops[i] : vector;
    sustained_[i] =
        sheet_.matrix_flops[i] > 0 ? sheet_.matrix_flops[i] * matrix_share : vector_sustained_[i];
  }
  cache_gain_ = constant(all, "cache_gain");
  cache_from_ = sheet_.cache_bytes * constant(all, "cache_from");
  cache_to_ = sheet_.cache_bytes * constant(all, "cache_to");
  usable_cache_ = sheet_.cache_bytes * constant(all, "cache_share");
  for (const char* name : kAttentionKernels) attention_[name] = attention_kernel(name, all);
}

double Hardware::missed(double footprint) const {
  return std::clamp((footprint - cache_from_) / (cache_to_ - cache_from_), 0.0, 1.0);
}

double Hardware::seconds_per_byte(OpClass op_class, double footprint) const {
  const double miss = missed(footprint);
  return (miss + (1 - miss) / cache_gain_) / bandwidth(op_class);
}

const AttentionKernel& Hardware::attention(const std::string& kernel) const {
  return attention_.at(kernel);
}

}  // namespace nnprof

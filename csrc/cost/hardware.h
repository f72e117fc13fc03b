// A device as the time model sees it: what it can do at best, and which share of that it reaches.
//
// Numbers come from Python (nnprof/hardware): peaks from the device's data file, constants from
// time_model.toml with the device's own and a calibration's on top. All times are in seconds, all
// rates per second.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "cost/op_class.h"

namespace nnprof {

// What a multiplication is done in.
enum class Precision : uint8_t { fp64, fp32, tf32, fp16, bf16, fp8, int8, fp4 };
inline constexpr size_t kPrecisions = 8;
inline constexpr std::array<const char*, kPrecisions> kPrecisionNames = {
    "fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4"};

// The output tile that one block of threads computes, and the share of the sustained peak it
// reaches: a small tile reads more than it computes.
struct Tile {
  int64_t rows;
  int64_t columns;
  double matrix_share;  // on matrix units
  double vector_share;  // on ordinary units
};

// A kernel of scaled dot-product attention.
struct AttentionKernel {
  std::array<double, 4> share{};  // of the peak, for heads of at most 64, 128, 192 and more
  double setup = 0;               // what a block does before and after its keys, in tiles of keys
  double decode_rows = 64;        // query rows that a block computes where it has only a few
  double fixed = 0;               // seconds that it takes at least
  double combine = 0;             // of a second kernel, which puts split keys together
};

using Constants = std::unordered_map<std::string, double>;

// The peaks and sizes of a datasheet.
struct Datasheet {
  std::string architecture;
  bool cpu = false;
  double compute_units = 1;
  double cache_bytes = 0;
  double bandwidth = 0;
  std::array<double, kPrecisions> matrix_flops{};  // 0: the device has no such unit
  std::array<double, kPrecisions> vector_flops{};
};

class Hardware {
 public:
  // Raises (std::out_of_range naming the constant) where the model needs one that is not given.
  Hardware(Datasheet datasheet, const Constants& constants);

  bool cpu() const { return sheet_.cpu; }
  const std::string& architecture() const { return sheet_.architecture; }
  double units() const { return sheet_.compute_units; }
  bool has_matrix_units(Precision precision) const {
    return sheet_.matrix_flops[static_cast<size_t>(precision)] > 0;
  }
  // FLOP/s that products reach in the long run, and at most.
  double sustained(Precision precision) const { return sustained_[static_cast<size_t>(precision)]; }
  double peak(Precision precision) const { return peak_[static_cast<size_t>(precision)]; }
  double vector_sustained(Precision precision) const {
    return vector_sustained_[static_cast<size_t>(precision)];
  }

  // Seconds a byte takes an operator of a class that touches `footprint` bytes: from memory, or
  // from the last cache as far as they fit.
  double seconds_per_byte(OpClass op_class, double footprint) const;
  // The part of `footprint` bytes that the last cache does not hold.
  double missed(double footprint) const;
  double bandwidth(OpClass op_class) const { return bandwidth_[static_cast<size_t>(op_class)]; }
  double usable_cache() const { return usable_cache_; }

  const AttentionKernel& attention(const std::string& kernel) const;

  double launch = 0;         // the fixed time of a kernel
  double host = 0;           // an operator's call on the host
  double host_view = 0;      // one that launches nothing
  double split_traffic = 0;  // split-K: partial sums written and read, in elements of fp32
  double split = 0;          // split-K: the second kernel
  double epilogue = 0;       // share of the result's store that nothing hides
  std::vector<Tile> tiles;
  // CPU: sizes at which half the peak is reached, threads' start, elements worth a second thread.
  double half_rows = 0, half_columns = 0, half_depth = 0;
  double fork = 0, grain = 0, single_core = 1;
  double page_fault = 0;               // of a page of memory that an output is the first to touch
  double convolution = 1;              // share of a product's rate that convolutions reach
  double depthwise = 1;                // share of the ordinary units' rate, of depthwise ones
  double pooling = 1;                  // and of pooling
  double step = 0;                     // a recurrent step's synchronisation
  std::array<double, 11> kind_cost{};  // FlopKind but int_ops: multiplications that one is worth
  std::array<double, kOpClasses> fixed{};  // seconds that a call takes at least, by class
  std::array<double, kOpClasses> error{};  // what is known of the estimate's error, by class

 private:
  Datasheet sheet_;
  std::array<double, kPrecisions> sustained_{}, peak_{}, vector_sustained_{};
  std::array<double, kOpClasses> bandwidth_{};
  double cache_gain_ = 1;
  double cache_from_ = 0, cache_to_ = 0;
  double usable_cache_ = 0;
  std::unordered_map<std::string, AttentionKernel> attention_;
};

}  // namespace nnprof

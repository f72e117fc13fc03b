// The classes of operators that the time model tells apart, and what holds of each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace nnprof {

enum class OpClass : uint8_t {
  free,  // nothing is computed or moved: views
  matmul,
  convolution,
  attention,
  recurrent,
  elementwise,
  normalization,  // of batches: the statistics are known
  layer_norm,     // of rows: they are computed first
  softmax,
  reduction,
  pooling,
  copy,
  gather,
  sort,
  other,  // the last one
};
inline constexpr size_t kOpClasses = static_cast<size_t>(OpClass::other) + 1;

// What a kernel that goes over a row more than once reads again.
enum class RowsReadAgain : uint8_t {
  none,
  normalized,      // all that is normalized together, where it has left the cache
  past_registers,  // the last dimension, where it is more than a warp holds
};

// A constructor, so that a class that leaves one out does not compile.
struct OpClassTraits {
  const char* name;
  bool own_model;  // its time has a formula of its own; else memory and ordinary units limit it
  RowsReadAgain again;

  constexpr OpClassTraits(const char* n, bool own, RowsReadAgain rows)
      : name(n), own_model(own), again(rows) {}
};

inline constexpr std::array kOpClassTraits = {
    OpClassTraits("free", false, RowsReadAgain::none),
    OpClassTraits("matmul", true, RowsReadAgain::none),
    OpClassTraits("convolution", true, RowsReadAgain::none),
    OpClassTraits("attention", true, RowsReadAgain::none),
    OpClassTraits("recurrent", true, RowsReadAgain::none),
    OpClassTraits("elementwise", false, RowsReadAgain::none),
    OpClassTraits("normalization", false, RowsReadAgain::none),
    OpClassTraits("layer_norm", false, RowsReadAgain::normalized),
    OpClassTraits("softmax", false, RowsReadAgain::past_registers),
    OpClassTraits("reduction", false, RowsReadAgain::none),
    OpClassTraits("pooling", false, RowsReadAgain::none),
    OpClassTraits("copy", false, RowsReadAgain::none),
    OpClassTraits("gather", false, RowsReadAgain::none),
    OpClassTraits("sort", false, RowsReadAgain::none),
    OpClassTraits("other", false, RowsReadAgain::none),
};
static_assert(kOpClassTraits.size() == kOpClasses, "each class of operators needs its traits");

constexpr const OpClassTraits& traits_of(OpClass op_class) {
  return kOpClassTraits[static_cast<size_t>(op_class)];
}

}  // namespace nnprof

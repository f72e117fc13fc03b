// The classes of operators that the time model tells apart.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/cost.h"
#include "core/record.h"

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
  other,
};
inline constexpr size_t kOpClasses = 15;
inline constexpr std::array<const char*, kOpClasses> kOpClassNames = {
    "free",        "matmul",        "convolution", "attention", "recurrent",
    "elementwise", "normalization", "layer_norm",  "softmax",   "reduction",
    "pooling",     "copy",          "gather",      "sort",      "other"};

// Whether it makes gradients of another operator's inputs.
bool is_backward(const OpSignature& op);

OpClass op_class(const OpSignature& op, const Cost& cost);

}  // namespace nnprof

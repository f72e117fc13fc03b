// What one operator call costs, counted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/count.h"

namespace nnprof {

// The kinds of floating-point operation that are told apart. `contraction` is always 2 x MACs
// (8 x MACs for complex numbers); `int_ops` are counted beside the FLOPs, never among them.
enum class FlopKind : uint8_t {
  contraction,
  add,
  multiply,
  division,
  sqrt,
  exp,
  tanh,
  erf,
  trigonometric,
  special,
  compare,
  int_ops,
};
inline constexpr size_t kFlopKinds = 12;
inline constexpr std::array<const char*, kFlopKinds> kFlopKindNames = {
    "contraction", "add", "multiply",      "division", "sqrt",    "exp",
    "tanh",        "erf", "trigonometric", "special",  "compare", "int_ops"};

// How many operations of each kind one element (or one row) needs. A row of the rules' tables.
struct FlopMix {
  int64_t add = 0;  // also subtract, negate, abs, round
  int64_t multiply = 0;
  int64_t division = 0;  // also reciprocal, remainder
  int64_t sqrt = 0;      // also rsqrt
  int64_t exp = 0;       // also log and pow
  int64_t tanh = 0;
  int64_t erf = 0;  // also erfc, erfinv
  int64_t trigonometric = 0;
  int64_t special = 0;  // gamma, Bessel...
  int64_t compare = 0;  // also select, min, max, sign, clamp's each bound
};

struct Cost {
  Count macs;
  std::array<Count, kFlopKinds> flops_by_kind{};
  Count bytes_read;
  Count bytes_written;
  Count temporary_bytes;  // memory the kernel takes beyond its outputs
  // Contraction FLOPs of attention: those that the kernel skips (what a causal mask, a window or an
  // empty block hides); those that a gradient's kernel makes anew although the forward had them
  // (the scores); and those that the mathematics does not need, be they executed or not.
  Count flops_skipped;
  Count flops_remade;
  Count flops_unneeded;

  Count flops() const;
  Count flops_executed() const { return flops() - flops_skipped; }
  Count flops_needed() const { return flops() - flops_unneeded; }
  // The same work done once more (activation checkpointing): executed, and not needed.
  Cost again() const;
  // Of so many calls.
  Cost times(Count calls) const;
  Count& operator[](FlopKind kind) { return flops_by_kind[static_cast<size_t>(kind)]; }
  Count operator[](FlopKind kind) const { return flops_by_kind[static_cast<size_t>(kind)]; }

  void add_macs(Count count, bool complex = false);
  void add(const FlopMix& mix, Count times);
  Cost& operator+=(const Cost& other);
};

}  // namespace nnprof

// What a training loop is answered when it asks about values that nobody knows.
//
// One model of the unknown gives all answers: an unknown number reads 1, an unknown truth value
// true, and what is asked about them is answered as for these. So gradients are finite, no loss is
// NaN, and tensors compare as ones do. Answers stay answers through logic, casts and sums. Whether
// numbers are finite, and matrices have a factorization, is answered in a forward, too. See
// docs/conventions.md.
#pragma once

#include <ATen/core/stack.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace nnprof {

class Trace;
struct Operator;

// What the elements of a tensor read: the least and the greatest of them.
struct Reads {
  double low = 1;
  double high = 1;
  bool finite = false;  // the answer of nothing but such checks
  bool uniform() const { return low == high; }
};

// How the result of an operator reads where what it works on is not known.
enum class Truth : uint8_t {
  none,      // as any unknown value: 1
  question,  // as for ones: comparisons
  finite,    // the same: isnan, isinf
  logic,     // as its arguments' answers say, if all that is not known in them are answers
  every,     // all
  some,      // any
  greatest,  // max
  least,     // min
  sum,       // as many times its argument as elements are added up to one
  nonzeros,  // how many of these are not zero
  same,      // as its argument: casts, copies, selections
  zeros,     // a constant that was not made, for it would stand in a graph
  ones,
  full,
};

// The table: of an operator's name without its overload, written in place or not.
Truth truth_of(std::string_view name);

// How the only result of a call will read whose arguments (not yet taken off) are these; nothing
// where it is as any unknown value. Of a sum, what one element of its argument reads.
std::optional<Reads> reads_of_result(const Operator& op, const c10::IValue* arguments,
                                     Trace& trace);

// What a real tensor of few elements reads.
std::optional<Reads> reads_of_known(const at::Tensor& value);

// The result of and / or where one argument decides it, known to be false / true everywhere.
std::optional<bool> decided(const Operator& op, const c10::IValue* arguments, Trace& trace);

// Is it one of the questions, be it about finite numbers or not?
inline bool asks(Truth truth) { return truth == Truth::question || truth == Truth::finite; }

// Does it ask whether numbers are finite? Also `x != x` and `x.abs() < inf`.
bool asks_if_finite(const Operator& op, const c10::IValue* arguments);

// Are tensors equal, as far as ones and answers tell?
bool reads_equal(const at::Tensor& a, const at::Tensor& b, Trace& trace);

}  // namespace nnprof

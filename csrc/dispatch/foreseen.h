// What will be read of a call's output that nobody knows: found before the call, while its
// arguments are there, and told to the trace after it. See truth.h.
#pragma once

#include <optional>

#include "dispatch/operators.h"
#include "dispatch/trace.h"
#include "dispatch/truth.h"

namespace nnprof {

class ForeseenAnswer {
 public:
  ForeseenAnswer(const Operator& op, Trace& trace) : op_(op), trace_(trace) {}

  // `read`: whether the values of the arguments are known.
  void foresee(const c10::IValue* arguments, Values read);
  void tell(const c10::IValue* outputs, bool computed);

 private:
  void foresee_constant(const c10::IValue* arguments);
  void tell_mask(const at::Tensor& made) const;
  void tell_reads(const c10::IValue& output);

  const Operator& op_;
  Trace& trace_;
  std::optional<Reads> reads_;
  std::optional<Reads> filled_with_;  // the one number of all elements
  int64_t elements_read_ = 0;
};

}  // namespace nnprof

#include "dispatch/foreseen.h"

#include "dispatch/stack_walk.h"

namespace nnprof {

// What a training loop will read of an answer that nobody knows, and a forward where it asks
// whether numbers are finite.
void ForeseenAnswer::foresee(const c10::IValue* arguments, Values read) {
  if (op_.truth == Truth::none) return;
  if (op_.truth >= Truth::zeros) return foresee_constant(arguments);
  if (read == Values::known) return;
  trace_.asked_finite |= asks_if_finite(op_, arguments);
  if (!trace_.options().backward && !trace_.asked_finite) return;
  reads_ = reads_of_result(op_, arguments, trace_);
  for_each_tensor(arguments[0], [&](const at::Tensor& t) { elements_read_ += t.numel(); });
}

void ForeseenAnswer::foresee_constant(const c10::IValue* arguments) {
  const auto number = reads_of_result(op_, arguments, trace_);
  // What is written in place may be a part of what a mask is.
  if (op_.variant == Variant::functional) filled_with_ = number;
  if (trace_.options().backward) reads_ = number;
}

void ForeseenAnswer::tell(const c10::IValue* outputs, bool computed) {
  if (filled_with_ && !computed) tell_mask(outputs[0].toTensor());
  if (reads_ && op_.returns == 1 && outputs[0].isTensor()) tell_reads(outputs[0]);
}

// No limit keeps anyone from knowing what a tensor of one number hides as a mask of attention.
void ForeseenAnswer::tell_mask(const at::Tensor& made) const {
  const bool boolean = made.scalar_type() == at::kBool;
  const bool all_hidden = boolean ? filled_with_->high == 0 : hides(filled_with_->high);
  trace_.masks_like(made, {made.numel(), all_hidden ? 0 : made.numel()});
}

void ForeseenAnswer::tell_reads(const c10::IValue& output) {
  const at::Tensor& answer = output.toTensor();
  if (trace_.identify(answer).values == Values::known) return;
  if (op_.truth == Truth::sum || op_.truth == Truth::nonzeros) {
    const auto times = static_cast<double>(elements_read_) /
                       static_cast<double>(std::max<int64_t>(answer.numel(), 1));
    reads_ = Reads{times * reads_->low, times * reads_->high, reads_->finite};
  }
  trace_.assume_reads(answer, reads_);
}

}  // namespace nnprof

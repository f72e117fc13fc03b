#include "replay/replayed_call.h"

#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <utility>

namespace nnprof {

ReplayedCall::ReplayedCall(const ReplayJob& job, const OpSignature& signature, c10::Device device,
                           int64_t spread_bytes)
    : job_(job), signature_(signature), sets_(*job.op, signature, device) {
  sets_.spread(spread_bytes);
  outputs_.resize(static_cast<size_t>(sets_.places()));
}

void ReplayedCall::make_arguments(RandomData& data) { sets_.make_first(data); }

double ReplayedCall::timed(Clock& clock) {
  prepare(1);
  clock.finish();
  const double start = host_seconds();
  call(1);
  clock.finish();
  return std::max(host_seconds() - start, 1e-7);
}

void ReplayedCall::go_round(double most) {
  const auto calls = static_cast<size_t>(std::min(static_cast<double>(outputs_.size()), most));
  prepare(calls);
  call(calls);
}

void ReplayedCall::prepare(size_t count) {
  stacks_.clear();
  if (sets_.writes()) sets_.refresh();
  for (size_t i = 0; i < count; ++i) {
    next_set_ = (next_set_ + 1) % sets_.size();
    stacks_.push_back(sets_.arguments(next_set_));
  }
}

void ReplayedCall::call(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    Stack& stack = stacks_[i];
    job_.op->handle.callBoxed(stack);
    next_output_ = (next_output_ + 1) % outputs_.size();
    std::swap(stack, outputs_[next_output_]);
    stack.clear();
  }
}

bool ReplayedCall::made_what_was_recorded() const {
  const Stack& outputs = outputs_[next_output_];
  if (signature_.outputs.empty() || outputs.empty() || !outputs[0].isTensor()) return true;
  const at::Tensor& made = outputs[0].toTensor();
  return !made.defined() || made.sizes() == at::IntArrayRef(signature_.outputs[0].sizes);
}

std::vector<c10::IValue> call_once(const ReplayJob& job, c10::Device device) {
  const c10::DeviceGuard guard(device);
  const RecordedState state(job.state);
  RandomData data;
  ArgumentSets sets(*job.op, job.signature, device);
  sets.make_first(data);
  Stack stack = sets.arguments(0);
  job.op->handle.callBoxed(stack);
  return stack;
}

}  // namespace nnprof

#include "replay/replayed_call.h"

#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <utility>

namespace nnprof {

ReplayedCall::ReplayedCall(const ReplayJob& job, const OpSignature& signature, c10::Device device)
    : job_(job), signature_(signature), sets_(*job.op, signature, device) {}

void ReplayedCall::make_arguments(RandomData& data) { sets_.make_first(data); }

double ReplayedCall::timed(Clock& clock) {
  prepare(1);
  clock.finish();
  const double start = host_seconds();
  call(1);
  clock.finish();
  return std::max(host_seconds() - start, 1e-7);
}

void ReplayedCall::prepare(size_t count) {
  stacks_.clear();
  if (sets_.writes()) sets_.refresh();
  for (size_t i = 0; i < count; ++i) {
    stacks_.push_back(sets_.arguments(next_set_));
    next_set_ = rotating ? (next_set_ + 1) % sets_.size() : 0;
  }
}

void ReplayedCall::call(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    Stack& stack = stacks_[i];
    job_.op->handle.callBoxed(stack);
    std::swap(stack, outputs_);
    stack.clear();
  }
}

bool ReplayedCall::made_what_was_recorded() const {
  if (signature_.outputs.empty() || outputs_.empty() || !outputs_[0].isTensor()) return true;
  const at::Tensor& made = outputs_[0].toTensor();
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

#include "dispatch/turns.h"

#include <ATen/record_function.h>

#include "dispatch/trace.h"

namespace nnprof {
namespace {

void wait_plainly(std::mutex& mutex) { mutex.lock(); }
WaitForLock wait_for_lock = &wait_plainly;

}  // namespace

void set_wait_for_lock(WaitForLock wait) { wait_for_lock = wait; }

uint64_t this_thread() { return at::RecordFunction::currentThreadId(); }

void Turns::take(Trace& trace) {
  const uint64_t thread = this_thread();
  if (owner_.load(std::memory_order_relaxed) == thread) {
    ++depth_;
    return;
  }
  if (!mutex_.try_lock()) wait_for_lock(mutex_);
  owner_.store(thread, std::memory_order_relaxed);
  depth_ = 1;
  trace.go_on_in(thread);
}

void Turns::give_up() {
  if (--depth_ != 0) return;
  owner_.store(0, std::memory_order_relaxed);
  mutex_.unlock();
}

int32_t Turns::give_up_all() {
  if (owner_.load(std::memory_order_relaxed) != this_thread()) return 0;
  const int32_t depth = depth_;
  depth_ = 1;
  give_up();
  return depth;
}

void Turns::take_again(Trace& trace, int32_t depth) {
  take(trace);
  depth_ = depth;
}

Turn::Turn(Trace& trace) {
  if (!trace.turns().shared()) return;
  turns_ = &trace.turns();
  turns_->take(trace);
}

OutOfTurn::OutOfTurn(Trace& trace) : trace_(trace) {
  if (trace.turns().shared()) depth_ = trace.turns().give_up_all();
}

OutOfTurn::~OutOfTurn() {
  if (depth_ != 0) trace_.turns().take_again(trace_, depth_);
}

}  // namespace nnprof

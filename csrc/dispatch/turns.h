// Several threads of a program in one trace: one at a time.
//
// While a single thread runs, nothing is locked. Once a second one is handed the trace, each takes
// a turn for a call and gives it up where Python may run, which could wait for another thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace nnprof {

class Trace;

class Turns {
 public:
  // A second thread is about to come.
  void share() { shared_.store(true, std::memory_order_relaxed); }
  bool shared() const { return shared_.load(std::memory_order_relaxed); }
  // The trace is over: no thread that comes later is in it.
  void end() { ended_.store(true, std::memory_order_relaxed); }
  bool ended() const { return ended_.load(std::memory_order_relaxed); }

  void take(Trace& trace);
  void give_up();
  // All of this thread's turns, one inside another; how many there were. None if it has none.
  int32_t give_up_all();
  void take_again(Trace& trace, int32_t depth);

 private:
  std::mutex mutex_;
  std::atomic<uint64_t> owner_ = 0;  // the thread whose turn it is; 0: none's
  int32_t depth_ = 0;
  std::atomic<bool> shared_ = false;
  std::atomic<bool> ended_ = false;
};

// For its lifetime no other thread is in the trace.
class Turn {
 public:
  explicit Turn(Trace& trace);
  ~Turn() {
    if (turns_ != nullptr) turns_->give_up();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  Turns* turns_ = nullptr;
};

// For its lifetime others are let in: what runs may be Python.
class OutOfTurn {
 public:
  explicit OutOfTurn(Trace& trace);
  ~OutOfTurn();
  OutOfTurn(const OutOfTurn&) = delete;
  OutOfTurn& operator=(const OutOfTurn&) = delete;

 private:
  Trace& trace_;
  int32_t depth_ = 0;
};

// How a thread waits for a lock; the bindings let go of Python's meanwhile.
using WaitForLock = void (*)(std::mutex&);
void set_wait_for_lock(WaitForLock wait);

// A number of this thread that no other one has or will have; autograd's functions know it.
uint64_t this_thread();

}  // namespace nnprof

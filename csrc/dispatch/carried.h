// A trace that a thread hands to others, which work for it.
#pragma once

#include <memory>

#include "dispatch/trace.h"

namespace nnprof {

class Carried {
 public:
  // The trace of this thread, and where it is in it. Raises where there is none.
  Carried();

  // In the other thread: from here to leave() its calls are the trace's.
  class Work {
   public:
    explicit Work(const Carried& carried);
    void leave();

   private:
    std::shared_ptr<Trace> trace_;
    Session::Whereabouts before_;
    bool pushed_ = false;
    bool included_ = false;
  };
  // Null where the trace has ended.
  std::unique_ptr<Work> enter() const;

 private:
  std::shared_ptr<Trace> trace_;
  Session::Whereabouts where_;
};

}  // namespace nnprof

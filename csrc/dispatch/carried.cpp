#include "dispatch/carried.h"

#include <c10/core/impl/LocalDispatchKeySet.h>

#include "core/errors.h"
#include "dispatch/key.h"

namespace nnprof {

Carried::Carried() {
  Trace* trace = current_trace();
  if (trace == nullptr) raise(ErrorKind::bad_value, "no trace is running in this thread");
  trace_ = trace->shared_from_this();
  trace_->turns().share();
  const Turn turn(*trace_);
  where_ = trace_->session()->whereabouts();
}

std::unique_ptr<Carried::Work> Carried::enter() const {
  const Turn turn(*trace_);
  return trace_->turns().ended() ? nullptr : std::make_unique<Work>(*this);
}

Carried::Work::Work(const Carried& carried) : trace_(carried.trace_) {
  before_ = trace_->session()->whereabouts();
  trace_->session()->go_to(carried.where_);
  ++trace_->workers;
  pushed_ = current_trace() != trace_.get();
  if (!pushed_) return;
  c10::ThreadLocalDebugInfo::_push(kTraceInfo, trace_);
  included_ = c10::impl::tls_is_dispatch_key_included(kInterceptKey);
  c10::impl::tls_set_dispatch_key_included(kInterceptKey, true);
}

void Carried::Work::leave() {
  const Turn turn(*trace_);
  --trace_->workers;
  trace_->session()->go_to(before_);
  if (!pushed_) return;
  c10::impl::tls_set_dispatch_key_included(kInterceptKey, included_);
  c10::ThreadLocalDebugInfo::_pop(kTraceInfo);
}

}  // namespace nnprof

// One operator with arguments, called as it was recorded: warmed up, then sampled.
#pragma once

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/Exception.h>

#include <vector>

#include "dispatch/key.h"
#include "replay/clock.h"
#include "replay/job.h"
#include "replay/materialize.h"

namespace nnprof {

// As the call was recorded: no autograd graph comes of tensors that need no gradient, and casts of
// autocast are calls of their own. No trace hears of it.
class RecordedState {
 public:
  explicit RecordedState(const CallState& state)
      : inference_(state.inference_mode), grad_(state.grad_enabled) {}

 private:
  // The model would have warned itself.
  class Silent final : public c10::WarningHandler {
    void process(const c10::Warning&) override {}
  };

  c10::InferenceMode inference_;
  c10::AutoGradMode grad_;
  Silent silent_handler_;
  c10::WarningUtils::WarningHandlerGuard silent_{&silent_handler_};
  c10::impl::ExcludeDispatchKeyGuard quiet_{keys_of_the_program()};
};

class ReplayedCall {
 public:
  // `signature`: of the call, or of a part of it. Activations and outputs lie in so many places
  // that they take up `spread_bytes`.
  ReplayedCall(const ReplayJob& job, const OpSignature& signature, c10::Device device,
               int64_t spread_bytes);

  ArgumentSets& sets() { return sets_; }

  void make_arguments(RandomData& data);
  // How long a call takes, roughly. The first call finds nothing that later ones find: primitives,
  // pages, the choice of a kernel.
  double timed(Clock& clock);
  // Untimed, a call for each place, or `most`: pages for outputs are there afterwards.
  void go_round(double most);
  // Outside of what is timed: the arguments of the next calls, of one set after another.
  void prepare(size_t count);
  void call(size_t count);
  // Values may decide how large outputs are: has the last call made what was recorded? Of several
  // outputs the first one is looked at; the others differ between devices.
  bool made_what_was_recorded() const;

 private:
  const ReplayJob& job_;
  const OpSignature& signature_;
  ArgumentSets sets_;
  std::vector<Stack> stacks_;
  // Of the last calls, one for each place: in a model, an output does not go where that of the same
  // operator still is in the cache of a core.
  std::vector<Stack> outputs_;
  size_t next_output_ = 0;
  size_t next_set_ = 0;
};

// Makes the call once, on arguments made for it, and returns what it left on the stack. Raises what
// the operator raises.
std::vector<c10::IValue> call_once(const ReplayJob& job, c10::Device device);

}  // namespace nnprof

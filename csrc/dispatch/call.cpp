#include "dispatch/call.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include "dispatch/autocast.h"
#include "dispatch/call_outputs.h"
#include "dispatch/equality.h"
#include "dispatch/foreseen.h"
#include "dispatch/graph.h"
#include "dispatch/graph_calls.h"
#include "dispatch/known_call.h"
#include "dispatch/placing.h"
#include "dispatch/shadows.h"
#include "dispatch/stack_walk.h"
#include "dispatch/values.h"
#include "dispatch/writes.h"
#include "rules/known_integers.h"

namespace nnprof {

thread_local Composite running_composite;
thread_local int32_t batching_levels = 0;

namespace {

CallState call_state() {
  CallState state;
  state.inference_mode = c10::InferenceMode::is_enabled();
  state.grad_enabled = !state.inference_mode && at::GradMode::is_enabled();
  state.deterministic = at::globalContext().deterministicAlgorithms();
  state.autocast = autocast_enabled();
  return state;
}

// Nothing that is counted depends on it but what the mathematics needs: no reason to stop.
void note_unknown_mask(const Operator& op, Values values, Trace& trace) {
  Session& session = *trace.session();
  if (values == Values::over_limit) session.rerun_wanted = true;
  session.assume(op.name + " " + session.describe_scope() +
                 ": a mask of unknown values is taken to hide nothing (flops_needed)");
}

}  // namespace

void record_call(const Operator& op, CallWalk& walk, const c10::IValue* outputs, Count saved_bytes,
                 Trace& trace) {
  const bool in_backward = trace.session()->in_backward();
  if (in_backward && op.returns == 1) trace.note_gradient(outputs[0]);
  if (!trace.options().recording) return;
  if (trace.silent != 0) {
    trace.silently_saved += saved_bytes;
    return;
  }
  walk.outputs(outputs);
  if (walk.mask_values() != Values::known) note_unknown_mask(op, walk.mask_values(), trace);
  trace.session()->record(walk.words(), walk.storages(), call_state(), trace.place(), saved_bytes);
}

namespace {

class Call {
 public:
  Call(const Operator& op, Stack& stack, Trace& trace)
      : op_(op),
        stack_(stack),
        trace_(trace),
        walk_(op, trace),
        made_(op, walk_, trace),
        known_(op, trace),
        foreseen_(op, trace) {}

  void run() {
    walk_.arguments(arguments());
    in_graph_ = belongs_to_graph(op_, arguments(), trace_);
    unrecorded_ = trace_.only_tangents && has_dual(op_, arguments(), trace_);
    stays_on_meta_ = stays_on_meta(op_, arguments());
    note_asked_device(op_, arguments(), trace_);
    const HostOutputs on_host(op_, arguments(), trace_);
    computable_ = !op_.has(kNeverReal) &&
                  known_.is_computable(arguments(), walk_.values(), walk_.has_tensors());
    if (computable_ && makes_no_graph()) in_graph_ = false;
    const Handlers handlers = handlers_of(op_.known);
    if (handlers.instead != nullptr) return (this->*handlers.instead)();
    if (handlers.before != nullptr) (this->*handlers.before)();
    if (op_.variant != Variant::functional) check_overlaps(op_, arguments());
    foreseen_.foresee(arguments(), walk_.values());
    const bool computed = compute_if_known() || answer_if_decided();
    if (!computed) run_shape_only();
    if (made_mask_ && !computed) trace_.masks_like(outputs()[0].toTensor(), *made_mask_);
    if (!in_graph_ && trace_.options().backward) bump_versions(op_, outputs(), trace_);
    foreseen_.tell(outputs(), computed);
    if (walk_.guessed()) keep_guess();
    on_host.mark(outputs());
    if (handlers.after != nullptr) (this->*handlers.after)();
    record();
  }

 private:
  // What an operator of which more is known than its rule does differently.
  struct Handlers {
    void (Call::*instead)() = nullptr;  // of all the rest
    void (Call::*before)() = nullptr;
    void (Call::*after)() = nullptr;
  };
  static constexpr Handlers handlers_of(Known known) {
    switch (known) {
      case Known::scalar_value:
        return {.instead = &Call::answer_value};
      case Known::equality:
        return {.instead = &Call::answer_equality};
      case Known::always_padded:
        return {.instead = &Call::stay_padded};
      case Known::row_lookup:
        return {.before = &Call::check_known_rows};
      case Known::mask_maker:
        return {.before = &Call::count_mask};
      case Known::zeros:
        return {.after = &Call::note_zeros};
      case Known::uninitialised:
        return {.after = &Call::note_garbage};
      case Known::assertion:
        return {.after = &Call::take_as_passed};
      case Known::finite_check:
        return {.after = &Call::say_finite};
      case Known::factorization:
        return {.after = &Call::take_as_succeeded};
      default:
        return {};
    }
  }

  c10::IValue* arguments() { return stack_.data() + (stack_.size() - op_.arguments); }
  c10::IValue* outputs() { return stack_.data() + (stack_.size() - op_.returns); }

  void count_mask() { made_mask_ = mask_made(arguments(), trace_); }

  void note_zeros() { trace_.note_fresh_zeros(outputs()[0].toTensor()); }

  void note_garbage() { trace_.mark_uninitialised(outputs()[0].toTensor()); }

  // A check of what nothing was computed for: it passes, as for inputs that are right.
  void take_as_passed() {
    const at::Tensor answer = outputs()[0].toTensor();
    if (trace_.identify(answer).values == Values::known) return;
    want_rerun_if_over_limit();
    outputs()[0] = real_truth();
    trace_.adopt(outputs()[0].toTensor(), Values::known);
    place_outputs(op_, outputs(), trace_);
    trace_.session()->assume("a check " + trace_.session()->describe_scope() +
                             " is taken as passed");
  }

  // A matrix that is not known has a factorization: `info`, the last output, is zero to who asks.
  void take_as_succeeded() {
    const at::Tensor& info = outputs()[op_.returns - 1].toTensor();
    if (trace_.identify(info).values == Values::known) return;
    trace_.assume_reads(info, Reads{0, 0, true});
    trace_.asked_finite = true;
  }

  // What is found in gradients whose values no one knows: nothing.
  void say_finite() {
    if (walk_.values() == Values::known) return;
    trace_.session()->assume("gradients " + trace_.session()->describe_scope() +
                             " are taken as finite");
  }

  // A value that a higher limit would make known: all that is read, or the masks and indices that
  // alone decide on sizes. In a training loop that nobody runs again it reads what is assumed.
  bool is_over_limit() const {
    const bool over_limit = walk_.values() == Values::over_limit || integers_over_limit_;
    return over_limit && (trace_.options().may_rerun || !in_training_loop(trace_));
  }
  void want_rerun_if_over_limit() {
    if (is_over_limit()) want_rerun(op_.name, trace_);
  }

  // Are all integers known that the rule asks for, or would be?
  bool integers_over_limit() {
    Values values = Values::known;
    for (size_t i = 1; i < op_.arguments; ++i) {
      for_each_tensor(arguments()[i], [&](const at::Tensor& tensor) {
        if (op_.writes(i) || !integral(tensor)) return;
        values = std::max(values, trace_.identify(tensor).values);
      });
    }
    return values == Values::over_limit;
  }

  // The answer to whether padded sequences can be packed.
  void stay_padded() {
    trace_.session()->assume("padded sequences " + trace_.session()->describe_scope() +
                             " are counted padded, which PyTorch may pack");
    run_shape_only();
    record();
  }

  void check_known_rows() {
    const at::Tensor& indices = arguments()[1].toTensor();
    if (!indices.defined() || trace_.identify(indices).values != Values::known) return;
    if (walk_.guessed()) return;  // the program is not to blame for what the trace made up
    check_rows(arguments()[0].toTensor(), trace_.value(indices));
  }

  void answer_value() {
    const at::Tensor asked = arguments()[0].toTensor();
    const bool known = walk_.values() == Values::known;
    if (is_over_limit() && trace_.options().may_rerun) want_rerun(op_.name, trace_);
    std::optional<c10::IValue> answer;
    if (is_over_limit() || (known && walk_.guessed())) {
      std::string place;
      answer = callers_answer(question_about(asked, trace_), asked, trace_, place);
      want_rerun_unless(answer.has_value());
    } else if (!known) {
      answer =
          assumed_scalar(question_about(asked, trace_), asked, trace_, trace_.assumed_reads(asked));
    }
    if (!answer) {
      arguments()[0] = trace_.value(asked);
      return compute(op_, stack_, trace_);
    }
    torch::jit::drop(stack_, op_.arguments);
    stack_.push_back(std::move(*answer));
  }

  void want_rerun_unless(bool answered) {
    if (!answered) want_rerun_if_over_limit();
  }

  // Tensors of different sizes differ. Checks of PyTorch's own are taken as passed.
  void answer_equality() {
    const at::Tensor self = arguments()[0].toTensor(), other = arguments()[1].toTensor();
    if (!compute_if_known()) {
      run_shape_only();
      if (outputs()[0].toBool() && are_the_same(self, other, trace_)) {
        trace_.session()->assume("a tensor that is compared with itself " +
                                 trace_.session()->describe_scope() + " has no NaN");
      } else if (outputs()[0].toBool() && running_composite.op != nullptr) {
        trace_.session()->assume("a check inside of " + running_composite.op->name + " " +
                                 trace_.session()->describe_scope() + " is taken as passed");
        // It asks whether the windows leave a gap; others ask whether all is well.
        outputs()[0] = running_composite.op->name != "aten::istft";
      } else if (outputs()[0].toBool()) {
        want_rerun_if_over_limit();
        outputs()[0] = assumed_equal(op_, walk_, self, other, trace_);
      }
    }
    record();
  }

  // Its outputs are integers or truth values, whose number depends on values.
  bool makes_no_graph() const {
    return op_.known == Known::equality || (op_.has(kDataDependent) && !op_.has(kKnownIntegers));
  }

  bool compute_if_known() {
    if (!computable_ || in_graph_ || stays_on_meta_ || aliases_shape_only()) return false;
    if (op_.rule != nullptr && !outputs_are_small()) return false;
    const bool placed = is_placed(op_, arguments(), trace_);
    Stack originals;
    if (!op_.written.empty()) originals.assign(arguments(), arguments() + op_.arguments);
    known_.take(arguments());
    Stack values = known_.outputs();
    torch::jit::drop(stack_, op_.arguments);
    std::move(values.begin(), values.end(), std::back_inserter(stack_));
    if (!trace_.floats_may_be_real()) known_.floats_to_shape_only(outputs());
    finish_outputs(originals, Values::known);
    if (placed) place_outputs(op_, outputs(), trace_);
    return true;
  }

  // What is unknown does not matter beside what decides: unknown and false is false.
  bool answer_if_decided() {
    if (op_.truth != Truth::logic) return false;
    const std::optional<bool> answer = decided(op_, arguments(), trace_);
    if (!answer) return false;
    run_shape_only();
    const at::Tensor& result = outputs()[0].toTensor();
    if (result.numel() > trace_.options().limit_of(result.scalar_type())) return true;
    outputs()[0] = real_truth(*answer, result.sizes());
    trace_.adopt(outputs()[0].toTensor(), Values::known);
    return true;
  }

  // What is written in place, or viewed, stays what it is.
  bool aliases_shape_only() {
    bool found = false;
    for (size_t i = 0; i < op_.arguments; ++i) {
      if (!tracks_views(op_) && !op_.writes(i)) continue;
      for_each_tensor(arguments()[i],
                      [&](const at::Tensor& tensor) { found |= trace_.has_values_beside(tensor); });
    }
    return found;
  }

  // Makes the outputs shape-only on the side, to see how large they would be.
  bool outputs_are_small() {
    if (op_.has(kView) || op_.has(kDataDependent)) return true;
    Stack probe(arguments(), arguments() + op_.arguments);
    for (size_t i = 0; i < probe.size(); ++i) {
      map_tensors(probe[i], [&](const at::Tensor& tensor) { return stand_in(tensor, i); });
    }
    made_.make(probe);
    const c10::IValue* outputs = probe.data() + (probe.size() - op_.returns);
    return worth_computing(c10::ArrayRef<c10::IValue>(outputs, op_.returns), trace_);
  }

  void run_shape_only() {
    if (op_.has(kKnownIntegers) && trace_.options().may_rerun) {
      integers_over_limit_ = integers_over_limit();
    }
    if (op_.has(kDataDependent) && !op_.has(kKnownIntegers)) say_guess();
    Stack originals;
    if (computable_) known_.take(arguments());
    if (op_.has(kChoices) || !op_.written.empty()) {
      originals.assign(arguments(), arguments() + op_.arguments);
    }
    Shadows shadows;
    for (size_t i = 0; i < op_.arguments; ++i) {
      const bool write = op_.writes(i);
      map_tensors(arguments()[i], [&](const at::Tensor& tensor) {
        if (write) trace_.keep_metadata(tensor);
        if (write && in_graph_) trace_.keep_version(tensor);
        return shadows.put(tensor, stand_in(tensor, i));
      });
    }
    const auto kernel = [&](Stack& stack) { run_kernel(stack, originals); };
    if (in_graph_) {
      check_written_leaves(op_, originals.data());
      saved_bytes_ = run_in_graph(op_, stack_, kernel);
    } else {
      kernel(stack_);
    }
    // A rule may hand an input back (dropout in eval): the program gets its own tensor.
    for (size_t i = 0; i < op_.returns; ++i) {
      if (outputs()[i].isTensor() && op_.return_aliases[i] < 0) shadows.give_back(outputs()[i]);
    }
    for (int i : op_.written) {
      if (op_.has(kView)) break;  // t_ and detach_ leave the values as they are
      if (op_.known == Known::finite_check && i == 1) {  // found_inf stays zero
        for_each_tensor(originals[1],
                        [&](const at::Tensor& t) { trace_.assume_reads(t, Reads{0, 0}); });
        continue;
      }
      for_each_tensor(originals[static_cast<size_t>(i)],
                      [&](const at::Tensor& t) { trace_.lose_values(t, values_of_outputs()); });
    }
    finish_outputs(originals, values_of_outputs());
  }

  // In place of a backend's kernel.
  void run_kernel(Stack& stack, const Stack& originals) {
    made_.make(stack);
    if (op_.has(kKnownIntegers) && take_guess()) say_guess();
    c10::IValue* outputs = stack.data() + (stack.size() - op_.returns);
    beside_ = computable_ && known_.compute_beside(outputs, stays_on_meta_);
    if (beside_ || (trace_.options().may_rerun && values_of_outputs() == Values::over_limit)) {
      // Nothing is made up that is known, or can be.
    } else {
      made_.choose(outputs, originals, values_of_outputs());
    }
    // At once: hooks on saved tensors call operators on them before autograd's kernel has ended.
    for (size_t i = 0; i < op_.returns; ++i) {
      if (op_.return_aliases[i] >= 0) continue;
      for_each_tensor(outputs[i], [&](const at::Tensor& output) {
        if (output.is_meta()) trace_.adopt(output, values_of_outputs());
      });
    }
  }

  // A number made of a guessed one is guessed. What is counted or looked up by many is no longer
  // asked for as such: the loads of experts.
  void keep_guess() {
    const bool chooses = op_.known == Known::mask_maker;  // where, masked_fill
    if (!op_.family->has(kKeepsGuesses) && !chooses) return;
    for (size_t i = 0; i < op_.returns; ++i) {
      for_each_tensor(outputs()[i], [&](const at::Tensor& tensor) { trace_.mark_guessed(tensor); });
    }
  }

  Values values_of_outputs() const {
    if (beside_) return Values::known;
    if (walk_.values() != Values::known) return walk_.values();
    return computable_ || known_.targets() == Values::over_limit ? Values::over_limit
                                                                 : Values::unknown;
  }

  // What a rule gets for an argument: its shadow, or the real integers that it asks for.
  at::Tensor stand_in(const at::Tensor& tensor, size_t argument) {
    const bool wanted =
        op_.has(kKnownIntegers) && argument != 0 && !op_.writes(argument) && integral(tensor);
    if (wanted && !tensor.unsafeGetTensorImpl()->is_wrapped_number() &&
        trace_.identify(tensor).values == Values::known) {
      return trace_.value(tensor);
    }
    return trace_.shadow(tensor);
  }

  void say_guess() {
    want_rerun_if_over_limit();
    trace_.session()->assume(op_.name + " " + trace_.session()->describe_scope() + ": " +
                             op_.rule->guess);
  }

  void finish_outputs(const Stack& originals, Values values) {
    for (size_t i = 0; i < op_.returns; ++i) {
      const int alias = op_.return_aliases[i];
      if (alias >= 0) {
        return_written(outputs()[i], originals[static_cast<size_t>(alias)], trace_);
        continue;
      }
      for_each_tensor(outputs()[i], [&](const at::Tensor& output) {
        // What a rule makes real is known: how long packed sequences are.
        trace_.adopt(output, output.is_meta() ? values : Values::known);
        if (op_.has(kView) && !op_.view) trace_.note_base(output);  // _unsafe_view
      });
    }
  }

  void record() {
    if (trace_.options().backward && op_.returns == 1) note_clone(op_, outputs()[0]);
    if (unrecorded_) return;
    record_call(op_, walk_, outputs(), saved_bytes_, trace_);
  }

  const Operator& op_;
  Stack& stack_;
  Trace& trace_;
  CallWalk walk_;
  CallOutputs made_;
  bool in_graph_ = false, unrecorded_ = false;
  Count saved_bytes_;
  bool stays_on_meta_ = false;
  KnownCall known_;
  ForeseenAnswer foreseen_;
  bool computable_ = false;  // all that it reads is known
  bool integers_over_limit_ = false;
  bool beside_ = false;  // its outputs are shape-only, and their values hang on them
  std::optional<MaskCount> made_mask_;
};

}  // namespace

void run_call(const Operator& op, Stack& stack, Trace& trace) { Call(op, stack, trace).run(); }

void record_known_call(const Operator& op, const Stack& arguments, const Stack& outputs,
                       Trace& trace) {
  CallWalk walk(op, trace);
  walk.arguments(arguments.data());
  record_call(op, walk, outputs.data(), /*saved_bytes=*/0, trace);
}

}  // namespace nnprof

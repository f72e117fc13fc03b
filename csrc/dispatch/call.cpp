#include "dispatch/call.h"

#include <ATen/Context.h>
#include <ATen/EmptyTensor.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include "dispatch/autocast.h"
#include "dispatch/graph.h"
#include "dispatch/key.h"
#include "dispatch/known_call.h"
#include "dispatch/provenance.h"
#include "dispatch/quantized_tensors.h"
#include "dispatch/stack_walk.h"
#include "dispatch/values.h"
#include "rules/known_integers.h"

namespace nnprof {

thread_local Composite running_composite;
thread_local int32_t batching_levels = 0;

namespace {

bool integral(const at::Tensor& tensor) {
  return c10::isIntegralType(tensor.scalar_type(), /*includeBool=*/true);
}

CallState call_state() {
  CallState state;
  state.inference_mode = c10::InferenceMode::is_enabled();
  state.grad_enabled = !state.inference_mode && at::GradMode::is_enabled();
  state.deterministic = at::globalContext().deterministicAlgorithms();
  state.autocast = autocast_enabled();
  return state;
}

// While PyTorch's own code for an operator runs that is recorded as a whole.
class SilentCalls {
 public:
  explicit SilentCalls(Trace& trace) : trace_(trace), before_(trace.silently_saved) {
    ++trace_.silent;
  }
  ~SilentCalls() { --trace_.silent; }
  SilentCalls(const SilentCalls&) = delete;
  SilentCalls& operator=(const SilentCalls&) = delete;
  Count saved_bytes() const { return trace_.silently_saved - before_; }

 private:
  Trace& trace_;
  const Count before_;
};

// Some operators check that their tensors are on one device: where one is shape-only, all are.
class ShadowedArguments {
 public:
  ShadowedArguments(const Operator& op, Stack& stack, Trace& trace) {
    for (size_t i = stack.size() - op.arguments; i < stack.size(); ++i) {
      map_tensors(stack[i], [&](const at::Tensor& tensor) {
        const bool differentiable = tensor.is_floating_point() || tensor.is_complex();
        if (!differentiable && op.known != Known::same_device) return tensor;
        at::Tensor shadow = trace.shadow(tensor);
        if (!shadow.is_same(tensor)) shadows_.emplace_back(shadow, tensor);
        return shadow;
      });
    }
  }

  // The program's own tensors again, where the last `count` values on the stack are their shadows.
  void give_back(Stack& stack, size_t count) const {
    if (shadows_.empty()) return;
    for (size_t i = stack.size() - count; i < stack.size(); ++i) {
      map_tensors(stack[i], [&](const at::Tensor& tensor) {
        for (const auto& [shadow, original] : shadows_) {
          if (tensor.is_same(shadow)) return original;
        }
        return tensor;
      });
    }
  }

 private:
  c10::SmallVector<std::pair<at::Tensor, at::Tensor>, 4> shadows_;
};

// A view is tracked whatever it is of: what is written to it later may have a gradient.
bool tracks_views(const Operator& op) {
  return op.view || (op.rule != nullptr && (op.rule->has(kView) || op.rule->has(kReturnsInput)));
}

bool belongs_to_graph(const Operator& op, const c10::IValue* arguments, const Trace& trace) {
  if (trace.has_duals && has_dual(op, arguments, trace)) return true;
  if (!graphs_are_recorded(trace)) return false;
  const bool always = tracks_views(op) || !op.written.empty();
  bool belongs = false;
  for (size_t i = 0; i < op.arguments; ++i) {
    for_each_tensor(arguments[i], [&](const at::Tensor& tensor) {
      const bool differentiable = tensor.is_floating_point() || tensor.is_complex();
      belongs |= differentiable && (tensor.requires_grad() || (always && trace.is_tracked(tensor)));
    });
  }
  return belongs;
}

// Autograd sees the shadow of a leaf, which is none.
void check_written_leaves(const Operator& op, const c10::IValue* arguments) {
  for (int i : op.written) {
    for_each_tensor(arguments[i], [](const at::Tensor& tensor) {
      const bool stood_for = !tensor.is_meta() && !is_wrapper(tensor);
      TORCH_CHECK(!stood_for || !tensor.is_leaf() || !tensor.requires_grad(),
                  "a leaf Variable that requires grad is being used in an in-place operation.");
    });
  }
}

// Nothing that is counted depends on it but what the mathematics needs: no reason to stop.
void note_unknown_mask(const Operator& op, Values values, Trace& trace) {
  Session& session = *trace.session();
  if (values == Values::over_limit) session.rerun_wanted = true;
  session.assume(op.name + " " + session.describe_scope() +
                 ": a mask of unknown values is taken to hide nothing (flops_needed)");
}

void record_call(const Operator& op, CallWalk& walk, const c10::IValue* outputs, Count saved_bytes,
                 Trace& trace) {
  if (!trace.options().recording) return;
  if (trace.silent != 0) {
    trace.silently_saved += saved_bytes;
    return;
  }
  walk.outputs(outputs);
  if (walk.mask_values() != Values::known) note_unknown_mask(op, walk.mask_values(), trace);
  const Place place = trace.place();
  trace.session()->record(walk.words(), walk.storages(), call_state(), place, saved_bytes);
  if (place.phase == Phase::backward && op.returns == 1) trace.note_gradient(outputs[0]);
}

class Call {
 public:
  Call(const Operator& op, Stack& stack, Trace& trace)
      : op_(op), stack_(stack), trace_(trace), walk_(op, trace), known_(op, trace) {}

  void run() {
    walk_.arguments(arguments());
    in_graph_ = belongs_to_graph(op_, arguments(), trace_);
    unrecorded_ = trace_.only_tangents && has_dual(op_, arguments(), trace_);
    stays_on_meta_ = stays_on_meta();
    if (!op_.devices.empty() && !trace_.asked_device) note_asked_device();
    computable_ =
        !has(kNeverReal) && known_.is_computable(arguments(), walk_.values(), walk_.has_tensors());
    if (computable_ && makes_no_graph()) in_graph_ = false;
    if (op_.known == Known::scalar_value) return answer_value();
    if (op_.known == Known::equality) return answer_equality();
    if (op_.known == Known::row_lookup) check_known_rows();
    if (op_.known == Known::always_padded) return stay_padded();
    if (op_.variant != Variant::functional) check_overlaps();
    if (op_.truth != Truth::none) foresee_answer();
    if (op_.known == Known::mask_maker) made_mask_ = mask_made(arguments(), trace_);
    const bool computed = compute_if_known() || answer_if_decided();
    if (!computed) run_shape_only();
    if (made_mask_ && !computed) trace_.masks_like(outputs()[0].toTensor(), *made_mask_);
    if (filled_with_ && !computed) note_uniform_mask();
    if (op_.known == Known::uninitialised) trace_.mark_uninitialised(outputs()[0].toTensor());
    if (!in_graph_ && trace_.options().backward) bump_versions();
    if (reads_) note_answer();
    if (walk_.guessed()) keep_guess();
    if (op_.known == Known::assertion) take_as_passed();
    if (op_.known == Known::finite_check) say_finite();
    if (op_.known == Known::factorization) take_as_succeeded();
    record();
  }

 private:
  c10::IValue* arguments() { return stack_.data() + (stack_.size() - op_.arguments); }
  c10::IValue* outputs() { return stack_.data() + (stack_.size() - op_.returns); }

  bool has(RuleFlag flag) const { return op_.rule != nullptr && op_.rule->has(flag); }

  // No limit keeps anyone from knowing what a tensor of one number hides as a mask of attention.
  void note_uniform_mask() {
    const at::Tensor& made = outputs()[0].toTensor();
    const bool boolean = made.scalar_type() == at::kBool;
    const bool all_hidden = boolean ? filled_with_->high == 0 : hides(filled_with_->high);
    trace_.masks_like(made, {made.numel(), all_hidden ? 0 : made.numel()});
  }

  // A check of what nothing was computed for: it passes, as for inputs that are right.
  void take_as_passed() {
    const at::Tensor answer = outputs()[0].toTensor();
    if (trace_.identify(answer).values == Values::known) return;
    want_rerun_if_over_limit();
    outputs()[0] = real_truth();
    trace_.adopt(outputs()[0].toTensor(), Values::known);
    place_outputs();
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

  // Kernels refuse to write an element twice, or elements that they still have to read.
  void check_overlaps() {
    for (int i : op_.written) {
      const c10::IValue& target = arguments()[i];
      if (target.isTensor() && target.toTensor().defined()) check_overlaps_of(target.toTensor());
    }
  }

  void check_overlaps_of(const at::Tensor& target) {
    if (!has(kOverlaps)) at::assert_no_internal_overlap(target);
    for (size_t i = 0; i < op_.arguments - op_.outs; ++i) {
      for_each_tensor(arguments()[i], [&](const at::Tensor& tensor) {
        at::assert_no_partial_overlap(target, tensor);
        if (has(kOutApart)) at::assert_no_overlap(target, tensor);
      });
    }
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
      if (outputs()[0].toBool() && are_the_same(self, other)) {
        trace_.session()->assume("a tensor that is compared with itself " +
                                 trace_.session()->describe_scope() + " has no NaN");
      } else if (outputs()[0].toBool() && running_composite.op != nullptr) {
        trace_.session()->assume("a check inside of " + running_composite.op->name + " " +
                                 trace_.session()->describe_scope() + " is taken as passed");
        // It asks whether the windows leave a gap; others ask whether all is well.
        outputs()[0] = running_composite.op->name != "aten::istft";
      } else if (outputs()[0].toBool()) {
        want_rerun_if_over_limit();
        outputs()[0] = whether_equal(self, other);
      }
    }
    record();
  }

  // The same elements of the same memory.
  bool are_the_same(const at::Tensor& self, const at::Tensor& other) {
    return self.has_storage() && other.has_storage() &&
           trace_.identify(self).storage == trace_.identify(other).storage &&
           self.sizes() == other.sizes() && self.strides() == other.strides() &&
           self.storage_offset() == other.storage_offset() && self.dtype() == other.dtype();
  }

  bool whether_equal(const at::Tensor& self, const at::Tensor& other) {
    const bool known = trace_.identify(self).values == Values::known;
    const at::Tensor& unknown = known ? other : self;
    Question question = question_about(unknown, trace_);
    const Origin asked =
        describe_call(*trace_.session(), op_, walk_.without_outputs(), walk_.storages());
    question.operation = asked.operation;
    question.shape = asked.shape;
    question.text = "whether tensors are equal (" + asked.text + ")";
    const double equal = reads_equal(self, other, trace_) ? 1 : 0;
    const c10::IValue answer = assumed_scalar(question, real_truth(), trace_, Reads{equal, equal});
    return answer.toScalar().toDouble() != 0;
  }

  // A factory that a check on devices looks at makes nothing real beside shape-only tensors. Nor
  // does one that a FakeTensor's operator calls, to see its sizes.
  bool stays_on_meta() {
    if (running_composite.shape_only) return true;
    if (has(kSizesOnly) && batching_levels != 0 && arguments()[0].toTensor().is_meta()) return true;
    const bool asked = running_composite.same_device ||
                       c10::impl::tls_is_dispatch_key_included(c10::DispatchKey::Meta);
    return asked && std::any_of(op_.devices.begin(), op_.devices.end(), [&](int device) {
             const c10::IValue& value = arguments()[device];
             return value.isDevice() && value.toDevice().is_meta();
           });
  }

  void note_asked_device() {
    if (running_composite.op != nullptr) return;  // PyTorch's own
    const c10::IValue& value = arguments()[op_.devices.front()];
    if (value.isDevice()) trace_.asked_device = value.toDevice();
  }

  // Its outputs are integers or truth values, whose number depends on values.
  bool makes_no_graph() const {
    return op_.known == Known::equality || (has(kDataDependent) && !has(kKnownIntegers));
  }

  bool compute_if_known() {
    if (!computable_ || in_graph_ || stays_on_meta_ || aliases_shape_only()) return false;
    if (op_.rule != nullptr && !outputs_are_small()) return false;
    const bool placed = is_placed();
    Stack originals;
    if (!op_.written.empty()) originals.assign(arguments(), arguments() + op_.arguments);
    known_.take(arguments());
    Stack values = known_.outputs();
    torch::jit::drop(stack_, op_.arguments);
    std::move(values.begin(), values.end(), std::back_inserter(stack_));
    if (!trace_.floats_may_be_real()) known_.floats_to_shape_only(outputs());
    finish_outputs(originals, Values::known);
    if (placed) place_outputs();
    return true;
  }

  // On the program's device: asked for there, or made of what is there.
  bool is_placed() {
    for (int device : op_.devices) {
      if (arguments()[device].isDevice()) return !arguments()[device].toDevice().is_cpu();
    }
    bool placed = false;
    for (size_t i = 0; i < op_.arguments; ++i) {
      for_each_tensor(arguments()[i],
                      [&](const at::Tensor& tensor) { placed |= trace_.is_placed(tensor); });
    }
    return placed;
  }

  void place_outputs() {
    for (size_t i = 0; i < op_.returns; ++i) {
      for_each_tensor(outputs()[i],
                      [&](const at::Tensor& output) { trace_.place_on_device(output); });
    }
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
    if (has(kView) || has(kDataDependent)) return true;
    Stack probe(arguments(), arguments() + op_.arguments);
    for (size_t i = 0; i < probe.size(); ++i) {
      map_tensors(probe[i], [&](const at::Tensor& tensor) { return stand_in(tensor, i); });
    }
    make_outputs(probe);
    const c10::IValue* outputs = probe.data() + (probe.size() - op_.returns);
    return worth_computing(c10::ArrayRef<c10::IValue>(outputs, op_.returns), trace_);
  }

  void run_shape_only() {
    if (has(kKnownIntegers) && trace_.options().may_rerun) {
      integers_over_limit_ = integers_over_limit();
    }
    if (has(kDataDependent) && !has(kKnownIntegers)) say_guess();
    Stack originals;
    if (computable_) known_.take(arguments());
    if (has(kChoices) || !op_.written.empty()) {
      originals.assign(arguments(), arguments() + op_.arguments);
    }
    c10::SmallVector<std::pair<at::Tensor, at::Tensor>, 4> shadows;
    for (size_t i = 0; i < op_.arguments; ++i) {
      const bool write = op_.writes(i);
      map_tensors(arguments()[i], [&](const at::Tensor& tensor) {
        if (write) trace_.keep_metadata(tensor);
        if (write && in_graph_) trace_.keep_version(tensor);
        at::Tensor shadow = stand_in(tensor, i);
        if (!shadow.is_same(tensor)) shadows.emplace_back(shadow, tensor);
        return shadow;
      });
    }
    const auto kernel = [&](Stack& stack) { run_kernel(stack, originals); };
    if (in_graph_) {
      check_written_leaves(op_, originals.data());
      saved_bytes_ = run_in_graph(op_, stack_, kernel);
    } else {
      kernel(stack_);
    }
    give_back_originals(shadows);
    for (int i : op_.written) {
      if (has(kView)) break;  // t_ and detach_ leave the values as they are
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
    make_outputs(stack);
    if (has(kKnownIntegers) && take_guess()) say_guess();
    c10::IValue* outputs = stack.data() + (stack.size() - op_.returns);
    beside_ = computable_ && known_.compute_beside(outputs, stays_on_meta_);
    if (beside_ || (trace_.options().may_rerun && values_of_outputs() == Values::over_limit)) {
      // Nothing is made up that is known, or can be.
    } else if (has(kChoices) && has(kDataDependent)) {
      list_indices(outputs, originals[0].toTensor().sizes());
    } else if (has(kChoices)) {
      spread_choices(outputs, originals);
    }
    // At once: hooks on saved tensors call operators on them before autograd's kernel has ended.
    for (size_t i = 0; i < op_.returns; ++i) {
      if (op_.return_aliases[i] >= 0) continue;
      for_each_tensor(outputs[i], [&](const at::Tensor& output) {
        if (output.is_meta()) trace_.adopt(output, values_of_outputs());
      });
    }
  }

  // What a training loop will read of an answer that nobody knows, and a forward where it asks
  // whether numbers are finite: see truth.h.
  void foresee_answer() {
    if (op_.truth >= Truth::zeros) return foresee_constant();
    if (walk_.values() == Values::known) return;
    trace_.asked_finite |= asks_if_finite(op_, arguments());
    if (!trace_.options().backward && !trace_.asked_finite) return;
    reads_ = reads_of_result(op_, arguments(), trace_);
    for_each_tensor(arguments()[0], [&](const at::Tensor& t) { elements_read_ += t.numel(); });
  }

  void foresee_constant() {
    const auto number = reads_of_result(op_, arguments(), trace_);
    // What is written in place may be a part of what a mask is.
    if (op_.variant == Variant::functional) filled_with_ = number;
    if (trace_.options().backward) reads_ = number;
  }

  void note_answer() {
    if (op_.returns != 1 || !outputs()[0].isTensor()) return;
    const at::Tensor& answer = outputs()[0].toTensor();
    if (trace_.identify(answer).values == Values::known) return;
    if (op_.truth == Truth::sum || op_.truth == Truth::nonzeros) {
      const auto times = static_cast<double>(elements_read_) /
                         static_cast<double>(std::max<int64_t>(answer.numel(), 1));
      reads_ = Reads{times * reads_->low, times * reads_->high, reads_->finite};
    }
    trace_.assume_reads(answer, reads_);
  }

  // A number made of a guessed one is guessed. What is counted or looked up by many is no longer
  // asked for as such: the loads of experts.
  void keep_guess() {
    const std::string_view family = op_.family;
    const bool chooses = op_.known == Known::mask_maker;  // where, masked_fill
    if (family != "pointwise" && family != "copy" && family != "comparison" && !chooses) return;
    for (size_t i = 0; i < op_.returns; ++i) {
      for_each_tensor(outputs()[i], [&](const at::Tensor& tensor) { trace_.mark_guessed(tensor); });
    }
  }

  // Autograd finds by it what was changed after it was saved.
  void bump_versions() {
    for (size_t i = 0; i < op_.returns; ++i) {
      if (op_.return_aliases[i] < 0) continue;
      for_each_tensor(outputs()[i], [&](const at::Tensor& tensor) { trace_.bump_version(tensor); });
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
    const bool wanted = has(kKnownIntegers) && argument != 0 && !op_.writes(argument) &&
                        c10::isIntegralType(tensor.scalar_type(), /*includeBool=*/true);
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

  void make_outputs(Stack& stack) {
    const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
    if (op_.rule == nullptr) return run_meta_kernel(stack);
    const AskedScale scale = asked_scale(stack);
    for (int i : op_.objects) {
      c10::IValue& value = stack[stack.size() - op_.arguments + static_cast<size_t>(i)];
      if (is_packed(value)) value = c10::List<at::Tensor>(packed_tensors(value, trace_));
    }
    if (op_.variant == Variant::functional) {
      run_rule(stack);
    } else {
      run_derived(stack);
    }
    if (may_make_quantized(stack)) give_scales(stack, scale);
  }

  // On quantized tensors an operator that floats have, too, does what it does to floats: its rule
  // sees such, and what it makes of them is quantized. Views go on to the same memory.
  void run_rule(Stack& stack) {
    const bool as_floats = walk_.quantized().defined() && !has(kView) && !has(kReturnsInput) &&
                           std::string_view(op_.family).rfind("quantized", 0) != 0;
    if (!as_floats) return op_.rule->outputs(stack);
    const c10::ScalarType dtype = walk_.quantized().scalar_type();
    for (size_t i = stack.size() - op_.arguments; i < stack.size(); ++i) {
      map_tensors(stack[i], [](const at::Tensor& t) {
        if (!c10::isQIntType(t.scalar_type())) return t;
        return at::Tensor(at::detail::empty_strided_meta(t.sizes(), t.strides(), at::kFloat));
      });
    }
    op_.rule->outputs(stack);
    for (size_t i = stack.size() - op_.returns; i < stack.size(); ++i) {
      map_tensors(stack[i], [&](const at::Tensor& t) {
        if (t.scalar_type() != at::kFloat) return t;
        return at::Tensor(at::detail::empty_strided_meta(t.sizes(), t.strides(), dtype));
      });
    }
  }

  AskedScale asked_scale(const Stack& stack) const {
    AskedScale asked;
    const auto argument = [&](int i) {
      return stack[stack.size() - op_.arguments + static_cast<size_t>(i)];
    };
    if (op_.scale < 0 || op_.zero_point < 0) return asked;
    const c10::IValue scale = argument(op_.scale), zero_point = argument(op_.zero_point);
    if (scale.isDouble() && zero_point.isInt()) {
      asked.one = std::pair(scale.toDouble(), zero_point.toInt());
    } else if (scale.isTensor() && zero_point.isTensor() && op_.axis >= 0) {
      asked.of_channels = std::pair(scale.toTensor(), zero_point.toTensor());
      asked.axis = argument(op_.axis).toInt();
    }
    return asked;
  }

  // A rule makes plain tensors: those of a quantized dtype get the scale that was asked for, or
  // that of the first quantized input.
  void give_scales(Stack& stack, const AskedScale& asked) {
    for (size_t i = stack.size() - op_.returns; i < stack.size(); ++i) {
      map_tensors(stack[i], [&](const at::Tensor& made) {
        if (!c10::isQIntType(made.scalar_type()) || made.is_quantized()) return made;
        return quantized(made, asked, walk_.quantized());
      });
    }
  }

  bool may_make_quantized(const Stack& stack) const {
    return walk_.quantized().defined() || op_.scale >= 0 ||
           std::any_of(stack.end() - static_cast<std::ptrdiff_t>(op_.returns), stack.end(),
                       [](const c10::IValue& value) {
                         return value.isTensor() && c10::isQIntType(value.toTensor().scalar_type());
                       });
  }

  void run_meta_kernel(Stack& stack) {
    c10::IValue* arguments = stack.data() + (stack.size() - op_.arguments);
    for (int device : op_.devices) {
      if (!arguments[device].isNone() || !walk_.has_tensors()) {
        arguments[device] = c10::IValue(c10::Device(at::kMeta));
      }
    }
    op_.handle.callBoxed(stack);
  }

  // add_ and add.out through the rule of add: the result must fit what it is written to.
  void run_derived(Stack& stack) {
    const size_t extra = op_.variant == Variant::out ? op_.returns : 0;
    const size_t first = stack.size() - op_.arguments;
    Stack targets;
    if (op_.variant == Variant::in_place) {
      targets.push_back(stack[first]);
    } else {
      targets.assign(stack.end() - static_cast<std::ptrdiff_t>(extra), stack.end());
      stack.resize(stack.size() - extra);
    }
    run_rule(stack);
    for (size_t i = 0; i < targets.size(); ++i) {
      c10::IValue& result = stack[first + i];
      if (targets[i].isTensorList() && result.isTensorList()) check_each_fits(result, targets[i]);
      if (!targets[i].isTensor() || !result.isTensor()) continue;
      check_fits(result.toTensor(), targets[i].toTensor());
      result = targets[i];
    }
    stack.resize(first + op_.returns);  // _foreach_add_ returns nothing
  }

  void check_each_fits(const c10::IValue& results, const c10::IValue& targets) {
    const auto made = results.toTensorList(), written = targets.toTensorList();
    for (size_t i = 0; i < made.size(); ++i) check_fits(made.get(i), written.get(i));
  }

  void check_fits(const at::Tensor& result, const at::Tensor& target) {
    TORCH_CHECK(!has(kExactOut) || result.scalar_type() == target.scalar_type(),
                "Expected out tensor to have dtype ", result.scalar_type(), ", but got ",
                target.scalar_type(), " instead");
    TORCH_CHECK(c10::canCast(result.scalar_type(), target.scalar_type()), "result type ",
                result.scalar_type(), " can't be cast to the desired output type ",
                target.scalar_type());
    if (result.sizes() == target.sizes()) return;
    if (op_.variant == Variant::out) {
      target.unsafeGetTensorImpl()->set_sizes_contiguous(result.sizes());
      return;
    }
    TORCH_CHECK(false, "output with shape ", target.sizes(), " doesn't match the broadcast shape ",
                result.sizes());
  }

  void spread_choices(c10::IValue* outputs, const Stack& originals) {
    const at::Tensor& input = originals[0].toTensor();
    // Of two outputs the first is values, which are no indices where they are integers, too.
    for (size_t i = op_.returns > 1 ? 1 : 0; i < op_.returns; ++i) {
      c10::IValue& output = outputs[i];
      if (!output.isTensor() || output.toTensor().scalar_type() != at::kLong) continue;
      const at::Tensor& indices = output.toTensor();
      if (indices.numel() == 0) continue;
      trace_.session()->assume_indices(op_.name + " " + trace_.session()->describe_scope() +
                                       ": indices are spread evenly");
      if (indices.numel() > trace_.options().integer_limit) {
        trace_.adopt(indices, Values::over_limit);
        continue;
      }
      output = balanced_choices(indices, choices(input, originals));
      trace_.adopt(output.toTensor(), Values::known);
      trace_.place_on_device(output.toTensor());
      trace_.mark_guessed(output.toTensor());
    }
  }

  // Where all is taken as true, the indices are those of every element.
  void list_indices(c10::IValue* outputs, at::IntArrayRef sizes) {
    if (op_.return_aliases[0] >= 0) return;
    const at::Tensor indices = outputs[0].toTensor();
    if (indices.numel() > trace_.options().integer_limit) {
      return trace_.adopt(indices, Values::over_limit);
    }
    outputs[0] = every_index(indices, sizes);
    trace_.adopt(outputs[0].toTensor(), Values::known);
    trace_.place_on_device(outputs[0].toTensor());
  }

  // Of the dimension that is named; of all elements where none is; of the last one where none can
  // be.
  int64_t choices(const at::Tensor& input, const Stack& originals) const {
    if (input.dim() == 0) return 1;
    for (size_t i = 1; i < op_.arguments; ++i) {
      if (op_.handle.schema().arguments()[i].name() != "dim") continue;
      return originals[i].isInt() ? input.size(originals[i].toInt()) : input.numel();
    }
    return input.size(-1);
  }

  // A rule may hand an input back (dropout in eval): the program gets its own tensor, not the
  // shadow.
  void give_back_originals(c10::ArrayRef<std::pair<at::Tensor, at::Tensor>> shadows) {
    if (shadows.empty()) return;
    for (size_t i = 0; i < op_.returns; ++i) {
      c10::IValue& output = outputs()[i];
      if (!output.isTensor() || op_.return_aliases[i] >= 0) continue;
      for (const auto& [shadow, original] : shadows) {
        if (output.toTensor().is_same(shadow)) {
          output = original;
          break;
        }
      }
    }
  }

  // The program gets the very tensor it wrote to, with the sizes that t_ or squeeze_ gave it.
  void return_written(c10::IValue& output, const c10::IValue& original) {
    if (output.isTensor() && original.isTensor() && original.toTensor().has_storage() &&
        output.toTensor().has_storage()) {
      const at::Tensor& result = output.toTensor();
      const at::Tensor& own = original.toTensor();
      if (result.sizes() != own.sizes() || result.strides() != own.strides()) {
        trace_.change_metadata(own, result);
      }
    }
    output = original;
  }

  void finish_outputs(const Stack& originals, Values values) {
    for (size_t i = 0; i < op_.returns; ++i) {
      const int alias = op_.return_aliases[i];
      if (alias >= 0) {
        return_written(outputs()[i], originals[static_cast<size_t>(alias)]);
        continue;
      }
      for_each_tensor(outputs()[i], [&](const at::Tensor& output) {
        // What a rule makes real is known: how long packed sequences are.
        trace_.adopt(output, output.is_meta() ? values : Values::known);
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
  bool in_graph_ = false, unrecorded_ = false;
  Count saved_bytes_;
  bool stays_on_meta_ = false;
  std::optional<Reads> reads_;  // see foresee_answer
  std::optional<Reads> filled_with_;
  int64_t elements_read_ = 0;
  KnownCall known_;
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

bool run_others_in_graph(const Operator& op, Stack& stack, Trace& trace,
                         c10::function_ref<void(Stack&)> kernel) {
  const c10::IValue* arguments = stack.data() + (stack.size() - op.arguments);
  if (!belongs_to_graph(op, arguments, trace)) return false;
  check_written_leaves(op, arguments);
  for (int i : op.written) {
    for_each_tensor(arguments[i], [&](const at::Tensor& tensor) { trace.keep_version(tensor); });
  }
  const size_t records = trace.session()->records().size();
  const ShadowedArguments shadowed(op, stack, trace);
  const Count saved_bytes = run_in_graph(op, stack, [&](Stack& inner) {
    shadowed.give_back(inner, op.arguments);
    kernel(inner);
  });
  shadowed.give_back(stack, op.returns);
  trace.session()->add_saved_bytes(records, saved_bytes);
  return true;
}

bool run_composite_in_graph(const Operator& op, c10::DispatchKeySet keys, Stack& stack,
                            Trace& trace) {
  const c10::IValue* arguments = stack.data() + (stack.size() - op.arguments);
  if (!belongs_to_graph(op, arguments, trace)) return false;
  CallWalk walk(op, trace);
  walk.arguments(arguments);
  Count saved_bytes;
  ShadowedArguments shadowed(op, stack, trace);
  // The device never changes: to move a tensor there is no copy.
  for (int device : op.devices) {
    c10::IValue& value = stack[stack.size() - op.arguments + static_cast<size_t>(device)];
    if (!value.isNone()) value = c10::IValue(c10::Device(at::kMeta));
  }
  {
    const SilentCalls silent(trace);
    const bool composed = op.composition != nullptr && op.composition(stack, trace);
    if (!composed) op.handle.redispatchBoxed(keys, &stack);
    saved_bytes = silent.saved_bytes();
  }
  shadowed.give_back(stack, op.returns);
  if (trace.silent != 0) return true;  // what was saved inside is counted
  record_call(op, walk, stack.data() + (stack.size() - op.returns), saved_bytes, trace);
  return true;
}

}  // namespace nnprof

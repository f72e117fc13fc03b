// The boxed fallback that sees every operator above autograd and autocast.
#include <ATen/Context.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/core/impl/PyInterpreterHooks.h>
#include <torch/library.h>

#include "core/errors.h"
#include "dispatch/autocast.h"
#include "dispatch/interceptor.h"
#include "dispatch/key.h"
#include "dispatch/stack_walk.h"
#include "dispatch/values.h"
#include "rules/known_integers.h"

namespace nnprof {
namespace {

// Tensors that wrap others, or that mean something else than their sizes and strides say: whoever
// knows them unwraps them, and what arrives inside is recorded.
const c10::DispatchKeySet kWrapped({
    c10::DispatchKey::Python,
    c10::DispatchKey::Functionalize,
    c10::DispatchKey::FuncTorchBatched,
    c10::DispatchKey::BatchedNestedTensor,
    c10::DispatchKey::FuncTorchVmapMode,
    c10::DispatchKey::Batched,
    c10::DispatchKey::VmapMode,
    c10::DispatchKey::FuncTorchGradWrapper,
    c10::DispatchKey::NestedTensor,
    c10::DispatchKey::ZeroTensor,
});

// Tensors whose elements are others than those in memory.
const c10::DispatchKeySet kMathBits({c10::DispatchKey::Conjugate, c10::DispatchKey::Negative});

CallState call_state() {
  CallState state;
  state.inference_mode = c10::InferenceMode::is_enabled();
  state.grad_enabled = !state.inference_mode && at::GradMode::is_enabled();
  state.deterministic = at::globalContext().deterministicAlgorithms();
  state.autocast = autocast_enabled();
  return state;
}

// PyTorch's own code in terms of other operators, which this thread is running.
struct Composite {
  const Operator* op = nullptr;  // the outermost
  bool same_device = false;      // it checks that its tensors are on one device
};
thread_local Composite running_composite;

class InsideComposite {
 public:
  explicit InsideComposite(const Operator& op) : outer_(running_composite) {
    if (outer_.op == nullptr) running_composite.op = &op;
    if (op.known == Known::same_device) running_composite.same_device = true;
  }
  ~InsideComposite() { running_composite = outer_; }
  InsideComposite(const InsideComposite&) = delete;
  InsideComposite& operator=(const InsideComposite&) = delete;

 private:
  const Composite outer_;
};

// One operator call on its way through a trace.
class Call {
 public:
  Call(const Operator& op, Stack& stack, Trace& trace)
      : op_(op), stack_(stack), trace_(trace), walk_(op, trace) {}

  void run() {
    walk_.arguments(arguments());
    stays_on_meta_ = stays_on_meta();
    if (op_.known == Known::scalar_value) return answer_value();
    if (op_.known == Known::equality) return answer_equality();
    if (op_.known == Known::row_lookup) check_known_rows();
    if (op_.known == Known::always_padded) return stay_padded();
    if (op_.variant != Variant::functional) check_overlaps();
    if (!compute_if_known()) run_shape_only();
    record();
  }

 private:
  c10::IValue* arguments() { return stack_.data() + (stack_.size() - op_.arguments); }
  c10::IValue* outputs() { return stack_.data() + (stack_.size() - op_.returns); }

  bool has(RuleFlag flag) const { return op_.rule != nullptr && op_.rule->has(flag); }

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

  bool is_written(size_t argument) const {
    return std::find(op_.written.begin(), op_.written.end(), static_cast<int>(argument)) !=
           op_.written.end();
  }

  void check_known_rows() {
    const at::Tensor& indices = arguments()[1].toTensor();
    if (!indices.defined() || trace_.identify(indices).values != Values::known) return;
    check_rows(arguments()[0].toTensor(), trace_.value(indices));
  }

  void answer_value() {
    if (walk_.values() == Values::over_limit) want_rerun(op_, trace_);
    if (walk_.values() == Values::known) {
      arguments()[0] = trace_.value(arguments()[0].toTensor());
      return compute(op_, stack_, trace_);
    }
    c10::IValue answer = assumed_scalar(op_, arguments()[0].toTensor(), trace_);
    torch::jit::drop(stack_, op_.arguments);
    stack_.push_back(std::move(answer));
  }

  // Tensors of different sizes differ. Checks of PyTorch's own are taken as passed.
  void answer_equality() {
    const at::Tensor self = arguments()[0].toTensor();
    if (!compute_if_known()) {
      run_shape_only();
      if (outputs()[0].toBool() && running_composite.op != nullptr) {
        trace_.session()->assume("a check inside of " + running_composite.op->name + " " +
                                 trace_.session()->describe_scope() + " is taken as passed");
        // It asks whether the windows leave a gap; others ask whether all is well.
        outputs()[0] = running_composite.op->name != "aten::istft";
      } else if (outputs()[0].toBool()) {
        if (walk_.values() == Values::over_limit) want_rerun(op_, trace_);
        const c10::IValue answer =
            assumed_scalar(op_, self, trace_, "whether tensors are equal, one of them a tensor");
        outputs()[0] = answer.toScalar().toDouble() != 0;
      }
    }
    record();
  }

  // A factory that a check on devices looks at makes nothing real beside shape-only tensors.
  bool stays_on_meta() {
    return running_composite.same_device &&
           std::any_of(op_.devices.begin(), op_.devices.end(), [&](int device) {
             const c10::IValue& value = arguments()[device];
             return value.isDevice() && value.toDevice().is_meta();
           });
  }

  bool compute_if_known() {
    if (walk_.values() != Values::known || !target_is_real() || stays_on_meta_) return false;
    if (op_.rule == nullptr ? !walk_.has_tensors() : !outputs_are_small()) return false;
    Stack originals;
    if (!op_.written.empty()) originals.assign(arguments(), arguments() + op_.arguments);
    for (size_t i = 0; i < op_.arguments; ++i) {
      const bool write = is_written(i);
      map_tensors(arguments()[i], [&](const at::Tensor& tensor) {
        return write ? trace_.writable_value(tensor) : trace_.value(tensor);
      });
    }
    compute(op_, stack_, trace_);
    finish_outputs(originals, Values::known);
    return true;
  }

  // What is only written has no say in whether values are known, but must be there to be written.
  bool target_is_real() {
    if (!has(kWritesOnly) || !arguments()[0].isTensor()) return true;
    return trace_.identify(arguments()[0].toTensor()).values == Values::known;
  }

  // Makes the outputs shape-only on the side, to see how large they would be.
  bool outputs_are_small() {
    if (has(kView) || has(kDataDependent)) return true;
    Stack probe(arguments(), arguments() + op_.arguments);
    for (size_t i = 0; i < probe.size(); ++i) {
      map_tensors(probe[i], [&](const at::Tensor& tensor) { return stand_in(tensor, i); });
    }
    make_outputs(probe);
    return worth_computing(op_, probe, trace_.options());
  }

  void run_shape_only() {
    if (has(kDataDependent) && !has(kKnownIntegers)) say_guess();
    Stack originals;
    if (has(kChoices) || !op_.written.empty()) {
      originals.assign(arguments(), arguments() + op_.arguments);
    }
    c10::SmallVector<std::pair<at::Tensor, at::Tensor>, 4> shadows;
    for (size_t i = 0; i < op_.arguments; ++i) {
      map_tensors(arguments()[i], [&](const at::Tensor& tensor) {
        at::Tensor shadow = stand_in(tensor, i);
        if (!shadow.is_same(tensor)) shadows.emplace_back(shadow, tensor);
        return shadow;
      });
    }
    make_outputs(stack_);
    if (has(kKnownIntegers) && take_guess()) say_guess();
    if (has(kChoices)) spread_choices(originals);
    give_back_originals(shadows);
    for (int i : op_.written) {
      for_each_tensor(originals[static_cast<size_t>(i)],
                      [&](const at::Tensor& t) { trace_.lose_values(t, values_of_outputs()); });
    }
    finish_outputs(originals, values_of_outputs());
  }

  Values values_of_outputs() const {
    if (walk_.values() != Values::known) return walk_.values();
    return stays_on_meta_ ? Values::unknown : Values::over_limit;
  }

  // What a rule gets for an argument: its shadow, or the real integers that it asks for.
  at::Tensor stand_in(const at::Tensor& tensor, size_t argument) {
    const bool wanted = has(kKnownIntegers) && argument != 0 && !is_written(argument) &&
                        c10::isIntegralType(tensor.scalar_type(), /*includeBool=*/true);
    if (wanted && !tensor.unsafeGetTensorImpl()->is_wrapped_number() &&
        trace_.identify(tensor).values == Values::known) {
      return trace_.value(tensor);
    }
    return trace_.shadow(tensor);
  }

  void say_guess() {
    if (walk_.values() == Values::over_limit) want_rerun(op_, trace_);
    trace_.session()->assume(op_.name + " " + trace_.session()->describe_scope() +
                             ": the mask is taken as all true");
  }

  void make_outputs(Stack& stack) {
    const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
    if (op_.rule == nullptr) return run_meta_kernel(stack);
    if (op_.variant == Variant::functional) return op_.rule->outputs(stack);
    run_derived(stack);
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
    op_.rule->outputs(stack);
    for (size_t i = 0; i < targets.size(); ++i) {
      c10::IValue& result = stack[first + i];
      if (!targets[i].isTensor() || !result.isTensor()) continue;
      check_fits(result.toTensor(), targets[i].toTensor());
      result = targets[i];
    }
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

  void spread_choices(const Stack& originals) {
    const at::Tensor& input = originals[0].toTensor();
    for (size_t i = 0; i < op_.returns; ++i) {
      c10::IValue& output = outputs()[i];
      if (!output.isTensor() || output.toTensor().scalar_type() != at::kLong) continue;
      const at::Tensor& indices = output.toTensor();
      if (indices.numel() > trace_.options().integer_limit) continue;
      output = balanced_choices(indices, choices(input, originals));
      trace_.adopt(output.toTensor(), Values::known);
      trace_.session()->assume(op_.name + " " + trace_.session()->describe_scope() +
                               ": indices are spread evenly");
    }
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
      for_each_tensor(outputs()[i],
                      [&](const at::Tensor& output) { trace_.adopt(output, values); });
    }
  }

  void record() {
    if (!trace_.options().recording) return;
    walk_.outputs(outputs());
    trace_.session()->record(walk_.words(), walk_.storages(), call_state());
  }

  const Operator& op_;
  Stack& stack_;
  Trace& trace_;
  CallWalk walk_;
  bool stays_on_meta_ = false;
};

std::string located(const Operator& op, const Trace& trace, const char* what) {
  return std::string(what) + "\n  (in " + op.name + ", " + trace.session()->describe_scope() + ")";
}

// PyTorch's error as ours: the same Python type and also an NnprofError, with the place.
template <class Run>
void with_located_errors(const Operator& op, const Trace& trace, Run run) {
  try {
    run();
  } catch (const c10::IndexError& error) {
    raise(ErrorKind::out_of_range, located(op, trace, error.what_without_backtrace()));
  } catch (const c10::ValueError& error) {
    raise(ErrorKind::bad_value, located(op, trace, error.what_without_backtrace()));
  } catch (const c10::TypeError& error) {
    raise(ErrorKind::bad_type, located(op, trace, error.what_without_backtrace()));
  } catch (const c10::NotImplementedError& error) {
    raise(ErrorKind::unsupported, located(op, trace, error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    raise(ErrorKind::shape, located(op, trace, error.what_without_backtrace()));
  }
}

void keep_fresh_constant(const at::Tensor& tensor, Trace& trace) {
  const bool integer = c10::isIntegralType(tensor.scalar_type(), /*includeBool=*/true);
  const int64_t limit = integer ? trace.options().integer_limit : trace.options().float_limit;
  const Values large = integer ? Values::over_limit : Values::unknown;
  if (tensor.is_meta()) return;
  trace.adopt(tensor, tensor.numel() <= limit ? Values::known : large);
}

}  // namespace

// A FakeTensor is its metadata: a shadow of that stands for it. True when no other wrapper is left.
bool unwrap_fakes(const Operator& op, Stack& stack, Trace& trace) {
  if (c10::impl::tls_is_dispatch_key_included(c10::DispatchKey::Python)) return false;
  bool only_fakes = true;
  const auto wrapped = [](const at::Tensor& t) {
    return t.key_set().has(c10::DispatchKey::Python);
  };
  for (size_t i = stack.size() - op.arguments; i < stack.size(); ++i) {
    for_each_tensor(stack[i], [&](const at::Tensor& tensor) {
      if (wrapped(tensor) && !is_fake_tensor(tensor)) only_fakes = false;
    });
  }
  if (!only_fakes) return false;
  for (size_t i = stack.size() - op.arguments; i < stack.size(); ++i) {
    map_tensors(stack[i], [&](const at::Tensor& tensor) {
      return wrapped(tensor) ? trace.shadow_of_fake(tensor) : tensor;
    });
  }
  return true;
}

// Hands a call to the subclass or mode whose __torch_dispatch__ wants it. PyTorch's own fallback
// would keep every key above Python, ours among them, from the calls that are made inside.
void call_python(const Operator& op, Stack& stack) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels() -
                                                 c10::DispatchKeySet(kInterceptKey));
  (*c10::impl::getGlobalPyInterpreter())->dispatch(op.handle, &stack);
}

[[noreturn]] void refuse_nested(const Operator& op, const Trace& trace) {
  raise(ErrorKind::unsupported,
        located(op, trace,
                "a nested tensor of the strided layout has no sizes to count with: pad it, or make "
                "it with layout=torch.jagged"));
}

// Does PyTorch let the operator see such tensors as they are?
bool knows_math_bits(const Operator& op, c10::DispatchKeySet bits) {
  for (c10::DispatchKey bit : bits) {
    if (!op.handle.hasKernelForDispatchKey(bit)) return false;
  }
  return true;
}

// As PyTorch's own fallback: the operator gets clones, which have the elements in memory, and what
// it writes is copied back. All of that comes to us again.
void run_on_clones(const Operator& op, Stack& stack) {
  std::vector<std::pair<at::Tensor, at::Tensor>> written;
  const size_t first = stack.size() - op.arguments;
  for (size_t i = 0; i < op.arguments; ++i) {
    const bool is_written =
        std::find(op.written.begin(), op.written.end(), static_cast<int>(i)) != op.written.end();
    map_tensors(stack[first + i], [&](const at::Tensor& tensor) {
      if (!tensor.key_set().has_any(kMathBits)) return tensor;
      at::Tensor clone = tensor.clone();
      if (is_written) written.emplace_back(tensor, clone);
      return clone;
    });
  }
  op.handle.callBoxed(stack);
  for (const auto& [tensor, clone] : written) {
    if (tensor.sizes() != clone.sizes()) tensor.resize_(clone.sizes());
    tensor.copy_(clone);
    for (size_t i = first; i < stack.size(); ++i) {
      if (stack[i].isTensor() && stack[i].toTensor().is_same(clone)) stack[i] = tensor;
    }
  }
}

// True when the call is done: else it is one like any other.
bool run_with_math_bits(const Operator& op, c10::DispatchKeySet keys, Stack& stack) {
  const c10::DispatchKeySet bits = keys & kMathBits;
  if (op.composite || (op.view && knows_math_bits(op, bits))) {
    op.handle.redispatchBoxed(keys_after(keys) - kMathBits, &stack);
    return true;
  }
  if (knows_math_bits(op, bits)) return false;
  run_on_clones(op, stack);
  return true;
}

// Shape-only tensors are on the meta device: where one is, real ones have no place.
void shadow_beside_meta(const Operator& op, Stack& stack, Trace& trace) {
  bool any_meta = false;
  for (size_t i = stack.size() - op.arguments; i < stack.size(); ++i) {
    for_each_tensor(stack[i], [&](const at::Tensor& tensor) { any_meta |= tensor.is_meta(); });
  }
  if (!any_meta) return;
  for (size_t i = stack.size() - op.arguments; i < stack.size(); ++i) {
    map_tensors(stack[i], [&](const at::Tensor& tensor) { return trace.shadow(tensor); });
  }
}

void run_operator(const Operator& op, c10::DispatchKeySet keys, Stack& stack, Trace& trace) {
  if (keys.has(c10::DispatchKey::NestedTensor)) {
    if (!keys.has(c10::DispatchKey::Python)) refuse_nested(op, trace);
    return call_python(op, stack);  // a jagged one: its class calls operators on its buffer
  }
  if (op.known == Known::makes_nested) refuse_nested(op, trace);
  if (keys.has_any(kWrapped)) {
    const bool python_only =
        !keys.has_any(kWrapped - c10::DispatchKeySet(c10::DispatchKey::Python));
    if (python_only && unwrap_fakes(op, stack, trace)) return op.handle.callBoxed(stack);
    if (python_only && !op.composite) return call_python(op, stack);
    return op.handle.redispatchBoxed(keys_after(keys), &stack);
  }
  if (keys.has_any(kMathBits) && run_with_math_bits(op, keys, stack)) return;
  if (op.known == Known::fresh_constant) return keep_fresh_constant(stack.back().toTensor(), trace);
  const bool autocast = autocast_enabled();
  if (autocast && run_autocast(op, stack, trace)) return;
  if (autocast && op.known == Known::parts_are_cast) {
    return op.handle.redispatchBoxed(keys_after(keys) - c10::autocast_dispatch_keyset, &stack);
  }
  with_located_errors(op, trace, [&] {
    if (op.rule == nullptr && op.composite) {
      const InsideComposite inside(op);
      if (op.known == Known::same_device) shadow_beside_meta(op, stack, trace);
      op.handle.redispatchBoxed(keys_after(keys) - c10::autocast_dispatch_keyset, &stack);
    } else {
      Call(op, stack, trace).run();
    }
  });
}

namespace {

void intercept(const c10::OperatorHandle& handle, c10::DispatchKeySet keys, Stack* stack) {
  Trace* trace = current_trace();
  if (trace == nullptr) return handle.redispatchBoxed(keys_after(keys), stack);
  run_operator(operator_of(handle), keys, *stack, *trace);
}

}  // namespace

void install_interceptor() {
  // Never destroyed: the fallback stays for the life of the process.
  static torch::Library* library = nullptr;
  if (library != nullptr) return;
  auto made = std::make_unique<torch::Library>(torch::Library::IMPL, "_", kInterceptKey, __FILE__,
                                               __LINE__);
  made->fallback(torch::CppFunction::makeFromBoxedFunction<&intercept>());
  library = made.release();
}

}  // namespace nnprof

// The boxed fallback that sees every operator above autograd and autocast.
#include <ATen/EmptyTensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

#include "core/errors.h"
#include "dispatch/autocast.h"
#include "dispatch/call.h"
#include "dispatch/graph.h"
#include "dispatch/graph_calls.h"
#include "dispatch/interceptor.h"
#include "dispatch/key.h"
#include "dispatch/math_bits.h"
#include "dispatch/meta_detours.h"
#include "dispatch/placing.h"
#include "dispatch/provenance.h"
#include "dispatch/sparse.h"
#include "dispatch/stack_walk.h"
#include "dispatch/values.h"
#include "dispatch/world.h"
#include "dispatch/wrapped.h"

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

// Of torch.func: composites see what they wrap, and real tensors, side by side.
const c10::DispatchKeySet kTransformed({c10::DispatchKey::FuncTorchBatched,
                                        c10::DispatchKey::FuncTorchGradWrapper});

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
    // Of a tensor that has no data only in a trace PyTorch itself would not complain.
    const std::string_view text = error.what_without_backtrace();
    const bool of_trace = text.find("meta") != text.npos;
    raise(of_trace ? ErrorKind::unsupported : ErrorKind::shape,
          located(op, trace, error.what_without_backtrace()));
  }
}

// A constant of the program's. Its numbers are there, and stay beside it where autograd records.
void keep_fresh_constant(Stack& stack, Trace& trace) {
  const at::Tensor tensor = stack.back().toTensor();
  if (tensor.is_meta()) return;
  const bool integer = c10::isIntegralType(tensor.scalar_type(), /*includeBool=*/true);
  const bool small = tensor.numel() <= trace.options().limit_of(tensor.scalar_type());
  const Values values = small ? Values::known : Values::over_limit;
  at::Tensor constant = tensor;
  if (!integer && !trace.floats_may_be_real()) {
    constant = at::Tensor(
        at::detail::empty_strided_meta(tensor.sizes(), tensor.strides(), tensor.scalar_type()));
  }
  trace.adopt(constant, values);
  trace.mark_host(constant);
  if (constant.is_meta() && values == Values::known) trace.hang_values(constant, tensor);
  if (trace.options().backward && values != Values::known) {
    const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
    trace.assume_reads(constant, reads_of_known(tensor));
  }
  stack.back() = constant;
}

[[noreturn]] void refuse_nested(const Operator& op, const Trace& trace) {
  raise(ErrorKind::unsupported,
        located(op, trace,
                "a nested tensor of the strided layout has no sizes to count with: pad it, or make "
                "it with layout=torch.jagged"));
}

// A question that PyTorch works out in several operators (isfinite) keeps its name.
void run_named_composite(const Operator& op, c10::DispatchKeySet below, Stack& stack,
                         Trace& trace) {
  CallWalk walk(op, trace);
  walk.arguments(stack.data() + (stack.size() - op.arguments));
  const bool known = walk.values() == Values::known;
  const Origin asked =
      known ? Origin()
            : describe_call(*trace.session(), op, walk.without_outputs(), walk.storages());
  const bool finite = !known && op.truth == Truth::finite;
  trace.asked_finite |= finite;
  const auto reads = finite
                         ? reads_of_result(op, stack.data() + (stack.size() - op.arguments), trace)
                         : std::nullopt;
  op.handle.redispatchBoxed(below, &stack);
  if (known || !stack.back().isTensor() || !stack.back().toTensor().defined()) return;
  if (reads) trace.assume_reads(stack.back().toTensor(), reads);
  const Identity result = trace.identify(stack.back().toTensor());
  trace.session()->named_values[result.storage] = {asked.text, trace.session()->records().size()};
}

bool run_located_sparse(const Operator& op, Stack& stack, Trace& trace) {
  bool done = false;
  with_located_errors(op, trace, [&] { done = run_sparse(op, stack, trace); });
  return done;
}

// Shape-only tensors are on the meta device: where one is, real ones have no place. Integers may be
// asked for their values, and stay where no check on devices forbids it.
void shadow_beside_meta(const Operator& op, Stack& stack, Trace& trace) {
  bool any_meta = false;
  const bool all = op.known == Known::same_device;
  // Where floats may not be real, what a check compares an argument with is made on meta.
  const bool floats_on_meta = all && !trace.floats_may_be_real();
  for (size_t i = stack.size() - op.arguments; i < stack.size(); ++i) {
    for_each_tensor(stack[i], [&](const at::Tensor& tensor) {
      any_meta |= tensor.is_meta() || (floats_on_meta && tensor.is_floating_point());
    });
  }
  if (!any_meta) return;
  for (size_t i = stack.size() - op.arguments; i < stack.size(); ++i) {
    map_tensors(stack[i], [&](const at::Tensor& tensor) {
      return trace.shadow_for_transform(tensor, /*integers=*/all);
    });
  }
}

// The derivative of a composite is that of its parts, which are recorded one by one.
bool is_dual(const Operator& op, const Stack& stack, const Trace& trace) {
  return trace.has_duals && has_dual(op, stack.data() + (stack.size() - op.arguments), trace);
}

// Autograd keeps the tangent of a tensor that is on meta like all that will be made of it.
void run_forward_mode(const Operator& op, Stack& stack, Trace& trace) {
  trace.has_duals = true;
  for (size_t i = stack.size() - op.arguments; i < stack.size(); ++i) {
    map_tensors(stack[i], [&](const at::Tensor& tensor) { return trace.shadow(tensor); });
  }
  op.handle.redispatchBoxed(op.autograd_keys.add(c10::DispatchKey::Meta), &stack);
}

}  // namespace

void run_operator(const Operator& op, c10::DispatchKeySet keys, Stack& stack, Trace& trace) {
  if (keys.has(c10::DispatchKey::NestedTensor)) {
    if (!keys.has(c10::DispatchKey::Python)) refuse_nested(op, trace);
    return call_python(op, stack, trace);  // a jagged one: its class calls operators on its buffer
  }
  if (op.known == Known::makes_nested) refuse_nested(op, trace);
  if (keys.has_any(kWrapped)) {
    const bool python_only =
        !keys.has_any(kWrapped - c10::DispatchKeySet(c10::DispatchKey::Python));
    if (python_only) {
      return with_located_errors(op, trace, [&] { run_wrapped(op, keys, stack, trace); });
    }
    if (op.composite && keys.has_any(kTransformed)) shadow_beside_meta(op, stack, trace);
    // The kernels for tensors of zeros move them to meta, to see what comes out.
    const InsideComposite inside(op, keys.has(c10::DispatchKey::ZeroTensor));
    return op.handle.redispatchBoxed(keys_after(keys), &stack);
  }
  if (keys.has_any(kMathBits) && run_with_math_bits(op, keys, stack)) return;
  if (op.known == Known::fresh_constant) return keep_fresh_constant(stack, trace);
  if (op.known == Known::profiler_mark) return op.handle.redispatchBoxed(keys_after(keys), &stack);
  if (op.known == Known::forward_mode) return run_forward_mode(op, stack, trace);
  if (op.known == Known::fills_zeros && fill_in_place(op, stack, trace)) return;
  const bool autocast = autocast_enabled();
  if (!autocast) drop_casts_after_autocast(trace);
  if (autocast && run_autocast(op, stack, trace)) return;
  if (autocast && op.known == Known::parts_are_cast) {
    return op.handle.redispatchBoxed(keys_after(keys) - c10::autocast_dispatch_keyset, &stack);
  }
  if (op.copy >= 0) copy_if_it_moves(op, stack.data() + (stack.size() - op.arguments), trace);
  const bool sparse = keys.has(c10::DispatchKey::Sparse) || op.known == Known::makes_sparse;
  if (sparse && run_located_sparse(op, stack, trace)) return;
  const c10::DispatchKeySet below = keys_after(keys) - c10::autocast_dispatch_keyset;
  with_located_errors(op, trace, [&] {
    const bool in_parts = op.composite && (op.rule == nullptr || is_dual(op, stack, trace));
    if (in_parts) {
      const InsideComposite inside(op, op.known == Known::same_device);
      if (op.known == Known::same_device) shadow_beside_meta(op, stack, trace);
      if (asks(op.truth)) return run_named_composite(op, below, stack, trace);
      const OutOfTurn out(trace);  // it may be Python's
      op.handle.redispatchBoxed(below, &stack);
    } else if (!op.composite || (op.fused && trace.options().accelerator) ||
               !run_composite_in_graph(op, below, stack, trace)) {
      run_call(op, stack, trace);
    }
  });
}

namespace {

void intercept(const c10::OperatorHandle& handle, c10::DispatchKeySet keys, Stack* stack) {
  Trace* trace = current_trace();
  if (trace == nullptr && in_world()) return run_in_world(operator_of(handle), keys, *stack);
  if (trace == nullptr) return handle.redispatchBoxed(keys_after(keys), stack);
  const Turn turn(*trace);
  if (trace->turns().ended()) return handle.redispatchBoxed(keys_after(keys), stack);
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

#include "dispatch/graph.h"

#include <ATen/core/grad_mode.h>
#include <c10/core/AutogradState.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

#include <map>
#include <mutex>

#include "dispatch/key.h"
#include "dispatch/stack_walk.h"
#include "dispatch/torch_compat.h"

namespace nnprof {
namespace {

struct Running {
  const Operator& op;
  c10::function_ref<void(Stack&)> kernel;
  Count cloned_bytes;
};
thread_local Running* running = nullptr;

// What autograd's kernel calls in place of a backend's.
void below_autograd(const c10::OperatorHandle& handle, c10::DispatchKeySet keys, Stack* stack) {
  if (running == nullptr || !(running->op.handle == handle)) {
    return handle.redispatchBoxed(keys.remove(kBelowAutogradKey), stack);
  }
  running->kernel(*stack);
}

torch::CppFunction handler() {
  return torch::CppFunction::makeFromBoxedFunction<&below_autograd>();
}

torch::Library& library_on(const std::string& space, c10::DispatchKey key) {
  static auto* libraries = new std::map<std::pair<std::string, c10::DispatchKey>, torch::Library>;
  const auto found = libraries->find({space, key});
  if (found != libraries->end()) return found->second;
  torch::Library library(torch::Library::IMPL, space, key, __FILE__, __LINE__);
  return libraries->emplace(std::pair(space, key), std::move(library)).first->second;
}

// The kernel is registered when an operator is first met in a graph: there are thousands of them.
void register_below_autograd(const Operator& op) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  if (std::atomic_ref(op.known_below_autograd)) return;
  const std::string name = toString(op.handle.operator_name());
  const std::string space(*op.handle.operator_name().getNamespace());
  library_on(space, kBelowAutogradKey).impl(name.c_str(), handler());
  if (op.fused) library_on(space, kLentBackend).impl(name.c_str(), handler());
  std::atomic_ref(op.known_below_autograd) = true;
}

// How often a tensor, and its storage, are held: autograd keeps an input by one more reference to
// it, and an output by a shallow copy that shares its storage. A meta kernel in Python leaves a
// wrapper, which is no such reference.
struct Holds {
  at::Tensor tensor;
  size_t of_tensor;
  size_t of_storage;
};

size_t count_of(const at::Tensor& tensor) {
  return tensor.use_count() - (is_held_by_wrapper(tensor) ? 1 : 0);
}

size_t storage_count(const at::Tensor& tensor) {
  return tensor.has_storage() ? tensor.storage().use_count() : 0;
}

void note_holds(const Stack& stack, size_t arguments, c10::SmallVectorImpl<Holds>& holds) {
  for (size_t i = stack.size() - arguments; i < stack.size(); ++i) {
    for_each_tensor(stack[i], [&](const at::Tensor& tensor) {
      if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) return;
      for (const Holds& other : holds) {
        if (other.tensor.is_same(tensor)) return;
      }
      holds.push_back({tensor, 0, 0});
    });
  }
}

// A wrapper has no bytes of its own.
Count bytes_of(const at::Tensor& tensor) {
  if (is_wrapper(tensor)) return 0;
  return Count(tensor.numel()) * tensor.element_size();
}

bool share_storage(const at::Tensor& a, const at::Tensor& b) {
  return a.has_storage() && b.has_storage() && a.storage().is_alias_of(b.storage());
}

size_t references_in(const Stack& stack, size_t count, const at::Tensor& tensor) {
  size_t references = 0;
  for (size_t i = stack.size() - count; i < stack.size(); ++i) {
    for_each_tensor(stack[i], [&](const at::Tensor& item) { references += item.is_same(tensor); });
  }
  return references;
}

Count times_bytes(size_t now, size_t before, const at::Tensor& tensor) {
  return now > before ? (now - before) * bytes_of(tensor) : 0;
}

bool is_held(const c10::SmallVectorImpl<Holds>& holds, const at::Tensor& tensor) {
  return std::any_of(holds.begin(), holds.end(),
                     [&](const Holds& held) { return held.tensor.is_same(tensor); });
}

// How many outputs that are no inputs lie on the storage of one: a split's all lie on one.
size_t fresh_on_storage(const Stack& stack, size_t returns, const at::Tensor& output,
                        const c10::SmallVectorImpl<Holds>& holds) {
  size_t count = 0;
  for (size_t i = stack.size() - returns; i < stack.size(); ++i) {
    for_each_tensor(stack[i], [&](const at::Tensor& other) {
      count += share_storage(other, output) && !is_held(holds, other);
    });
  }
  return count;
}

// What autograd keeps beyond the references that were counted before the call.
Count newly_held(const c10::SmallVectorImpl<Holds>& holds, const Stack& stack, size_t returns) {
  Count bytes;
  for (const Holds& held : holds) {
    const size_t now = count_of(held.tensor) - references_in(stack, returns, held.tensor);
    bytes += times_bytes(now, held.of_tensor, held.tensor);
  }
  for (size_t i = stack.size() - returns; i < stack.size(); ++i) {
    for_each_tensor(stack[i], [&](const at::Tensor& output) {
      bool written = false;
      size_t storage_before = 0;  // of a fresh storage
      for (const Holds& held : holds) {
        written |= held.tensor.is_same(output);
        if (share_storage(held.tensor, output)) storage_before = held.of_storage;
      }
      storage_before += fresh_on_storage(stack, returns, output, holds);
      if (!written) {
        // A fresh output is held by the stack, and holds its storage.
        bytes += times_bytes(count_of(output), 1, output);
      }
      bytes += times_bytes(storage_count(output), storage_before, output);
    });
  }
  return bytes;
}

}  // namespace

bool graphs_are_recorded(const Trace& trace) {
  return trace.options().backward && at::GradMode::is_enabled() &&
         !c10::InferenceMode::is_enabled() &&
         !c10::impl::tls_is_dispatch_key_excluded(c10::DispatchKey::AutogradFunctionality);
}

bool has_dual(const Operator& op, const c10::IValue* arguments, const Trace& trace) {
  if (!trace.has_duals || !c10::AutogradState::get_tls_state().get_fw_grad_mode() ||
      c10::impl::tls_is_dispatch_key_excluded(c10::DispatchKey::AutogradFunctionality)) {
    return false;
  }
  bool dual = false;
  for (size_t i = 0; i < op.arguments; ++i) {
    for_each_tensor(arguments[i], [&](const at::Tensor& tensor) {
      dual |= tensor._fw_grad(/*level=*/0).defined();
    });
  }
  return dual;
}

Count run_in_graph(const Operator& op, Stack& stack, c10::function_ref<void(Stack&)> kernel) {
  if (!std::atomic_ref(op.known_below_autograd)) register_below_autograd(op);
  const c10::DispatchKeySet below(
      {kBelowAutogradKey, op.fused ? kLentBackend : c10::DispatchKey::Meta});
  const c10::DispatchKeySet keys = op.autograd_keys | below;
  c10::SmallVector<Holds, 8> holds;
  note_holds(stack, op.arguments, holds);
  // The stack's own references go with the call; those of `holds` are counted on both sides.
  for (Holds& held : holds) {
    held.of_tensor = count_of(held.tensor) - references_in(stack, op.arguments, held.tensor);
    held.of_storage = storage_count(held.tensor);
  }
  Running* const outer = running;
  Running own{.op = op, .kernel = kernel, .cloned_bytes = 0};
  running = &own;
  struct Restore {
    Running* outer;
    ~Restore() { running = outer; }
  } restore{outer};
  op.handle.redispatchBoxed(keys, &stack);
  return own.cloned_bytes + (op.view ? 0 : newly_held(holds, stack, op.returns));
}

void note_clone(const Operator& op, const c10::IValue& output) {
  if (running == nullptr || running->op.variant != Variant::in_place) return;
  if (op.name == "aten::clone") running->cloned_bytes += bytes_of(output.toTensor());
}

}  // namespace nnprof

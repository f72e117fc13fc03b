#include "dispatch/math_bits.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include "dispatch/key.h"
#include "dispatch/stack_walk.h"

namespace nnprof {
namespace {

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
    map_tensors(stack[first + i], [&](const at::Tensor& tensor) {
      if (!tensor.key_set().has_any(kMathBits)) return tensor;
      at::Tensor clone = tensor.clone();
      if (op.writes(i)) written.emplace_back(tensor, clone);
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

}  // namespace

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

}  // namespace nnprof

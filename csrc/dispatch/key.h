// The one place that names the dispatch key we intercept with.
#pragma once

#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/DispatchKeySet.h>

namespace nnprof {

// Above autograd and autocast, no kernel or fallback of PyTorch's own in 2.11 to 2.13. Upstream has
// talked of deleting it: TESTING_ONLY_GenericMode gives the same stream of operators.
#ifdef NNPROF_USE_GENERIC_MODE_KEY
inline constexpr c10::DispatchKey kInterceptKey = c10::DispatchKey::TESTING_ONLY_GenericMode;
#else
inline constexpr c10::DispatchKey kInterceptKey = c10::DispatchKey::DeferredInit;
#endif

// Below autograd's keys and above every backend's: where autograd's kernels hand a shape-only call
// back to us. No tensor has it, and PyTorch has no kernel on it.
inline constexpr c10::DispatchKey kBelowAutogradKey = c10::DispatchKey::CustomRNGKeyId;

// A backend that nobody has tensors of. PyTorch has gradients of some fused operators only for
// backends with a kernel of their own: it lends its key to the shape-only tensors.
inline constexpr c10::DispatchKey kLentBackend = c10::DispatchKey::IPU;
inline constexpr c10::DispatchKey kLentAutograd = c10::DispatchKey::AutogradIPU;

// Keys below ours: where a redispatch goes on.
inline c10::DispatchKeySet keys_after(c10::DispatchKeySet keys) {
  return keys & c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, kInterceptKey);
}

// Everything between us and the backend's kernel: what a rule or a real computation runs without.
inline c10::DispatchKeySet keys_above_kernels() {
  return c10::DispatchKeySet(kInterceptKey) | c10::autograd_dispatch_keyset_with_ADInplaceOrView |
         c10::autocast_dispatch_keyset;
}

// What the program around may have switched on, and a call apart from it must not see: casts of
// autocast were recorded as calls of their own.
inline c10::DispatchKeySet keys_of_the_program() {
  return c10::DispatchKeySet(kInterceptKey) | c10::autocast_dispatch_keyset;
}

}  // namespace nnprof

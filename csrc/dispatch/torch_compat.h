// What differs between the torch versions we build against.
#pragma once

#include <ATen/core/TensorBase.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <torch/headeronly/version.h>

#include <string_view>

namespace nnprof {

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 13)
inline constexpr std::string_view kTraceInfoName = "NNPROF_TRACE";
inline const c10::DebugInfoKind kTraceInfo(&kTraceInfoName);
#else
inline constexpr c10::DebugInfoKind kTraceInfo = c10::DebugInfoKind::TEST_INFO_2;
#endif

inline bool seen_by_python(const at::TensorBase& tensor) {
  return tensor.unsafeGetTensorImpl()->pyobj_slot()->load_pyobj() != nullptr;
}

// A tensor that Python has seen is held by its wrapper, which lives as long as the tensor.
inline bool is_held_by_wrapper(const at::TensorBase& tensor) {
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 13)
  return seen_by_python(tensor);
#else
  static_cast<void>(tensor);
  return false;
#endif
}

// nn.Module._call_impl with nothing hooked calls `forward` and no more: so it is up to this torch.
inline constexpr bool kModuleCallIsKnown = TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR <= 13;

}  // namespace nnprof

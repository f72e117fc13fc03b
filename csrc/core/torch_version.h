// The torch that is built against, where its rules differ from another one's.
#pragma once

#include <torch/headeronly/version.h>

namespace nnprof {

constexpr bool torch_is_at_least(int major, int minor) {
  return TORCH_VERSION_MAJOR > major ||
         (TORCH_VERSION_MAJOR == major && TORCH_VERSION_MINOR >= minor);
}

}  // namespace nnprof

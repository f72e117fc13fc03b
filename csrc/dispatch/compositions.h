// Operators that PyTorch writes in terms of others which depend on the device: on shape-only
// tensors its own code would take the ones for no device in particular, and autograd would keep
// other tensors.
#pragma once

#include <string_view>

#include "rules/rule.h"

namespace nnprof {

class Trace;

// Takes the arguments off the stack and leaves the outputs, by calling what PyTorch calls on the
// device that the trace is for. False, and nothing done, where PyTorch's own code is right.
using Composition = bool (*)(Stack&, Trace&);

// Null for most operators.
Composition composition_of(std::string_view op);

}  // namespace nnprof

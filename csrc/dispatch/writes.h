// What a call writes in place.
#pragma once

#include "dispatch/operators.h"
#include "dispatch/trace.h"

namespace nnprof {

// Autograd sees the shadow of a leaf, which is none: raises what it would raise of the leaf.
void check_written_leaves(const Operator& op, const c10::IValue* arguments);

// Kernels refuse to write an element twice, or elements that they still have to read.
void check_overlaps(const Operator& op, const c10::IValue* arguments);

// Puts the tensor that the program wrote to in the place of what was made for it, with the sizes
// that t_ or squeeze_ gave it.
void return_written(c10::IValue& output, const c10::IValue& original, Trace& trace);

// Autograd finds by it what was changed after it was saved.
void bump_versions(const Operator& op, const c10::IValue* outputs, Trace& trace);

}  // namespace nnprof

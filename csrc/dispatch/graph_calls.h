// Calls that belong to a graph: which they are, and those whose outputs others make than our rules.
//
// NOTE [Silent calls]
// An operator that PyTorch writes in terms of others (`linear`, `batch_norm`) has two readers in a
// graph. Autograd wants its parts: they are what has a derivative, and what saves. The record wants
// the whole: it is what a rule prices, whatever it is made of on which device. So PyTorch's own
// code for it runs with `Trace::silent` above zero: each part arrives in `run_call` like any call,
// its rule makes its outputs and autograd's kernel its gradient function, but `record_call` leaves
// it out and only adds what was saved to `Trace::silently_saved`. When the whole has returned there
// is one record: of a walk over its arguments, made before, for a part may write to them, of what
// it returned, and of the bytes that were saved since it began.
//  - It nests: of a composite inside of a composite nothing is recorded either, and what it saved
//    is in the sum already. The depth and the sum are the thread's that is in turn
//    (`Trace::go_on_in`).
//  - Memory is not silent: storages that parts make and let go are events like any others, and
//    raise the peak.
//  - Gradient functions are not silent: they run in the backward, where no composite is open, and
//    each of their calls is recorded.
#pragma once

#include <c10/util/FunctionRef.h>

#include "dispatch/operators.h"
#include "dispatch/trace.h"

namespace nnprof {

// A view is tracked whatever it is of: what is written to it later may have a gradient.
bool tracks_views(const Operator& op);

bool belongs_to_graph(const Operator& op, const c10::IValue* arguments, const Trace& trace);

// A call of an operator that PyTorch writes in terms of others and that has a rule of its own:
// where it belongs to a graph, these others make the graph, and the call is recorded as one. False
// where it does not, and nothing was done.
bool run_composite_in_graph(const Operator& op, c10::DispatchKeySet keys, Stack& stack,
                            Trace& trace);

// A call that belongs to a graph and whose outputs others make than we: `kernel`, from the tensors
// that the program gave, where autograd's kernel sees their shadows. False where it belongs to
// none.
bool run_others_in_graph(const Operator& op, Stack& stack, Trace& trace,
                         c10::function_ref<void(Stack&)> kernel);

}  // namespace nnprof

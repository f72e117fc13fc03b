// Calls that belong to a graph: which they are, and those whose outputs others make than our rules.
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

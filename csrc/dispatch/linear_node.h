// The gradient function of a linear layer as one, where PyTorch makes four.
//
// Most of a language model's graph is linear layers. It keeps what PyTorch's keep, and makes the
// calls that they make, in their order.
#pragma once

#include "rules/rule.h"

namespace nnprof {

class Trace;

// aten::linear(Tensor input, Tensor weight, Tensor? bias) -> Tensor in a graph. False, and nothing
// done, where PyTorch's own path is another one.
bool linear_in_graph(Stack& stack, Trace& trace);

}  // namespace nnprof

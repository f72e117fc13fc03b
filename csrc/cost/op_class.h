// Which class a call is of, by its rule's family and what it does.
#pragma once

#include "core/cost.h"
#include "core/op_class.h"
#include "core/record.h"

namespace nnprof {

// Whether it makes gradients of another operator's inputs.
bool is_backward(const OpSignature& op);

OpClass op_class(const OpSignature& op, const Cost& cost);

}  // namespace nnprof

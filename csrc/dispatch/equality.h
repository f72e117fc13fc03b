// Whether two tensors are equal of which not all is known: aten::equal hands it to the program.
#pragma once

#include "dispatch/operators.h"
#include "dispatch/stack_walk.h"
#include "dispatch/trace.h"

namespace nnprof {

// The same elements of the same memory?
bool are_the_same(const at::Tensor& self, const at::Tensor& other, Trace& trace);

// What the caller says, or what is assumed; raises where a forward asks and nobody said.
bool assumed_equal(const Operator& op, const CallWalk& walk, const at::Tensor& self,
                   const at::Tensor& other, Trace& trace);

}  // namespace nnprof

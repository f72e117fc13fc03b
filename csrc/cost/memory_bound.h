// Operators whose time is that of moving bytes, or of computing an element, whichever is longer.
#pragma once

#include "cost/matmul.h"

namespace nnprof {

Parts memory_bound_time(const PricedCall& call);

}  // namespace nnprof

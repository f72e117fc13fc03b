// Scaled dot-product attention, fused or not.
#pragma once

#include "cost/matmul.h"

namespace nnprof {

Parts attention_time(const PricedCall& call);

}  // namespace nnprof

// RNNs, GRUs and LSTMs: one product over all steps for the inputs, then step after step.
#pragma once

#include "cost/matmul.h"

namespace nnprof {

Parts recurrent_time(const PricedCall& call);

}  // namespace nnprof

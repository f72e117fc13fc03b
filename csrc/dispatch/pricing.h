// Decodes and prices the signatures of a session with what is known of the running torch.
#pragma once

#include "core/aggregate.h"

namespace nnprof {

PricedSignature price_signature(c10::ArrayRef<int64_t> words);

}  // namespace nnprof

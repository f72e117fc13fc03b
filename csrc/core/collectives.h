// Calls that talk to other ranks.
#pragma once

#include <string_view>

#include "core/record.h"

namespace nnprof {

// "_c10d_functional::all_reduce", "c10d::allreduce_". Not what waits for one, which moves nothing.
bool is_collective(std::string_view op);

// The name of the group of ranks; "" where the call does not say.
const std::string& group_of(const OpSignature& signature);

}  // namespace nnprof

// Groups of ranks that collectives run on.
#pragma once

#include <ATen/core/ivalue.h>

#include <optional>
#include <string>

namespace nnprof {

// The name of a process group that is an argument of a call; none of any other value.
std::optional<std::string> group_name(const c10::IValue& value);

}  // namespace nnprof

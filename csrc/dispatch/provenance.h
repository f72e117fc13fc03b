// Where a value comes from, as the records of the trace tell. Asked only when the program asks for
// a value that nobody knows: it looks through the records, which cost nothing while they are made.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/session.h"
#include "dispatch/operators.h"

namespace nnprof {

struct Origin {
  std::string operation;       // "aten::gt"; empty: no record tells
  std::vector<int64_t> shape;  // of the first tensor that it read
  std::string text;            // "aten::gt of an activation (4, 8) with 3"
};

// Who made what lies in a storage.
Origin origin_of(const Session& session, uint32_t storage);

// Is it made of inputs and constants alone, so that real inputs would tell it?
bool made_of_inputs_alone(const Session& session, uint32_t storage);

// A call in words: "aten::isfinite of an activation (4, 8)".
Origin describe_call(const Session& session, const Operator& op, c10::ArrayRef<int64_t> words,
                     c10::ArrayRef<uint32_t> storages);

}  // namespace nnprof

// What data an argument of a replayed call gets: random, but such that the operator accepts it and
// does what it would do in the model. An index out of range would raise, zeros would run too fast.
#pragma once

#include <ATen/core/function_schema.h>

#include <cstdint>
#include <string_view>

#include "core/record.h"

namespace nnprof {

enum class Data : uint8_t {
  normal,    // mean 0, standard deviation `scale`
  positive,  // uniform in [0.5, 1.5)
  unit,      // uniform in [0, 1)
  integers,  // uniform in [low, high)
  coins,     // true half of the time
  // Told by the place of an element, row-major:
  constant,    // low
  ascending,   // in equal steps from low to high along the last dimension, both reached
  ends,        // likewise, but the first step is taken: ends of equal groups
  cycle,       // low, low + 1, ..., high - 1, low, ...
  packed,      // whole numbers up to low, never rising, that add up to high
  first_true,  // ones in the first `high` elements, zeros in the rest
  boxes,       // (left, top, right, bottom), none overlapping another
  regions,     // (image, left, top, right, bottom) inside of `high` images of scale x scale
  well_posed,  // normal, and matrices with a heavy diagonal: positive definite enough
};

struct Fill {
  Data data = Data::normal;
  double scale = 1;
  int64_t low = 1;
  int64_t high = 8;
};

// A recorded call whose arguments can be asked for by the names in the operator's schema.
class NamedCall {
 public:
  NamedCall(const c10::FunctionSchema& schema, const OpSignature& signature)
      : schema_(schema), signature_(signature) {}

  const c10::FunctionSchema& schema() const { return schema_; }
  const OpSignature& signature() const { return signature_; }
  // An argument that is not there reads as None.
  const Argument& argument(std::string_view name) const;
  const TensorSpec& tensor(std::string_view name) const;
  int64_t integer(std::string_view name, int64_t if_none) const;

 private:
  const c10::FunctionSchema& schema_;
  const OpSignature& signature_;
};

// For tensor number `position` of argument `argument`.
Fill fill_of(const NamedCall& call, size_t argument, size_t position);

// Must the argument stay on the CPU, wherever the others are?
bool stays_on_cpu(const NamedCall& call, size_t argument);

}  // namespace nnprof

#include "core/record.h"

#include <c10/util/Exception.h>

namespace nnprof {

Count TensorSpec::numel() const {
  Count count = 1;
  for (int64_t size : sizes) count *= size;
  return count;
}

Count TensorSpec::distinct_numel() const {
  Count count = 1;
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (strides[d] != 0 || sizes[d] == 0) count *= sizes[d];
  }
  return count;
}

bool TensorSpec::is_contiguous() const {
  Count expected = 1;
  for (size_t d = sizes.size(); d-- > 0;) {
    if (sizes[d] == 0) return true;
    if (sizes[d] == 1) continue;
    if (strides[d] != expected) return false;
    expected *= sizes[d];
  }
  return true;
}

const TensorSpec& OpSignature::tensor(size_t index) const {
  static const TensorSpec undefined;
  const auto& tensors = arguments.at(index).tensors;
  return tensors.empty() ? undefined : tensors.front();
}

const std::vector<TensorSpec>& OpSignature::tensors(size_t index) const {
  return arguments.at(index).tensors;
}

int64_t OpSignature::integer(size_t index, int64_t if_none) const {
  const Argument& argument = arguments.at(index);
  if (argument.kind == Argument::Kind::floating)
    return static_cast<int64_t>(argument.number.real());
  return argument.is_none() ? if_none : argument.integer;
}

double OpSignature::floating(size_t index, double if_none) const {
  const Argument& argument = arguments.at(index);
  if (argument.is_none()) return if_none;
  return argument.kind == Argument::Kind::floating ? argument.number.real()
                                                   : static_cast<double>(argument.integer);
}

const std::vector<int64_t>& OpSignature::integers(size_t index) const {
  return arguments.at(index).integers;
}

const std::string& OpSignature::string(size_t index) const { return arguments.at(index).string; }

const TensorSpec& OpSignature::output(size_t index) const { return outputs.at(index); }

}  // namespace nnprof

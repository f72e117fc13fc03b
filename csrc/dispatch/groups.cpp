#include "dispatch/groups.h"

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

namespace nnprof {

std::optional<std::string> group_name(const c10::IValue& value) {
  if (!value.isCustomClass()) return std::nullopt;
  const auto group = c10::getCustomClassType<c10::intrusive_ptr<c10d::ProcessGroup>>();
  if (value.type() != group) return std::nullopt;
  return value.toCustomClass<c10d::ProcessGroup>()->getGroupName();
}

}  // namespace nnprof

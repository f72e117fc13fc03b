// The explicit list of rule families, and look-up by operator name.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "rules/rule.h"

namespace nnprof {

std::span<const RuleFamily> rule_families();

struct RuleEntry {
  const Rule* rule;
  const RuleFamily* family;
};

// "aten::add.Tensor(Tensor self, ...) -> Tensor" -> "aten::add.Tensor"
std::string_view operator_name(const Rule& rule);

// All lines for one operator: several when its schema differs between torch versions.
std::vector<RuleEntry> rules_named(std::string_view op);
// All lines of one function ("aten::add"), whatever the overload.
std::vector<RuleEntry> rules_of_function(std::string_view function);

}  // namespace nnprof

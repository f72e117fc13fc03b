#include "rules/families.h"

#include <array>

#include "rules/registry.h"

namespace nnprof {

std::span<const RuleFamily> rule_families() {
  static const std::array families = {
      kMatmulRules,
      kPointwiseRules,
  };
  return families;
}

}  // namespace nnprof

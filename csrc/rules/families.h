// One line a family; the tables stand at the bottom of csrc/rules/<family>.cpp.
#pragma once

#include "rules/rule.h"

namespace nnprof {

extern const RuleFamily kMatmulRules;
extern const RuleFamily kPointwiseRules;

}  // namespace nnprof

// Gather, scatter, index, select by mask.
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {

const RuleFamily kIndexingRules = {"indexing", {}};

}  // namespace nnprof

// Sort, topk, search.
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {

const RuleFamily kSortingRules = {"sorting", {}};

}  // namespace nnprof

// Views: they share their input's storage and cost nothing.
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {

const RuleFamily kViewRules = {"view", {}};

}  // namespace nnprof

// Random numbers and dropout.
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {

const RuleFamily kRandomRules = {"random", {}};

}  // namespace nnprof

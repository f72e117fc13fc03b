// Copies, casts, concatenation, padding and other operators that move data unchanged.
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {

const RuleFamily kCopyRules = {"copy", {}};

}  // namespace nnprof

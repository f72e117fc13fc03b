// Interpolation, grid sampling, folding, pixel shuffles.
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {

const RuleFamily kVisionRules = {"vision", {}};

}  // namespace nnprof

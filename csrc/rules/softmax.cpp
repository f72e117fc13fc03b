// Softmax and cumulative functions.
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {

const RuleFamily kSoftmaxRules = {"softmax", {}};

}  // namespace nnprof

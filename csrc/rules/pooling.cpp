// Pooling, adaptive, with and without indices.
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {

const RuleFamily kPoolingRules = {"pooling", {}};

}  // namespace nnprof

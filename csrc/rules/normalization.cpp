// Batch, layer, group, instance, RMS and local response normalization.
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {

const RuleFamily kNormalizationRules = {"normalization", {}};

}  // namespace nnprof

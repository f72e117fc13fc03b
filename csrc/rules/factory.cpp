// Tensors made from nothing but sizes and numbers.
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {

const RuleFamily kFactoryRules = {"factory", {}};

}  // namespace nnprof

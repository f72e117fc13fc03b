// Convolutions, plain and transposed, in one to three dimensions.
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {

const RuleFamily kConvolutionRules = {"convolution", {}};

}  // namespace nnprof

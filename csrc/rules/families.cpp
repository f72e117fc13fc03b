#include "rules/families.h"

#include <array>

#include "rules/registry.h"

namespace nnprof {

std::span<const RuleFamily> rule_families() {
  static const std::array families = {
      kActivationRules,
      kAttentionRules,
      kComparisonRules,
      kConvolutionRules,
      kCopyRules,
      kDetectionRules,
      kDistanceRules,
      kDropoutRules,
      kEmbeddingRules,
      kFactoryRules,
      kForeachRules,
      kFourierRules,
      kIndexingRules,
      kLayerNormRules,
      kLinearRules,
      kLinearAlgebraRules,
      kLossRules,
      kMatmulRules,
      kMultiheadAttentionRules,
      kNormalizationRules,
      kOptimizerRules,
      kPadRules,
      kPointwiseRules,
      kPoolingRules,
      kQuantizedRules,
      kRandomRules,
      kRecurrentRules,
      kReductionRules,
      kScatterRules,
      kSoftmaxRules,
      kSortingRules,
      kSpecialRules,
      kSplitRules,
      kViewRules,
      kVisionRules,
  };
  return families;
}

}  // namespace nnprof

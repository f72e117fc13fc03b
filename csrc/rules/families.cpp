#include "rules/families.h"

#include <array>

#include "rules/registry.h"

namespace nnprof {

std::span<const RuleFamily> rule_families() {
  static const std::array families = {
      kActivationRules,    kAttentionRules, kComparisonRules,
      kConvolutionRules,   kCopyRules,      kDistanceRules,
      kDropoutRules,       kEmbeddingRules, kFactoryRules,
      kIndexingRules,      kLayerNormRules, kLinearRules,
      kLossRules,          kMatmulRules,    kMultiheadAttentionRules,
      kNormalizationRules, kPadRules,       kPointwiseRules,
      kPoolingRules,       kRandomRules,    kRecurrentRules,
      kReductionRules,     kScatterRules,   kSoftmaxRules,
      kSortingRules,       kSplitRules,     kSpecialRules,
      kViewRules,          kVisionRules,
  };
  return families;
}

}  // namespace nnprof

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
      kDropoutRules,
      kEmbeddingRules,
      kFactoryRules,
      kIndexingRules,
      kLossRules,
      kMatmulRules,
      kNormalizationRules,
      kPadRules,
      kPointwiseRules,
      kPoolingRules,
      kRandomRules,
      kRecurrentRules,
      kReductionRules,
      kSoftmaxRules,
      kSortingRules,
      kSplitRules,
      kSpecialRules,
      kViewRules,
      kVisionRules,
  };
  return families;
}

}  // namespace nnprof

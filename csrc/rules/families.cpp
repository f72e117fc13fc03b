#include "rules/families.h"

#include <array>

#include "rules/registry.h"

namespace nnprof {

std::span<const RuleFamily> rule_families() {
  static const std::array families = {
      kActivationRules,
      kAttentionRules,
      kAttentionBackwardRules,
      kComparisonRules,
      kConvolutionRules,
      kConvolutionBackwardRules,
      kCopyRules,
      kDetectionRules,
      kDistanceRules,
      kFourierRules,
      kDropoutRules,
      kEmbeddingRules,
      kFactoryRules,
      kIndexingRules,
      kLayerNormRules,
      kLayerNormBackwardRules,
      kLinearAlgebraRules,
      kLinearRules,
      kLossRules,
      kMatmulRules,
      kMultiheadAttentionRules,
      kNormalizationRules,
      kNormalizationBackwardRules,
      kPadRules,
      kPointwiseRules,
      kPoolingRules,
      kPoolingBackwardRules,
      kQuantizedRules,
      kRandomRules,
      kRecurrentKernelRules,
      kRecurrentRules,
      kReductionRules,
      kScatterRules,
      kSoftmaxRules,
      kSortingRules,
      kSplitRules,
      kSpecialRules,
      kViewRules,
      kVisionRules,
      kVisionBackwardRules,
  };
  return families;
}

}  // namespace nnprof

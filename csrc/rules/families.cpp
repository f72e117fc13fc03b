#include "rules/families.h"

#include <array>

#include "rules/registry.h"

namespace nnprof {

std::span<const RuleFamily> rule_families() {
  static const std::array families = {
      kActivationRules,
      kAttentionRules,
      kAttentionBackwardRules,
      kAttentionKernelRules,
      kBitsandbytesRules,
      kCollectiveRules,
      kComparisonRules,
      kConvolutionBackwardRules,
      kConvolutionKernelRules,
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
      kLayerNormBackwardRules,
      kLayerNormRules,
      kLinearAlgebraRules,
      kLinearRules,
      kLossRules,
      kMatmulRules,
      kMultiheadAttentionRules,
      kNormalizationRules,
      kNormalizationBackwardRules,
      kOptimizerRules,
      kPadRules,
      kPointwiseRules,
      kPoolingBackwardRules,
      kPoolingRules,
      kQuantizedLayerRules,
      kQuantizedRules,
      kQuantizedTensorRules,
      kRandomRules,
      kRecurrentKernelRules,
      kRecurrentMkldnnRules,
      kRecurrentRules,
      kReductionRules,
      kScatterRules,
      kSoftmaxRules,
      kSortingRules,
      kSpecialRules,
      kSplitRules,
      kViewRules,
      kVisionBackwardRules,
      kVisionRules,
  };
  return families;
}

}  // namespace nnprof

// One line a family; the tables stand at the bottom of csrc/rules/<family>.cpp.
#pragma once

#include "rules/rule.h"

namespace nnprof {

extern const RuleFamily kActivationRules;
extern const RuleFamily kAttentionRules;
extern const RuleFamily kAttentionBackwardRules;
extern const RuleFamily kAttentionKernelRules;
extern const RuleFamily kBitsandbytesRules;
extern const RuleFamily kCollectiveRules;
extern const RuleFamily kComparisonRules;
extern const RuleFamily kConvolutionRules;
extern const RuleFamily kConvolutionBackwardRules;
extern const RuleFamily kConvolutionKernelRules;
extern const RuleFamily kCopyRules;
extern const RuleFamily kDetectionRules;
extern const RuleFamily kDistanceRules;
extern const RuleFamily kForeachRules;
extern const RuleFamily kFourierRules;
extern const RuleFamily kDropoutRules;
extern const RuleFamily kEmbeddingRules;
extern const RuleFamily kFactoryRules;
extern const RuleFamily kIndexingRules;
extern const RuleFamily kLayerNormRules;
extern const RuleFamily kLayerNormBackwardRules;
extern const RuleFamily kLinearAlgebraRules;
extern const RuleFamily kLinearRules;
extern const RuleFamily kLossRules;
extern const RuleFamily kMatmulRules;
extern const RuleFamily kMultiheadAttentionRules;
extern const RuleFamily kNormalizationRules;
extern const RuleFamily kNormalizationBackwardRules;
extern const RuleFamily kOptimizerRules;
extern const RuleFamily kPadRules;
extern const RuleFamily kPointwiseRules;
extern const RuleFamily kPoolingRules;
extern const RuleFamily kPoolingBackwardRules;
extern const RuleFamily kQuantizedLayerRules;
extern const RuleFamily kQuantizedRules;
extern const RuleFamily kQuantizedTensorRules;
extern const RuleFamily kRandomRules;
extern const RuleFamily kRecurrentKernelRules;
extern const RuleFamily kRecurrentMkldnnRules;
extern const RuleFamily kRecurrentRules;
extern const RuleFamily kReductionRules;
extern const RuleFamily kScatterRules;
extern const RuleFamily kSoftmaxRules;
extern const RuleFamily kSortingRules;
extern const RuleFamily kSplitRules;
extern const RuleFamily kSpecialRules;
extern const RuleFamily kViewRules;
extern const RuleFamily kVisionRules;
extern const RuleFamily kVisionBackwardRules;

}  // namespace nnprof

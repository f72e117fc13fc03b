// The cost classes that many operators share. A class reads the rule's FlopMix from its table line.
#pragma once

#include "core/cost.h"
#include "core/record.h"
#include "rules/rule.h"

namespace nnprof {

// True when floating-point work is done: some input (not a mask, not an index) is floating or
// complex, or the output is made so (true_divide of integers).
bool computes_in_floating_point(const OpSignature& op);

// `mix` a times per element of a tensor, as FLOPs, or as int_ops when no floats are involved.
// Complex numbers: an add is 2, a multiply 6, everything else 2 real operations.
void add_elementwise(const OpSignature& op, Cost& cost, const FlopMix& mix, Count elements);

// `mix` per output element: unary, binary and ternary functions with broadcasting.
void pointwise(const OpSignature& op, Cost& cost);
// `mix` per element of the first tensor: sums, norms, softmax, cumulative functions.
void per_input_element(const OpSignature& op, Cost& cost);
// A reduction spends one operation less per output than it has inputs; we count one per input.
inline constexpr CostFunction reduction = &per_input_element;

// A copy that PyTorch makes of an input on the way (contiguous(), an expanded operand) is written
// and then read in its stead: `bytes` is its size.
void add_copy(Cost& cost, Count bytes);

// Of the first tensor at most `elements` elements are read.
void read_at_most(const OpSignature& op, Cost& cost, Count elements);

// Elements of two tensors broadcast together.
Count broadcast_numel(const TensorSpec& a, const TensorSpec& b);

// ceil(log2(n)), at least 1: the comparisons that one element costs in a sort.
int64_t log2_ceil(Count n);

}  // namespace nnprof

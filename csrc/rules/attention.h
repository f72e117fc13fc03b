// The work of attention, for the operators that do it among other things.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/cost.h"

namespace nnprof {

struct AttentionSizes {
  Count heads;  // those of all samples
  Count queries, keys;
  Count query_width, value_width;

  Count scores() const { return heads * queries * keys; }
};

// The products, the scale and the softmax; masks and dropout aside.
void add_attention(Cost& cost, const AttentionSizes& sizes);
// A value of the mask is added to each score, or says whether to keep it.
void add_mask(Cost& cost, const AttentionSizes& sizes, bool selects);
// Of the gradients, by a kernel that makes the scores again; what it skips under a causal mask.
void add_attention_backward(Cost& cost, const AttentionSizes& sizes);
void add_skipped_backward(Cost& cost, const AttentionSizes& sizes);

// Query i sees the keys 0..i: how many of the queries x keys scores are not needed.
Count scores_above_diagonal(Count queries, Count keys);

// (B, H, S) or (B, H, S, D) in the memory order of (B, S, H, D).
at::Tensor empty_heads_inside(at::IntArrayRef sizes, c10::ScalarType dtype);

}  // namespace nnprof

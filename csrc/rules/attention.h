// The work of attention, for the operators that do it among other things.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/cost.h"
#include "rules/attention_pairs.h"

namespace nnprof {

struct AttentionSizes {
  Count heads;  // those of all samples
  Count queries, keys;
  Count query_width, value_width;

  Count scores() const { return heads * queries * keys; }
};

// What the products are made of. The widths are those of queries and keys, and of values.
struct AttentionWork {
  AttentionPairs pairs;
  Count rows = 0;  // queries of all heads
  Count query_width = 0, value_width = 0;
};

// Every query with every key, of which a causal mask (aligned at the start, or at the end) may let
// kernels skip what it hides.
AttentionWork attention_work(const AttentionSizes& sizes);
AttentionWork causal_attention_work(const AttentionSizes& sizes, bool from_end = false);

// The products, the scale and the softmax; masks and dropout aside.
void add_attention(Cost& cost, const AttentionWork& work);
// A value of the mask is added to each score, or says whether to keep it.
void add_mask(Cost& cost, const AttentionSizes& sizes, bool selects);
// Of the gradients, by a kernel that makes the scores again.
void add_attention_backward(Cost& cost, const AttentionWork& work);

// (B, H, S) or (B, H, S, D) in the memory order of (B, S, H, D).
at::Tensor empty_heads_inside(at::IntArrayRef sizes, c10::ScalarType dtype);
// A bias' gradient, whose rows start at multiples of 16 elements, as kernels want them.
at::Tensor empty_aligned_rows(const at::Tensor& bias);

}  // namespace nnprof

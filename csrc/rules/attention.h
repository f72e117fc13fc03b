// The work of attention, for the operators that do it among other things.
#pragma once

#include "core/cost.h"

namespace nnprof {

struct AttentionSizes {
  int64_t heads;  // those of all samples
  int64_t queries, keys;
  int64_t query_width, value_width;

  int64_t scores() const { return heads * queries * keys; }
};

// The products, the scale and the softmax; masks and dropout aside.
void add_attention(Cost& cost, const AttentionSizes& sizes);
// A value of the mask is added to each score, or says whether to keep it.
void add_mask(Cost& cost, const AttentionSizes& sizes, bool selects);

}  // namespace nnprof

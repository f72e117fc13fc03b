// Which pairs of a query and a key an attention is made of: documents, windows, causal masks,
// masks.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/cost.h"
#include "core/record.h"

namespace nnprof {

// Numbers of pairs, over all heads of all samples. A mask that a kernel is handed as a tensor hides
// pairs that are computed nevertheless.
struct AttentionPairs {
  Count all;       // each query with each key of its own document
  Count computed;  // less those that the kernel skips
  Count needed;    // less those that are hidden from each other in any way
};

// A query is aligned with the key of its own position, counted from the start or from the end of
// both. It sees `left` keys before that key and `right` ones after it; negative: all there are.
struct Band {
  int64_t left = -1;
  int64_t right = -1;
  bool from_end = false;
  int64_t chunk = 0;  // only keys of the same so many positions; 0: no chunks

  bool hides() const { return left >= 0 || right >= 0 || chunk > 0; }
};

// How many of the queries x keys pairs a band lets through.
Count pairs_in_band(int64_t queries, int64_t keys, const Band& band);

// A sample, or one of the documents that are packed into a sample.
struct Document {
  int64_t queries, keys;
};

// The pairs of `heads` heads, where a kernel skips what the band hides.
AttentionPairs pairs_of(std::span<const Document> documents, const Band& band, Count heads);

// A kernel computes so many, of which so many are needed; negative where that is not known.
void leave_pairs(AttentionPairs& pairs, int64_t computed, int64_t needed);

// The mask in `mask` hides pairs that are computed all the same; unknown ones hide none.
void hide_by_mask(AttentionPairs& pairs, const TensorSpec& mask);

// Lengths out of the places where they start (0, 3, 3, 8 -> 3, 0, 5). At most `total` in all.
std::vector<int64_t> lengths_from_starts(std::span<const int64_t> starts, int64_t total);

// Where only the longest is known: as many of it as there are tokens for, which is the most that
// attention among them can cost.
std::vector<int64_t> longest_lengths(size_t count, int64_t longest, int64_t total);

}  // namespace nnprof

#include "rules/attention_pairs.h"

#include <algorithm>

namespace nnprof {
namespace {

// Pairs (i, j) with j <= i + shift: the sum of clamp(i + shift + 1, 0, keys) over all queries.
Count pairs_up_to(int64_t queries, int64_t keys, int64_t shift) {
  const int64_t first = std::clamp<int64_t>(-shift, 0, queries);  // the first to see any key
  const int64_t full = std::clamp<int64_t>(keys - 1 - shift, first, queries);  // to see all
  const Count rising = full - first;
  const Count least = first + shift + 1;
  return rising * least + rising * (rising - 1) / 2 + Count(queries - full) * keys;
}

Count pairs_in_chunks(int64_t queries, int64_t keys, const Band& band, int64_t offset) {
  Count pairs = 0;
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t own = i + offset;  // not negative: kernels take chunks of keys at least as many
    const int64_t start = std::max<int64_t>(own, 0) / band.chunk * band.chunk;
    int64_t begin = start, end = std::min(start + band.chunk, keys);
    if (band.left >= 0) begin = std::max(begin, own - band.left);
    if (band.right >= 0) end = std::min(end, own + band.right + 1);
    pairs += std::max<int64_t>(end - std::max<int64_t>(begin, 0), 0);
  }
  return pairs;
}

}  // namespace

Count pairs_in_band(int64_t queries, int64_t keys, const Band& band) {
  if (queries <= 0 || keys <= 0) return 0;
  const int64_t offset = band.from_end ? keys - queries : 0;
  if (band.chunk > 0) return pairs_in_chunks(queries, keys, band, offset);
  // A window as wide as all there is hides nothing, and its end is not to overflow.
  const int64_t most = queries + keys;
  const Count up_to_right = band.right < 0 || band.right > most
                                ? Count(queries) * keys
                                : pairs_up_to(queries, keys, offset + band.right);
  const Count before_left = band.left < 0 || band.left > most
                                ? Count(0)
                                : pairs_up_to(queries, keys, offset - band.left - 1);
  return up_to_right - before_left;
}

AttentionPairs pairs_of(std::span<const Document> documents, const Band& band, Count heads) {
  Count all = 0, computed = 0;
  for (const Document& document : documents) {
    const Count both = Count(document.queries) * document.keys;
    all += both;
    computed += band.hides() ? pairs_in_band(document.queries, document.keys, band) : both;
  }
  return {heads * all, heads * computed, heads * computed};
}

void leave_pairs(AttentionPairs& pairs, int64_t computed, int64_t needed) {
  if (computed >= 0) pairs.computed = std::min<Count>(computed, pairs.all);
  if (needed >= 0) pairs.needed = std::min<Count>(needed, pairs.all);
}

void hide_by_mask(AttentionPairs& pairs, const TensorSpec& mask) {
  const Count elements = mask.distinct_numel();
  if (mask.kept < 0 || elements == 0) return;
  pairs.needed = std::min(pairs.needed, pairs.all / elements * mask.kept);
}

std::vector<int64_t> lengths_from_starts(std::span<const int64_t> starts, int64_t total) {
  std::vector<int64_t> lengths;
  int64_t left = total;
  for (size_t i = 1; i < starts.size(); ++i) {
    lengths.push_back(std::clamp<int64_t>(starts[i] - starts[i - 1], 0, left));
    left -= lengths.back();
  }
  return lengths;
}

std::vector<int64_t> longest_lengths(size_t count, int64_t longest, int64_t total) {
  std::vector<int64_t> lengths;
  int64_t left = total;
  for (size_t i = 0; i < count; ++i) {
    lengths.push_back(std::clamp<int64_t>(left, 0, longest));
    left -= lengths.back();
  }
  return lengths;
}

}  // namespace nnprof

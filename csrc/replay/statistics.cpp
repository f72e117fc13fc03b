#include "replay/statistics.h"

#include <algorithm>
#include <cmath>

namespace nnprof {
namespace {

constexpr double kMostMissed = 0.025;  // ten samples, ranks 2 and 9: 0.0215

}  // namespace

// The median is missed where fewer than r samples, or all but fewer than r, lie below it: twice the
// sum of the binomial probabilities of 0 to r - 1 heads in `count` throws of a coin.
size_t interval_rank(size_t count) {
  double ways = std::ldexp(1, -static_cast<int>(count));  // binomial coefficient, times 2^-count
  double missed = 0;
  size_t rank = 0;
  for (size_t heads = 0; heads < count / 2; ++heads) {
    missed += 2 * ways;
    if (missed > kMostMissed) break;
    rank = heads + 1;
    ways *= static_cast<double>(count - heads) / static_cast<double>(heads + 1);
  }
  return rank;
}

Summary summarize(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const size_t count = samples.size();
  Summary summary;
  summary.median = (samples[(count - 1) / 2] + samples[count / 2]) / 2;
  summary.fastest = samples.front();
  if (const size_t rank = interval_rank(count); rank > 0) {
    summary.low = samples[rank - 1];
    summary.high = samples[count - rank];
  }
  return summary;
}

}  // namespace nnprof

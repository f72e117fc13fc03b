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
  double ways = 1;  // binomial coefficient, times 2^-count
  ways = std::ldexp(ways, -static_cast<int>(count));
  double missed = 2 * ways;
  size_t rank = 1;
  for (size_t heads = 1; heads < count / 2; ++heads) {
    ways *= static_cast<double>(count - heads + 1) / static_cast<double>(heads);
    missed += 2 * ways;
    if (missed > kMostMissed) break;
    rank = heads + 1;
  }
  return rank;
}

Summary summarize(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const size_t count = samples.size();
  const size_t rank = interval_rank(count);
  return {.median = (samples[(count - 1) / 2] + samples[count / 2]) / 2,
          .low = samples[rank - 1],
          .high = samples[count - rank],
          .fastest = samples.front()};
}

}  // namespace nnprof

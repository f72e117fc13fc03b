// What is told of the samples of one operator: order statistics, for timings follow no known
// distribution and their mean is at the mercy of the worst of them.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace nnprof {

struct Summary {
  double median = 0;
  // Of a confidence interval of the median, at least 97.5 %; none below 7 samples: not even their
  // whole range holds it that often.
  std::optional<double> low;
  std::optional<double> high;
  double fastest = 0;
};

// Of at least one sample.
Summary summarize(std::vector<double> samples);

// The rank r, from 1, so that the samples of ranks r and count + 1 - r enclose the median; 0 where
// there is none.
size_t interval_rank(size_t count);

}  // namespace nnprof

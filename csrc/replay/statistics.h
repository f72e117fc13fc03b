// What is told of the samples of one operator: order statistics, for timings follow no known
// distribution and their mean is at the mercy of the worst of them.
#pragma once

#include <cstddef>
#include <vector>

namespace nnprof {

struct Summary {
  double median = 0;
  double low = 0;  // of a confidence interval of the median: at least 97.5 %, from 7 samples on
  double high = 0;
  double fastest = 0;
};

// Of at least one sample.
Summary summarize(std::vector<double> samples);

// The rank r, from 1, so that the samples of ranks r and count + 1 - r enclose the median.
size_t interval_rank(size_t count);

}  // namespace nnprof

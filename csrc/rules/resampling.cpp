#include "rules/resampling.h"

#include <algorithm>

namespace nnprof {
namespace {

// How many input elements all outputs along a dimension weigh. Antialiasing stretches the filter,
// of `width` elements, by the scale when shrinking; at the borders it is cut off.
int64_t antialiased_taps(int64_t size, int64_t outputs, int64_t width, bool align_corners) {
  const auto inputs = static_cast<double>(size);
  const double aligned = outputs > 1 ? (inputs - 1) / static_cast<double>(outputs - 1) : 0;
  const double scale = align_corners ? aligned : inputs / static_cast<double>(outputs);
  const double support = static_cast<double>(width) / 2 * std::max(scale, 1.0);
  int64_t taps = 0;
  for (int64_t o = 0; o < outputs; ++o) {
    const double center = scale * (static_cast<double>(o) + 0.5);
    const auto first = static_cast<int64_t>(center - support + 0.5);
    const auto last = static_cast<int64_t>(center + support + 0.5);
    taps += std::min(last, size) - std::max<int64_t>(first, 0);
  }
  return taps;
}

}  // namespace

Count antialiased_products(Count planes, const ImageSize& from, const ImageSize& to, int64_t filter,
                           bool align_corners) {
  const Count horizontal =
      Count(from.height) * antialiased_taps(from.width, to.width, filter, align_corners);
  const Count vertical =
      Count(to.width) * antialiased_taps(from.height, to.height, filter, align_corners);
  return planes * (horizontal + vertical);
}

FlopMix coordinate_mix(int64_t mode, int64_t padding) {
  FlopMix mix = {.add = 2, .multiply = 2};
  if (padding != kZeros) mix.compare += 2;
  if (padding == kReflection) {  // |x - low|, how often it is reflected, and what is left
    mix.add += 3;
    mix.division += 2;
    mix.compare += 1;
  }
  mix.add += mode == kNearest ? 1 : 2;  // round, or floor and the fraction
  if (mode == kBilinear) mix.add += 1;  // 1 - fraction
  if (mode == kBicubic) {               // the distances to 4 neighbours and a cubic of each
    mix.add += 3 + 2 * 2 + 2 * 3;
    mix.multiply += 4 * 3;
  }
  return mix;
}

int64_t to_the_power(int64_t base, int64_t exponent) {
  int64_t power = 1;
  for (int64_t i = 0; i < exponent; ++i) power *= base;
  return power;
}

}  // namespace nnprof

// What resampling an image takes, for the operators that do it and for their gradients.
#pragma once

#include <cstdint>

#include "core/cost.h"

namespace nnprof {

// The products of a value and a weight when images of height x width, `planes` of them, are resized
// with antialiasing: rows to their new width, then columns to their new height. The filter is
// `filter` elements wide, and stretched by the scale when shrinking.
struct ImageSize {
  int64_t height, width;
};
Count antialiased_products(Count planes, const ImageSize& from, const ImageSize& to, int64_t filter,
                           bool align_corners);

// Of grid_sampler.
enum Mode : int64_t { kBilinear = 0, kNearest = 1, kBicubic = 2 };
enum Padding : int64_t { kZeros = 0, kBorder = 1, kReflection = 2 };

// How many input elements a grid point weighs along a dimension.
inline int64_t taps_of(int64_t mode) { return mode == kNearest ? 1 : mode == kBilinear ? 2 : 4; }

// A coordinate of a grid point: ((x + 1) * size - 1) / 2, kept inside, then split or rounded.
FlopMix coordinate_mix(int64_t mode, int64_t padding);

int64_t to_the_power(int64_t base, int64_t exponent);

}  // namespace nnprof

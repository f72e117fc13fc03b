// Matrix products: matmul and its relatives, and convolutions seen as such.
#pragma once

#include <optional>

#include "cost/traffic.h"

namespace nnprof {

// `batch` products of (rows, depth) by (depth, columns).
struct Product {
  double batch = 1;
  double rows = 1;
  double columns = 1;
  double depth = 1;
  double operations = 2;  // of real numbers, for a multiply-accumulate
  Precision precision = Precision::fp32;
};

// The parts of a time. They overlap, so that they add up to more than the whole.
struct Parts {
  double seconds = 0;
  double compute = 0;
  double memory = 0;
};

Precision precision_of(c10::ScalarType dtype, bool tf32, const Hardware& hardware);
// Of the first floating tensor among the arguments, or the first at all.
c10::ScalarType computed_dtype(const OpSignature& op);

// The larger of the two, nearly: they overlap, but not perfectly at equal lengths.
double overlapped(double compute, double memory);

Parts product_time(const PricedCall& call, const Product& product, const Traffic& traffic);

Product product_of(const PricedCall& call);
Parts matmul_time(const PricedCall& call);
Parts convolution_time(const PricedCall& call);

}  // namespace nnprof

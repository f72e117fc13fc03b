// What a call moves, told apart by where it is found: weights come from memory, activations may
// still be in the last cache.
#pragma once

#include <initializer_list>

#include "core/cost.h"
#include "core/record.h"
#include "cost/hardware.h"

namespace nnprof {

struct EstimateOptions {
  bool matmul_tf32 = false;      // torch.backends.cuda.matmul.allow_tf32
  bool convolution_tf32 = true;  // torch.backends.cudnn.allow_tf32
  std::string attention;         // a kernel's name; empty: the one that PyTorch picks
};

// One call to be estimated.
struct PricedCall {
  const OpSignature& op;
  const Cost& cost;
  const Hardware& hardware;
  const EstimateOptions& options;
  double model_weights = 0;  // bytes of all weights that the traced code reads
  OpClass op_class = OpClass::other;

  // Seconds that a call of its class takes at least.
  double fixed() const { return hardware.fixed[static_cast<size_t>(op_class)]; }
};

struct Traffic {
  double weights = 0;  // parameters and buffers read
  double read = 0;     // all else that is read
  double written = 0;

  double bytes() const { return weights + read + written; }
};

Traffic traffic_of(const OpSignature& op, const Cost& cost);
// Of one kernel of several: what it reads, and something as large as what it writes.
Traffic traffic_between(std::initializer_list<const TensorSpec*> read, const TensorSpec& written);

// Seconds that moving it takes. Weights were last read a whole forward ago: they are in the cache
// only where all of the model's fit there.
double memory_seconds(const PricedCall& call, const Traffic& traffic);
// Of written bytes alone, beside `traffic`.
double store_seconds(const PricedCall& call, const Traffic& traffic);

}  // namespace nnprof

// Steps of torch.optim's most used optimizers, recorded without running their Python.
//
// For a model of a thousand parameters torch's own step takes longer than the forward and backward
// together. What is recorded is what torch/optim/sgd.py, adam.py and adamw.py call; a test holds
// one against the other.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "dispatch/trace.h"

namespace nnprof {

enum class OptimizerKind : uint8_t { sgd, adam, adamw };
// A loop over the parameters, list operators, or one kernel.
enum class OptimizerImplementation : uint8_t { loop, foreach, fused };

struct OptimizerSettings {
  double momentum = 0;  // of SGD
  bool nesterov = false;
};

class OptimizerStep {
 public:
  // Makes the state, as a step before would have left it, unrecorded. The optimizers' other
  // settings are torch's defaults.
  OptimizerStep(OptimizerKind kind, OptimizerImplementation implementation,
                const std::vector<at::Tensor>& parameters, const OptimizerSettings& settings,
                Trace& trace);

  // Records a step on the parameters that have a gradient.
  void step(Trace& trace);

 private:
  struct State {
    at::Tensor parameter;
    at::Tensor gradient;
    at::Tensor first;   // momentum, or the average of gradients
    at::Tensor second;  // the average of squared gradients
    at::Tensor steps;
  };
  using Group = std::vector<State*>;

  bool is_adam() const { return kind_ != OptimizerKind::sgd; }
  std::vector<Group> groups();
  void step_groups(Trace& trace);
  void step_in_loop(const State& state) const;
  void step_sgd(const Group& group, Trace& trace) const;
  void step_adam(const Group& group, Trace& trace) const;
  void step_fused(const Group& group, Trace& trace) const;

  const OptimizerKind kind_;
  const OptimizerImplementation implementation_;
  const OptimizerSettings settings_;
  std::vector<State> states_;
};

}  // namespace nnprof

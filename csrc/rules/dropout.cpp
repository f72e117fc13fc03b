// Dropout. In evaluation it hands its input back and costs nothing.
#include <ATen/core/Tensor.h>
#include <ATen/ops/mul_meta_dispatch.h>

#include "rules/elementwise.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using at::Tensor;

bool drops(const Tensor& input, double p, bool train) {
  TORCH_CHECK(p >= 0 && p <= 1, "dropout probability has to be between 0 and 1, but got ", p);
  if (p == 0 || !train || input.numel() == 0) return false;
  check_has_kernel(!c10::isIntegralType(input.scalar_type(), /*includeBool=*/true),
                   input.scalar_type());
  return true;
}

Tensor dropout(const Tensor& input, double p, bool train) {
  return drops(input, p, train) ? empty_preserving(input) : input;
}
Tensor dropout_in_place(const Tensor& self, double p, bool train) {
  drops(self, p, train);
  return self;
}

void check_features(const Tensor& input) {
  TORCH_CHECK(input.dim() >= 2, "Feature dropout requires at least 2 dimensions in the input");
}
Tensor feature_dropout(const Tensor& input, double p, bool train) {
  const bool dropped = drops(input, p, train);
  if (dropped) check_features(input);
  return dropped ? empty_preserving(input) : input;
}
Tensor feature_dropout_in_place(const Tensor& self, double p, bool train) {
  if (drops(self, p, train)) check_features(self);
  return self;
}

std::tuple<Tensor, Tensor> native_dropout(const Tensor& input, double p,
                                          std::optional<bool> train) {
  if (train.value_or(true)) drops(input, p, true);
  return {empty_preserving(input), empty_preserving(input, at::kBool)};
}
Tensor native_dropout_backward(const Tensor& grad, const Tensor& mask, double) {
  return at::meta::mul(grad, mask);
}

// Costs -------------------------------------------------------------------------------------------

bool is_dropping(const OpSignature& op) { return op.boolean(2) && op.floating(1) != 0; }

Count channels(const TensorSpec& input) { return input.size(0) * input.size(1); }

// The mask is an output of the fused kernel, kept for the backward pass.
void dropout_cost(const OpSignature& op, Cost& cost) {
  if (!is_dropping(op)) {
    cost = Cost();
    return;
  }
  pointwise(op, cost);
  cost.bytes_written += op.output().numel();  // booleans
  cost.temporary_bytes += op.output().numel();
}

// One draw for each channel of a sample; the noise has the dtype of the input.
void feature_dropout_cost(const OpSignature& op, Cost& cost) {
  if (!is_dropping(op)) {
    cost = Cost();
    return;
  }
  pointwise(op, cost);
  const Count draws = channels(op.tensor(0));
  add_elementwise(op, cost, {.division = 1, .compare = 1}, draws);
  cost.temporary_bytes += draws * op.tensor(0).element_size();
}

// x * (a * noise) + b, with b = (noise - 1) * (alpha * a) + alpha * a * p from the same noise.
void affine_dropout(const OpSignature& op, Cost& cost, Count draws) {
  if (!is_dropping(op)) {
    cost = Cost();
    return;
  }
  add_elementwise(op, cost, {.add = 1, .multiply = 1}, op.output().numel());
  add_elementwise(op, cost, {.add = 2, .multiply = 2, .compare = 1}, draws);
  cost.temporary_bytes += 2 * draws * op.tensor(0).element_size();
}
void alpha_dropout_cost(const OpSignature& op, Cost& cost) {
  affine_dropout(op, cost, op.output().numel());
}
void feature_alpha_dropout_cost(const OpSignature& op, Cost& cost) {
  affine_dropout(op, cost, is_dropping(op) ? channels(op.tensor(0)) : 0);
}

void native_dropout_cost(const OpSignature& op, Cost& cost) {
  const bool train = op.is_none(2) || op.boolean(2);
  if (train) pointwise(op, cost);
}

constexpr FlopMix kDropout = {.multiply = 1, .compare = 1};

const Rule kDropoutTable[] = {
    {"aten::dropout(Tensor input, float p, bool train) -> Tensor", boxed<&dropout>, dropout_cost,
     kDropout, kRandom | kReturnsInput},
    {"aten::dropout_(Tensor(a!) self, float p, bool train) -> Tensor(a!)", boxed<&dropout_in_place>,
     dropout_cost, kDropout, kRandom},
    {"aten::feature_dropout(Tensor input, float p, bool train) -> Tensor",
     boxed<&feature_dropout>,
     feature_dropout_cost,
     {.multiply = 1},
     kRandom | kReturnsInput},
    {"aten::feature_dropout_(Tensor(a!) self, float p, bool train) -> Tensor(a!)",
     boxed<&feature_dropout_in_place>,
     feature_dropout_cost,
     {.multiply = 1},
     kRandom},
    {"aten::alpha_dropout(Tensor input, float p, bool train) -> Tensor",
     boxed<&dropout>,
     alpha_dropout_cost,
     {},
     kRandom | kReturnsInput},
    {"aten::alpha_dropout_(Tensor(a!) self, float p, bool train) -> Tensor(a!)",
     boxed<&dropout_in_place>,
     alpha_dropout_cost,
     {},
     kRandom},
    {"aten::feature_alpha_dropout(Tensor input, float p, bool train) -> Tensor",
     boxed<&feature_dropout>,
     feature_alpha_dropout_cost,
     {},
     kRandom | kReturnsInput},
    {"aten::feature_alpha_dropout_(Tensor(a!) self, float p, bool train) -> Tensor(a!)",
     boxed<&feature_dropout_in_place>,
     feature_alpha_dropout_cost,
     {},
     kRandom},
    {"aten::native_dropout(Tensor input, float p, bool? train) -> (Tensor, Tensor)",
     boxed<&native_dropout>, native_dropout_cost, kDropout, kRandom},
    {"aten::native_dropout_backward(Tensor grad_output, Tensor mask, float scale) -> Tensor",
     boxed<&native_dropout_backward>, pointwise, kDropout},
};

}  // namespace

const RuleFamily kDropoutRules("dropout", kDropoutTable, OpClass::elementwise, kNothingSpecial);

}  // namespace nnprof

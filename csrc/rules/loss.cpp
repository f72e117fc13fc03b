// Losses that are operators of their own. Those that PyTorch composes of others (cross_entropy, l1,
// kl_div, cosine embedding...) are recorded as those.
#include <ATen/ExpandUtils.h>
#include <ATen/core/Reduction.h>
#include <ATen/native/LossMulti.h>
#include <ATen/native/TypeProperties.h>
#include <ATen/ops/_ctc_loss_meta_dispatch.h>
#include <ATen/ops/mse_loss_meta_dispatch.h>
#include <ATen/ops/nll_loss_backward_meta_dispatch.h>
#include <ATen/ops/nll_loss_forward_meta_dispatch.h>
#include <ATen/ops/smooth_l1_loss_meta_dispatch.h>

#include <algorithm>

#include "rules/dtype_checks.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using Pair = std::tuple<at::Tensor, at::Tensor>;
using MaybeTensor = std::optional<at::Tensor>;

// What came of the loss of each element, or one number.
at::Tensor reduced(at::Tensor losses, int64_t reduction) {
  if (reduction == at::Reduction::None) return losses;
  return empty_of({}, losses.scalar_type());
}

void check_fits_into(const at::Tensor& tensor, const at::Tensor& target) {
  const auto sizes = at::infer_size_dimvector(tensor.sizes(), target.sizes());
  TORCH_CHECK(target.sizes() == at::IntArrayRef(sizes), "output with shape ", target.sizes(),
              " doesn't match the broadcast shape ", at::IntArrayRef(sizes));
}

void check_fits_into(const MaybeTensor& tensor, const at::Tensor& target) {
  if (tensor && tensor->defined()) check_fits_into(*tensor, target);
}

// Of each element -------------------------------------------------------------------------------

// In the dtype that the operands promote to.
template <auto Function, class... Parameters>
at::Tensor promoting(const at::Tensor& self, const at::Tensor& target, int64_t reduction,
                     Parameters... parameters) {
  at::Tensor result = Function(self, target, reduction, parameters...);
  check_kernel(is_float(result.scalar_type()), self);
  return result;
}

// Made like the input, and resized where that broadcasts.
at::Tensor losses_like(const at::Tensor& self, const at::Tensor& target) {
  const auto sizes = at::infer_size_dimvector(self.sizes(), target.sizes());
  if (self.sizes() == at::IntArrayRef(sizes)) return empty_preserving(self);
  return empty_like_dtype(sizes, self);
}

at::Tensor huber(const at::Tensor& self, const at::Tensor& target, int64_t reduction,
                 double delta) {
  TORCH_CHECK(delta > 0, "huber_loss does not support non-positive values for delta.");
  return reduced(losses_like(self, target), reduction);
}

at::Tensor soft_margin(const at::Tensor& self, const at::Tensor& target, int64_t reduction) {
  check_fits_into(target, self);
  return reduced(empty_preserving(self), reduction);
}

at::Tensor cross_entropy_of_probabilities(const at::Tensor& self, const at::Tensor& target,
                                          const MaybeTensor& weight, int64_t reduction) {
  TORCH_CHECK(self.scalar_type() == target.scalar_type(), "Found dtype ", target.scalar_type(),
              " but expected ", self.scalar_type());
  at::infer_size_dimvector(self.sizes(), target.sizes());
  check_fits_into(weight, self);
  return reduced(empty_preserving(self), reduction);
}

// (1 - target) * input - log_sigmoid(input), in the memory of 1 - target.
at::Tensor cross_entropy_of_logits(const at::Tensor& self, const at::Tensor& target,
                                   const MaybeTensor& weight, const MaybeTensor& pos_weight,
                                   int64_t reduction) {
  const c10::ScalarType dtype = at::native::result_type({self, target});
  TORCH_CHECK(c10::canCast(dtype, target.scalar_type()), "result type ", dtype,
              " can't be cast to the desired output type ", target.scalar_type());
  check_fits_into(self, target);
  check_fits_into(weight, target);
  check_fits_into(pos_weight, target);
  return reduced(empty_preserving(target), reduction);
}

// Gradients are contiguous, mostly.
at::Tensor gradient(const at::Tensor& /*grad_output*/, const at::Tensor& self,
                    const at::Tensor& /*target*/, int64_t /*reduction*/) {
  return empty_like_dtype(self.sizes(), self);
}

at::Tensor gradient_with_bound(const at::Tensor& grad_output, const at::Tensor& self,
                               const at::Tensor& target, int64_t reduction, double /*bound*/) {
  return gradient(grad_output, self, target, reduction);
}

at::Tensor gradient_like_target(const at::Tensor& /*grad_output*/, const at::Tensor& self,
                                const at::Tensor& target, int64_t /*reduction*/) {
  if (self.sizes() != target.sizes()) return empty_like_dtype(self.sizes(), self);
  return empty_preserving(target, self.scalar_type());
}

at::Tensor gradient_of_probabilities(const at::Tensor& /*grad_output*/, const at::Tensor& self,
                                     const at::Tensor& /*target*/, const MaybeTensor& /*weight*/,
                                     int64_t /*reduction*/) {
  return empty_preserving(self);
}

// So many sums of `elements` numbers, and for a mean the division.
void add_sums(Cost& cost, int64_t sums, Count elements, int64_t reduction) {
  if (reduction == at::Reduction::None) return;
  cost.add({.add = sums}, elements);
  if (reduction == at::Reduction::Mean) cost.add({.division = 1}, 1);
}

// Of losses which are kept until then.
void add_reduction(const OpSignature& op, Cost& cost, Count elements, int64_t reduction) {
  add_sums(cost, 1, elements, reduction);
  if (reduction == at::Reduction::None) return;
  cost.temporary_bytes += elements * op.output().element_size();
}

// The rule's mix for each element of the two tensors broadcast; a weight multiplies each loss.
template <size_t Reduction, size_t Weight = 0>
void elementwise_loss(const OpSignature& op, Cost& cost) {
  const Count elements = broadcast_numel(op.tensor(0), op.tensor(1));
  cost.add(op.rule->mix, elements);
  if (Weight != 0 && op.has_tensor(Weight)) cost.add({.multiply = 1}, elements);
  add_reduction(op, cost, elements, op.integer(Reduction));
}

// The weight of the positive answers adds (w - 1) * target + 1, and a multiplication with that.
// log_sigmoid(input) is kept meanwhile.
void cross_entropy_of_logits_cost(const OpSignature& op, Cost& cost) {
  elementwise_loss<4, 2>(op, cost);
  const Count elements = broadcast_numel(op.tensor(0), op.tensor(1));
  if (op.has_tensor(3)) cost.add({.add = 2, .multiply = 2}, elements);
  cost.temporary_bytes += op.tensor(0).numel() * op.tensor(0).element_size();
}

// The rule's mix for each element of the gradient; the factor 1/n of a mean is part of it.
template <size_t Weight = 0>
void elementwise_gradient(const OpSignature& op, Cost& cost) {
  const Count elements = op.output().numel();
  cost.add(op.rule->mix, elements);
  if (Weight != 0 && op.has_tensor(Weight)) cost.add({.multiply = 1}, elements);
}

// Of the class that is right --------------------------------------------------------------------

void check_images(const at::Tensor& self, const at::Tensor& target, const MaybeTensor& weight) {
  TORCH_CHECK(
      target.dim() == 3,
      "only batches of spatial targets supported (3D tensors) but got targets of dimension: ",
      target.dim());
  TORCH_CHECK(self.dim() == 4,
              "only batches of spatial inputs supported (4D tensors), but got input of dimension: ",
              self.dim());
  TORCH_CHECK(!weight || !weight->defined() || weight->numel() == self.size(1),
              "weight tensor should be defined either for all or no classes");
  TORCH_CHECK(target.scalar_type() == at::kLong || target.scalar_type() == at::kByte,
              "expected target dtype to be Long or Byte, but got ", target.scalar_type());
  TORCH_CHECK(self.size(0) == target.size(0) && self.size(2) == target.size(1) &&
                  self.size(3) == target.size(2),
              "size mismatch (got input: ", self.sizes(), " , target: ", target.sizes());
}

Pair nll2d(const at::Tensor& self, const at::Tensor& target, const MaybeTensor& weight,
           int64_t reduction, int64_t /*ignore_index*/) {
  check_images(self, target, weight);
  check_kernel(is_float(self.scalar_type()), self);
  return {reduced(empty_like_dtype(target.sizes(), self), reduction), empty_like_dtype({}, self)};
}

at::Tensor nll2d_gradient(const at::Tensor& /*grad_output*/, const at::Tensor& self,
                          const at::Tensor& target, const MaybeTensor& weight,
                          int64_t /*reduction*/, int64_t /*ignore_index*/,
                          const at::Tensor& /*total_weight*/) {
  check_images(self, target, weight);
  return empty_like_dtype(self.sizes(), self);
}

// One element of each row is read, negated and weighed; the weights are summed beside the losses.
void nll_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec &self = op.tensor(0), &target = op.tensor(1), &weight = op.tensor(2);
  const Count rows = target.numel();
  cost.bytes_read = rows * self.element_size() + target.distinct_bytes();
  cost.add({.add = 1}, rows);
  if (weight.defined) {
    cost.bytes_read += std::min(rows, weight.numel()) * weight.element_size();
    cost.add({.multiply = 1}, rows);
  }
  add_sums(cost, weight.defined ? 2 : 1, rows, op.integer(3));
}

// -weight * grad_output (/ total weight) at one element of each row. The input is not read.
void nll_gradient_cost(const OpSignature& op, Cost& cost) {
  const Count rows = op.tensor(2).numel();
  cost.bytes_read -= op.tensor(1).distinct_bytes();
  cost.add({.add = 1}, rows);
  if (op.has_tensor(3)) cost.add({.multiply = 1}, rows);
  if (op.integer(4) == at::Reduction::Mean) cost.add({.division = 1}, rows);
}

void check_multi_margin(const at::Tensor& self, const at::Tensor& target, const at::Scalar& p,
                        const MaybeTensor& weight) {
  TORCH_CHECK(p.toLong() == 1 || p.toLong() == 2, "only p == 1 and p == 2 supported");
  int64_t rows = 0, classes = 0;
  at::native::multi_margin_loss_shape_check(rows, classes, self.dim(), self, target, weight);
  TORCH_CHECK(target.scalar_type() == at::kLong, "expected scalar type Long but found ",
              target.scalar_type());
  check_kernel(is_float(self.scalar_type()), self);
}

at::Tensor multi_margin(const at::Tensor& self, const at::Tensor& target, const at::Scalar& p,
                        const at::Scalar& /*margin*/, const MaybeTensor& weight,
                        int64_t reduction) {
  check_multi_margin(self, target, p, weight);
  return reduced(empty_like_dtype(target.sizes(), self), reduction);
}

at::Tensor multi_margin_gradient(const at::Tensor& /*grad_output*/, const at::Tensor& self,
                                 const at::Tensor& target, const at::Scalar& p,
                                 const at::Scalar& /*margin*/, const MaybeTensor& weight,
                                 int64_t /*reduction*/) {
  check_multi_margin(self, target, p, weight);
  return empty_like_dtype(self.sizes(), self);
}

// sum over the wrong classes of max(0, margin - x[right] + x[wrong])^p, divided by their number.
void multi_margin_cost(const OpSignature& op, Cost& cost) {
  const Count rows = op.tensor(1).numel();
  const Count wrong = op.tensor(0).numel() - rows;
  const int64_t powers = op.floating(2) == 2 ? 1 : 0, weights = op.has_tensor(4) ? 1 : 0;
  cost.add({.add = 3, .multiply = powers + weights, .compare = 1}, wrong);
  cost.add({.division = 1}, rows);
  add_sums(cost, 1, rows, op.integer(5));
}

// A difference and a comparison for each wrong class, whose gradient the right one gets negated;
// the factor of the mean, the gradient from above.
void multi_margin_gradient_cost(const OpSignature& op, Cost& cost) {
  const Count rows = op.tensor(2).numel();
  const Count wrong = op.output().numel() - rows;
  const int64_t powers = op.floating(3) == 2 ? 2 : 0, weights = op.has_tensor(5) ? 1 : 0;
  cost.add({.add = 3, .multiply = powers + weights, .compare = 1}, wrong);
  cost.add({.multiply = 2}, op.output().numel());
}

// Of sequences that nobody aligned ----------------------------------------------------------------

int64_t longest(const at::Tensor& lengths) {
  const at::Tensor known = lengths.to(at::kLong).contiguous();
  const auto* length = known.const_data_ptr<int64_t>();
  return known.numel() == 0 ? 0 : *std::max_element(length, length + known.numel());
}

// The state's size follows from the longest target, which is taken to fill its row if nobody knows.
Pair ctc_of_unknown_lengths(const at::Tensor& log_probs, const at::Tensor& targets,
                            const at::Tensor& input_lengths, const at::Tensor& target_lengths,
                            int64_t /*blank*/, bool /*zero_infinity*/) {
  const int64_t batch = log_probs.dim() == 3 ? log_probs.size(1) : 1;
  const int64_t steps = log_probs.size(0);
  TORCH_CHECK(input_lengths.numel() == batch, "input_lengths must be of size batch_size");
  int64_t labels =
      targets.dim() == 2 ? targets.size(1) : targets.numel() / std::max<int64_t>(batch, 1);
  if (target_lengths.is_cpu()) labels = longest(target_lengths);
  return {empty_like_dtype({batch}, log_probs),
          empty_like_dtype({batch, steps, 2 * labels + 1}, log_probs)};
}

at::Tensor ctc_gradient(const at::Tensor& /*grad*/, const at::Tensor& log_probs,
                        const at::Tensor& /*targets*/, at::IntArrayRef /*input_lengths*/,
                        at::IntArrayRef /*target_lengths*/,
                        const at::Tensor& /*neg_log_likelihood*/, const at::Tensor& /*log_alpha*/,
                        int64_t /*blank*/, bool /*zero_infinity*/) {
  return empty_like_dtype(log_probs.sizes(), log_probs);
}

at::Tensor ctc_gradient_of_unknown_lengths(const at::Tensor& grad, const at::Tensor& log_probs,
                                           const at::Tensor& targets,
                                           const at::Tensor& /*input_lengths*/,
                                           const at::Tensor& /*target_lengths*/,
                                           const at::Tensor& loss, const at::Tensor& log_alpha,
                                           int64_t blank, bool zero_infinity) {
  return ctc_gradient(grad, log_probs, targets, {}, {}, loss, log_alpha, blank, zero_infinity);
}

// Every step of every sequence has a state for each target label, and for the blanks around them.
Count ctc_states(const std::vector<int64_t>& steps, const std::vector<int64_t>& labels) {
  Count states;
  for (size_t i = 0; i < std::min(steps.size(), labels.size()); ++i) {
    states += steps[i] * (2 * Count(labels[i]) + 1);
  }
  return states;
}

// alpha = m + log(e^(a - m) + e^(b - m) + e^(c - m)) + log_prob, with m the largest of a, b, c.
constexpr FlopMix kCtcState = {.add = 7, .exp = 4, .compare = 2};

void ctc_cost(const OpSignature& op, Cost& cost) {
  cost.add(kCtcState, ctc_states(op.integers(2), op.integers(3)));
}

// Lengths that nobody knows are taken as full.
Count ctc_states(const TensorSpec& steps, const TensorSpec& labels, const TensorSpec& alpha) {
  const bool known = !steps.values.empty() && !labels.values.empty();
  return known ? ctc_states(steps.values, labels.values) : alpha.numel();
}

void ctc_of_unknown_lengths_cost(const OpSignature& op, Cost& cost) {
  cost.add(kCtcState, ctc_states(op.tensor(2), op.tensor(3), op.output(1)));
}

// The same backwards in time; each state's alpha + beta is added to its class in logarithms; and
// (e^log_prob - e^(collected + loss - log_prob)) * grad for each class and step.
void add_ctc_gradient(const OpSignature& op, const Count& states, Cost& cost) {
  cost.add(kCtcState, states);
  cost.add({.add = 3, .exp = 2, .compare = 2}, states);
  cost.add({.add = 3, .multiply = 1, .exp = 2}, op.output().numel());
  cost.temporary_bytes = op.tensor(6).numel() * op.tensor(6).element_size();
}

void ctc_gradient_cost(const OpSignature& op, Cost& cost) {
  add_ctc_gradient(op, ctc_states(op.integers(3), op.integers(4)), cost);
}

void ctc_gradient_of_unknown_lengths_cost(const OpSignature& op, Cost& cost) {
  add_ctc_gradient(op, ctc_states(op.tensor(3), op.tensor(4), op.tensor(6)), cost);
}

const Rule kLossTable[] = {
    // (x - y)^2
    {"aten::mse_loss(Tensor self, Tensor target, int reduction=1) -> Tensor",
     boxed<&promoting<&at::meta::mse_loss>>,
     elementwise_loss<2>,
     {.add = 1, .multiply = 1}},
    // The longer of two branches: 0.5 d^2 / beta, where |d| is less than that.
    {"aten::smooth_l1_loss(Tensor self, Tensor target, int reduction=1, float beta=1.) -> Tensor",
     boxed<&promoting<&at::meta::smooth_l1_loss, double>>,
     elementwise_loss<2>,
     {.add = 2, .multiply = 2, .division = 1, .compare = 1}},
    {"aten::huber_loss(Tensor self, Tensor target, int reduction=1, float delta=1.) -> Tensor",
     boxed<for_floats<&huber>>,
     elementwise_loss<2>,
     {.add = 2, .multiply = 2, .compare = 1}},
    // log1p(exp(-y x))
    {"aten::soft_margin_loss(Tensor self, Tensor target, int reduction=1) -> Tensor",
     boxed<for_floats<&soft_margin>>,
     elementwise_loss<2>,
     {.add = 1, .multiply = 1, .exp = 2}},
    // (y - 1) max(log1p(-x), -100) - y max(log(x), -100)
    {"aten::binary_cross_entropy(Tensor self, Tensor target, Tensor? weight=None, int reduction=1) "
     "-> Tensor",
     boxed<for_floats<&cross_entropy_of_probabilities>>,
     elementwise_loss<3, 2>,
     {.add = 3, .multiply = 2, .exp = 2, .compare = 2}},
    // (1 - y) x - (min(x, 0) - log1p(exp(-|x|)))
    {"aten::binary_cross_entropy_with_logits(Tensor self, Tensor target, Tensor? weight=None, "
     "Tensor? pos_weight=None, int reduction=1) -> Tensor",
     boxed<for_floats<&cross_entropy_of_logits>>,
     cross_entropy_of_logits_cost,
     {.add = 5, .multiply = 1, .exp = 2, .compare = 1}},
    {"aten::nll_loss_forward(Tensor self, Tensor target, Tensor? weight, int reduction, SymInt "
     "ignore_index) -> (Tensor output, Tensor total_weight)",
     boxed<for_floats<&at::meta::nll_loss_forward>>, nll_cost},
    {"aten::nll_loss2d_forward(Tensor self, Tensor target, Tensor? weight, int reduction, SymInt "
     "ignore_index) -> (Tensor output, Tensor total_weight)",
     boxed<&nll2d>, nll_cost},
    {"aten::multi_margin_loss(Tensor self, Tensor target, Scalar p=1, Scalar margin=1, Tensor? "
     "weight=None, int reduction=1) -> Tensor",
     boxed<&multi_margin>, multi_margin_cost},
    {"aten::_ctc_loss(Tensor log_probs, Tensor targets, int[] input_lengths, int[] target_lengths, "
     "int blank=0, bool zero_infinity=False) -> (Tensor, Tensor)",
     boxed<for_floats<&at::meta::_ctc_loss>>, ctc_cost},
    {"aten::_ctc_loss.Tensor(Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor "
     "target_lengths, int blank=0, bool zero_infinity=False) -> (Tensor, Tensor)",
     boxed<for_floats<&ctc_of_unknown_lengths>>,
     ctc_of_unknown_lengths_cost,
     {},
     kKnownIntegers | kCostsByValue},
    // Gradients: a factor, the difference, the gradient from above.
    {"aten::mse_loss_backward(Tensor grad_output, Tensor self, Tensor target, int reduction) -> "
     "Tensor",
     boxed<&gradient>,
     elementwise_gradient<>,
     {.add = 1, .multiply = 2}},
    {"aten::smooth_l1_loss_backward(Tensor grad_output, Tensor self, Tensor target, int reduction, "
     "float beta) -> Tensor",
     boxed<&gradient_with_bound>,
     elementwise_gradient<>,
     {.add = 1, .multiply = 2, .division = 1, .compare = 2}},
    {"aten::huber_loss_backward(Tensor grad_output, Tensor self, Tensor target, int reduction, "
     "float delta) -> Tensor",
     boxed<&gradient_with_bound>,
     elementwise_gradient<>,
     {.add = 1, .multiply = 2, .compare = 2}},
    // -y z / (1 + z) with z = exp(-y x)
    {"aten::soft_margin_loss_backward(Tensor grad_output, Tensor self, Tensor target, int "
     "reduction) -> Tensor",
     boxed<&gradient_like_target>,
     elementwise_gradient<>,
     {.add = 2, .multiply = 4, .division = 1, .exp = 1}},
    // (x - y) / max((1 - x) x, epsilon)
    {"aten::binary_cross_entropy_backward(Tensor grad_output, Tensor self, Tensor target, Tensor? "
     "weight=None, int reduction=1) -> Tensor",
     boxed<&gradient_of_probabilities>,
     elementwise_gradient<3>,
     {.add = 2, .multiply = 2, .division = 1, .compare = 1}},
    {"aten::nll_loss_backward(Tensor grad_output, Tensor self, Tensor target, Tensor? weight, int "
     "reduction, SymInt ignore_index, Tensor total_weight) -> Tensor",
     boxed<&at::meta::nll_loss_backward>, nll_gradient_cost},
    {"aten::nll_loss2d_backward(Tensor grad_output, Tensor self, Tensor target, Tensor? weight, "
     "int reduction, SymInt ignore_index, Tensor total_weight) -> Tensor",
     boxed<&nll2d_gradient>, nll_gradient_cost},
    {"aten::multi_margin_loss_backward(Tensor grad_output, Tensor self, Tensor target, Scalar p, "
     "Scalar margin, Tensor? weight=None, int reduction=1) -> Tensor",
     boxed<&multi_margin_gradient>, multi_margin_gradient_cost},
    {"aten::_ctc_loss_backward(Tensor grad, Tensor log_probs, Tensor targets, int[] input_lengths, "
     "int[] target_lengths, Tensor neg_log_likelihood, Tensor log_alpha, int blank, bool "
     "zero_infinity=False) -> Tensor",
     boxed<&ctc_gradient>, ctc_gradient_cost},
    {"aten::_ctc_loss_backward.Tensor(Tensor grad, Tensor log_probs, Tensor targets, Tensor "
     "input_lengths, Tensor target_lengths, Tensor neg_log_likelihood, Tensor log_alpha, int "
     "blank, bool zero_infinity=False) -> Tensor",
     boxed<&ctc_gradient_of_unknown_lengths>,
     ctc_gradient_of_unknown_lengths_cost,
     {},
     kKnownIntegers | kCostsByValue},
};

}  // namespace

const RuleFamily kLossRules("loss", kLossTable, OpClass::reduction, kNothingSpecial);

}  // namespace nnprof

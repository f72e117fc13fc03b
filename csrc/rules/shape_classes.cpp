#include "rules/shape_classes.h"

#include <algorithm>

namespace nnprof {
namespace {

bool any_floating(const std::vector<TensorSpec>& tensors) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [](const TensorSpec& t) { return t.is_floating() || t.is_complex(); });
}

bool any_complex(const OpSignature& op) {
  const auto complex = [](const TensorSpec& t) { return t.is_complex(); };
  return std::any_of(op.outputs.begin(), op.outputs.end(), complex) ||
         std::any_of(op.arguments.begin(), op.arguments.end(), [&](const Argument& a) {
           return std::any_of(a.tensors.begin(), a.tensors.end(), complex);
         });
}

int64_t operations(const FlopMix& mix) {
  return mix.add + mix.multiply + mix.division + mix.sqrt + mix.exp + mix.tanh + mix.erf +
         mix.trigonometric + mix.special + mix.compare;
}

FlopMix complex_mix(const FlopMix& mix) {
  return {.add = 2 * mix.add + 2 * mix.multiply,
          .multiply = 4 * mix.multiply,
          .division = 2 * mix.division,
          .sqrt = 2 * mix.sqrt,
          .exp = 2 * mix.exp,
          .tanh = 2 * mix.tanh,
          .erf = 2 * mix.erf,
          .trigonometric = 2 * mix.trigonometric,
          .special = 2 * mix.special,
          .compare = 2 * mix.compare};
}

}  // namespace

bool computes_in_floating_point(const OpSignature& op) {
  return any_floating(op.outputs) ||
         std::any_of(op.arguments.begin(), op.arguments.end(),
                     [](const Argument& a) { return any_floating(a.tensors); });
}

void add_elementwise(const OpSignature& op, Cost& cost, const FlopMix& mix, Count elements) {
  if (!computes_in_floating_point(op)) {
    cost[FlopKind::int_ops] += operations(mix) * elements;
    return;
  }
  cost.add(any_complex(op) ? complex_mix(mix) : mix, elements);
}

void pointwise(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, op.rule->mix, op.output().numel());
}

void per_input_element(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, op.rule->mix, op.tensor(0).numel());
}

void add_copy(Cost& cost, Count bytes) {
  cost.bytes_read += bytes;
  cost.bytes_written += bytes;
  cost.temporary_bytes += bytes;
}

void read_at_most(const OpSignature& op, Cost& cost, Count elements) {
  const TensorSpec& input = op.tensor(0);
  const Count skipped = input.distinct_bytes() - elements * input.element_size();
  if (skipped > 0) cost.bytes_read -= skipped;
}

Count broadcast_numel(const TensorSpec& a, const TensorSpec& b) {
  Count count = 1;
  for (int64_t d = 1; d <= std::max(a.dim(), b.dim()); ++d) {
    const Count left = d <= a.dim() ? a.size(-d) : 1;
    count *= left == 1 && d <= b.dim() ? b.size(-d) : left;
  }
  return count;
}

int64_t log2_ceil(Count n) {
  int64_t steps = 1;
  for (Count reached = 2; reached < n; reached *= 2) ++steps;
  return steps;
}

}  // namespace nnprof

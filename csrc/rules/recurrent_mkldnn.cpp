// oneDNN's LSTM layers, which PyTorch runs on the CPU: one direction of one layer a call.
#include <ATen/core/grad_mode.h>

#include <tuple>

#include "core/count.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/recurrent_cells.h"
#include "rules/rule.h"

namespace nnprof {
namespace {

using at::IntArrayRef;
using OptionalTensor = std::optional<at::Tensor>;

// Of a row of floats: whole cache lines, and one more where rows would fall on the same ones.
int64_t leading(int64_t columns) {
  const int64_t padded = round_up(columns, 16);
  return padded % 256 == 0 ? padded + 16 : padded;
}

int64_t pages(int64_t floats) {
  constexpr int64_t kPage = 4096;
  return round_up(floats * static_cast<int64_t>(sizeof(float)), kPage);
}

// What a layer keeps for its gradients, each on pages of its own: the gates; states, cells and
// their gradients, before and after each step; the cells' outputs. oneDNN's rnn_utils.cpp lays it
// out; the sizes were held against those that PyTorch's kernel returns.
int64_t workspace_bytes(int64_t steps, int64_t batch, int64_t inputs, int64_t hidden) {
  const int64_t rows = steps * batch;
  const int64_t state_rows = 2 * (steps + 1) * batch;
  return pages(rows * leading(4 * hidden)) +
         3 * pages(state_rows * leading(std::max(inputs, hidden))) +
         2 * pages(state_rows * hidden) + pages(rows * leading(hidden));
}

void check_layer(const at::Tensor& input, const at::Tensor& weight0, const at::Tensor& weight1,
                 int64_t hidden) {
  TORCH_CHECK(input.dim() == 3, "mkldnn_rnn_layer: input must have 3 dimensions, got ",
              input.dim());
  TORCH_CHECK(weight0.dim() == 2 && weight1.dim() == 2 && weight0.size(1) == input.size(2) &&
                  weight1.size(1) == hidden && weight0.size(0) == weight1.size(0),
              "mkldnn_rnn_layer: weights of ", weight0.sizes(), " and ", weight1.sizes(),
              " do not fit an input of ", input.sizes(), " and ", hidden, " hidden elements");
}

// Steps come first, whatever `batch_first` says: the caller has transposed.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> layer(
    const at::Tensor& input, const at::Tensor& weight0, const at::Tensor& weight1,
    const at::Tensor& /*weight2*/, const at::Tensor& /*weight3*/, const at::Tensor& hx,
    const at::Tensor& cx, bool /*reverse*/, IntArrayRef /*batch_sizes*/, int64_t /*mode*/,
    int64_t hidden_size, int64_t /*num_layers*/, bool /*has_biases*/, bool /*bidirectional*/,
    bool /*batch_first*/, bool /*train*/) {
  check_layer(input, weight0, weight1, hidden_size);
  const int64_t steps = input.size(0), batch = input.size(1);
  at::Tensor kept;
  if (at::GradMode::is_enabled()) {
    kept = empty_of({workspace_bytes(steps, batch, input.size(2), hidden_size)}, at::kByte);
  }
  return {empty_like_dtype({steps, batch, hidden_size}, input), empty_like_dtype(hx.sizes(), hx),
          empty_like_dtype(cx.sizes(), cx), kept};
}

using Gradients =
    std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

Gradients layer_backward(const at::Tensor& input, const at::Tensor& weight1,
                         const at::Tensor& weight2, const at::Tensor& weight3,
                         const at::Tensor& /*weight4*/, const at::Tensor& hx, const at::Tensor& cx,
                         const at::Tensor& /*output*/, const at::Tensor& /*hy*/,
                         const at::Tensor& /*cy*/, const OptionalTensor& /*grad_output*/,
                         const OptionalTensor& /*grad_hy*/, const OptionalTensor& /*grad_cy*/,
                         bool /*reverse*/, int64_t /*mode*/, int64_t hidden_size,
                         int64_t /*num_layers*/, bool /*has_biases*/, bool /*train*/,
                         bool /*bidirectional*/, IntArrayRef /*batch_sizes*/, bool /*batch_first*/,
                         const at::Tensor& /*workspace*/) {
  check_layer(input, weight1, weight2, hidden_size);
  return {empty_like_dtype(input.sizes(), input),
          empty_like_dtype(weight1.sizes(), weight1),
          empty_like_dtype(weight2.sizes(), weight2),
          empty_like_dtype(weight3.sizes(), weight3),
          empty_like_dtype(weight3.sizes(), weight3),
          empty_like_dtype(hx.sizes(), hx),
          empty_like_dtype(cx.sizes(), cx)};
}

Count rows_of(const OpSignature& op) { return op.tensor(0).size(0) * op.tensor(0).size(1); }

Count products_of(const OpSignature& op) {
  return rows_of(op) * (op.tensor(1).numel() + op.tensor(2).numel());
}

void layer_cost(const OpSignature& op, Cost& cost) {
  const Count gates = op.tensor(1).size(0);
  cost.add_macs(products_of(op));
  cost.add({.add = 1}, gates + rows_of(op) * gates);  // both biases added, then to each row
  cost.add(kLstm.mix, rows_of(op) * op.integer(10));
}

// Each product has two gradients of its size; the cells' slopes; the biases' sum over the rows.
void layer_backward_cost(const OpSignature& op, Cost& cost) {
  const Count gates = op.tensor(1).size(0);
  cost.add_macs(2 * products_of(op));
  cost.add({.add = 1}, rows_of(op) * gates);
  cost.add(kLstmBackward, rows_of(op) * op.integer(15));
}

const Rule kRecurrentMkldnnTable[] = {
    {"aten::mkldnn_rnn_layer(Tensor input, Tensor weight0, Tensor weight1, Tensor weight2, Tensor "
     "weight3, Tensor hx_, Tensor cx_, bool reverse, int[] batch_sizes, int mode, int hidden_size, "
     "int num_layers, bool has_biases, bool bidirectional, bool batch_first, bool train) -> "
     "(Tensor, Tensor, Tensor, Tensor)",
     boxed<&layer>,
     layer_cost,
     {},
     kNoOut},
    {"aten::mkldnn_rnn_layer_backward(Tensor input, Tensor weight1, Tensor weight2, Tensor "
     "weight3, Tensor weight4, Tensor hx_, Tensor cx_tmp, Tensor output, Tensor hy_, Tensor cy_, "
     "Tensor? grad_output, Tensor? grad_hy, Tensor? grad_cy, bool reverse, int mode, int "
     "hidden_size, int num_layers, bool has_biases, bool train, bool bidirectional, int[] "
     "batch_sizes, bool batch_first, Tensor workspace) -> (Tensor, Tensor, Tensor, Tensor, Tensor, "
     "Tensor, Tensor)",
     boxed<&layer_backward>, layer_backward_cost},
};

}  // namespace

const RuleFamily kRecurrentMkldnnRules("recurrent", kRecurrentMkldnnTable, OpClass::recurrent,
                                       kNothingSpecial);

}  // namespace nnprof

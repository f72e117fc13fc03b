// cuDNN's recurrent layers, forwards and backwards, and the gradients of CUDA's fused cells.
#include <array>
#include <tuple>

#include "rules/families.h"
#include "rules/gradients.h"
#include "rules/outputs.h"
#include "rules/recurrent_cells.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using at::IntArrayRef;
using OptionalTensor = std::optional<at::Tensor>;

// Layers ------------------------------------------------------------------------------------------

struct Kind {
  const CellKind& cell;
  FlopMix backward;
};

// By cuDNN's numbers.
Kind kind_of(int64_t mode) {
  switch (mode) {
    case 0:
      return {kRelu, kReluBackward};
    case 1:
      return {kTanh, kTanhBackward};
    case 2:
      return {kLstm, kLstmBackward};
    case 3:
      return {kGru, kGruBackward};
    default:
      TORCH_CHECK(false, "Unrecognized cuDNN RNN mode ", mode);
  }
}

struct Layers {
  int64_t hidden, projected, count;
  bool batch_first, bidirectional;

  int64_t states() const { return count * (bidirectional ? 2 : 1); }
  int64_t output() const { return projected != 0 ? projected : hidden; }
  int64_t features() const { return output() * (bidirectional ? 2 : 1); }
};

// Kernels write step by step; what has the batch first is a view of that.
at::Tensor empty_steps(const at::Tensor& input, int64_t features, bool packed, bool batch_first) {
  if (packed) return empty_like_dtype({input.size(0), features}, input);
  if (!batch_first) return empty_like_dtype({input.size(0), input.size(1), features}, input);
  const int64_t batch = input.size(0), steps = input.size(1);
  return empty_strided_of({batch, steps, features}, {features, batch * features, 1},
                          input.scalar_type());
}

void check_layers(const at::Tensor& input, at::TensorList weight, int64_t stride,
                  const at::Tensor& hx, const OptionalTensor& cx, int64_t mode,
                  const Layers& layers, bool packed) {
  kind_of(mode);
  TORCH_CHECK(input.dim() == (packed ? 2 : 3), "cuDNN RNN: input must have ", packed ? 2 : 3,
              " dimensions, got ", input.dim());
  TORCH_CHECK(stride > 0 && static_cast<int64_t>(weight.size()) == stride * layers.states(),
              "cuDNN RNN: got ", weight.size(), " weights for ", layers.states(),
              " layers and directions of ", stride, " each");
  TORCH_CHECK(hx.dim() == 3 && hx.size(0) == layers.states() && hx.size(2) == layers.output(),
              "Expected hidden size of ", layers.states(), " layers and directions, got ",
              hx.sizes());
  TORCH_CHECK(value_of(cx).defined() == (mode == 2), "rnn: illegal defined cx for non-LSTM RNN");
  TORCH_CHECK(
      input.scalar_type() == hx.scalar_type() && input.scalar_type() == weight[0].scalar_type(),
      "rnn: hx dtype ", hx.scalar_type(), " and weight dtype ", weight[0].scalar_type(),
      " must be that of the input, ", input.scalar_type());
}

// Weights that do not lie in one piece are copied to one.
at::Tensor flat_buffer(at::TensorList weight) {
  int64_t elements = 0;
  for (const at::Tensor& one : weight) elements += one.numel();
  return empty_like_dtype({elements}, weight[0]);
}

using Outputs = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

// output, hy, cy, what is reserved for the gradients (nobody but cuDNN knows how much), weights.
Outputs cudnn_rnn(const at::Tensor& input, at::TensorList weight, int64_t weight_stride0,
                  const OptionalTensor& weight_buf, const at::Tensor& hx, const OptionalTensor& cx,
                  int64_t mode, int64_t hidden_size, int64_t proj_size, int64_t num_layers,
                  bool batch_first, double /*dropout*/, bool /*train*/, bool bidirectional,
                  IntArrayRef batch_sizes, const OptionalTensor& /*dropout_state*/) {
  const Layers layers = {hidden_size, proj_size, num_layers, batch_first, bidirectional};
  const bool packed = !batch_sizes.empty();
  check_layers(input, weight, weight_stride0, hx, cx, mode, layers, packed);
  return {
      empty_steps(input, layers.features(), packed, batch_first), empty_like_dtype(hx.sizes(), hx),
      value_of(cx).defined() ? empty_like_dtype(cx->sizes(), *cx) : empty_of({0}, at::kFloat),
      empty_of({0}, at::kByte), value_of(weight_buf).defined() ? *weight_buf : flat_buffer(weight)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, std::vector<at::Tensor>> cudnn_rnn_backward(
    const at::Tensor& input, at::TensorList weight, int64_t weight_stride0,
    const at::Tensor& /*weight_buf*/, const at::Tensor& hx, const OptionalTensor& cx,
    const at::Tensor& output, const OptionalTensor& grad_output, const OptionalTensor& grad_hy,
    const OptionalTensor& grad_cy, int64_t mode, int64_t hidden_size, int64_t proj_size,
    int64_t num_layers, bool batch_first, double /*dropout*/, bool train, bool bidirectional,
    IntArrayRef batch_sizes, const OptionalTensor& /*dropout_state*/, const at::Tensor& /*reserve*/,
    std::array<bool, 4> asked_for) {
  const Layers layers = {hidden_size, proj_size, num_layers, batch_first, bidirectional};
  const bool packed = !batch_sizes.empty();
  check_layers(input, weight, weight_stride0, hx, cx, mode, layers, packed);
  TORCH_CHECK(train, "cudnn RNN backward can only be called in training mode");
  const auto check_like = [](const char* name, const OptionalTensor& gradient, IntArrayRef sizes) {
    TORCH_CHECK(!value_of(gradient).defined() || gradient->sizes() == sizes, "Expected ", name,
                " of size ", sizes, ", got ",
                value_of(gradient).defined() ? gradient->sizes() : sizes);
  };
  check_like("grad_output", grad_output, output.sizes());
  check_like("grad_hy", grad_hy, hx.sizes());
  if (value_of(cx).defined()) check_like("grad_cy", grad_cy, cx->sizes());
  std::vector<at::Tensor> of_weights;
  if (asked_for[3]) {
    for (const at::Tensor& one : weight) of_weights.push_back(empty_like_dtype(one.sizes(), one));
  }
  return {empty_steps(input, input.size(-1), packed, batch_first), empty_like_dtype(hx.sizes(), hx),
          value_of(cx).defined() ? empty_like_dtype(cx->sizes(), *cx) : at::Tensor(), of_weights};
}

// A row is one step of one sequence: each goes once through every weight.
struct Work {
  Count rows, products, biases, elements;
};

Work work_of(const OpSignature& op, size_t mode) {
  const TensorSpec& input = op.tensor(0);
  Work work{};
  work.rows = input.numel() / std::max<Count>(input.size(-1), 1);
  for (const TensorSpec& weight : op.tensors(1)) {
    (weight.dim() == 1 ? work.biases : work.products) += work.rows * weight.numel();
  }
  const int64_t directions = op.boolean(mode + 7) ? 2 : 1;
  work.elements = work.rows * op.integer(mode + 1) * op.integer(mode + 3) * directions;
  return work;
}

// Elements that dropout goes over: all layers' outputs but the last one's.
Count dropped(const OpSignature& op, size_t mode, const Work& work) {
  if (op.floating(mode + 5) <= 0 || !op.boolean(mode + 6)) return 0;
  const Count projected = op.integer(mode + 2);
  const Count output = projected != 0 ? projected : op.integer(mode + 1);
  return work.rows * output * (op.boolean(mode + 7) ? 2 : 1) * (op.integer(mode + 3) - 1);
}

void cudnn_rnn_cost(const OpSignature& op, Cost& cost) {
  constexpr size_t kMode = 6, kBuffer = 3;
  const Work work = work_of(op, kMode);
  cost.add_macs(work.products);
  cost.add({.add = 1}, work.biases);
  cost.add(kind_of(op.integer(kMode)).cell.mix, work.elements);
  cost.add({.multiply = 1, .compare = 1}, dropped(op, kMode, work));
  not_read(op, cost, kBuffer);  // the weights again, in one piece, which is handed through
  if (op.has_tensor(kBuffer)) cost.bytes_written -= op.outputs.back().distinct_bytes();
}

// Through every weight once more for the gradient of what goes in, and, if asked, for its own.
void cudnn_rnn_backward_cost(const OpSignature& op, Cost& cost) {
  constexpr size_t kMode = 10, kBuffer = 3, kMask = 21;
  const Work work = work_of(op, kMode);
  const bool of_weights = asked(op, kMask, 3);
  cost.add_macs(work.products * (of_weights ? 2 : 1));
  if (of_weights) cost.add({.add = 1}, work.biases);
  cost.add(kind_of(op.integer(kMode)).backward, work.elements);
  cost.add({.multiply = 1}, dropped(op, kMode, work));
  not_read(op, cost, kBuffer);
  if (!of_weights) not_read(op, cost, 0);
}

// Cells -------------------------------------------------------------------------------------------

using ThreeTensors = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

// Of the gates, of cx, and of a bias: nothing where no gradient comes.
ThreeTensors lstm_cell_backward(const OptionalTensor& grad_hy, const OptionalTensor& grad_cy,
                                const at::Tensor& cx, const at::Tensor& cy,
                                const at::Tensor& workspace, bool has_bias) {
  const at::Tensor& given = value_of(grad_hy).defined() ? *grad_hy : value_of(grad_cy);
  if (!given.defined()) return {};
  TORCH_CHECK(given.dim() == 2 && cx.sizes() == given.sizes() && cy.sizes() == given.sizes() &&
                  workspace.dim() == 2 && workspace.numel() == 4 * given.numel(),
              "_thnn_fused_lstm_cell_backward: a gradient of ", given.sizes(),
              " does not fit a state of ", cx.sizes(), " and gates of ", workspace.sizes());
  return {empty_like_dtype(workspace.sizes(), workspace), empty_like_dtype(cx.sizes(), cx),
          has_bias ? empty_like_dtype({workspace.size(1)}, workspace) : at::Tensor()};
}

// Of the gates by input and by state, of hx, and of two biases.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> gru_cell_backward(
    const at::Tensor& grad_hy, const at::Tensor& workspace, bool has_bias) {
  TORCH_CHECK(
      grad_hy.dim() == 2 && workspace.dim() == 2 && workspace.numel() == 5 * grad_hy.numel(),
      "_thnn_fused_gru_cell_backward: a gradient of ", grad_hy.sizes(),
      " does not fit a workspace of ", workspace.sizes());
  const int64_t gates = 3 * grad_hy.size(1);
  const auto made = [&](IntArrayRef sizes) { return empty_like_dtype(sizes, workspace); };
  return {made({workspace.size(0), gates}), made({workspace.size(0), gates}),
          empty_like_dtype(grad_hy.sizes(), grad_hy), has_bias ? made({gates}) : at::Tensor(),
          has_bias ? made({gates}) : at::Tensor()};
}

void lstm_cell_backward_cost(const OpSignature& op, Cost& cost) {
  if (!op.output().defined) return;
  cost.add(kLstmBackward, op.tensor(2).numel());
  if (op.boolean(5)) cost.add({.add = 1}, op.output().numel());
}

void gru_cell_backward_cost(const OpSignature& op, Cost& cost) {
  cost.add(kGruBackward, op.tensor(0).numel());
  if (op.boolean(2)) cost.add({.add = 1}, op.output(0).numel() + op.output(1).numel());
}

const Rule kRecurrentKernelTable[] = {
    {"aten::_cudnn_rnn(Tensor input, Tensor[] weight, int weight_stride0, Tensor? weight_buf, "
     "Tensor hx, Tensor? cx, int mode, SymInt hidden_size, SymInt proj_size, int num_layers, bool "
     "batch_first, float dropout, bool train, bool bidirectional, SymInt[] batch_sizes, Tensor? "
     "dropout_state) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
     boxed<&cudnn_rnn>,
     cudnn_rnn_cost,
     {},
     kRandom | kReturnsInput},
    {"aten::_cudnn_rnn_backward(Tensor input, Tensor[] weight, int weight_stride0, Tensor "
     "weight_buf, Tensor hx, Tensor? cx, Tensor output, Tensor? grad_output, Tensor? grad_hy, "
     "Tensor? grad_cy, int mode, SymInt hidden_size, SymInt proj_size, int num_layers, bool "
     "batch_first, float dropout, bool train, bool bidirectional, SymInt[] batch_sizes, Tensor? "
     "dropout_state, Tensor reserve, bool[4] output_mask) -> (Tensor, Tensor, Tensor, Tensor[])",
     boxed<&cudnn_rnn_backward>, cudnn_rnn_backward_cost},
    {"aten::_thnn_fused_gru_cell_backward(Tensor grad_hy, Tensor workspace, bool has_bias) -> "
     "(Tensor, Tensor, Tensor, Tensor, Tensor)",
     boxed<&gru_cell_backward>, gru_cell_backward_cost},
    {"aten::_thnn_fused_lstm_cell_backward_impl(Tensor? grad_hy, Tensor? grad_cy, Tensor cx, "
     "Tensor cy, Tensor workspace, bool has_bias) -> (Tensor, Tensor, Tensor)",
     boxed<&lstm_cell_backward>, lstm_cell_backward_cost},
};

}  // namespace

const RuleFamily kRecurrentKernelRules("recurrent", kRecurrentKernelTable, OpClass::recurrent,
                                       kNothingSpecial);

}  // namespace nnprof

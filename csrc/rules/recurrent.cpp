// Recurrent networks: whole layers, packed or not, and their cells.
//
// An RNN, LSTM or GRU is one operator here, as a model calls it, whatever a backend makes of it.
#include <ATen/EmptyTensor.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <vector>

#include "rules/families.h"
#include "rules/known_integers.h"
#include "rules/outputs.h"
#include "rules/recurrent_cells.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

// Layers ------------------------------------------------------------------------------------------

struct Sizes {
  int64_t directions;
  int64_t hidden;
  int64_t output;  // of one direction: the hidden size, or what it is projected to
};

// Weights come layer by layer, direction by direction: input, state, two biases, projection.
Sizes check_weights(const CellKind& cell, int64_t features, at::TensorList params, bool has_biases,
                    bool projects, int64_t layers, bool bidirectional) {
  const int64_t directions = bidirectional ? 2 : 1;
  const int64_t each = (has_biases ? 4 : 2) + (projects ? 1 : 0);
  TORCH_CHECK(layers > 0 && static_cast<int64_t>(params.size()) == each * layers * directions,
              "got an incorrect number of RNN parameters: ", params.size(), " for ", layers,
              " layers of ", directions, " directions with ", each, " each");
  const int64_t hidden = params[1].size(0) / cell.gates;
  const int64_t output = params[1].size(1);
  for (int64_t i = 0; i < layers * directions; ++i) {
    const at::Tensor* weights = &params[static_cast<size_t>(i * each)];
    const int64_t inputs = i < directions ? features : output * directions;
    TORCH_CHECK(weights[0].sizes() == at::IntArrayRef({cell.gates * hidden, inputs}) &&
                    weights[1].sizes() == at::IntArrayRef({cell.gates * hidden, output}),
                "an RNN layer of ", inputs, " inputs and a state of ", output,
                " does not fit weights of ", weights[0].sizes(), " and ", weights[1].sizes());
  }
  return {directions, hidden, output};
}

void check_state(const at::Tensor& state, int64_t layers, int64_t batch, int64_t size) {
  TORCH_CHECK(state.sizes() == at::IntArrayRef({layers, batch, size}), "Expected hidden size (",
              layers, ", ", batch, ", ", size, "), got ", state.sizes());
}

void check_dtypes(const at::Tensor& input, const at::Tensor& state, at::TensorList params) {
  const auto dtype = input.scalar_type();
  TORCH_CHECK(state.scalar_type() == dtype && params[0].scalar_type() == dtype,
              "an RNN needs input, state and weights of one dtype, but got ", dtype, ", ",
              state.scalar_type(), " and ", params[0].scalar_type());
}

// (steps, batch, features), whatever comes first in the input.
struct Sequence {
  int64_t steps;
  int64_t batch;
  bool batch_first;
};

Sequence sequence_of(const at::Tensor& input, bool batch_first) {
  TORCH_CHECK(input.dim() == 3, "an RNN expects an input of 3 dimensions, got ", input.sizes());
  return {input.size(batch_first ? 1 : 0), input.size(batch_first ? 0 : 1), batch_first};
}

// Kernels write step by step; a result with the batch first is a view of that.
at::Tensor empty_sequence(const Sequence& sequence, int64_t features, c10::ScalarType dtype) {
  const auto [steps, batch, batch_first] = sequence;
  if (!batch_first) return empty_of({steps, batch, features}, dtype);
  return empty_strided_of({batch, steps, features}, {features, batch * features, 1}, dtype);
}

template <const CellKind& cell>
std::tuple<at::Tensor, at::Tensor> rnn(const at::Tensor& input, const at::Tensor& hx,
                                       at::TensorList params, bool has_biases, int64_t num_layers,
                                       double /*dropout*/, bool /*train*/, bool bidirectional,
                                       bool batch_first) {
  const Sequence sequence = sequence_of(input, batch_first);
  const Sizes sizes = check_weights(cell, input.size(2), params, has_biases, /*projects=*/false,
                                    num_layers, bidirectional);
  check_state(hx, num_layers * sizes.directions, sequence.batch, sizes.output);
  check_dtypes(input, hx, params);
  return {empty_sequence(sequence, sizes.directions * sizes.output, input.scalar_type()),
          empty_like_dtype(hx.sizes(), input)};
}

template <const CellKind& cell>
std::tuple<at::Tensor, at::Tensor> packed_rnn(const at::Tensor& data,
                                              const at::Tensor& /*batch_sizes*/,
                                              const at::Tensor& hx, at::TensorList params,
                                              bool has_biases, int64_t num_layers,
                                              double /*dropout*/, bool /*train*/,
                                              bool bidirectional) {
  TORCH_CHECK(data.dim() == 2, "a packed sequence has data of 2 dimensions, got ", data.sizes());
  const Sizes sizes = check_weights(cell, data.size(1), params, has_biases, /*projects=*/false,
                                    num_layers, bidirectional);
  check_state(hx, num_layers * sizes.directions, hx.size(1), sizes.output);
  check_dtypes(data, hx, params);
  return {empty_like_dtype({data.size(0), sizes.directions * sizes.output}, data),
          empty_like_dtype(hx.sizes(), data)};
}

using LstmOutputs = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

// A state whose two parts differ in size is projected.
Sizes check_lstm(const at::Tensor& input, at::TensorList hx, at::TensorList params, bool has_biases,
                 int64_t layers, bool bidirectional, std::optional<int64_t> batch) {
  TORCH_CHECK(hx.size() == 2, "lstm expects two hidden states");
  TORCH_CHECK(hx[0].dim() == 3 && hx[1].dim() == 3, "lstm expects hidden states of 3 dimensions");
  const bool projects = hx[0].size(2) != hx[1].size(2);
  const Sizes sizes =
      check_weights(kLstm, input.size(-1), params, has_biases, projects, layers, bidirectional);
  const int64_t states = layers * sizes.directions;
  check_state(hx[0], states, batch.value_or(hx[0].size(1)), sizes.output);
  check_state(hx[1], states, batch.value_or(hx[0].size(1)), sizes.hidden);
  check_dtypes(input, hx[0], params);
  return sizes;
}

LstmOutputs lstm(const at::Tensor& input, at::TensorList hx, at::TensorList params, bool has_biases,
                 int64_t num_layers, double /*dropout*/, bool /*train*/, bool bidirectional,
                 bool batch_first) {
  const Sequence sequence = sequence_of(input, batch_first);
  const Sizes sizes =
      check_lstm(input, hx, params, has_biases, num_layers, bidirectional, sequence.batch);
  return {empty_sequence(sequence, sizes.directions * sizes.output, input.scalar_type()),
          empty_like_dtype(hx[0].sizes(), input), empty_like_dtype(hx[1].sizes(), input)};
}

LstmOutputs packed_lstm(const at::Tensor& data, const at::Tensor& /*batch_sizes*/,
                        at::TensorList hx, at::TensorList params, bool has_biases,
                        int64_t num_layers, double /*dropout*/, bool /*train*/,
                        bool bidirectional) {
  TORCH_CHECK(data.dim() == 2, "a packed sequence has data of 2 dimensions, got ", data.sizes());
  const Sizes sizes = check_lstm(data, hx, params, has_biases, num_layers, bidirectional, {});
  return {empty_like_dtype({data.size(0), sizes.directions * sizes.output}, data),
          empty_like_dtype(hx[0].sizes(), data), empty_like_dtype(hx[1].sizes(), data)};
}

// A row is one step of one sequence, also when packed: each goes once through every weight,
// forwards and backwards. So the products are rows x weights, the sums rows x biases.
template <const CellKind& cell, bool packed>
void layers_cost(const OpSignature& op, Cost& cost) {
  constexpr size_t kParams = packed ? 3 : 2;
  const std::vector<TensorSpec>& params = op.tensors(kParams);
  const Count layers = op.integer(kParams + 2);
  const int64_t directions = op.boolean(kParams + 5) ? 2 : 1;
  const TensorSpec& output = op.output();
  const Count hidden = params[1].size(0) / cell.gates;
  const Count rows = packed ? output.size(0) : output.size(0) * output.size(1);
  for (const TensorSpec& weight : params) {
    if (weight.dim() == 2) cost.add_macs(rows * weight.numel());
    if (weight.dim() == 1) cost.add({.add = 1}, rows * weight.numel());
  }
  cost.add(cell.mix, rows * hidden * directions * layers);
  const bool drops = op.floating(kParams + 3) > 0 && op.boolean(kParams + 4);
  if (drops) cost.add({.multiply = 1, .compare = 1}, output.numel() * (layers - 1));
  // All gates of a layer's inputs are made at once; a layer's output is the next one's input.
  const Count between = layers > 1 ? output.numel() : 0;
  cost.temporary_bytes += (rows * cell.gates * hidden + between) * output.element_size();
}

// Packed sequences --------------------------------------------------------------------------------

void check_lengths(const int64_t* lengths, int64_t batch, int64_t steps) {
  TORCH_CHECK(lengths[batch - 1] > 0,
              "Length of all samples has to be greater than 0, but found an element in 'lengths' "
              "that is <= 0");
  TORCH_CHECK(std::is_sorted(lengths, lengths + batch, std::greater<>()),
              "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. "
              "You can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to "
              "sidestep this requirement if you do not need ONNX exportability.");
  TORCH_CHECK(lengths[0] <= steps, "a sequence of ", lengths[0],
              " steps is asked of an input that is padded to ", steps);
}

// The steps of all sequences, longest sequence first; and at each step, how many still go on. These
// counts are real, for they steer what comes after: recurrent layers, and the padding again.
std::tuple<at::Tensor, at::Tensor> packed_sequence(const at::Tensor& input,
                                                   const at::Tensor& lengths, bool batch_first) {
  TORCH_CHECK(input.numel() > 0, "Cannot pack empty tensors.");
  const int64_t steps = input.size(batch_first ? 1 : 0);
  const int64_t batch = input.size(batch_first ? 0 : 1);
  TORCH_CHECK(lengths.dim() == 1 && lengths.scalar_type() == at::kLong,
              "'lengths' argument should be a 1D CPU int64 tensor, but got ", lengths.dim(), "D ",
              lengths.scalar_type(), " tensor");
  TORCH_CHECK(lengths.size(0) == batch,
              "Expected `len(lengths)` to be equal to batch_size, but got ", lengths.size(0),
              " (batch_size=", batch, ")");
  std::vector<int64_t> each(static_cast<size_t>(batch), steps);
  if (lengths.is_meta()) {
    note_guess();
  } else {
    const at::Tensor known = lengths.contiguous();
    each.assign(known.const_data_ptr<int64_t>(), known.const_data_ptr<int64_t>() + batch);
    check_lengths(each.data(), batch, steps);
  }
  c10::DimVector sizes = {std::accumulate(each.begin(), each.end(), int64_t{0})};
  sizes.append(input.sizes().begin() + 2, input.sizes().end());
  at::Tensor batch_sizes(at::detail::empty_cpu({each[0]}, at::TensorOptions().dtype(at::kLong)));
  auto* going = batch_sizes.mutable_data_ptr<int64_t>();
  for (int64_t step = 0, left = batch; step < each[0]; ++step) {
    while (each[static_cast<size_t>(left - 1)] <= step) --left;
    going[step] = left;
  }
  return {empty_like_dtype(sizes, input), batch_sizes};
}

// A copy of the steps that are no padding.
void packed_sequence_cost(const OpSignature& op, Cost& cost) {
  cost.bytes_read = op.output().distinct_bytes() + op.tensor(1).distinct_bytes();
}

// Cells -------------------------------------------------------------------------------------------

void check_cell(const CellKind& cell, const at::Tensor& input, const at::Tensor& hx,
                const at::Tensor& w_ih, const at::Tensor& w_hh) {
  TORCH_CHECK(input.dim() == 2 && hx.dim() == 2,
              "an RNN cell expects input and hidden state of 2 "
              "dimensions, got ",
              input.sizes(), " and ", hx.sizes());
  TORCH_CHECK(input.size(1) == w_ih.size(1), "input has inconsistent input_size: got ",
              input.size(1), " expected ", w_ih.size(1));
  TORCH_CHECK(input.size(0) == hx.size(0), "Input batch size ", input.size(0),
              " doesn't match hidden batch size ", hx.size(0));
  TORCH_CHECK(hx.size(1) == w_hh.size(1), "hidden has inconsistent hidden_size: got ", hx.size(1),
              ", expected ", w_hh.size(1));
  TORCH_CHECK(w_ih.size(0) == cell.gates * hx.size(1) && w_hh.size(0) == w_ih.size(0),
              "an RNN cell with a state of ", hx.size(1), " does not fit weights of ", w_ih.sizes(),
              " and ", w_hh.sizes());
}

template <const CellKind& cell>
at::Tensor rnn_cell(const at::Tensor& input, const at::Tensor& hx, const at::Tensor& w_ih,
                    const at::Tensor& w_hh, const std::optional<at::Tensor>& /*b_ih*/,
                    const std::optional<at::Tensor>& /*b_hh*/) {
  check_cell(cell, input, hx, w_ih, w_hh);
  return empty_like_dtype(hx.sizes(), input);
}

// The one whose last operator reads the state itself, which gives it its layout.
at::Tensor gru_cell(const at::Tensor& input, const at::Tensor& hx, const at::Tensor& w_ih,
                    const at::Tensor& w_hh, const std::optional<at::Tensor>& /*b_ih*/,
                    const std::optional<at::Tensor>& /*b_hh*/) {
  check_cell(kGru, input, hx, w_ih, w_hh);
  return empty_preserving(hx);
}

std::tuple<at::Tensor, at::Tensor> lstm_cell(const at::Tensor& input, at::TensorList hx,
                                             const at::Tensor& w_ih, const at::Tensor& w_hh,
                                             const std::optional<at::Tensor>& /*b_ih*/,
                                             const std::optional<at::Tensor>& /*b_hh*/) {
  TORCH_CHECK(hx.size() == 2, "lstm_cell expects two hidden states");
  check_cell(kLstm, input, hx[0], w_ih, w_hh);
  return {empty_like_dtype(hx[0].sizes(), input), empty_like_dtype(hx[1].sizes(), input)};
}

template <const CellKind& cell>
void cell_cost(const OpSignature& op, Cost& cost) {
  const Count batch = op.output().size(0);
  cost.add_macs(batch * (op.tensor(2).numel() + op.tensor(3).numel()));
  for (size_t bias : {4, 5}) {
    if (op.has_tensor(bias)) cost.add({.add = 1}, batch * op.tensor(bias).numel());
  }
  cost.add(cell.mix, op.output().numel());
}

// What CUDA runs behind the two products of a cell: hy, cy and what backward needs.
void check_gates(const CellKind& cell, const at::Tensor& input_gates,
                 const at::Tensor& hidden_gates, const at::Tensor& state) {
  TORCH_CHECK(input_gates.dim() == 2 && input_gates.sizes() == hidden_gates.sizes() &&
                  input_gates.numel() == cell.gates * state.numel(),
              "gates of ", input_gates.sizes(), " and ", hidden_gates.sizes(),
              " do not fit a state of ", state.sizes());
}

LstmOutputs fused_lstm_cell(const at::Tensor& input_gates, const at::Tensor& hidden_gates,
                            const at::Tensor& cx, const std::optional<at::Tensor>& /*input_bias*/,
                            const std::optional<at::Tensor>& /*hidden_bias*/) {
  check_gates(kLstm, input_gates, hidden_gates, cx);
  return {empty_like_dtype(cx.sizes(), cx), empty_like_dtype(cx.sizes(), cx),
          empty_like_dtype(input_gates.sizes(), input_gates)};
}

std::tuple<at::Tensor, at::Tensor> fused_gru_cell(
    const at::Tensor& input_gates, const at::Tensor& hidden_gates, const at::Tensor& hx,
    const std::optional<at::Tensor>& /*input_bias*/,
    const std::optional<at::Tensor>& /*hidden_bias*/) {
  check_gates(kGru, input_gates, hidden_gates, hx);
  return {empty_like_dtype(hx.sizes(), hx), empty_like_dtype({hx.size(0), 5 * hx.size(1)}, hx)};
}

template <const CellKind& cell>
void fused_cell_cost(const OpSignature& op, Cost& cost) {
  for (size_t bias : {3, 4}) {
    if (op.has_tensor(bias)) cost.add({.add = 1}, op.tensor(0).numel());
  }
  cost.add(cell.mix, op.output().numel());
}

const Rule kRecurrentTable[] = {
    {"aten::_pack_padded_sequence(Tensor input, Tensor lengths, bool batch_first) -> (Tensor, "
     "Tensor)",
     boxed<&packed_sequence>,
     packed_sequence_cost,
     {},
     kKnownIntegers | kNoOut,
     "all sequences are taken to be of full length"},
    {"aten::_thnn_fused_gru_cell(Tensor input_gates, Tensor hidden_gates, Tensor hx, Tensor? "
     "input_bias=None, Tensor? hidden_bias=None) -> (Tensor, Tensor)",
     boxed<&fused_gru_cell>, fused_cell_cost<kGru>},
    {"aten::_thnn_fused_lstm_cell(Tensor input_gates, Tensor hidden_gates, Tensor cx, Tensor? "
     "input_bias=None, Tensor? hidden_bias=None) -> (Tensor, Tensor, Tensor)",
     boxed<&fused_lstm_cell>, fused_cell_cost<kLstm>},
    {"aten::gru.data(Tensor data, Tensor batch_sizes, Tensor hx, Tensor[] params, bool "
     "has_biases, int num_layers, float dropout, bool train, bool bidirectional) -> (Tensor, "
     "Tensor)",
     boxed<&packed_rnn<kGru>>,
     layers_cost<kGru, true>,
     {},
     kRandom},
    {"aten::gru.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int "
     "num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, "
     "Tensor)",
     boxed<&rnn<kGru>>,
     layers_cost<kGru, false>,
     {},
     kRandom},
    {"aten::gru_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
     "Tensor? b_hh=None) -> Tensor",
     boxed<&gru_cell>, cell_cost<kGru>},
    {"aten::lstm.data(Tensor data, Tensor batch_sizes, Tensor[] hx, Tensor[] params, bool "
     "has_biases, int num_layers, float dropout, bool train, bool bidirectional) -> (Tensor, "
     "Tensor, Tensor)",
     boxed<&packed_lstm>,
     layers_cost<kLstm, true>,
     {},
     kRandom},
    {"aten::lstm.input(Tensor input, Tensor[] hx, Tensor[] params, bool has_biases, int "
     "num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, "
     "Tensor, Tensor)",
     boxed<&lstm>,
     layers_cost<kLstm, false>,
     {},
     kRandom},
    {"aten::lstm_cell(Tensor input, Tensor[] hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
     "Tensor? b_hh=None) -> (Tensor, Tensor)",
     boxed<&lstm_cell>, cell_cost<kLstm>},
    {"aten::rnn_relu.data(Tensor data, Tensor batch_sizes, Tensor hx, Tensor[] params, bool "
     "has_biases, int num_layers, float dropout, bool train, bool bidirectional) -> (Tensor, "
     "Tensor)",
     boxed<&packed_rnn<kRelu>>,
     layers_cost<kRelu, true>,
     {},
     kRandom},
    {"aten::rnn_relu.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int "
     "num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, "
     "Tensor)",
     boxed<&rnn<kRelu>>,
     layers_cost<kRelu, false>,
     {},
     kRandom},
    {"aten::rnn_relu_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
     "Tensor? b_hh=None) -> Tensor",
     boxed<&rnn_cell<kRelu>>, cell_cost<kRelu>},
    {"aten::rnn_tanh.data(Tensor data, Tensor batch_sizes, Tensor hx, Tensor[] params, bool "
     "has_biases, int num_layers, float dropout, bool train, bool bidirectional) -> (Tensor, "
     "Tensor)",
     boxed<&packed_rnn<kTanh>>,
     layers_cost<kTanh, true>,
     {},
     kRandom},
    {"aten::rnn_tanh.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int "
     "num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, "
     "Tensor)",
     boxed<&rnn<kTanh>>,
     layers_cost<kTanh, false>,
     {},
     kRandom},
    {"aten::rnn_tanh_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
     "Tensor? b_hh=None) -> Tensor",
     boxed<&rnn_cell<kTanh>>, cell_cost<kTanh>},
};

}  // namespace

const RuleFamily kRecurrentRules("recurrent", kRecurrentTable, OpClass::recurrent, kNothingSpecial);

}  // namespace nnprof

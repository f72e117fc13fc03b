// Layers whose weights are packed into script objects: linear, convolutions, look-ups, recurrent.
//
// A rule gets the tensors that an object is made of, as a list (see dispatch/quantized_tensors.h):
// weight and bias of a linear layer; of a convolution its window as integers before these; of a
// recurrent cell two biases, then the weights of input and state. Products count as those of
// floats; activations that are quantized on the way, and sums that are scaled back, beside them.
#include <ATen/ops/sub_meta_dispatch.h>

#include <algorithm>

#include "rules/convolution_sizes.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/recurrent_cells.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using at::Tensor;
using at::TensorList;

// Linear ------------------------------------------------------------------------------------------

Tensor linear_of(const Tensor& x, TensorList packed, c10::ScalarType dtype) {
  TORCH_CHECK(!packed.empty() && packed[0].dim() == 2, "packed weights without a matrix");
  const Tensor& weight = packed[0];
  TORCH_CHECK(x.dim() >= 1 && x.size(-1) == weight.size(1), "The number of features of the input (",
              x.dim() == 0 ? 0 : x.size(-1), ") and of the packed weight (", weight.size(1),
              ") should be the same");
  c10::DimVector sizes(x.sizes());
  sizes.back() = weight.size(0);
  return empty_of(sizes, dtype);
}

void check_quantized(const Tensor& x) {
  TORCH_CHECK(c10::isQIntType(x.scalar_type()),
              "Could not run a quantized operator with an input of ", x.scalar_type(),
              ": it takes quantized tensors");
}

void check_floating(const Tensor& x) {
  TORCH_CHECK(x.scalar_type() == at::kFloat, "a dynamically quantized layer takes floats, got ",
              x.scalar_type());
}

Tensor packed_linear(const Tensor& x, TensorList packed, double, int64_t) {
  check_quantized(x);
  return linear_of(x, packed, x.scalar_type());
}

Tensor leaky_linear(const Tensor& x, TensorList packed, double, int64_t, double) {
  check_quantized(x);
  return linear_of(x, packed, x.scalar_type());
}

Tensor dynamic_linear(const Tensor& x, TensorList packed, bool) {
  check_floating(x);
  return linear_of(x, packed, at::kFloat);
}

Tensor half_linear(const Tensor& x, TensorList packed) {
  check_floating(x);
  return linear_of(x, packed, at::kFloat);
}

Tensor linear_to_float(const Tensor& x, double, int64_t, TensorList packed) {
  return linear_of(x, packed, at::kFloat);
}

// What a kernel does besides the products: x is quantized on the way (its extremes, then scaled,
// rounded, moved and clamped), each sum is scaled, the bias added, an activation applied.
struct Extras {
  bool dynamic = false;
  bool quantizes = false;  // by a scale that is given
  FlopMix activation = {};
};
constexpr Extras kPlain = {};
constexpr Extras kWithRelu = {.activation = {.compare = 1}};
constexpr Extras kDynamic = {.dynamic = true};
constexpr Extras kDynamicRelu = {.dynamic = true, .activation = {.compare = 1}};
constexpr Extras kQuantizing = {.quantizes = true};
constexpr Extras kQuantizingRelu = {.quantizes = true, .activation = {.compare = 1}};
constexpr Extras kWithTanh = {.activation = {.tanh = 1}};
constexpr Extras kWithLeaky = {.activation = {.multiply = 1, .compare = 1}};
constexpr Extras kWithSum = {.activation = {.add = 1}};
constexpr Extras kWithSumRelu = {.activation = {.add = 1, .compare = 1}};

void add_extras(const OpSignature& op, Cost& cost, const Extras& extras, bool bias) {
  const Count inputs = op.tensor(0).numel(), outputs = op.output().numel();
  if (extras.dynamic) cost.add({.add = 2, .multiply = 1, .compare = 4}, inputs);
  if (extras.quantizes) cost.add({.add = 2, .multiply = 1, .compare = 2}, inputs);
  cost.add({.multiply = 1}, outputs);
  if (bias) cost.add({.add = 1}, outputs);
  cost.add(extras.activation, outputs);
}

template <const Extras& extras, size_t packed = 1>
void linear_cost(const OpSignature& op, Cost& cost) {
  const auto& tensors = op.tensors(packed);
  cost.add_macs(op.output().numel() * tensors[0].size(1));
  add_extras(op, cost, extras, tensors.size() > 1);
}

// Weights of halves: nothing is scaled.
template <bool relu>
void half_linear_cost(const OpSignature& op, Cost& cost) {
  const auto& tensors = op.tensors(1);
  cost.add_macs(op.output().numel() * tensors[0].size(1));
  if (tensors.size() > 1) cost.add({.add = 1}, op.output().numel());
  if (relu) cost.add({.compare = 1}, op.output().numel());
}

// Convolutions ------------------------------------------------------------------------------------

// The window in a packed convolution's state: dimensions, then stride, padding, dilation and output
// padding of each, groups, and whether it is transposed.
Window window_in(const Tensor& numbers) {
  const auto* value = numbers.const_data_ptr<int64_t>();
  const auto dims = static_cast<size_t>(value[0]);
  TORCH_CHECK(numbers.numel() == static_cast<int64_t>(4 * dims + 3),
              "a packed convolution of a form that is not known");
  const auto part = [&](size_t i) {
    const int64_t* first = value + 1 + i * dims;
    return c10::DimVector(first, first + dims);
  };
  return {part(0), part(1), part(2), part(3), value[4 * dims + 2] != 0, value[4 * dims + 1]};
}

// A convolution of one dimension is packed as one of two, of height 1.
Tensor convolved(const Tensor& x, TensorList packed, c10::ScalarType dtype) {
  TORCH_CHECK(packed.size() >= 2 && !packed[0].is_meta(), "packed weights without a window");
  const Tensor& weight = packed[1];
  const Window window = window_in(packed[0]);
  const bool flat = x.dim() == 3 && weight.dim() == 4;
  Batched input = as_is(x);
  if (flat) {
    input.sizes.insert(input.sizes.begin() + 2, 1);
    input.strides.insert(input.strides.begin() + 2, input.sizes[3] * input.strides[2]);
  }
  check_shapes(input, weight.sizes(), std::nullopt, window);
  c10::DimVector sizes = convolved_sizes(input, weight.sizes(), window);
  c10::DimVector strides = channels_last_strides(sizes);
  if (flat) {
    sizes.erase(sizes.begin() + 2);
    strides.erase(strides.begin() + 2);
  }
  return empty_strided_of(sizes, strides, dtype);
}

Tensor convolution(const Tensor& x, TensorList packed, double, int64_t) {
  check_quantized(x);
  return convolved(x, packed, x.scalar_type());
}

Tensor convolution_with_window(const Tensor& x, TensorList packed, at::IntArrayRef, at::IntArrayRef,
                               at::IntArrayRef, int64_t, double, int64_t) {
  check_quantized(x);
  return convolved(x, packed, x.scalar_type());
}

// The sum is taken in the memory of what is added, or of its copy in the kernel's order.
Tensor convolution_and_sum(const Tensor& x, const Tensor& sum, TensorList packed, double, int64_t) {
  check_quantized(x);
  const Tensor output = convolved(x, packed, x.scalar_type());
  const bool in_place =
      sum.sizes() == output.sizes() && sum.is_contiguous(at::MemoryFormat::ChannelsLast);
  return in_place ? sum : output;
}

Tensor dynamic_convolution(const Tensor& x, TensorList packed, bool) {
  check_floating(x);
  return convolved(x, packed, at::kFloat);
}

// weight: (outputs, inputs / groups, *kernel); transposed: (inputs, outputs / groups, *kernel)
template <const Extras& extras, bool transposed = false, size_t packed = 1>
void convolution_cost(const OpSignature& op, Cost& cost) {
  const auto& tensors = op.tensors(packed);
  const TensorSpec& weight = tensors[1];
  const Count each = weight.numel() / std::max<Count>(weight.size(0), 1);
  cost.add_macs((transposed ? op.tensor(0) : op.output()).numel() * each);
  add_extras(op, cost, extras, tensors.size() > 2);
  cost.bytes_read -= tensors[0].distinct_bytes();  // the window is no data
}

// Look-ups ----------------------------------------------------------------------------------------

// Rows are kept in bytes with their scale and offset, and looked up in floats.
Tensor packed_embedding(TensorList packed, const Tensor& indices, bool) {
  TORCH_CHECK(!packed.empty() && packed[0].dim() == 2, "packed weights without a table");
  TORCH_CHECK(indices.is_contiguous(), "Expect weight, indices, and offsets to be contiguous.");
  c10::DimVector sizes(indices.sizes());
  sizes.push_back(packed[0].size(1));
  return empty_of(sizes, at::kFloat);
}

Tensor packed_bag(TensorList packed, const Tensor& indices, const std::optional<Tensor>& offsets,
                  bool, int64_t, bool, const std::optional<Tensor>&, const std::optional<Tensor>&,
                  bool include_last_offset) {
  TORCH_CHECK(!packed.empty() && packed[0].dim() == 2, "packed weights without a table");
  TORCH_CHECK(indices.is_contiguous() && (!offsets || offsets->is_contiguous()),
              "Expect weight, indices, and offsets to be contiguous.");
  const bool matrix = indices.dim() == 2;
  TORCH_CHECK(matrix || (offsets && offsets->defined()),
              "embedding_bag: indices of one dimension need offsets");
  const int64_t bags = matrix ? indices.size(0) : offsets->size(0) - (include_last_offset ? 1 : 0);
  return empty_of({bags, packed[0].size(1)}, at::kFloat);
}

// (q * scale + offset) an element that is looked up; of a table only these rows are read.
void look_up(const OpSignature& op, Cost& cost, int64_t extra_adds) {
  const TensorSpec& table = op.tensors(0)[0];
  const Count looked_up = op.tensor(1).numel() * table.size(1);
  cost.add({.add = 1 + extra_adds, .multiply = 1}, looked_up);
  const bool nibbles = table.dtype == c10::ScalarType::QUInt4x2;
  const Count whole = table.distinct_bytes();
  const Count rows = std::min(op.tensor(1).numel(), table.size(0));
  cost.bytes_read += rows * (table.size(1) / (nibbles ? 2 : 1)) - whole;
}

void embedding_cost(const OpSignature& op, Cost& cost) { look_up(op, cost, 0); }
void bag_cost(const OpSignature& op, Cost& cost) {
  look_up(op, cost, 1);
  if (op.has_tensor(6)) {
    cost.add({.multiply = 1}, op.tensor(1).numel() * op.tensors(0)[0].size(1));
  }
}

// Recurrent layers --------------------------------------------------------------------------------

using LstmOutputs = std::tuple<Tensor, Tensor, Tensor>;

LstmOutputs lstm_outputs(c10::DimVector sizes, TensorList hx, bool bidirectional,
                         const Tensor& input) {
  TORCH_CHECK(hx.size() == 2, "lstm expects two hidden states");
  sizes.back() = hx[0].size(2) * (bidirectional ? 2 : 1);
  return {empty_of(sizes, input.scalar_type()), empty_of(hx[0].sizes(), hx[0].scalar_type()),
          empty_of(hx[1].sizes(), hx[1].scalar_type())};
}

LstmOutputs lstm(const Tensor& input, TensorList hx, TensorList, bool, int64_t, double, bool,
                 bool bidirectional, bool, std::optional<c10::ScalarType>, bool) {
  TORCH_CHECK(input.dim() == 3, "an RNN expects an input of 3 dimensions, got ", input.sizes());
  return lstm_outputs(c10::DimVector(input.sizes()), hx, bidirectional, input);
}

LstmOutputs packed_lstm(const Tensor& data, const Tensor&, TensorList hx, TensorList, bool, int64_t,
                        double, bool, bool bidirectional, std::optional<c10::ScalarType>, bool) {
  return lstm_outputs(c10::DimVector(data.sizes()), hx, bidirectional, data);
}

std::tuple<Tensor, Tensor> gru(const Tensor& input, const Tensor& hx, TensorList, bool, int64_t,
                               double, bool, bool bidirectional, bool) {
  TORCH_CHECK(input.dim() == 3, "an RNN expects an input of 3 dimensions, got ", input.sizes());
  c10::DimVector sizes(input.sizes());
  sizes.back() = hx.size(2) * (bidirectional ? 2 : 1);
  return {empty_of(sizes, input.scalar_type()), empty_of(hx.sizes(), hx.scalar_type())};
}

std::tuple<Tensor, Tensor> packed_gru(const Tensor& data, const Tensor&, const Tensor& hx,
                                      TensorList, bool, int64_t, double, bool, bool bidirectional) {
  return {empty_of({data.size(0), hx.size(2) * (bidirectional ? 2 : 1)}, data.scalar_type()),
          empty_of(hx.sizes(), hx.scalar_type())};
}

std::tuple<Tensor, Tensor> lstm_cell(const Tensor&, TensorList hx, TensorList, TensorList,
                                     const Tensor&, const Tensor&) {
  TORCH_CHECK(hx.size() == 2, "lstm_cell expects two hidden states");
  return {empty_of(hx[0].sizes(), hx[0].scalar_type()),
          empty_of(hx[1].sizes(), hx[1].scalar_type())};
}

Tensor cell(const Tensor&, const Tensor& hx, TensorList, TensorList, const Tensor&, const Tensor&) {
  return empty_of(hx.sizes(), hx.scalar_type());
}

// (state - candidate) * update + candidate
Tensor gru_cell(const Tensor&, const Tensor& hx, TensorList, TensorList, const Tensor&,
                const Tensor&) {
  return at::meta::sub(hx, empty_of(hx.sizes(), hx.scalar_type()));
}

// Each row once through every weight, as those of floats; rows are quantized for both products.
Count add_rows(const std::vector<TensorSpec>& tensors, Count rows, Cost& cost) {
  Count gates = 0;
  for (const TensorSpec& tensor : tensors) {
    if (tensor.dim() == 1) cost.add({.add = 1}, rows * tensor.numel());
    if (tensor.dim() != 2) continue;
    cost.add_macs(rows * tensor.numel());
    cost.add({.add = 2, .multiply = 1, .compare = 4}, rows * tensor.size(1));
    cost.add({.multiply = 1}, rows * tensor.size(0));
    gates += tensor.size(0);
  }
  return gates / 2;  // there is a weight of the input and one of the state
}

template <const CellKind& kind, size_t packed>
void layers_cost(const OpSignature& op, Cost& cost) {
  const Count rows = op.output().numel() / std::max<Count>(op.output().size(-1), 1);
  const Count gates = add_rows(op.tensors(packed), rows, cost);
  cost.add(kind.mix, rows * gates / kind.gates);
}

template <const CellKind& kind>
void cell_cost(const OpSignature& op, Cost& cost) {
  const Count rows = op.output().size(0);
  add_rows(op.tensors(2), rows, cost);
  add_rows(op.tensors(3), rows, cost);
  cost.add(kind.mix, op.output().numel());
}

#define LINEAR_PACKED "__torch__.torch.classes.quantized.LinearPackedParamsBase"
#define CONV_PACKED(d) "__torch__.torch.classes.quantized.Conv" d "dPackedParamsBase"
#define CONV_NEW(name, d) \
  name "(Tensor qx, " CONV_PACKED(d) " packed_weight, float output_scale, int output_zero_point) " \
       "-> Tensor"
#define CONV_OLD(name, d) \
  name "(Tensor qx, " CONV_PACKED(d) " weight, int[] stride, int[] padding, int[] dilation, " \
       "int groups, float output_scale, int output_zero_point) -> Tensor"
#define CONV_SUM(name) \
  name "(Tensor qx, Tensor qaccum, " CONV_PACKED("2") " packed_weight, float output_scale, int " \
       "output_zero_point) -> Tensor"
#define CONV_DYNAMIC(name, d) \
  name "(Tensor qx, " CONV_PACKED(d) " packed_weight, bool reduce_range=False) -> Tensor"
#define CELLS_PACKED "__torch__.torch.classes.rnn.CellParamsBase[] params"
#define BAG(name)                                                                          \
  "quantized::" name                                                                       \
  "(__torch__.torch.classes.quantized.EmbeddingPackedParamsBase weight, "                  \
  "Tensor indices, Tensor? offsets=None, bool scale_grad_by_freq=False, int mode=0, bool " \
  "pruned_weights=False, Tensor? per_sample_weights=None, Tensor? "                        \
  "compressed_indices_mapping=None, bool include_last_offset=False) -> Tensor"
#define LOOK_UP(name)                                                     \
  "quantized::" name                                                      \
  "(__torch__.torch.classes.quantized.EmbeddingPackedParamsBase weight, " \
  "Tensor indices, bool pruned_weights=False) -> Tensor"
#define LINEAR_STATIC(name) \
  name "(Tensor X, " LINEAR_PACKED " W_prepack, float Y_scale_i, int Y_zero_point_i"

const Rule kQuantizedLayerTable[] = {
    {LINEAR_STATIC("quantized::linear") ") -> Tensor Y", boxed<&packed_linear>,
     linear_cost<kPlain>},
    {LINEAR_STATIC("_quantized::linear") ") -> Tensor Y", boxed<&packed_linear>,
     linear_cost<kPlain>},
    {LINEAR_STATIC("quantized::linear_relu") ") -> Tensor Y", boxed<&packed_linear>,
     linear_cost<kWithRelu>},
    {LINEAR_STATIC("quantized::linear_tanh") ") -> Tensor Y", boxed<&packed_linear>,
     linear_cost<kWithTanh>},
    {LINEAR_STATIC("quantized::linear_leaky_relu") ", float negative_slope) -> Tensor Y",
     boxed<&leaky_linear>, linear_cost<kWithLeaky>},
    {"quantized::linear_dynamic(Tensor X, " LINEAR_PACKED
     " W_prepack, bool reduce_range=False) -> Tensor Y",
     boxed<&dynamic_linear>, linear_cost<kDynamic>},
    {"_quantized::linear_dynamic(Tensor X, " LINEAR_PACKED
     " W_prepack, bool reduce_range=False) -> Tensor Y",
     boxed<&dynamic_linear>, linear_cost<kDynamic>},
    {"quantized::linear_relu_dynamic(Tensor X, " LINEAR_PACKED
     " W_prepack, bool reduce_range=False) -> Tensor Y",
     boxed<&dynamic_linear>, linear_cost<kDynamicRelu>},
    {"quantized::linear_dynamic_fp16(Tensor X, " LINEAR_PACKED " W_prepack) -> Tensor Y",
     boxed<&half_linear>, half_linear_cost<false>},
    {"quantized::linear_relu_dynamic_fp16(Tensor X, " LINEAR_PACKED " W_prepack) -> Tensor Y",
     boxed<&half_linear>, half_linear_cost<true>},
    {"quantized::linear_with_input_q_dq_qweight_dq_output_fp32(Tensor X, float X_scale, int "
     "X_zero_point, " LINEAR_PACKED " W_prepack) -> Tensor Y",
     boxed<&linear_to_float>, linear_cost<kQuantizing, 3>},
    {"quantized::linear_with_input_q_dq_qweight_dq_relu_output_fp32(Tensor X, float X_scale, int "
     "X_zero_point, " LINEAR_PACKED " W_prepack) -> Tensor Y",
     boxed<&linear_to_float>, linear_cost<kQuantizingRelu, 3>},

    {CONV_NEW("quantized::conv1d", "2"), boxed<&convolution>, convolution_cost<kPlain>},
    {CONV_NEW("quantized::conv1d_relu", "2"), boxed<&convolution>, convolution_cost<kWithRelu>},
    {CONV_NEW("quantized::conv2d.new", "2"), boxed<&convolution>, convolution_cost<kPlain>},
    {CONV_NEW("quantized::conv2d_relu.new", "2"), boxed<&convolution>, convolution_cost<kWithRelu>},
    {CONV_NEW("quantized::conv3d.new", "3"), boxed<&convolution>, convolution_cost<kPlain>},
    {CONV_NEW("quantized::conv3d_relu.new", "3"), boxed<&convolution>, convolution_cost<kWithRelu>},
    {CONV_NEW("_quantized::conv2d", "2"), boxed<&convolution>, convolution_cost<kPlain>},
    {CONV_NEW("_quantized::conv2d_relu", "2"), boxed<&convolution>, convolution_cost<kWithRelu>},
    {CONV_OLD("quantized::conv2d", "2"), boxed<&convolution_with_window>, convolution_cost<kPlain>},
    {CONV_OLD("quantized::conv2d_relu", "2"), boxed<&convolution_with_window>,
     convolution_cost<kWithRelu>},
    {CONV_OLD("quantized::conv3d", "3"), boxed<&convolution_with_window>, convolution_cost<kPlain>},
    {CONV_OLD("quantized::conv3d_relu", "3"), boxed<&convolution_with_window>,
     convolution_cost<kWithRelu>},
    {CONV_SUM("quantized::conv2d_add"),
     boxed<&convolution_and_sum>,
     convolution_cost<kWithSum, false, 2>,
     {},
     kReturnsInput},
    {CONV_SUM("quantized::conv2d_add_relu"),
     boxed<&convolution_and_sum>,
     convolution_cost<kWithSumRelu, false, 2>,
     {},
     kReturnsInput},
    {CONV_NEW("quantized::conv_transpose1d", "2"), boxed<&convolution>,
     convolution_cost<kPlain, true>},
    {CONV_NEW("quantized::conv_transpose2d", "2"), boxed<&convolution>,
     convolution_cost<kPlain, true>},
    {CONV_NEW("quantized::conv_transpose3d", "3"), boxed<&convolution>,
     convolution_cost<kPlain, true>},
    {CONV_NEW("_quantized::conv_transpose1d", "2"), boxed<&convolution>,
     convolution_cost<kPlain, true>},
    {CONV_NEW("_quantized::conv_transpose2d", "2"), boxed<&convolution>,
     convolution_cost<kPlain, true>},
    {CONV_DYNAMIC("quantized::conv1d_dynamic", "2"), boxed<&dynamic_convolution>,
     convolution_cost<kDynamic>},
    {CONV_DYNAMIC("quantized::conv2d_dynamic", "2"), boxed<&dynamic_convolution>,
     convolution_cost<kDynamic>},
    {CONV_DYNAMIC("quantized::conv3d_dynamic", "3"), boxed<&dynamic_convolution>,
     convolution_cost<kDynamic>},
    {CONV_DYNAMIC("quantized::conv_transpose1d_dynamic", "2"), boxed<&dynamic_convolution>,
     convolution_cost<kDynamic, true>},
    {CONV_DYNAMIC("quantized::conv_transpose2d_dynamic", "2"), boxed<&dynamic_convolution>,
     convolution_cost<kDynamic, true>},
    {CONV_DYNAMIC("quantized::conv_transpose3d_dynamic", "3"), boxed<&dynamic_convolution>,
     convolution_cost<kDynamic, true>},

    {LOOK_UP("embedding_byte"), boxed<&packed_embedding>, embedding_cost},
    {LOOK_UP("embedding_4bit"), boxed<&packed_embedding>, embedding_cost},
    {BAG("embedding_bag_byte"), boxed<&packed_bag>, bag_cost},
    {BAG("embedding_bag_4bit"), boxed<&packed_bag>, bag_cost},

    {"aten::quantized_lstm.input(Tensor input, Tensor[] hx, " CELLS_PACKED
     ", bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool "
     "batch_first, *, ScalarType? dtype=None, bool use_dynamic=False) -> (Tensor, Tensor, Tensor)",
     boxed<&lstm>, layers_cost<kLstm, 2>},
    {"aten::quantized_lstm.data(Tensor data, Tensor batch_sizes, Tensor[] hx, " CELLS_PACKED
     ", bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, *, "
     "ScalarType? dtype=None, bool use_dynamic=False) -> (Tensor, Tensor, Tensor)",
     boxed<&packed_lstm>, layers_cost<kLstm, 3>},
    {"aten::quantized_gru.input(Tensor input, Tensor hx, " CELLS_PACKED
     ", bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool "
     "batch_first) -> (Tensor, Tensor)",
     boxed<&gru>, layers_cost<kGru, 2>},
    {"aten::quantized_gru.data(Tensor data, Tensor batch_sizes, Tensor hx, " CELLS_PACKED
     ", bool has_biases, int num_layers, float dropout, bool train, bool bidirectional) -> "
     "(Tensor, Tensor)",
     boxed<&packed_gru>, layers_cost<kGru, 3>},
    {"quantized::quantized_lstm_cell_dynamic(Tensor input, Tensor[] hx, " LINEAR_PACKED
     " w_ih, " LINEAR_PACKED " w_hh, Tensor bias_ih, Tensor bias_hh) -> (Tensor, Tensor)",
     boxed<&lstm_cell>, cell_cost<kLstm>},
    {"quantized::quantized_gru_cell_dynamic(Tensor input, Tensor hx, " LINEAR_PACKED
     " w_ih, " LINEAR_PACKED " w_hh, Tensor b_ih, Tensor b_hh) -> Tensor",
     boxed<&gru_cell>, cell_cost<kGru>},
    {"quantized::quantized_rnn_tanh_cell_dynamic(Tensor input, Tensor hx, " LINEAR_PACKED
     " w_ih, " LINEAR_PACKED " w_hh, Tensor b_ih, Tensor b_hh) -> Tensor",
     boxed<&cell>, cell_cost<kTanh>},
    {"quantized::quantized_rnn_relu_cell_dynamic(Tensor input, Tensor hx, " LINEAR_PACKED
     " w_ih, " LINEAR_PACKED " w_hh, Tensor b_ih, Tensor b_hh) -> Tensor",
     boxed<&cell>, cell_cost<kRelu>},
};

}  // namespace

const RuleFamily kQuantizedLayerRules("quantized layers", kQuantizedLayerTable, OpClass::other,
                                      kTakesQuantized);

}  // namespace nnprof

#include "dispatch/compositions.h"

#include <ATen/Context.h>
#include <ATen/ops/_cudnn_rnn.h>
#include <ATen/ops/_fused_rms_norm.h>
#include <ATen/ops/_fused_sdp_choice_ops.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/mkldnn_rnn_layer.h>
#include <ATen/ops/native_dropout.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <limits>
#include <optional>
#include <unordered_map>

#include "core/torch_version.h"
#include "dispatch/linear_node.h"
#include "dispatch/trace.h"

namespace nnprof {
namespace {

template <class... Values>
bool leave(Stack& stack, size_t arguments, Values&&... values) {
  torch::jit::drop(stack, arguments);
  (stack.emplace_back(std::forward<Values>(values)), ...);
  return true;
}

// aten::scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask,
// float dropout_p, bool is_causal, *, float? scale, bool enable_gqa) -> Tensor

struct Attention {
  explicit Attention(const Stack& stack) {
    const c10::IValue* arguments = stack.data() + (stack.size() - kArguments);
    query = arguments[0].toTensor();
    key = arguments[1].toTensor();
    value = arguments[2].toTensor();
    mask = arguments[3].toOptional<at::Tensor>();
    dropout = arguments[4].toDouble();
    causal = arguments[5].toBool();
    scale = arguments[6].toOptional<double>();
    grouped = arguments[7].toBool();
  }

  bool lacks_batch() const { return query.dim() == 3 && key.dim() == 3 && value.dim() == 3; }
  void add_batch() {
    for (at::Tensor* tensor : {&query, &key, &value}) *tensor = tensor->unsqueeze(0);
    while (mask.has_value() && mask->defined() && mask->dim() < 4) mask = mask->unsqueeze(0);
  }

  static constexpr size_t kArguments = 8;
  at::Tensor query, key, value;
  std::optional<at::Tensor> mask;
  double dropout;
  bool causal;
  std::optional<double> scale;
  bool grouped;
};

// aten/src/ATen/native/transformers/attention.cpp: a mask of booleans is added as 0 and -inf.
std::optional<at::Tensor> added_mask(const Attention& call, Trace& trace) {
  if (!call.mask.has_value() || !call.mask->defined() || call.mask->scalar_type() != at::kBool) {
    return call.mask;
  }
  const auto options = at::TensorOptions().dtype(call.query.scalar_type()).device(at::kMeta);
  const at::Tensor nothing = at::scalar_tensor(0.0, options);
  const at::Tensor all = at::scalar_tensor(-std::numeric_limits<double>::infinity(), options);
  const at::Tensor added = at::where(*call.mask, nothing, all);
  if (const auto count = trace.mask_count(*call.mask)) trace.masks_like(added, *count);
  return added;
}

bool attention_on_cpu(Stack& stack, const Attention& call, Trace& trace) {
  const int64_t choice = at::_ops::_fused_sdp_choice::redispatch(
      c10::DispatchKeySet(c10::DispatchKey::CPU), call.query, call.key, call.value, call.mask,
      call.dropout, call.causal, call.scale, call.grouped);
  constexpr int64_t kFlash = 1;  // at::SDPBackend::flash_attention
  if (choice != kFlash) return false;
  return leave(stack, Attention::kArguments,
               std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(
                   call.query, call.key, call.value, call.dropout, call.causal,
                   added_mask(call, trace), call.scale)));
}

// aten/src/ATen/native/transformers/cuda/sdp_utils.cpp, for Ampere and later: flash attention, else
// memory-efficient attention, else the plain products. (cuDNN's keeps the same tensors as flash.)
bool attention_on_accelerator(Stack& stack, const Attention& call, Trace& trace) {
  const auto dtype = call.query.scalar_type();
  const bool half = dtype == at::kHalf || dtype == at::kBFloat16;
  const int64_t size = call.query.size(-1), value_size = call.value.size(-1);
  const bool masked = call.mask.has_value() && call.mask->defined();
  const bool four_dims = call.query.dim() == 4 && call.key.dim() == 4 && call.value.dim() == 4;
  const bool square = !call.causal || call.query.size(-2) == call.key.size(-2);
  if (!four_dims) return false;
  const at::Context& settings = at::globalContext();
  if (settings.userEnabledFlashSDP() && half && !masked && size == value_size && size <= 256 &&
      size % 8 == 0 && square) {
    return leave(stack, Attention::kArguments,
                 std::get<0>(at::_scaled_dot_product_flash_attention(
                     call.query, call.key, call.value, call.dropout, call.causal,
                     /*return_debug_mask=*/false, call.scale)));
  }
  const int64_t alignment = half ? 8 : 4;
  const bool same_heads = call.query.size(1) == call.key.size(1);
  const bool learned_mask = masked && call.mask->requires_grad();
  if (settings.userEnabledMemEfficientSDP() && (half || dtype == at::kFloat) && same_heads &&
      !learned_mask && size % alignment == 0 && value_size % alignment == 0) {
    return leave(stack, Attention::kArguments,
                 std::get<0>(at::_scaled_dot_product_efficient_attention(
                     call.query, call.key, call.value, added_mask(call, trace),
                     /*compute_log_sumexp=*/true, call.dropout, call.causal, call.scale)));
  }
  return false;
}

// attention.cpp since 2.14, pad to 4D: what has no batch gets one of one, and so does its mask.
bool attention(Stack& stack, Trace& trace) {
  Attention call(stack);
  const bool padded = torch_is_at_least(2, 14) && call.lacks_batch();
  if (padded) call.add_batch();
  const bool fused = trace.options().accelerator ? attention_on_accelerator(stack, call, trace)
                                                 : attention_on_cpu(stack, call, trace);
  if (fused && padded) stack.back() = stack.back().toTensor().squeeze(0);
  return fused;
}

// aten::dropout(Tensor input, float p, bool train) -> Tensor
// aten/src/ATen/native/Dropout.cpp: one kernel, which keeps a mask of booleans, on accelerators.
bool dropout(Stack& stack, Trace& trace) {
  const c10::IValue* arguments = stack.data() + (stack.size() - 3);
  const at::Tensor input = arguments[0].toTensor();
  const double p = arguments[1].toDouble();
  const bool train = arguments[2].toBool();
  if (!trace.options().accelerator || !train || p <= 0 || p >= 1 || input.numel() == 0) {
    return false;
  }
  return leave(stack, 3, std::get<0>(at::native_dropout(input, p, train)));
}

// aten::rms_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight, float? eps) -> Tensor
// aten/src/ATen/native/layer_norm.cpp: fused on CUDA, where the weight has the input's dtype.
bool rms_norm(Stack& stack, Trace& trace) {
  const c10::IValue* arguments = stack.data() + (stack.size() - 4);
  const at::Tensor input = arguments[0].toTensor();
  const auto weight = arguments[2].toOptional<at::Tensor>();
  const bool same_dtype =
      !weight.has_value() || !weight->defined() || weight->scalar_type() == input.scalar_type();
  if (!trace.options().accelerator || !input.is_floating_point() || !same_dtype) return false;
  return leave(stack, 4,
               std::get<0>(at::_fused_rms_norm(input, arguments[1].toIntVector(), weight,
                                               arguments[3].toOptional<double>())));
}

// aten::lstm.input(Tensor input, Tensor[] hx, Tensor[] params, bool has_biases, int num_layers,
// float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor, Tensor)
struct Lstm {
  explicit Lstm(const Stack& stack) {
    const c10::IValue* arguments = stack.data() + (stack.size() - kArguments);
    input = arguments[0].toTensor();
    states = arguments[1].toTensorVector();
    weights = arguments[2].toTensorVector();
    has_biases = arguments[3].toBool();
    layers = arguments[4].toInt();
    dropout = arguments[5].toDouble();
    train = arguments[6].toBool();
    bidirectional = arguments[7].toBool();
    batch_first = arguments[8].toBool();
  }

  bool has_projections() const { return states[0].size(2) != states[1].size(2); }
  int64_t directions() const { return bidirectional ? 2 : 1; }

  static constexpr size_t kArguments = 9;
  at::Tensor input;
  std::vector<at::Tensor> states, weights;
  bool has_biases, train, bidirectional, batch_first;
  int64_t layers;
  double dropout;
};

struct LstmStates {
  std::vector<at::Tensor> hidden, cell;
};

at::Tensor mkldnn_direction(const Lstm& call, const at::Tensor& input, int64_t index, bool reverse,
                            LstmStates& last) {
  constexpr int64_t kLstm = 2;  // ideep::rnn_kind
  const int64_t per_direction = call.has_biases ? 4 : 2;
  const at::Tensor* weights = call.weights.data() + index * per_direction;
  const at::Tensor no_bias =
      call.has_biases ? at::Tensor() : at::zeros({weights[0].size(0)}, weights[0].options());
  const at::Tensor& bias_input = call.has_biases ? weights[2] : no_bias;
  const at::Tensor& bias_hidden = call.has_biases ? weights[3] : no_bias;
  auto [output, hidden, cell, workspace] = at::mkldnn_rnn_layer(
      input, weights[0], weights[1], bias_input, bias_hidden, call.states[0].select(0, index),
      call.states[1].select(0, index), reverse, /*batch_sizes=*/{}, kLstm, call.states[0].size(2),
      call.layers, call.has_biases, call.bidirectional, call.batch_first, call.train);
  last.hidden.push_back(hidden);
  last.cell.push_back(cell);
  return output;
}

// aten/src/ATen/native/cudnn/RNN.cpp: all layers in one call. The weights of a module on the device
// lie in one piece already, and are not copied to one. What cuDNN reserves for the gradients only
// cuDNN knows: it is not counted.
bool lstm_on_cudnn(Stack& stack, const Lstm& call) {
  constexpr int64_t kLstm = 2;
  const int64_t hidden = call.states[1].size(2);
  const int64_t projected = call.has_projections() ? call.states[0].size(2) : 0;
  auto [output, last_hidden, last_cell, reserve, buffer] = at::_cudnn_rnn(
      call.input, call.weights, /*weight_stride0=*/
      static_cast<int64_t>(call.weights.size()) / (call.layers * call.directions()),
      /*weight_buf=*/call.weights[0].detach(), call.states[0], call.states[1], kLstm, hidden,
      projected, call.layers, call.batch_first, call.dropout, call.train, call.bidirectional,
      /*batch_sizes=*/at::IntArrayRef(), /*dropout_state=*/std::nullopt);
  return leave(stack, Lstm::kArguments, output, last_hidden, last_cell);
}

// aten::gru.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers, float
// dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor); so are the
// others.
template <int64_t Mode>
bool recurrent(Stack& stack, Trace& trace) {
  constexpr size_t kArguments = 9;
  const c10::IValue* arguments = stack.data() + (stack.size() - kArguments);
  const at::Tensor input = arguments[0].toTensor(), state = arguments[1].toTensor();
  const std::vector<at::Tensor> weights = arguments[2].toTensorVector();
  if (!trace.options().accelerator || input.numel() == 0) return false;
  const int64_t layers = arguments[4].toInt();
  const bool bidirectional = arguments[7].toBool();
  const int64_t directions = bidirectional ? 2 : 1;
  auto [output, last, cell, reserve, buffer] =
      at::_cudnn_rnn(input, weights, static_cast<int64_t>(weights.size()) / (layers * directions),
                     weights[0].detach(), state, std::nullopt, Mode, state.size(2), /*proj_size=*/0,
                     layers, arguments[8].toBool(), arguments[5].toDouble(), arguments[6].toBool(),
                     bidirectional, at::IntArrayRef(), std::nullopt);
  return leave(stack, kArguments, output, last);
}

// aten/src/ATen/native/mkldnn/RNN.cpp: oneDNN's layers take an LSTM's float32 on the CPU.
bool lstm(Stack& stack, Trace& trace) {
  const Lstm call(stack);
  if (trace.options().accelerator && call.input.numel() != 0) return lstm_on_cudnn(stack, call);
  const bool mkldnn = !trace.options().accelerator && at::globalContext().userEnabledMkldnn() &&
                      at::globalContext().hasMKLDNN() && call.input.scalar_type() == at::kFloat;
  if (!mkldnn || call.has_projections() || call.input.numel() == 0) return false;
  at::Tensor layer = call.batch_first ? call.input.transpose(0, 1) : call.input;
  layer = layer.contiguous();
  LstmStates last;
  for (int64_t i = 0; i < call.layers; ++i) {
    std::vector<at::Tensor> outputs;
    for (int64_t direction = 0; direction < call.directions(); ++direction) {
      outputs.push_back(
          mkldnn_direction(call, layer, i * call.directions() + direction, direction == 1, last));
    }
    layer = outputs.size() == 1 ? outputs[0] : at::cat(outputs, -1);
    if (call.dropout != 0 && call.train && i + 1 < call.layers) {
      layer = at::dropout(layer, call.dropout, true);
    }
  }
  if (call.batch_first) layer = layer.transpose(0, 1);
  return leave(stack, Lstm::kArguments, layer, at::stack(last.hidden, 0), at::stack(last.cell, 0));
}

}  // namespace

Composition composition_of(std::string_view op) {
  static const std::unordered_map<std::string_view, Composition> compositions = {
      {"aten::dropout", dropout},
      {"aten::gru.input", recurrent<3>},
      {"aten::linear", linear_in_graph},
      {"aten::lstm.input", lstm},
      {"aten::rms_norm", rms_norm},
      {"aten::rnn_relu.input", recurrent<0>},
      {"aten::rnn_tanh.input", recurrent<1>},
      {"aten::scaled_dot_product_attention", attention},
  };
  const auto found = compositions.find(op);
  return found == compositions.end() ? nullptr : found->second;
}

}  // namespace nnprof

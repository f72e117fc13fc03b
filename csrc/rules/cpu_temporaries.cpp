#include "rules/cpu_temporaries.h"

#include <ATen/ExpandUtils.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "core/count.h"
#include "rules/kernel_copies.h"

namespace nnprof {
namespace {

// Channels of a block: as many floats as a vector register holds.
int64_t block() {
  static const int64_t channels = __builtin_cpu_supports("avx512f") ? 16 : 8;
  return channels;
}

Count elements_after(const TensorSpec& tensor, size_t first) {
  Count count = 1;
  for (size_t i = first; i < tensor.sizes.size(); ++i) count *= tensor.sizes[i];
  return count;
}

// The first convolution of a network reads its few channels as they are.
bool few_channels(const TensorSpec& input) { return input.size(1) <= 4; }

Count blocked_bytes(const TensorSpec& activations) {
  return activations.size(0) * round_up<Count>(activations.size(1), block()) *
         elements_after(activations, 2) * activations.element_size();
}

Count blocked_input_bytes(const TensorSpec& input) {
  return few_channels(input) ? 0 : blocked_bytes(input);
}

Count blocked_weight_bytes(const TensorSpec& weight) {
  const bool depthwise = weight.size(1) == 1;
  const Count inputs =
      depthwise || weight.size(1) <= 4 ? weight.size(1) : round_up<Count>(weight.size(1), block());
  return round_up<Count>(weight.size(0), block()) * inputs * elements_after(weight, 2) *
         weight.element_size();
}

// Double precision, other devices' layouts and single images take other paths.
bool is_reordered(const TensorSpec& input, const TensorSpec& weight) {
  return input.dtype == c10::ScalarType::Float && input.dim() >= 3 && weight.dim() == input.dim() &&
         input.is_contiguous();
}

Count convolution(const OpSignature& op) {
  const TensorSpec &input = op.tensor(0), &weight = op.tensor(1), &output = op.output();
  if (!is_reordered(input, weight)) return 0;
  const Count result = blocked_bytes(output);
  const Count all = blocked_input_bytes(input) + blocked_weight_bytes(weight) + result;
  return std::max(all - output.distinct_bytes(), result);
}

// The jit kernel for few channels takes kernels of up to 14 elements in a row; others accumulate in
// blocks of channels.
Count weight_gradient_scratch(const TensorSpec& input, const TensorSpec& weight) {
  constexpr int64_t kLongestKernel = 14;
  if (!few_channels(input) || weight.size(-1) <= kLongestKernel) return 0;
  return weight.distinct_bytes() / weight.size(1) * block();
}

// Without AVX-512, images lower than the kernel go through a matrix product: patches, and where
// threads share out the batch, a gradient of each, for which oneDNN asks four times what it needs.
bool takes_product(const TensorSpec& input, const TensorSpec& weight) {
  const bool grouped = weight.size(1) != input.size(1);
  return block() == 8 && !grouped && input.dim() == 4 && input.size(2) < weight.size(2);
}

Count product_scratch(const TensorSpec& gradient, const TensorSpec& weight) {
  const Count threads = std::min<Count>(at::get_num_threads(), gradient.size(0));
  const Count patches =
      elements_after(weight, 1) * elements_after(gradient, 2) * weight.element_size();
  const Count gradients = gradient.size(0) > 1 ? 4 * threads * weight.distinct_bytes() : 0;
  return threads * patches + gradients;
}

Count convolution_backward(const OpSignature& op) {
  const TensorSpec &gradient = op.tensor(0), &input = op.tensor(1), &weight = op.tensor(2);
  if (!is_reordered(input, weight)) return 0;
  Count of_outputs = 0;
  for (const TensorSpec& output : op.outputs) {
    if (output.defined) of_outputs += output.distinct_bytes();
  }
  const bool wants_input = op.outputs[0].defined;
  const bool wants_weight = op.outputs.size() > 1 && op.outputs[1].defined;
  const Count blocked_gradient = blocked_bytes(gradient);
  const Count blocked_weight = blocked_weight_bytes(weight);
  Count most = 0;
  if (wants_input) {
    const Count result = blocked_bytes(input);
    most = std::max(blocked_gradient + blocked_weight + result, result + input.distinct_bytes());
  }
  const Count before = wants_input ? input.distinct_bytes() : 0;
  if (wants_weight && takes_product(input, weight)) {
    most = std::max(most, before + weight.distinct_bytes() + product_scratch(gradient, weight));
  } else if (wants_weight) {
    most = std::max(most, before + blocked_gradient + blocked_input_bytes(input) + blocked_weight +
                              weight_gradient_scratch(input, weight));
    most = std::max(most, before + blocked_weight + weight.distinct_bytes());
  }
  return std::max<Count>(most - of_outputs, 0);
}

// Of a matrix with `columns` floats a row: a row is padded to a vector, and by one more where rows
// would fall on the same lines of the cache.
Count leading(Count columns) {
  const Count padded = round_up<Count>(columns, 16);
  return padded % 256 == 0 ? padded + 16 : padded;
}

constexpr int64_t kFloat = sizeof(float);

Count gates_bytes(const TensorSpec& sequence, Count gates) {
  return sequence.size(0) * sequence.size(1) * leading(gates) * kFloat;
}

// aten::mkldnn_rnn_layer(Tensor input, Tensor weight0, Tensor weight1, ...): both weights
// reordered, the sum of both biases, the gates of all steps.
Count lstm_layer(const OpSignature& op) {
  const TensorSpec &input_weight = op.tensor(1), &hidden_weight = op.tensor(2);
  const Count gates = input_weight.size(0);
  return input_weight.distinct_bytes() + hidden_weight.distinct_bytes() + gates * kFloat +
         gates_bytes(op.tensor(0), gates);
}

// The weights reordered and padded, their gradients in the layout they are made in.
Count lstm_layer_backward(const OpSignature& op) {
  const TensorSpec &input_weight = op.tensor(1), &hidden_weight = op.tensor(2);
  const Count gates = input_weight.size(0);
  const Count inputs = input_weight.size(1), hidden = hidden_weight.size(1);
  return (gates * (leading(inputs) + leading(hidden)) + (inputs + hidden) * leading(gates) +
          gates) *
             kFloat +
         gates_bytes(op.tensor(0), gates);
}

// aten::lstm.input(Tensor input, Tensor[] hx, Tensor[] params, bool has_biases, int num_layers,
// ...) as one call: what the hungriest of its layers takes, and the output of the layer before.
Count lstm(const OpSignature& op) {
  const TensorSpec& input = op.tensor(0);
  if (input.dtype != c10::ScalarType::Float || input.dim() != 3) return 0;
  const auto& weights = op.tensors(2);
  const size_t per_layer = op.boolean(3) ? 4 : 2;
  Count most = 0;
  for (size_t i = 0; i + 1 < weights.size(); i += per_layer) {
    most = std::max(most, weights[i].distinct_bytes() + weights[i + 1].distinct_bytes());
  }
  const Count gates = weights[0].size(0);
  const Count between = op.integer(4) > 1 ? op.output().distinct_bytes() : 0;
  return most + gates_bytes(input, gates) + between;
}

// aten/src/ATen/native/LinearAlgebra.cpp, addmm_impl_cpu_: a matrix that BLAS can't step through, a
// loss's expanded gradient say, is copied.
Count copied_bytes(const TensorSpec& matrix) {
  if (matrix.dim() != 2) return 0;
  const auto steps = [&](size_t along, size_t across) {
    return matrix.strides[along] == 1 &&
           matrix.strides[across] >= std::max<Count>(1, matrix.sizes[along]);
  };
  return steps(0, 1) || steps(1, 0) ? 0 : matrix.numel() * matrix.element_size();
}

Count mm(const OpSignature& op) { return copied_bytes(op.tensor(0)) + copied_bytes(op.tensor(1)); }

Count addmm(const OpSignature& op) {
  return copied_bytes(op.tensor(1)) + copied_bytes(op.tensor(2));
}

// aten/src/ATen/native/cpu/FlashAttentionKernel.cpp: each thread has the scores of a block of
// queries and keys, in the type that sums are kept in, and for halves once more as they are.
struct AttentionBlocks {
  AttentionBlocks(const TensorSpec& query, const TensorSpec& key)
      : queries(std::min<Count>(length_of(query) >= 768   ? 256
                                : length_of(query) >= 192 ? 64
                                                          : 32,
                                length_of(query))),
        scores(queries * std::min<Count>(512, length_of(key))),
        element(query.element_size()),
        is_half(element < 4),
        sum(is_half ? 4 : element) {}

  static Count length_of(const TensorSpec& heads) { return heads.size(-2); }

  Count queries;
  Count scores;
  Count element;
  bool is_half;
  Count sum;
};

// aten::_scaled_dot_product_flash_attention_for_cpu(Tensor query, Tensor key, ...)
Count fused_attention(const OpSignature& op) {
  const TensorSpec& query = op.tensor(0);
  if (query.dim() != 4 || query.numel() == 0) return 0;
  const AttentionBlocks block(query, op.tensor(1));
  const Count summed = block.scores + block.queries * (2 + query.size(-1));
  const Count halves = block.is_half ? block.scores * block.element : 0;
  return at::get_num_threads() * (summed * block.sum + halves);
}

// aten::scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask,
// float dropout_p, ...) as one call, which keeps the logarithms of sums to itself.
Count attention(const OpSignature& op) {
  const TensorSpec &query = op.tensor(0), &key = op.tensor(1), &value = op.tensor(2);
  const bool is_fused = query.dim() == 4 && key.dim() == 4 && value.dim() == 4 &&
                        key.numel() != 0 && query.size(-1) == value.size(-1) &&
                        op.floating(4) == 0 && query.strides[3] == 1 && key.strides[3] == 1 &&
                        value.strides[3] == 1;
  if (!is_fused) return 0;
  const Count log_sums =
      query.size(0) * query.size(1) * query.size(2) * AttentionBlocks(query, key).sum;
  return log_sums + fused_attention(op);
}

// Of heads (batch, heads, length, size): the kernel has the heads of one position side by side.
bool is_by_position(const TensorSpec& heads) {
  TensorSpec swapped;
  for (const size_t dim : {0, 2, 1, 3}) {
    swapped.sizes.push_back(heads.sizes[dim]);
    swapped.strides.push_back(heads.strides[dim]);
  }
  return swapped.is_contiguous();
}

// aten::_scaled_dot_product_flash_attention_for_cpu_backward(Tensor grad_out, Tensor query, Tensor
// key, ...): the scores and their gradient, a row of sums for each thread at work; the gradient
// once more, where it lies otherwise.
Count attention_backward(const OpSignature& op) {
  const TensorSpec &gradient = op.tensor(0), &query = op.tensor(1);
  if (query.dim() != 4 || query.numel() == 0) return 0;
  const AttentionBlocks block(query, op.tensor(2));
  const Count halves = block.is_half ? block.element : 0;
  const int64_t threads = at::get_num_threads();
  const Count copied = is_by_position(gradient) ? 0 : gradient.numel() * gradient.element_size();
  return copied + threads * 2 * block.scores * (block.sum + halves) +
         std::min<Count>(threads, query.size(0) * query.size(1)) * block.queries * block.sum;
}

// aten/src/ATen/native/cpu/ScatterGatherKernel.cpp: 32-bit indices are made 64-bit ones.
Count wider_index(const OpSignature& op) {
  const TensorSpec& index = op.tensor(2);
  return index.dtype == c10::ScalarType::Int ? index.numel() * int64_t{sizeof(int64_t)} : 0;
}

// aten/src/ATen/native/TensorAdvancedIndexing.cpp, masked_select_out_impl_cpu: the mask in numbers,
// as wide as both, and how many are true before each.
Count places_of_mask(const OpSignature& op) {
  const auto all = at::infer_size_dimvector(op.tensor(0).sizes, op.tensor(1).sizes);
  Count elements = 1;
  for (const int64_t size : all) elements *= size;
  return 2 * elements * int64_t{sizeof(int64_t)};
}

// Each tensor is padded for itself.
Count padded_chunks(const OpSignature& op) {
  Count most;
  for (const TensorSpec& tensor : op.tensors(0)) most = std::max(most, tensor.distinct_bytes());
  return most;
}

using Temporaries = Count (*)(const OpSignature&);

const std::unordered_map<std::string_view, Temporaries> kTemporaries = {
    {"aten::_convolution", convolution},
    {"aten::_index_put_impl_", converted_indices},
    {"aten::_scaled_dot_product_flash_attention_for_cpu", fused_attention},
    {"aten::_scaled_dot_product_flash_attention_for_cpu_backward", attention_backward},
    {"aten::_unsafe_index.Tensor", converted_indices},
    {"aten::_unsafe_index_put", converted_indices},
    {"aten::addmm", addmm},
    {"aten::bucketize.Tensor", copied_sequences},
    {"aten::conv1d", convolution},
    {"aten::conv1d.padding", convolution},
    {"aten::conv2d", convolution},
    {"aten::conv2d.padding", convolution},
    {"aten::conv3d", convolution},
    {"aten::conv3d.padding", convolution},
    {"aten::conv_transpose1d", convolution},
    {"aten::conv_transpose2d.input", convolution},
    {"aten::conv_transpose3d.input", convolution},
    {"aten::convolution", convolution},
    {"aten::convolution_backward", convolution_backward},
    {"aten::embedding_dense_backward", copied_gradient},
    {"aten::gather", wider_index},
    {"aten::index.Tensor", converted_indices},
    {"aten::index_put", converted_indices},
    {"aten::index_put_", converted_indices},
    {"aten::lstm.input", lstm},
    {"aten::masked_select", places_of_mask},
    {"aten::mm", mm},
    {"aten::mkldnn_rnn_layer", lstm_layer},
    {"aten::mkldnn_rnn_layer_backward", lstm_layer_backward},
    {"aten::scaled_dot_product_attention", attention},
    {"aten::scatter.src", wider_index},
    {"aten::scatter.value", wider_index},
    {"aten::scatter_.src", wider_index},
    {"aten::scatter_.value", wider_index},
    {"aten::scatter_add", wider_index},
    {"aten::scatter_add_", wider_index},
    {"aten::scatter_reduce.two", wider_index},
    {"aten::scatter_reduce_.two", wider_index},
    {"aten::searchsorted.Tensor", copied_sequences},
    {"fsdp::chunk_cat", padded_chunks},
};

// A number of Python's is a tensor of its own while a kernel of two tensors runs, and once more in
// their dtype where that is another.
const std::unordered_set<std::string_view> kTakeNumbers = {"aten::add", "aten::div", "aten::mul",
                                                           "aten::sub"};

// "aten::_foreach_mul_.ScalarList" -> "aten::mul"
std::string without_variant(std::string_view op) {
  std::string name(op.substr(0, op.find('.')));
  if (name.ends_with('_')) name.pop_back();
  constexpr std::string_view kForeach = "aten::_foreach_";
  if (name.starts_with(kForeach)) name = "aten::" + name.substr(kForeach.size());
  return name;
}

bool is_number(const Argument& argument) {
  using Kind = Argument::Kind;
  const Kind kind = argument.kind;
  if (kind == Kind::tensor) return argument.tensors[0].wrapped_number;
  return kind == Kind::integer || kind == Kind::floating || kind == Kind::integers ||
         kind == Kind::floatings;
}

Count number_bytes(const OpSignature& op) {
  if (op.arguments.size() < 2 || kTakeNumbers.count(without_variant(op.op)) == 0) return 0;
  if (!is_number(op.arguments[1])) return 0;
  const TensorSpec& other = op.tensor(0);
  const bool whole = op.arguments[1].kind == Argument::Kind::integer;
  const auto own = whole ? c10::ScalarType::Long : c10::ScalarType::Double;
  const Count cast = other.defined && other.dtype != own ? other.element_size() : 0;
  return Count(int64_t{sizeof(double)}) + cast;
}

}  // namespace

Count cpu_temporary_bytes(const OpSignature& op) {
  const auto found = kTemporaries.find(op.op);
  const Count own = found == kTemporaries.end() ? Count() : found->second(op);
  return own + number_bytes(op);
}

}  // namespace nnprof

// The layers that nn.MultiheadAttention and nn.TransformerEncoderLayer call at once, in eval mode.
// What they cost is the sum of their parts, as the same layers count when they call them one by
// one.
#include "rules/attention.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/registry.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"
#include "rules/views.h"

namespace nnprof {
namespace {

using OptionalTensor = std::optional<at::Tensor>;

void check_qkv(const at::Tensor& query, int64_t embed_dim, int64_t heads, const at::Tensor& weight,
               const at::Tensor& bias) {
  TORCH_CHECK(query.dim() == 3, "expected 3-D `query`, got ", query.dim(), "-D tensor");
  TORCH_CHECK(query.size(2) == embed_dim, "passed-in embed_dim ", embed_dim,
              " didn't match last dim of query ", query.size(2));
  TORCH_CHECK(weight.dim() == 2 && weight.size(0) == 3 * embed_dim && weight.size(1) == embed_dim,
              "expected `qkv_weight` of ", 3 * embed_dim, " x ", embed_dim, ", got ",
              weight.sizes());
  TORCH_CHECK(bias.dim() == 1 && bias.size(0) == 3 * embed_dim, "expected `qkv_bias` of ",
              3 * embed_dim, " elements, got ", bias.sizes());
  TORCH_CHECK(heads > 0 && embed_dim % heads == 0, "`embed_dim` must divide evenly by `num_heads`");
}

std::tuple<at::Tensor, at::Tensor> native_multi_head_attention(
    const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, int64_t embed_dim,
    int64_t num_head, const at::Tensor& qkv_weight, const at::Tensor& qkv_bias,
    const at::Tensor& proj_weight, const at::Tensor& /*proj_bias*/, const OptionalTensor& /*mask*/,
    bool need_weights, bool average_attn_weights, std::optional<int64_t> /*mask_type*/) {
  check_qkv(query, embed_dim, num_head, qkv_weight, qkv_bias);
  TORCH_CHECK(query.sizes() == key.sizes() && query.sizes() == value.sizes(),
              "expected `query`/`key`/`value` shapes to match");
  const int64_t batch = query.size(0), length = query.size(1);
  at::Tensor weights;
  if (need_weights) {
    weights = average_attn_weights ? empty_like_dtype({batch, length, length}, query)
                                   : empty_like_dtype({batch, num_head, length, length}, query);
  }
  return {empty_like_dtype({batch, length, proj_weight.size(0)}, query), weights};
}

// (B, T, 3 D) -> queries, keys and values of (B, H, T, D / H), in one storage.
std::tuple<at::Tensor, at::Tensor, at::Tensor> transform_bias_rescale_qkv(
    const at::Tensor& qkv, const at::Tensor& qkv_bias, int64_t num_heads) {
  TORCH_CHECK(qkv.dim() == 3 && qkv_bias.dim() == 1 && qkv.size(2) == qkv_bias.size(0) &&
                  num_heads > 0 && qkv_bias.size(0) % (3 * num_heads) == 0,
              "_transform_bias_rescale_qkv: ", qkv.sizes(), " and a bias of ", qkv_bias.sizes(),
              " do not hold queries, keys and values of ", num_heads, " heads");
  const c10::DimVector sizes = {qkv.size(0), num_heads, qkv.size(1), qkv.size(2) / 3 / num_heads};
  const int64_t each = qkv.numel() / 3;
  const at::Tensor all = empty_like_dtype({3 * sizes[0], sizes[1], sizes[2], sizes[3]}, qkv);
  return {view_of(all, sizes, all.strides(), 0), view_of(all, sizes, all.strides(), each),
          view_of(all, sizes, all.strides(), 2 * each)};
}

at::Tensor transformer_encoder_layer(
    const at::Tensor& src, int64_t embed_dim, int64_t num_heads, const at::Tensor& qkv_weight,
    const at::Tensor& qkv_bias, const at::Tensor& /*proj_weight*/, const at::Tensor& /*proj_bias*/,
    bool /*use_gelu*/, bool /*norm_first*/, double /*eps*/, const at::Tensor& /*norm_weight_1*/,
    const at::Tensor& /*norm_bias_1*/, const at::Tensor& /*norm_weight_2*/,
    const at::Tensor& /*norm_bias_2*/, const at::Tensor& ffn_weight_1,
    const at::Tensor& /*ffn_bias_1*/, const at::Tensor& ffn_weight_2,
    const at::Tensor& /*ffn_bias_2*/, const OptionalTensor& /*mask*/,
    std::optional<int64_t> /*mask_type*/) {
  check_qkv(src, embed_dim, num_heads, qkv_weight, qkv_bias);
  TORCH_CHECK(ffn_weight_1.size(1) == embed_dim && ffn_weight_2.size(0) == embed_dim &&
                  ffn_weight_1.size(0) == ffn_weight_2.size(1),
              "feed-forward weights of ", ffn_weight_1.sizes(), " and ", ffn_weight_2.sizes(),
              " do not fit an embedding of ", embed_dim);
  return empty_like_dtype(src.sizes(), src);
}

// Asked by nn.TransformerEncoder in eval mode, which packs padded sequences into a nested tensor
// where this holds. How long they are is unknown here: they stay padded, and are counted so.
bool nested_tensor_from_mask_left_aligned(const at::Tensor& /*t*/, const at::Tensor& /*mask*/) {
  return false;
}

// Cost --------------------------------------------------------------------------------------------

void add_linear(Cost& cost, Count rows, const TensorSpec& weight, const TensorSpec& bias) {
  cost.add_macs(rows * weight.numel());
  cost.add({.add = 1}, rows * bias.numel());
}

// Projections, attention and the output projection. Arguments from `qkv` on: the weight and bias of
// both projections.
AttentionSizes add_multihead_attention(const OpSignature& op, Cost& cost, Count heads, size_t qkv,
                                       size_t mask) {
  const TensorSpec& input = op.tensor(0);
  const Count batch = input.size(0), length = input.size(1), width = input.size(2) / heads;
  const AttentionSizes sizes = {batch * heads, length, length, width, width};
  add_linear(cost, batch * length, op.tensor(qkv), op.tensor(qkv + 1));
  AttentionWork work = attention_work(sizes);
  hide_by_mask(work.pairs, op.tensor(mask));
  add_attention(cost, work);
  if (op.has_tensor(mask)) add_mask(cost, sizes, /*selects=*/true);
  add_linear(cost, batch * length, op.tensor(qkv + 2), op.tensor(qkv + 3));
  // What the projections give, that split into heads, and the values as weighted.
  cost.temporary_bytes += (2 * 3 + 1) * input.numel() * input.element_size();
  return sizes;
}

void native_multi_head_attention_cost(const OpSignature& op, Cost& cost) {
  const AttentionSizes sizes = add_multihead_attention(op, cost, op.integer(4), 5, 9);
  if (!op.boolean(10)) return;
  const Count element_size = op.output().element_size();
  if (op.boolean(11)) {  // the mean over the heads
    cost.add({.add = 1}, sizes.scores());
    cost.add({.division = 1}, op.output(1).numel());
    cost.temporary_bytes += sizes.scores() * element_size;
  }
}

// Adds the bias, and scales the queries.
void transform_bias_rescale_qkv_cost(const OpSignature& op, Cost& cost) {
  cost.add({.add = 1}, op.tensor(0).numel());
  cost.add({.multiply = 1}, op.tensor(0).numel() / 3);
}

Argument argument_of(const TensorSpec& tensor) {
  Argument argument;
  argument.kind = Argument::Kind::tensor;
  argument.tensors = {tensor};
  return argument;
}
Argument argument_of(std::vector<int64_t> integers) {
  Argument argument;
  argument.kind = Argument::Kind::integers;
  argument.integers = std::move(integers);
  return argument;
}
Argument argument_of(const char* string) {
  Argument argument;
  argument.kind = Argument::Kind::string;
  argument.string = string;
  return argument;
}

// The work of another operator on `input`, as its own rule counts it.
void add_part(Cost& cost, const char* name, const TensorSpec& input,
              const std::vector<Argument>& others = {}) {
  const auto rules = rules_named(name);
  TORCH_INTERNAL_ASSERT(!rules.empty(), "no rule for ", name);
  OpSignature part{.op = name, .rule = rules.front().rule, .arguments = {}, .outputs = {input}};
  part.arguments.push_back(argument_of(input));
  part.arguments.insert(part.arguments.end(), others.begin(), others.end());
  Cost work;
  part.rule->cost(part, work);
  cost += work;
}

void transformer_encoder_layer_cost(const OpSignature& op, Cost& cost) {
  add_multihead_attention(op, cost, op.integer(2), 3, 18);
  const TensorSpec& src = op.tensor(0);
  const Count rows = src.size(0) * src.size(1);
  const Argument normalized = argument_of(std::vector<int64_t>{src.sizes[2]});
  for (size_t norm : {10, 12}) {
    add_part(cost, "aten::layer_norm", src,
             {normalized, op.arguments[norm], op.arguments[norm + 1]});
  }
  TensorSpec inner = src;
  inner.sizes.back() = op.tensor(14).sizes[0];
  add_linear(cost, rows, op.tensor(14), op.tensor(15));
  if (op.boolean(7)) {
    add_part(cost, "aten::gelu", inner, {argument_of("none")});
  } else {
    add_part(cost, "aten::relu", inner);
  }
  add_linear(cost, rows, op.tensor(16), op.tensor(17));
  cost.add({.add = 1}, 2 * src.numel());  // around the attention and around the feed-forward
  cost.temporary_bytes += (inner.numel() + src.numel()) * src.element_size();
}

const Rule kMultiheadAttentionTable[] = {
    {"aten::_nested_tensor_from_mask_left_aligned(Tensor t, Tensor mask) -> bool",
     boxed<&nested_tensor_from_mask_left_aligned>},
    {"aten::_native_multi_head_attention(Tensor query, Tensor key, Tensor value, int embed_dim, "
     "int num_head, Tensor qkv_weight, Tensor qkv_bias, Tensor proj_weight, Tensor proj_bias, "
     "Tensor? mask=None, bool need_weights=True, bool average_attn_weights=True, int? "
     "mask_type=None) -> (Tensor, Tensor)",
     boxed<&native_multi_head_attention>,
     native_multi_head_attention_cost,
     {},
     kTrueHides,
     "",
     9},
    {"aten::_transform_bias_rescale_qkv(Tensor qkv, Tensor qkv_bias, int num_heads) -> (Tensor, "
     "Tensor, Tensor)",
     boxed<&transform_bias_rescale_qkv>, transform_bias_rescale_qkv_cost},
    {"aten::_transformer_encoder_layer_fwd(Tensor src, int embed_dim, int num_heads, Tensor "
     "qkv_weight, Tensor qkv_bias, Tensor proj_weight, Tensor proj_bias, bool use_gelu, bool "
     "norm_first, float eps, Tensor norm_weight_1, Tensor norm_bias_1, Tensor norm_weight_2, "
     "Tensor norm_bias_2, Tensor ffn_weight_1, Tensor ffn_bias_1, Tensor ffn_weight_2, Tensor "
     "ffn_bias_2, Tensor? mask=None, int? mask_type=None) -> Tensor",
     boxed<&transformer_encoder_layer>,
     transformer_encoder_layer_cost,
     {},
     kTrueHides,
     "",
     18},
};

}  // namespace

const RuleFamily kMultiheadAttentionRules("multihead_attention", kMultiheadAttentionTable,
                                          OpClass::matmul, kNothingSpecial);

}  // namespace nnprof

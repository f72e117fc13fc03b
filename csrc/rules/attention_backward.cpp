// The gradients of scaled dot-product attention, by the kernels that keep no scores.
//
// With P = softmax(Q K' * scale + mask), made again from Q K' and the log-sum-exp of its rows:
//   dV = P' dO    dP = dO V'    dS = P (dP - rowsum(dO O))    dQ = dS K * scale    dK = dS' Q *
//   scale
// which takes five products of the size of the forward's two.
#include <array>
#include <tuple>

#include "rules/attention.h"
#include "rules/families.h"
#include "rules/gradients.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using OptionalTensor = std::optional<at::Tensor>;
using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor>;
using GradientsAndBias = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

// Where the rules' operators have what the cost depends on, as argument numbers.
struct Places {
  size_t mask = 0;  // 0: has none
  size_t dropout = 0;
  size_t causal = 0;
  size_t asked = 0;  // 0: all gradients but that of a mask come
  bool from_end = false;
};
constexpr Places kFlash = {.dropout = 10, .causal = 11, .from_end = true};
constexpr Places kFlashForCpu = {.mask = 8, .dropout = 6, .causal = 7};
constexpr Places kEfficient = {.mask = 4, .dropout = 9, .causal = 11, .asked = 10};
constexpr Places kCudnn = {.mask = 8, .dropout = 13, .causal = 14};
constexpr Places kOverrideable = {.mask = 4, .dropout = 12, .causal = 13, .asked = 5};

void check_gradient(const char* name, const at::Tensor& grad_output, const at::Tensor& query,
                    const at::Tensor& key, const at::Tensor& value) {
  TORCH_CHECK(grad_output.dim() == 4 && query.dim() == 4 && key.dim() == 4 && value.dim() == 4,
              name, ": Accept only 4 dims inputs shape of {B, H, T, K}");
  c10::DimVector output(query.sizes());
  output.back() = value.size(3);
  TORCH_CHECK(grad_output.sizes() == at::IntArrayRef(output), name, ": expected grad_out of size ",
              at::IntArrayRef(output), ", but got one of size ", grad_output.sizes());
}

Gradients like_the_inputs(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  return {empty_preserving(query), empty_preserving(key), empty_preserving(value)};
}

Gradients flash(const at::Tensor& grad_output, const at::Tensor& query, const at::Tensor& key,
                const at::Tensor& value, const at::Tensor& /*out*/, const at::Tensor& /*logsumexp*/,
                const at::Tensor& /*cum_seq_q*/, const at::Tensor& /*cum_seq_k*/, int64_t /*max_q*/,
                int64_t /*max_k*/, double /*dropout_p*/, bool /*is_causal*/,
                const at::Tensor& /*philox_seed*/, const at::Tensor& /*philox_offset*/,
                std::optional<double> /*scale*/) {
  check_gradient("_scaled_dot_product_flash_attention_backward", grad_output, query, key, value);
  return like_the_inputs(query, key, value);
}

Gradients flash_for_cpu(const at::Tensor& grad_output, const at::Tensor& query,
                        const at::Tensor& key, const at::Tensor& value, const at::Tensor& /*out*/,
                        const at::Tensor& /*logsumexp*/, double /*dropout_p*/, bool /*is_causal*/,
                        const OptionalTensor& /*attn_mask*/, std::optional<double> /*scale*/) {
  check_gradient("_scaled_dot_product_flash_attention_for_cpu_backward", grad_output, query, key,
                 value);
  return {empty_heads_inside(query.sizes(), query.scalar_type()),
          empty_heads_inside(key.sizes(), key.scalar_type()),
          empty_heads_inside(value.sizes(), value.scalar_type())};
}

Gradients cudnn(const at::Tensor& grad_output, const at::Tensor& query, const at::Tensor& key,
                const at::Tensor& value, const at::Tensor& /*out*/, const at::Tensor& /*logsumexp*/,
                const at::Tensor& /*philox_seed*/, const at::Tensor& /*philox_offset*/,
                const at::Tensor& /*attn_bias*/, const at::Tensor& /*cum_seq_q*/,
                const at::Tensor& /*cum_seq_k*/, int64_t /*max_q*/, int64_t /*max_k*/,
                double /*dropout_p*/, bool /*is_causal*/, std::optional<double> /*scale*/) {
  check_gradient("_scaled_dot_product_cudnn_attention_backward", grad_output, query, key, value);
  return like_the_inputs(query, key, value);
}

// Only the bias' gradient is left out where it is not asked for. Keys and values have as many heads
// as queries here.
GradientsAndBias efficient(const at::Tensor& grad_output, const at::Tensor& query,
                           const at::Tensor& key, const at::Tensor& value,
                           const at::Tensor& attn_bias, const at::Tensor& /*out*/,
                           const at::Tensor& /*logsumexp*/, const at::Tensor& /*philox_seed*/,
                           const at::Tensor& /*philox_offset*/, double /*dropout_p*/,
                           std::array<bool, 4> asked_for, bool /*is_causal*/,
                           std::optional<double> /*scale*/) {
  check_gradient("_scaled_dot_product_efficient_attention_backward", grad_output, query, key,
                 value);
  const bool of_bias = attn_bias.defined() && asked_for[3];
  return {empty_heads_inside(query.sizes(), query.scalar_type()),
          empty_heads_inside(key.sizes(), key.scalar_type()),
          empty_heads_inside(value.sizes(), value.scalar_type()),
          of_bias ? empty_aligned_rows(attn_bias) : at::Tensor()};
}

GradientsAndBias overrideable(const at::Tensor& grad_output, const at::Tensor& query,
                              const at::Tensor& key, const at::Tensor& value,
                              const at::Tensor& attn_bias, std::array<bool, 4> /*asked_for*/,
                              const at::Tensor& /*out*/, const at::Tensor& /*logsumexp*/,
                              const at::Tensor& /*cum_seq_q*/, const at::Tensor& /*cum_seq_k*/,
                              int64_t /*max_q*/, int64_t /*max_k*/, double /*dropout_p*/,
                              bool /*is_causal*/, const at::Tensor& /*philox_seed*/,
                              const at::Tensor& /*philox_offset*/,
                              std::optional<double> /*scale*/) {
  check_gradient("_scaled_dot_product_fused_attention_overrideable_backward", grad_output, query,
                 key, value);
  return std::tuple_cat(
      like_the_inputs(query, key, value),
      std::make_tuple(attn_bias.defined() ? empty_preserving(attn_bias) : at::Tensor()));
}

// Cost --------------------------------------------------------------------------------------------

// Grouped queries share keys and values, not products.
AttentionSizes attention_sizes(const OpSignature& op) {
  const TensorSpec& query = op.tensor(1);
  return {.heads = query.size(0) * query.size(1),
          .queries = query.size(2),
          .keys = op.tensor(2).size(2),
          .query_width = query.size(3),
          .value_width = op.tensor(3).size(3)};
}

template <Places places>
void attention_backward_cost(const OpSignature& op, Cost& cost) {
  const AttentionSizes sizes = attention_sizes(op);
  AttentionWork work = op.boolean(places.causal) ? causal_attention_work(sizes, places.from_end)
                                                 : attention_work(sizes);
  if (places.mask != 0) hide_by_mask(work.pairs, op.tensor(places.mask));
  add_attention_backward(cost, work);
  if (places.mask != 0 && op.has_tensor(places.mask)) {
    add_mask(cost, sizes, op.tensor(places.mask).dtype == c10::ScalarType::Bool);
    // A bias that was broadcast takes the sum of its scores' gradients.
    const bool of_bias = places.asked != 0 && asked(op, places.asked, 3);
    if (of_bias && op.tensor(places.mask).numel() < sizes.scores()) {
      cost.add({.add = 1}, sizes.scores());
    }
  }
  if (op.floating(places.dropout) > 0) {  // the same elements dropped, of P and of dP
    cost.add({.multiply = 2, .compare = 2}, sizes.scores());
  }
}

Gradients flex(const at::Tensor& grad_output, const at::Tensor& query, const at::Tensor& key,
               const at::Tensor& value, const at::Tensor& /*out*/, const at::Tensor& /*logsumexp*/,
               int64_t /*computed*/, int64_t /*needed*/) {
  check_gradient("flex_attention_backward", grad_output, query, key, value);
  return like_the_inputs(query, key, value);
}

void flex_cost(const OpSignature& op, Cost& cost) {
  AttentionWork work = attention_work(attention_sizes(op));
  leave_pairs(work.pairs, op.integer(6), op.integer(7));
  add_attention_backward(cost, work);
}

const Rule kAttentionBackwardTable[] = {
    {"aten::_scaled_dot_product_cudnn_attention_backward(Tensor grad_out, Tensor query, Tensor "
     "key, Tensor value, Tensor out, Tensor logsumexp, Tensor philox_seed, Tensor philox_offset, "
     "Tensor attn_bias, Tensor cum_seq_q, Tensor cum_seq_k, SymInt max_q, SymInt max_k, float "
     "dropout_p, bool is_causal, *, float? scale=None) -> (Tensor, Tensor, Tensor)",
     boxed<&cudnn>,
     attention_backward_cost<kCudnn>,
     {},
     kDefault,
     "",
     8},
    {"aten::_scaled_dot_product_efficient_attention_backward(Tensor grad_out_, Tensor query, "
     "Tensor key, Tensor value, Tensor attn_bias, Tensor out, Tensor logsumexp, Tensor "
     "philox_seed, Tensor philox_offset, float dropout_p, bool[4] grad_input_mask, bool "
     "is_causal=False, *, float? scale=None) -> (Tensor, Tensor, Tensor, Tensor)",
     boxed<&efficient>,
     attention_backward_cost<kEfficient>,
     {},
     kDefault,
     "",
     4},
    {"aten::_scaled_dot_product_flash_attention_backward(Tensor grad_out, Tensor query, Tensor "
     "key, Tensor value, Tensor out, Tensor logsumexp, Tensor cum_seq_q, Tensor cum_seq_k, SymInt "
     "max_q, SymInt max_k, float dropout_p, bool is_causal, Tensor philox_seed, Tensor "
     "philox_offset, *, float? scale=None) -> (Tensor grad_query, Tensor grad_key, Tensor "
     "grad_value)",
     boxed<&flash>, attention_backward_cost<kFlash>},
    {"aten::_scaled_dot_product_flash_attention_for_cpu_backward(Tensor grad_out, Tensor query, "
     "Tensor key, Tensor value, Tensor out, Tensor logsumexp, float dropout_p, bool is_causal, *, "
     "Tensor? attn_mask=None, float? scale=None) -> (Tensor grad_query, Tensor grad_key, Tensor "
     "grad_value)",
     boxed<&flash_for_cpu>,
     attention_backward_cost<kFlashForCpu>,
     {},
     kDefault,
     "",
     8},
    {"aten::_scaled_dot_product_fused_attention_overrideable_backward(Tensor grad_out, Tensor "
     "query, Tensor key, Tensor value, Tensor attn_bias, bool[4] grad_input_mask, Tensor out, "
     "Tensor logsumexp, Tensor cum_seq_q, Tensor cum_seq_k, SymInt max_q, SymInt max_k, float "
     "dropout_p, bool is_causal, Tensor philox_seed, Tensor philox_offset, *, float? scale=None) "
     "-> (Tensor grad_query, Tensor grad_key, Tensor grad_value, Tensor grad_attn_bias)",
     boxed<&overrideable>,
     attention_backward_cost<kOverrideable>,
     {},
     kDefault,
     "",
     4},
    {"nnprof::flex_attention_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, "
     "Tensor out, Tensor logsumexp, int computed, int needed) -> (Tensor, Tensor, Tensor)",
     boxed<&flex>, flex_cost},
};

}  // namespace

void add_attention_backward(Cost& cost, const AttentionWork& work) {
  const AttentionPairs& pairs = work.pairs;
  const Count needed_width = 2 * (work.query_width + work.value_width);
  const Count width = needed_width + work.query_width;  // and the scores, which the forward had
  cost.add_macs(pairs.all * width);
  cost.flops_skipped += 2 * (pairs.all - pairs.computed) * width;
  cost.flops_remade += 2 * pairs.all * work.query_width;
  cost.flops_unneeded += 2 * (pairs.all * width - pairs.needed * needed_width);
  // P: the scale, less the row's log-sum-exp, exp. dS: less the row's sum, times P, the scale.
  cost.add({.add = 2, .multiply = 3, .exp = 1}, pairs.all);
  cost.add({.add = 1, .multiply = 1}, work.rows * work.value_width);
}

at::Tensor empty_aligned_rows(const at::Tensor& bias) {
  c10::DimVector strides(bias.sizes().size());
  int64_t next = 1;
  for (size_t d = strides.size(); d-- > 0;) {
    strides[d] = next;
    const int64_t size = bias.sizes()[d];
    next *= d + 1 == strides.size() ? (size + 15) / 16 * 16 : size;
  }
  return empty_strided_of(bias.sizes(), strides, bias.scalar_type());
}

const RuleFamily kAttentionBackwardRules("attention", kAttentionBackwardTable, OpClass::attention,
                                         kNothingSpecial);

}  // namespace nnprof

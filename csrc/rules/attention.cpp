// Scaled dot-product attention: the operator that models call, and the kernels under it.
//
// softmax(Q K' * scale + mask) V, for every head. Counted is what the mathematics asks for, which
// is what every fused kernel does; the matrix of scores is never in memory.
#include "rules/attention.h"

#include <ATen/ExpandUtils.h>

#include <algorithm>
#include <array>

#include "core/count.h"
#include "core/torch_version.h"
#include "rules/families.h"
#include "rules/known_integers.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"
#include "rules/views.h"

namespace nnprof {
namespace {

// Where the rules' operators have what the cost depends on, as argument numbers.
struct Places {
  size_t mask = 0;  // 0: has none
  size_t dropout = 0;
  size_t causal = 0;
  bool from_end = false;  // a causal mask lets the last query see all keys, not the first one key
};
constexpr Places kTopLevel = {.mask = 3, .dropout = 4, .causal = 5};
constexpr Places kFlash = {.dropout = 3, .causal = 4, .from_end = true};
constexpr Places kTriton = {.dropout = 3};
constexpr Places kQuantizedFlash = {.dropout = 6, .causal = 7, .from_end = true};
constexpr Places kFlashForCpu = {.mask = 5, .dropout = 3, .causal = 4};
constexpr Places kWithLogSumExp = {.mask = 3, .dropout = 5, .causal = 6};

// Lays out the result like the query, as the flash kernels of CPU and CUDA do: models make queries
// as (B, S, H, D) transposed, and get the result back so.
at::Tensor empty_like_query(const at::Tensor& query, const at::Tensor& value) {
  if (value.size(-1) == query.size(-1)) return empty_preserving(query);
  c10::DimVector sizes(query.sizes());
  sizes.back() = value.size(-1);
  return empty_like_dtype(sizes, query);
}

// Top level ---------------------------------------------------------------------------------------

void check_inputs(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                  const std::optional<at::Tensor>& mask, double dropout) {
  const auto dtype = query.scalar_type();
  TORCH_CHECK(dtype == key.scalar_type() && dtype == value.scalar_type(),
              "Expected query, key, and value to have the same dtype, but got query.dtype: ", dtype,
              " key.dtype: ", key.scalar_type(), " and value.dtype: ", value.scalar_type(),
              " instead.");
  TORCH_CHECK(
      query.dim() >= 2 && key.dim() >= 2 && value.dim() >= 2,
      "Expected query, key, and value to all be at least 2 dimensional, but got query.dim: ",
      query.dim(), " key.dim: ", key.dim(), " and value.dim: ", value.dim(), " instead.");
  TORCH_CHECK(c10::isFloatingType(dtype),
              "scaled_dot_product_attention: expected floating-point "
              "query, key and value, but got ",
              dtype);
  TORCH_CHECK(dropout >= 0 && dropout <= 1,
              "dropout probability has to be between 0 and 1, but got ", dropout);
  if (!mask) return;
  TORCH_CHECK(mask->scalar_type() == at::kBool || mask->scalar_type() == at::kFloat ||
                  mask->scalar_type() == dtype,
              "Expected attn_mask dtype to be bool or float or to match query dtype, but got "
              "attn_mask.dtype: ",
              mask->scalar_type(), " and  query.dtype: ", dtype, " instead.");
}

// Without a batch: since 2.14 PyTorch adds the dimension, and takes it away at the end.
bool lacks_batch(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  return torch_is_at_least(2, 14) && query.dim() == 3 && key.dim() == 3 && value.dim() == 3;
}

at::Tensor with_batch(const at::Tensor& tensor) {
  c10::DimVector sizes{1}, strides{tensor.stride(0) * tensor.size(0)};
  sizes.append(tensor.sizes().begin(), tensor.sizes().end());
  strides.append(tensor.strides().begin(), tensor.strides().end());
  return view_of(tensor, sizes, strides);
}

// The batch dimensions of keys or values, with heads repeated for the queries' groups.
c10::DimVector batch_of(const at::Tensor& tensor, const at::Tensor& query, bool grouped) {
  c10::DimVector batch(tensor.sizes().begin(), tensor.sizes().end() - 2);
  if (grouped) {
    TORCH_CHECK_INDEX(!batch.empty() && query.dim() >= 3, "enable_gqa needs a dimension of heads");
    const int64_t heads = query.size(-3);
    TORCH_CHECK(
        batch.back() != 0 && heads % batch.back() == 0,
        "Number of heads in key and value must divide the number of heads in query, but got "
        "key or value with ",
        batch.back(), " and query with ", heads, " heads");
    batch.back() = heads;
  }
  return batch;
}

// Sizes of the scores, query x key. Raises where the two do not fit.
c10::DimVector score_sizes(const at::Tensor& query, const at::Tensor& key, bool grouped) {
  TORCH_CHECK(query.size(-1) == key.size(-1), "scaled_dot_product_attention: query of ",
              query.sizes(), " and key of ", key.sizes(), " differ in their last dimension");
  c10::DimVector sizes = at::infer_size_dimvector(
      query.sizes().slice(0, static_cast<size_t>(query.dim()) - 2), batch_of(key, query, grouped));
  sizes.push_back(query.size(-2));
  sizes.push_back(key.size(-2));
  return sizes;
}

void check_mask(const std::optional<at::Tensor>& mask, at::IntArrayRef scores) {
  if (!mask) return;
  TORCH_CHECK(at::is_expandable_to(mask->sizes(), scores), "attn_mask of ", mask->sizes(),
              " does not broadcast to the scores of ", scores);
}

// Of the fused kernels: what they do not take goes to plain matrix products.
bool has_fused_kernel(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                      const std::optional<at::Tensor>& mask) {
  if (lacks_batch(query, key, value)) {  // a mask gets its four dimensions, too
    return has_fused_kernel(with_batch(query), with_batch(key), with_batch(value), std::nullopt);
  }
  if (query.dim() != 4 || key.dim() != 4 || value.dim() != 4) return false;
  if (mask && mask->dim() != 2 && mask->dim() != 4) return false;
  return query.size(0) == key.size(0) && query.size(0) == value.size(0) &&
         key.size(1) == value.size(1) && query.size(2) != 0 && key.size(2) != 0 &&
         query.size(3) == value.size(3) && query.stride(3) == 1 && key.stride(3) == 1 &&
         value.stride(3) == 1;
}

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const std::optional<at::Tensor>& attn_mask, double dropout_p, bool is_causal,
                     std::optional<double> /*scale*/, bool enable_gqa) {
  check_inputs(query, key, value, attn_mask, dropout_p);
  const auto check_causal = [&] {
    TORCH_CHECK(!(attn_mask && is_causal),
                "_scaled_dot_product_attention: Explicit attn_mask should "
                "not be set when is_causal=True");
  };
  if (torch_is_at_least(2, 14)) check_causal();
  // With dropout nothing is fused, and a mask has but to broadcast.
  TORCH_CHECK_INDEX(
      !attn_mask || attn_mask->dim() >= 2 || dropout_p > 0 || lacks_batch(query, key, value),
      "attn_mask needs at least 2 dimensions, but has ", attn_mask->dim());
  const c10::DimVector scores = score_sizes(query, key, enable_gqa);
  TORCH_CHECK(key.size(-2) == value.size(-2), "scaled_dot_product_attention: key of ", key.sizes(),
              " and value of ", value.sizes(), " differ in length");
  check_mask(attn_mask, scores);
  if (has_fused_kernel(query, key, value, attn_mask)) return empty_preserving(query);
  check_causal();
  c10::DimVector sizes = at::infer_size_dimvector(
      at::IntArrayRef(scores).slice(0, scores.size() - 2), batch_of(value, query, enable_gqa));
  sizes.push_back(query.size(-2));
  sizes.push_back(value.size(-1));
  return empty_like_dtype(sizes, query);
}

// The matrix products one by one; the scores come out too.
std::tuple<at::Tensor, at::Tensor> attention_math(const at::Tensor& query, const at::Tensor& key,
                                                  const at::Tensor& value,
                                                  const std::optional<at::Tensor>& attn_mask,
                                                  double dropout_p, bool is_causal,
                                                  const std::optional<at::Tensor>& /*dropout_mask*/,
                                                  std::optional<double> scale, bool enable_gqa) {
  TORCH_CHECK(!(attn_mask && is_causal),
              "_scaled_dot_product_attention: Explicit attn_mask should "
              "not be set when is_causal=True");
  const at::Tensor laid_out =
      attention(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa);
  return {empty_like_dtype(laid_out.sizes(), query),
          empty_like_dtype(score_sizes(query, key, enable_gqa), query)};
}

// Kernels -----------------------------------------------------------------------------------------

void check_heads(const char* name, const at::Tensor& query, const at::Tensor& key,
                 const at::Tensor& value) {
  TORCH_CHECK(query.dim() == 4 && key.dim() == 4 && value.dim() == 4, name,
              ": Accept only 4 dims inputs shape of {B, H, T, K}");
}

c10::ScalarType accumulation_dtype(c10::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

std::tuple<at::Tensor, at::Tensor> flash_for_cpu(const at::Tensor& query, const at::Tensor& key,
                                                 const at::Tensor& value, double /*dropout_p*/,
                                                 bool /*is_causal*/,
                                                 const std::optional<at::Tensor>& /*attn_mask*/,
                                                 std::optional<double> /*scale*/) {
  check_heads("scaled_dot_product_attention_flash_attention", query, key, value);
  TORCH_CHECK(query.size(3) == key.size(3) && query.size(3) == value.size(3),
              "scaled_dot_product_attention_flash_attention: Q/K/V should have the same head size");
  return {empty_preserving(query),
          empty_heads_inside(query.sizes().slice(0, 3), accumulation_dtype(query.scalar_type()))};
}

// output, logsumexp, cum_seq_q, cum_seq_k, max_q, max_k, seed, offset, debug mask
using FlashOutputs = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, c10::SymInt,
                                c10::SymInt, at::Tensor, at::Tensor, at::Tensor>;

FlashOutputs flash(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                   double /*dropout_p*/, bool /*is_causal*/, bool return_debug_mask,
                   std::optional<double> /*scale*/) {
  check_heads("_scaled_dot_product_flash_attention", query, key, value);
  const int64_t length = query.size(2);
  at::Tensor debug_mask = empty_like_dtype({0}, query);
  if (return_debug_mask) {
    const int64_t block = query.size(3) > 64 ? 128 : 256;
    int64_t keys = round_up(length, block) / block;
    if (key.size(2) <= 256) keys = key.size(2) <= 128 ? 128 : 256;
    debug_mask = empty_like_dtype({query.size(0), query.size(1), length, keys}, query);
  }
  return {empty_preserving(query),
          empty_of(query.sizes().slice(0, 3), at::kFloat),
          at::Tensor(),
          at::Tensor(),
          length,
          key.size(2),
          empty_of({2}, at::kUInt64),
          empty_of({}, at::kUInt64),
          debug_mask};
}

FlashOutputs quantized_flash(const at::Tensor& query, const at::Tensor& key,
                             const at::Tensor& value,
                             const std::optional<at::Tensor>& /*q_descale*/,
                             const std::optional<at::Tensor>& /*k_descale*/,
                             const std::optional<at::Tensor>& /*v_descale*/, double dropout_p,
                             bool is_causal, bool return_debug_mask, std::optional<double> scale) {
  FlashOutputs outputs = flash(query, key, value, dropout_p, is_causal, return_debug_mask, scale);
  if (c10::isFloat8Type(query.scalar_type())) {
    std::get<0>(outputs) = empty_preserving(query, at::kBFloat16);
  }
  return outputs;
}

// Of a backend outside of PyTorch; also without a batch.
FlashOutputs overrideable(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                          const std::optional<at::Tensor>& /*attn_bias*/, double /*dropout_p*/,
                          bool /*is_causal*/, bool /*return_debug_mask*/,
                          std::optional<double> /*scale*/) {
  TORCH_CHECK(query.dim() == 3 || query.dim() == 4, "query must be 3D or 4D");
  const bool batched = query.dim() == 4;
  return {empty_like_query(query, value),
          empty_of({batched ? query.size(0) : 1, query.size(-3), query.size(-2)}, at::kFloat),
          at::Tensor(),
          at::Tensor(),
          query.size(-2),
          key.size(-2),
          empty_of({}, at::kLong),
          empty_of({}, at::kLong),
          at::Tensor()};
}

at::Tensor triton(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  double /*dropout_p*/) {
  check_heads("_triton_scaled_dot_attention", q, k, v);
  return empty_preserving(q);
}

FlashOutputs cudnn(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                   const std::optional<at::Tensor>& /*attn_bias*/, bool /*compute_log_sumexp*/,
                   double /*dropout_p*/, bool /*is_causal*/, bool /*return_debug_mask*/,
                   std::optional<double> /*scale*/) {
  check_heads("_scaled_dot_product_cudnn_attention", query, key, value);
  c10::DimVector sum_sizes(query.sizes());
  sum_sizes.back() = 1;
  return {empty_like_query(query, value),
          empty_of(sum_sizes, at::kFloat),
          at::Tensor(),
          at::Tensor(),
          query.size(2),
          key.size(2),
          empty_of({}, at::kLong),
          empty_of({}, at::kLong),
          at::Tensor()};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> efficient(
    const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
    const std::optional<at::Tensor>& /*attn_bias*/, bool compute_log_sumexp, double /*dropout_p*/,
    bool /*is_causal*/, std::optional<double> /*scale*/) {
  check_heads("_scaled_dot_product_efficient_attention", query, key, value);
  const int64_t batch = query.size(0), heads = query.size(1), length = query.size(2);
  const int64_t sums = compute_log_sumexp ? round_up(length, 32) : 0;  // the kernel's alignment
  return {empty_heads_inside({batch, heads, length, value.size(3)}, query.scalar_type()),
          empty_of({batch, heads, sums}, at::kFloat), empty_of({}, at::kLong),
          empty_of({}, at::kLong)};
}

// In the memory order of the query, as the kernel that torch.compile writes has it.
at::Tensor empty_in_order_of(const at::Tensor& query, at::IntArrayRef sizes) {
  std::array<size_t, 4> order = {3, 2, 1, 0};  // to be: the innermost dimension first
  std::stable_sort(order.begin(), order.end(), [&](size_t left, size_t right) {
    return query.strides()[left] < query.strides()[right];
  });
  c10::DimVector strides(4);
  int64_t next = 1;
  for (const size_t dim : order) {
    strides[dim] = next;
    next *= sizes[dim];
  }
  return empty_strided_of(sizes, strides, query.scalar_type());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> flex(const at::Tensor& query, const at::Tensor& key,
                                                    const at::Tensor& value, int64_t /*computed*/,
                                                    int64_t needed) {
  if (needed < 0) note_guess();
  check_heads("flex_attention", query, key, value);
  TORCH_CHECK(query.size(3) == key.size(3), "flex_attention: query of ", query.sizes(),
              " and key of ", key.sizes(), " differ in their last dimension");
  TORCH_CHECK(key.size(2) == value.size(2), "flex_attention: key of ", key.sizes(),
              " and value of ", value.sizes(), " differ in length");
  const at::IntArrayRef rows = query.sizes().slice(0, 3);
  c10::DimVector sizes(rows);
  sizes.push_back(value.size(3));
  return {empty_in_order_of(query, sizes), empty_of(rows, at::kFloat), empty_of(rows, at::kFloat)};
}

// Cost --------------------------------------------------------------------------------------------

AttentionSizes attention_sizes(const OpSignature& op) {
  const TensorSpec& query = op.tensor(0);
  const TensorSpec& output = op.output();
  Count heads = 1;  // of the query: grouped queries share keys and values, not products
  for (int64_t d = 0; d < output.dim() - 2; ++d) heads *= output.size(d);
  return {.heads = heads,
          .queries = query.size(-2),
          .keys = op.tensor(1).size(-2),
          .query_width = query.size(-1),
          .value_width = op.tensor(2).size(-1)};
}

// Dense, whatever the mask leaves out; what the user's score_mod computes is left out.
void flex_cost(const OpSignature& op, Cost& cost) {
  AttentionWork work = attention_work(attention_sizes(op));
  leave_pairs(work.pairs, op.integer(3), op.integer(4));
  add_attention(cost, work);
}

template <Places places>
void attention_cost(const OpSignature& op, Cost& cost) {
  const AttentionSizes sizes = attention_sizes(op);
  AttentionWork work = places.causal != 0 && op.boolean(places.causal)
                           ? causal_attention_work(sizes, places.from_end)
                           : attention_work(sizes);
  const bool masked = places.mask != 0 && op.has_tensor(places.mask);
  if (masked) hide_by_mask(work.pairs, op.tensor(places.mask));
  add_attention(cost, work);
  if (masked) {
    add_mask(cost, sizes, op.tensor(places.mask).dtype == c10::ScalarType::Bool);
  }
  if (op.floating(places.dropout) > 0) {
    cost.add({.multiply = 1, .compare = 1}, sizes.scores());
  }
}

// The log-sum-exp of each row is kept beside the result, in the dtype of accumulation.
void top_level_cost(const OpSignature& op, Cost& cost) {
  attention_cost<kTopLevel>(op, cost);
  const Count rows = op.output().numel() / std::max<Count>(op.output().size(-1), 1);
  const auto dtype = accumulation_dtype(op.output().dtype);
  cost.temporary_bytes += rows * static_cast<int64_t>(c10::elementSize(dtype));
}

const Rule kAttentionTable[] = {
    {.schema =
         "aten::scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, "
         "Tensor? attn_mask=None, float dropout_p=0., bool is_causal=False, *, float? scale=None, "
         "bool enable_gqa=False) -> Tensor",
     .outputs = boxed<&attention>,
     .cost = top_level_cost,
     .flags = kRandom,
     .mask = 3},
    {.schema = "aten::_scaled_dot_product_attention_math(Tensor query, Tensor key, Tensor value, "
               "Tensor? attn_mask=None, float dropout_p=0., bool is_causal=False, "
               "Tensor? dropout_mask=None, *, float? scale=None, bool enable_gqa=False) -> "
               "(Tensor, Tensor)",
     .outputs = boxed<&attention_math>,
     .cost = attention_cost<kTopLevel>,
     .flags = kRandom,
     .mask = 3},
    {.schema =
         "aten::_scaled_dot_product_cudnn_attention(Tensor query, Tensor key, Tensor value, "
         "Tensor? attn_bias, bool compute_log_sumexp, float dropout_p=0., bool is_causal=False, "
         "bool return_debug_mask=False, *, float? scale=None) -> (Tensor output, Tensor logsumexp, "
         "Tensor cum_seq_q, Tensor cum_seq_k, SymInt max_q, SymInt max_k, Tensor philox_seed, "
         "Tensor philox_offset, Tensor debug_attn_mask)",
     .outputs = boxed<&cudnn>,
     .cost = attention_cost<kWithLogSumExp>,
     .flags = kRandom,
     .mask = 3},
    {.schema =
         "aten::_scaled_dot_product_efficient_attention(Tensor query, Tensor key, Tensor value, "
         "Tensor? attn_bias, bool compute_log_sumexp, float dropout_p=0., bool is_causal=False, *, "
         "float? scale=None) -> (Tensor output, Tensor log_sumexp, Tensor philox_seed, "
         "Tensor philox_offset)",
     .outputs = boxed<&efficient>,
     .cost = attention_cost<kWithLogSumExp>,
     .flags = kRandom,
     .mask = 3},
    {"aten::_scaled_dot_product_flash_attention(Tensor query, Tensor key, Tensor value, "
     "float dropout_p=0., bool is_causal=False, bool return_debug_mask=False, *, "
     "float? scale=None) -> (Tensor output, Tensor logsumexp, Tensor cum_seq_q, "
     "Tensor cum_seq_k, SymInt max_q, SymInt max_k, Tensor rng_state, Tensor unused, "
     "Tensor debug_attn_mask)",
     boxed<&flash>,
     attention_cost<kFlash>,
     {},
     kRandom},
    {.schema = "aten::_scaled_dot_product_flash_attention_for_cpu(Tensor query, Tensor key, Tensor "
               "value, "
               "float dropout_p=0., bool is_causal=False, *, Tensor? attn_mask=None, float? "
               "scale=None) -> "
               "(Tensor output, Tensor logsumexp)",
     .outputs = boxed<&flash_for_cpu>,
     .cost = attention_cost<kFlashForCpu>,
     .mask = 5},
    {.schema =
         "aten::_scaled_dot_product_attention_math_for_mps(Tensor query, Tensor key, Tensor value, "
         "Tensor? attn_mask=None, float dropout_p=0., bool is_causal=False, Tensor? "
         "dropout_mask=None, *, float? scale=None, bool enable_gqa=False) -> (Tensor, Tensor)",
     .outputs = boxed<&attention_math>,
     .cost = attention_cost<kTopLevel>,
     .flags = kRandom,
     .mask = 3},
    {.schema =
         "aten::_scaled_dot_product_fused_attention_overrideable(Tensor query, Tensor key, Tensor "
         "value, Tensor? attn_bias=None, float dropout_p=0., bool is_causal=False, bool "
         "return_debug_mask=False, *, float? scale=None) -> (Tensor output, Tensor logsumexp, "
         "Tensor cum_seq_q, Tensor cum_seq_k, SymInt max_q, SymInt max_k, Tensor philox_seed, "
         "Tensor philox_offset, Tensor debug_attn_mask)",
     .outputs = boxed<&overrideable>,
     .cost = attention_cost<kTopLevel>,
     .flags = kRandom,
     .mask = 3},
    {"aten::_scaled_dot_product_flash_attention.quantized(Tensor query, Tensor key, Tensor value, "
     "Tensor? q_descale, Tensor? k_descale, Tensor? v_descale, float dropout_p=0., bool "
     "is_causal=False, bool return_debug_mask=False, *, float? scale=None) -> (Tensor output, "
     "Tensor logsumexp, Tensor cum_seq_q, Tensor cum_seq_k, SymInt max_q, SymInt max_k, Tensor "
     "rng_state, Tensor unused, Tensor debug_attn_mask)",
     boxed<&quantized_flash>,
     attention_cost<kQuantizedFlash>,
     {},
     kRandom},
    {"aten::_triton_scaled_dot_attention(Tensor q, Tensor k, Tensor v, float dropout_p=0.) -> "
     "Tensor",
     boxed<&triton>,
     attention_cost<kTriton>,
     {},
     kRandom},
    {"nnprof::flex_attention(Tensor query, Tensor key, Tensor value, int computed, int needed) -> "
     "(Tensor out, Tensor logsumexp, Tensor max_scores)",
     boxed<&flex>,
     flex_cost,
     {},
     kKnownIntegers,
     "a block mask of unknown values hides nothing"},
};

}  // namespace

// Per head: Q K' takes queries x keys x D products, the weighted sum of the values
// queries x keys x Dv.
void add_attention(Cost& cost, const AttentionWork& work) {
  const AttentionPairs& pairs = work.pairs;
  const Count width = work.query_width + work.value_width;
  cost.add_macs(pairs.all * width);
  cost.flops_skipped += 2 * (pairs.all - pairs.computed) * width;
  cost.flops_unneeded += 2 * (pairs.all - pairs.needed) * width;
  cost.add({.multiply = 1}, pairs.all);  // the scale
  // Softmax: the row's maximum, subtract it, exp, the row's sum, divide.
  cost.add({.add = 2, .division = 1, .exp = 1, .compare = 1}, pairs.all);
}

AttentionWork attention_work(const AttentionSizes& sizes) {
  const Count scores = sizes.scores();
  return {
      {scores, scores, scores}, sizes.heads * sizes.queries, sizes.query_width, sizes.value_width};
}

AttentionWork causal_attention_work(const AttentionSizes& sizes, bool from_end) {
  AttentionWork work = attention_work(sizes);
  const Document whole = {static_cast<int64_t>(sizes.queries), static_cast<int64_t>(sizes.keys)};
  work.pairs = pairs_of({&whole, 1}, {.right = 0, .from_end = from_end}, sizes.heads);
  return work;
}

void add_mask(Cost& cost, const AttentionSizes& sizes, bool selects) {
  cost.add(selects ? FlopMix{.compare = 1} : FlopMix{.add = 1}, sizes.scores());
}

at::Tensor empty_heads_inside(at::IntArrayRef sizes, c10::ScalarType dtype) {
  const int64_t width = sizes.size() == 4 ? sizes[3] : 1;
  const std::array<int64_t, 4> strides = {sizes[2] * sizes[1] * width, width, sizes[1] * width, 1};
  return empty_strided_of(sizes, at::IntArrayRef(strides).slice(0, sizes.size()), dtype);
}

const RuleFamily kAttentionRules("attention", kAttentionTable, OpClass::attention, kNothingSpecial);

}  // namespace nnprof

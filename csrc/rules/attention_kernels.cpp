// What the kernels of attention cost that are called by themselves, and the table of them.
#include "rules/attention_kernels.h"

#include <ATen/ops/_fused_sdp_choice_native.h>

#include <algorithm>

#include "rules/families.h"
#include "rules/gradients.h"

namespace nnprof {
namespace {

// One call, read off its signature.
class Kernel {
 public:
  Kernel(const OpSignature& op, const KernelPlaces& places) : op_(op), places_(places) {}

  const TensorSpec& query() const { return tensor(places_.query); }
  const TensorSpec& key() const { return tensor(places_.key); }
  const TensorSpec& value() const { return tensor(places_.value); }

  bool has(int place) const {
    return place != kAbsent && op_.has_tensor(static_cast<size_t>(place));
  }
  const TensorSpec& tensor(int place) const { return op_.tensor(static_cast<size_t>(place)); }
  int64_t integer(int place, int64_t if_none) const {
    return place == kAbsent ? if_none : op_.integer(static_cast<size_t>(place), if_none);
  }
  double floating(int place) const {
    return place == kAbsent ? 0 : op_.floating(static_cast<size_t>(place));
  }

  int64_t heads() const { return query().sizes[head_dim(query())]; }
  int64_t key_heads() const { return key().sizes[head_dim(key())]; }
  int64_t length(const TensorSpec& tensor) const { return tensor.sizes[length_dim(tensor)]; }

  std::vector<Document> documents() const {
    std::vector<int64_t> queries = query_lengths();
    const std::vector<int64_t> keys = key_lengths(queries.size());
    std::vector<Document> documents;
    for (size_t i = 0; i < queries.size(); ++i) {
      documents.push_back({queries[i], i < keys.size() ? keys[i] : 0});
    }
    return documents;
  }

  Band band() const {
    Band band;
    band.from_end = !places_.causal_from_start;
    band.chunk = integer(places_.chunk, 0);
    if (places_.window != kAbsent &&
        op_.integers(static_cast<size_t>(places_.window)).size() == 2) {
      const std::vector<int64_t>& window = op_.integers(static_cast<size_t>(places_.window));
      band.left = window[0];
      band.right = window[1];
    }
    band.left = integer(places_.left, band.left);
    band.right = integer(places_.right, band.right);
    if (integer(places_.causal, 0) != 0) band.right = 0;
    if (places_.mask_kind != kAbsent) efficient_band(band);
    return band;
  }

 private:
  size_t head_dim(const TensorSpec& tensor) const {
    const size_t dims = tensor.sizes.size();
    return places_.heads_first && dims == 4 ? 1 : dims - 2;
  }
  size_t length_dim(const TensorSpec& tensor) const {
    const size_t dims = tensor.sizes.size();
    return places_.heads_first && dims == 4 ? 2 : dims - 3;
  }

  // 1 and 2 are causal, counted from the start and from the end; a window's width has the query's
  // own key in it.
  void efficient_band(Band& band) const {
    const int64_t kind = integer(places_.mask_kind, 0);
    if (kind == 0) return;
    band.from_end = kind == 2;
    band.right = 0;
    const int64_t width = integer(places_.width, 0);
    if (width > 0) band.left = width - 1;
  }

  size_t samples() const {
    if (has(places_.starts_q)) return static_cast<size_t>(tensor(places_.starts_q).sizes[0] - 1);
    return static_cast<size_t>(query().sizes[0]);
  }

  std::vector<int64_t> query_lengths() const {
    std::vector<int64_t> lengths =
        has(places_.starts_q)
            ? packed_lengths(tensor(places_.starts_q), places_.longest_q, length(query()))
            : std::vector<int64_t>(samples(), length(query()));
    if (has(places_.used_q)) use_no_more(lengths, tensor(places_.used_q).values);
    return lengths;
  }

  std::vector<int64_t> key_lengths(size_t count) const {
    std::vector<int64_t> lengths = whole_key_lengths(count);
    if (!has(places_.used_k)) return lengths;
    const std::vector<int64_t>& used = tensor(places_.used_k).values;
    const int64_t added = has(places_.new_keys) ? length(tensor(places_.new_keys)) : 0;
    if (used.empty()) {
      const int64_t longest = integer(places_.longest_k, -1);
      if (longest >= 0) use_no_more(lengths, std::vector<int64_t>(count, longest));
    } else {
      std::vector<int64_t> with_new = used;
      for (int64_t& length : with_new) length += added;
      use_no_more(lengths, with_new);
    }
    return lengths;
  }

  std::vector<int64_t> whole_key_lengths(size_t count) const {
    const int64_t there = length(key());
    if (has(places_.pages))
      return std::vector<int64_t>(count, tensor(places_.pages).sizes[1] * there);
    if (has(places_.starts_k)) {
      return packed_lengths(tensor(places_.starts_k), places_.longest_k, there);
    }
    if (has(places_.starts_q) && key().sizes.size() == 3) {  // the same for keys
      return packed_lengths(tensor(places_.starts_q), places_.longest_k, there);
    }
    return std::vector<int64_t>(count, there);
  }

  std::vector<int64_t> packed_lengths(const TensorSpec& starts, int longest, int64_t total) const {
    if (!starts.values.empty()) return lengths_from_starts(starts.values, total);
    const auto count = static_cast<size_t>(std::max<int64_t>(starts.sizes[0] - 1, 0));
    return longest_lengths(count, integer(longest, total), total);
  }

  static void use_no_more(std::vector<int64_t>& lengths, const std::vector<int64_t>& used) {
    for (size_t i = 0; i < std::min(lengths.size(), used.size()); ++i) {
      lengths[i] = std::clamp<int64_t>(used[i], 0, lengths[i]);
    }
  }

  const OpSignature& op_;
  const KernelPlaces& places_;
};

AttentionWork work_of(const Kernel& kernel, const KernelPlaces& places,
                      const std::vector<Document>& documents) {
  AttentionWork work;
  work.pairs = pairs_of(documents, kernel.band(), kernel.heads());
  if (places.bias != kAbsent) hide_by_mask(work.pairs, kernel.tensor(places.bias));
  for (const Document& document : documents) work.rows += document.queries;
  work.rows *= kernel.heads();
  work.query_width = kernel.query().size(-1);
  work.value_width = kernel.value().size(-1);
  if (kernel.has(places.second_query)) work.query_width += work.value_width;
  return work;
}

// Of a cache only the part that is in use is read.
void read_used_keys(const Kernel& kernel, const KernelPlaces& places,
                    const std::vector<Document>& documents, Cost& cost) {
  if (!kernel.has(places.pages) && !kernel.has(places.used_k)) return;
  Count used = 0;
  for (const Document& document : documents) used += document.keys;
  for (const TensorSpec* cache : {&kernel.key(), &kernel.value()}) {
    const Count bytes = used * kernel.key_heads() * cache->size(-1) * cache->element_size();
    cost.bytes_read -= std::max<Count>(cache->distinct_bytes() - bytes, 0);
  }
}

void add_what_scores_take(const Kernel& kernel, const KernelPlaces& places, const Count& scores,
                          int64_t passes, Cost& cost) {
  if (kernel.has(places.bias)) {
    const bool selects = kernel.tensor(places.bias).dtype == c10::ScalarType::Bool;
    cost.add(selects ? FlopMix{.compare = 1} : FlopMix{.add = 1}, scores);
  }
  if (kernel.has(places.slopes)) cost.add({.add = 1, .multiply = 1}, scores);
  if (kernel.floating(places.softcap) > 0) cost.add({.multiply = 2, .tanh = 1}, scores);
  // In a gradient the same elements are dropped, of P and of dP.
  if (kernel.floating(places.dropout) > 0) cost.add({.multiply = 1, .compare = 1}, passes * scores);
}

}  // namespace

void count_kernel(const OpSignature& op, const KernelPlaces& places, Cost& cost) {
  const Kernel kernel(op, places);
  const std::vector<Document> documents = kernel.documents();
  const AttentionWork work = work_of(kernel, places, documents);
  const bool gradient = places.grad_output != kAbsent;
  if (gradient) {
    add_attention_backward(cost, work);
  } else {
    add_attention(cost, work);
  }
  add_what_scores_take(kernel, places, work.pairs.all, gradient ? 2 : 1, cost);
  read_used_keys(kernel, places, documents, cost);
  for (int i = places.written_first; i != kAbsent && i <= places.written_last; ++i) {
    if (!kernel.has(i)) continue;
    not_read(op, cost, static_cast<size_t>(i));
    cost.bytes_written += kernel.tensor(i).distinct_bytes();
  }
}

namespace {

// The kernel that a CPU picks: there it is fused or not, as on most devices.
int64_t fused_choice(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const std::optional<at::Tensor>& attn_mask, double dropout_p, bool is_causal,
                     std::optional<double> scale, bool enable_gqa) {
  return at::native::_fused_sdp_choice_cpp(query, key, value, attn_mask, dropout_p, is_causal,
                                           scale, enable_gqa);
}

void nothing_at_all(const OpSignature& /*op*/, Cost& cost) { cost = {}; }

const Rule kAttentionKernelTable[] = {
    // PyTorch's.
    kAttentionKernel<
        "aten::_flash_attention_forward(Tensor query, Tensor key, Tensor value, Tensor? cum_seq_q, "
        "Tensor? cum_seq_k, SymInt max_q, SymInt max_k, float dropout_p, bool is_causal, bool "
        "return_debug_mask, *, float? scale=None, SymInt? window_size_left=None, SymInt? "
        "window_size_right=None, Tensor? seqused_k=None, Tensor? alibi_slopes=None, Tensor? "
        "block_table=None, int? num_splits=None) -> (Tensor output, Tensor softmax_logsumexp, "
        "Tensor rng_state, Tensor unused, Tensor debug_attn_mask)",
        flash_outputs>,
    kAttentionKernel<"aten::_flash_attention_forward(Tensor query, Tensor key, Tensor value, "
                     "Tensor? cum_seq_q, Tensor? cum_seq_k, SymInt max_q, SymInt max_k, float "
                     "dropout_p, bool is_causal, bool return_debug_mask, *, float? scale=None, "
                     "SymInt? window_size_left=None, SymInt? window_size_right=None, Tensor? "
                     "seqused_k=None, Tensor? alibi_slopes=None) -> (Tensor output, Tensor "
                     "softmax_logsumexp, Tensor rng_state, Tensor unused, Tensor debug_attn_mask)",
                     flash_outputs>,
    kAttentionKernel<"aten::_flash_attention_forward.quantized(Tensor query, Tensor key, Tensor "
                     "value, Tensor? cum_seq_q, Tensor? cum_seq_k, SymInt max_q, SymInt max_k, "
                     "float dropout_p, bool is_causal, bool return_debug_mask, Tensor? q_descale, "
                     "Tensor? k_descale, Tensor? v_descale, *, float? scale=None, SymInt? "
                     "window_size_left=None, SymInt? window_size_right=None, Tensor? "
                     "seqused_k=None, Tensor? alibi_slopes=None) -> (Tensor output, Tensor "
                     "softmax_logsumexp, Tensor rng_state, Tensor unused, Tensor debug_attn_mask)",
                     flash_outputs>,
    kAttentionKernel<
        "aten::_flash_attention_forward_no_dropout_inplace(Tensor(a!) out, Tensor query, Tensor "
        "key, Tensor value, Tensor? cum_seq_q, Tensor? cum_seq_k, SymInt max_q, SymInt max_k, "
        "float dropout_p, bool is_causal, bool return_debug_mask, *, float? scale=None, SymInt? "
        "window_size_left=None, SymInt? window_size_right=None, Tensor? seqused_k=None, Tensor? "
        "alibi_slopes=None, Tensor? block_table=None, int? num_splits=None) -> Tensor "
        "softmax_logsumexp",
        flash_log_sums>,
    kAttentionKernel<
        "aten::_efficient_attention_forward(Tensor query, Tensor key, Tensor value, Tensor? bias, "
        "Tensor? cu_seqlens_q, Tensor? cu_seqlens_k, SymInt? max_seqlen_q, SymInt? max_seqlen_k, "
        "float dropout_p, int custom_mask_type, bool compute_log_sumexp=False, *, float? "
        "scale=None, Tensor? seqlen_k=None, int? window_size=None) -> (Tensor output, Tensor "
        "logsumexp, Tensor philox_seed, Tensor philox_offset, SymInt max_seqlen_batch_q, SymInt "
        "max_seqlen_batch_k)",
        efficient_outputs>,
    kAttentionKernel<
        "aten::_cudnn_attention_forward(Tensor query, Tensor key, Tensor value, Tensor? attn_bias, "
        "Tensor? cum_seq_q, Tensor? cum_seq_k, SymInt max_q, SymInt max_k, bool "
        "compute_log_sumexp, float dropout_p=0., bool is_causal=False, bool "
        "return_debug_mask=False, *, float? scale=None) -> (Tensor output, Tensor logsumexp, "
        "Tensor cum_seq_q, Tensor cum_seq_k, SymInt max_q, SymInt max_k, Tensor philox_seed, "
        "Tensor philox_offset, Tensor debug_attn_mask)",
        cudnn_outputs>,
    kAttentionKernel<
        "aten::_cudnn_attention_forward(Tensor query, Tensor key, Tensor value, Tensor? attn_bias, "
        "Tensor? cum_seq_q, Tensor? cum_seq_k, SymInt max_q, SymInt max_k, bool "
        "compute_log_sumexp, float dropout_p=0., bool is_causal=False, bool "
        "return_debug_mask=False, *, float? scale=None, Tensor? seqused_k=None, Tensor? "
        "block_table=None) -> (Tensor output, Tensor logsumexp, "
        "Tensor cum_seq_q, Tensor cum_seq_k, SymInt max_q, SymInt max_k, Tensor philox_seed, "
        "Tensor philox_offset, Tensor debug_attn_mask)",
        cudnn_outputs>,
    {"aten::_fused_sdp_choice(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, "
     "float dropout_p=0., bool is_causal=False, *, float? scale=None, bool enable_gqa=False) -> "
     "int",
     boxed<&fused_choice>, nothing_at_all},
    kAttentionKernel<
        "aten::_flash_attention_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, "
        "Tensor out, Tensor logsumexp, Tensor cum_seq_q, Tensor cum_seq_k, SymInt max_q, SymInt "
        "max_k, float dropout_p, bool is_causal, Tensor rng_state, Tensor unused, *, float? "
        "scale=None, SymInt? window_size_left=None, SymInt? window_size_right=None) -> (Tensor, "
        "Tensor, Tensor)",
        gradients>,
    kAttentionKernel<
        "aten::_efficient_attention_backward(Tensor grad_out_, Tensor query, Tensor key, Tensor "
        "value, Tensor? bias, Tensor out, Tensor? cu_seqlens_q, Tensor? cu_seqlens_k, SymInt "
        "max_seqlen_q, SymInt max_seqlen_k, Tensor logsumexp, float dropout_p, Tensor philox_seed, "
        "Tensor philox_offset, int custom_mask_type, bool bias_requires_grad, *, float? "
        "scale=None, int? num_splits_key=None, int? window_size=None, bool "
        "shared_storage_dqdkdv=False) -> (Tensor, Tensor, Tensor, Tensor)",
        efficient_gradients>,
    kAttentionKernel<
        "aten::_cudnn_attention_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, "
        "Tensor out, Tensor logsumexp, Tensor philox_seed, Tensor philox_offset, Tensor attn_bias, "
        "Tensor cum_seq_q, Tensor cum_seq_k, SymInt max_q, SymInt max_k, float dropout_p, bool "
        "is_causal, *, float? scale=None) -> (Tensor, Tensor, Tensor)",
        gradients>,
    // torch.nn.attention.varlen.
    kAttentionKernel<
        "torch_attn::_varlen_attn(Tensor query, Tensor key, Tensor value, Tensor cu_seq_q, Tensor? "
        "cu_seq_k, SymInt max_q, SymInt max_k, bool is_causal=False, float? scale=None, SymInt[]? "
        "window_size=None, bool enable_gqa=False, Tensor? seqused_k=None, Tensor? "
        "block_table=None, SymInt? num_splits=None) -> (Tensor, Tensor, Tensor)",
        varlen_outputs>,
    kAttentionKernel<"torch_attn::_varlen_attn(Tensor query, Tensor key, Tensor value, Tensor "
                     "cu_seq_q, Tensor cu_seq_k, SymInt max_q, SymInt max_k, bool is_causal=False, "
                     "float? scale=None, SymInt[]? window_size=None) -> (Tensor, Tensor, Tensor)",
                     varlen_outputs>,
    kAttentionKernel<"torch_attn::_varlen_attn(Tensor query, Tensor key, Tensor value, Tensor "
                     "cu_seq_q, Tensor cu_seq_k, SymInt max_q, SymInt max_k, bool is_causal=False, "
                     "float? scale=None) -> (Tensor, Tensor, Tensor)",
                     varlen_outputs>,
    kAttentionKernel<
        "torch_attn::_varlen_attn_out(Tensor(a0!) out, Tensor query, Tensor key, Tensor value, "
        "Tensor cu_seq_q, Tensor? cu_seq_k, SymInt max_q, SymInt max_k, bool is_causal=False, "
        "float? scale=None, SymInt[]? window_size=None, bool enable_gqa=False, Tensor? "
        "seqused_k=None, Tensor? block_table=None, SymInt? num_splits=None) -> Tensor",
        flash_log_sums>,
    kAttentionKernel<"torch_attn::_varlen_attn_backward(Tensor grad_out, Tensor query, Tensor key, "
                     "Tensor value, Tensor out, Tensor lse, Tensor cu_seq_q, Tensor cu_seq_k, "
                     "SymInt max_q, SymInt max_k, bool is_causal, Tensor rng_state, float? "
                     "scale=None, SymInt[]? window_size=None) -> (Tensor, Tensor, Tensor)",
                     gradients>,
    kAttentionKernel<
        "torch_attn::_varlen_attn_backward(Tensor grad_out, Tensor query, Tensor key, Tensor "
        "value, Tensor out, Tensor lse, Tensor cu_seq_q, Tensor cu_seq_k, SymInt max_q, SymInt "
        "max_k, bool is_causal, Tensor rng_state, float? scale=None) -> (Tensor, Tensor, Tensor)",
        gradients>,
    // flash_attn 2.7 and later.
    kAttentionKernel<
        "flash_attn::_flash_attn_forward(Tensor q, Tensor k, Tensor v, float dropout_p, float "
        "softmax_scale, bool causal, SymInt window_size_left, SymInt window_size_right, float "
        "softcap, Tensor? alibi_slopes, bool return_softmax) -> (Tensor, Tensor, Tensor, Tensor)",
        library_outputs>,
    kAttentionKernel<
        "flash_attn::_flash_attn_varlen_forward(Tensor q, Tensor k, Tensor v, Tensor cu_seqlens_q, "
        "Tensor cu_seqlens_k, SymInt max_seqlen_q, SymInt max_seqlen_k, float dropout_p, float "
        "softmax_scale, bool causal, SymInt window_size_left=-1, SymInt window_size_right=-1, "
        "float softcap=0., Tensor? alibi_slopes=None, bool return_softmax=False, Tensor? "
        "block_table=None, Tensor? leftpad_k=None, Tensor? seqused_k=None) -> (Tensor, Tensor, "
        "Tensor, Tensor)",
        library_outputs>,
    kAttentionKernel<
        "flash_attn::_flash_attn_varlen_forward(Tensor q, Tensor k, Tensor v, Tensor cu_seqlens_q, "
        "Tensor cu_seqlens_k, SymInt max_seqlen_q, SymInt max_seqlen_k, float dropout_p, float "
        "softmax_scale, bool causal, SymInt window_size_left=-1, SymInt window_size_right=-1, "
        "float softcap=0., Tensor? alibi_slopes=None, bool return_softmax=False, Tensor? "
        "block_table=None, Tensor? leftpad_k=None, Tensor? seqused_k=None, bool "
        "zero_tensors=False) -> (Tensor, Tensor, Tensor, Tensor)",
        library_outputs>,
    kAttentionKernel<
        "flash_attn::_flash_attn_varlen_forward(Tensor q, Tensor k, Tensor v, Tensor cu_seqlens_q, "
        "Tensor cu_seqlens_k, SymInt max_seqlen_q, SymInt max_seqlen_k, float dropout_p, float "
        "softmax_scale, bool causal, SymInt window_size_left=-1, SymInt window_size_right=-1, "
        "float softcap=0., Tensor? alibi_slopes=None, bool return_softmax=False, Tensor? "
        "block_table=None, Tensor? leftpad_k=None, Tensor? seqused_k=None, bool "
        "zero_tensors=False, SymInt num_splits=0) -> (Tensor, Tensor, Tensor, Tensor)",
        library_outputs>,
    kAttentionKernel<"flash_attn::_flash_attn_backward(Tensor dout, Tensor q, Tensor k, Tensor v, "
                     "Tensor out, Tensor softmax_lse, Tensor(a6!)? dq, Tensor(a7!)? dk, "
                     "Tensor(a8!)? dv, float dropout_p, float softmax_scale, bool causal, SymInt "
                     "window_size_left, SymInt window_size_right, float softcap, Tensor? "
                     "alibi_slopes, bool deterministic, Tensor? rng_state=None) -> Tensor",
                     library_gradients>,
    kAttentionKernel<
        "flash_attn::_flash_attn_varlen_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor "
        "out, Tensor softmax_lse, Tensor(a6!)? dq, Tensor(a7!)? dk, Tensor(a8!)? dv, Tensor "
        "cu_seqlens_q, Tensor cu_seqlens_k, SymInt max_seqlen_q, SymInt max_seqlen_k, float "
        "dropout_p, float softmax_scale, bool causal, SymInt window_size_left, SymInt "
        "window_size_right, float softcap, Tensor? alibi_slopes, bool deterministic, Tensor? "
        "rng_state=None) -> Tensor",
        library_gradients>,
    kAttentionKernel<
        "flash_attn::_flash_attn_varlen_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor "
        "out, Tensor softmax_lse, Tensor(a6!)? dq, Tensor(a7!)? dk, Tensor(a8!)? dv, Tensor "
        "cu_seqlens_q, Tensor cu_seqlens_k, SymInt max_seqlen_q, SymInt max_seqlen_k, float "
        "dropout_p, float softmax_scale, bool causal, SymInt window_size_left, SymInt "
        "window_size_right, float softcap, Tensor? alibi_slopes, bool deterministic, Tensor? "
        "rng_state=None, bool zero_tensors=False) -> Tensor",
        library_gradients>,
    // flash_attn 3.
    kAttentionKernel<
        "flash_attn_3::_flash_attn_forward(Tensor q, Tensor k, Tensor v, Tensor? k_new=None, "
        "Tensor? v_new=None, Tensor? qv=None, Tensor? out_=None, Tensor? cu_seqlens_q=None, "
        "Tensor? cu_seqlens_k=None, Tensor? cu_seqlens_k_new=None, Tensor? seqused_q=None, Tensor? "
        "seqused_k=None, SymInt? max_seqlen_q=None, SymInt? max_seqlen_k=None, Tensor? "
        "page_table=None, Tensor? kv_batch_idx=None, Tensor? leftpad_k=None, Tensor? "
        "rotary_cos=None, Tensor? rotary_sin=None, Tensor? seqlens_rotary=None, Tensor? "
        "q_descale=None, Tensor? k_descale=None, Tensor? v_descale=None, float? "
        "softmax_scale=None, bool causal=False, SymInt window_size_left=-1, SymInt "
        "window_size_right=-1, SymInt attention_chunk=0, float softcap=0., bool "
        "rotary_interleaved=True, Tensor? scheduler_metadata=None, SymInt num_splits=1, bool? "
        "pack_gqa=None, SymInt sm_margin=0) -> (Tensor, Tensor, Tensor, Tensor)",
        split_library_outputs>,
    kAttentionKernel<
        "flash_attn_3::_flash_attn_forward(Tensor q, Tensor k, Tensor v, Tensor? k_new=None, "
        "Tensor? v_new=None, Tensor? qv=None, Tensor? out=None, Tensor? cu_seqlens_q=None, Tensor? "
        "cu_seqlens_k=None, Tensor? cu_seqlens_k_new=None, Tensor? seqused_q=None, Tensor? "
        "seqused_k=None, SymInt? max_seqlen_q=None, SymInt? max_seqlen_k=None, Tensor? "
        "page_table=None, Tensor? kv_batch_idx=None, Tensor? leftpad_k=None, Tensor? "
        "rotary_cos=None, Tensor? rotary_sin=None, Tensor? seqlens_rotary=None, Tensor? "
        "q_descale=None, Tensor? k_descale=None, Tensor? v_descale=None, float? "
        "softmax_scale=None, bool causal=False, SymInt window_size_left=-1, SymInt "
        "window_size_right=-1, SymInt attention_chunk=0, float softcap=0., bool "
        "rotary_interleaved=True, Tensor? scheduler_metadata=None, SymInt num_splits=1, bool? "
        "pack_gqa=None, SymInt sm_margin=0) -> (Tensor, Tensor, Tensor, Tensor)",
        split_library_outputs>,
    kAttentionKernel<
        "flash_attn_3::_flash_attn_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, "
        "Tensor softmax_lse, Tensor? cu_seqlens_q=None, Tensor? cu_seqlens_k=None, Tensor? "
        "sequed_q=None, Tensor? sequed_k=None, SymInt? max_seqlen_q=None, SymInt? "
        "max_seqlen_k=None, Tensor(a12!)? dq=None, Tensor(a13!)? dk=None, Tensor(a14!)? dv=None, "
        "float? softmax_scale=None, bool is_causal=False, SymInt window_size_left=-1, SymInt "
        "window_size_right=-1, float softcap=0., bool deterministic=False, SymInt sm_margin=0) -> "
        "Tensor",
        library_gradients>,
};

}  // namespace

const RuleFamily kAttentionKernelRules("attention", kAttentionKernelTable, OpClass::attention,
                                       kNothingSpecial);

}  // namespace nnprof

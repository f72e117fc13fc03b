// Kernels of attention that are called by themselves, be they PyTorch's or a library's.
//
// They differ in which arguments they have and in which order; the names are all alike. Where each
// has what its outputs and its cost depend on is read off the schema, when this is compiled.
#pragma once

#include <algorithm>
#include <string_view>

#include "rules/attention.h"
#include "rules/attention_pairs.h"
#include "rules/rule.h"

namespace nnprof {

inline constexpr int kAbsent = -1;

// Argument numbers.
struct KernelPlaces {
  int arguments = 0;  // how many there are
  int query = kAbsent, key = kAbsent, value = kAbsent;
  int grad_output = kAbsent;
  // Where documents start, how long the longest is, which part of a sample is in use.
  int starts_q = kAbsent, starts_k = kAbsent;
  int longest_q = kAbsent, longest_k = kAbsent;
  int used_q = kAbsent, used_k = kAbsent;
  int pages = kAbsent;         // of a cache, whose pages are the samples
  int new_keys = kAbsent;      // put into the cache, and attended to
  int second_query = kAbsent;  // as wide as the values, which it meets for more scores
  int bias = kAbsent, slopes = kAbsent;
  int dropout = kAbsent, softcap = kAbsent;
  // What hides.
  int causal = kAbsent;
  int left = kAbsent, right = kAbsent;  // of a window
  int window = kAbsent;                 // both, as a list
  int chunk = kAbsent;
  int mask_kind = kAbsent, width = kAbsent;  // of the memory-efficient kernel
  int written_first = kAbsent, written_last = kAbsent;
  int bias_asked = kAbsent;  // whether the bias' gradient is
  int debug_mask = kAbsent, log_sums_asked = kAbsent, splits = kAbsent;
  bool heads_first = false;  // (B, H, S, D), not (B, S, H, D); documents are (T, H, D) anyhow
  bool causal_from_start = false;
};

namespace detail {

constexpr int* place_named(KernelPlaces& places, std::string_view type, std::string_view name) {
  if (name == "query" || name == "q") return &places.query;
  if (name == "key" || name == "k") return &places.key;
  if (name == "value" || name == "v") return &places.value;
  if (name == "grad_out" || name == "grad_out_" || name == "dout") return &places.grad_output;
  if (name == "cum_seq_q" || name == "cu_seq_q" || name == "cu_seqlens_q") return &places.starts_q;
  if (name == "cum_seq_k" || name == "cu_seq_k" || name == "cu_seqlens_k") return &places.starts_k;
  if (name == "max_q" || name == "max_seqlen_q") return &places.longest_q;
  if (name == "max_k" || name == "max_seqlen_k") return &places.longest_k;
  if (name == "seqused_q" || name == "sequed_q") return &places.used_q;
  if (name == "seqused_k" || name == "sequed_k" || name == "seqlen_k") return &places.used_k;
  if (name == "block_table" || name == "page_table") return &places.pages;
  if (name == "k_new") return &places.new_keys;
  if (name == "qv" || name == "q_v") return &places.second_query;
  if (name == "bias" || name == "attn_bias" || name == "attn_mask") return &places.bias;
  if (name == "alibi_slopes") return &places.slopes;
  if (name == "dropout_p" || name == "p_dropout") return &places.dropout;
  if (name == "softcap") return &places.softcap;
  if (name == "is_causal" || name == "causal") return &places.causal;
  if (name == "window_size_left") return &places.left;
  if (name == "window_size_right") return &places.right;
  if (name == "window_size") return type == "int?" ? &places.width : &places.window;
  if (name == "attention_chunk") return &places.chunk;
  if (name == "custom_mask_type") return &places.mask_kind;
  if (name == "bias_requires_grad") return &places.bias_asked;
  if (name == "return_debug_mask" || name == "return_softmax") return &places.debug_mask;
  if (name == "compute_log_sumexp") return &places.log_sums_asked;
  if (name == "num_splits") return &places.splits;
  return nullptr;
}

// "Tensor(a!)? dq=None"
constexpr void add_argument(KernelPlaces& places, std::string_view argument) {
  argument.remove_prefix(std::min(argument.find_first_not_of(' '), argument.size()));
  argument = argument.substr(0, argument.find('='));
  if (argument == "*") return;
  const size_t space = argument.rfind(' ');
  const std::string_view type = argument.substr(0, space), name = argument.substr(space + 1);
  const int number = places.arguments++;
  if (int* place = place_named(places, type, name)) *place = number;
  if (type.find("!)") != std::string_view::npos) {
    if (places.written_first == kAbsent) places.written_first = number;
    places.written_last = number;
  }
}

constexpr bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

constexpr KernelPlaces places_in(std::string_view schema) {
  KernelPlaces places;
  const size_t open = schema.find('(');
  const std::string_view op = schema.substr(0, open);
  places.heads_first = contains(op, "cudnn");
  // Of PyTorch's kernels: its flash attention counts from the end, as the library does.
  places.causal_from_start = contains(op, "cudnn");
  size_t depth = 0, begin = open + 1;
  for (size_t i = begin; i < schema.size(); ++i) {
    if (schema[i] == '(') ++depth;
    const bool end = schema[i] == ')' && depth == 0;
    if (schema[i] == ')' && depth > 0) --depth;
    if (!end && (schema[i] != ',' || depth > 0)) continue;
    if (i > begin) add_argument(places, schema.substr(begin, i - begin));
    begin = i + 1;
    if (end) break;
  }
  return places;
}

// A string as a template's argument.
template <size_t size>
struct Text {
  consteval Text(const char (&literal)[size]) { std::copy_n(literal, size, text); }  // NOLINT
  char text[size];
};

}  // namespace detail

template <detail::Text schema>
inline constexpr KernelPlaces kPlaces = detail::places_in(schema.text);

// A call's arguments where they lie on the stack.
class KernelArguments {
 public:
  KernelArguments(const Stack& stack, const KernelPlaces& places)
      : first_(stack.data() + (stack.size() - static_cast<size_t>(places.arguments))),
        places_(places) {}

  at::Tensor tensor(int place) const;
  int64_t integer(int place, int64_t if_none) const;
  bool boolean(int place) const;
  at::Tensor query() const { return tensor(places_.query); }
  at::Tensor key() const { return tensor(places_.key); }
  at::Tensor value() const { return tensor(places_.value); }
  // Documents one after the other, (T, H, D) or (1, T, H, D).
  bool packed() const { return tensor(places_.starts_q).defined(); }
  int64_t heads() const;
  int64_t queries() const;  // of a sample, of the longest document
  int64_t keys() const;
  int64_t batch() const;  // samples or documents
  const KernelPlaces& places() const { return places_; }

 private:
  const c10::IValue* first_;
  const KernelPlaces& places_;
};

// Raises where shapes do not fit, and makes note where lengths are a guess.
void check_kernel(const KernelArguments& call);

// Makes an operator's outputs from its arguments.
using KernelOutputs = void (*)(const KernelArguments& call, Stack& outputs);

template <detail::Text schema, KernelOutputs make>
void kernel_outputs(Stack& stack) {
  Stack outputs;
  {
    const KernelArguments call(stack, kPlaces<schema>);
    check_kernel(call);
    make(call, outputs);
  }
  stack.resize(stack.size() - static_cast<size_t>(kPlaces<schema>.arguments));
  std::move(outputs.begin(), outputs.end(), std::back_inserter(stack));
}

void count_kernel(const OpSignature& op, const KernelPlaces& places, Cost& cost);

template <detail::Text schema>
void kernel_cost(const OpSignature& op, Cost& cost) {
  count_kernel(op, kPlaces<schema>, cost);
}

// A line of a table of such kernels.
template <detail::Text schema, KernelOutputs make>
inline constexpr Rule kAttentionKernel = {
    .schema = schema.text,
    .outputs = kernel_outputs<schema, make>,
    .cost = kernel_cost<schema>,
    .flags = kRandom | kKnownIntegers | kCostsByValue | kNeverReal,
    .guess = "documents are taken to be as long as the longest, as many as there are tokens for",
    .mask = kPlaces<schema>.bias,
};

// What kernels put out (csrc/rules/attention_outputs.cpp).
void flash_outputs(const KernelArguments& call, Stack& outputs);
void flash_log_sums(const KernelArguments& call, Stack& outputs);
void efficient_outputs(const KernelArguments& call, Stack& outputs);
void cudnn_outputs(const KernelArguments& call, Stack& outputs);
void varlen_outputs(const KernelArguments& call, Stack& outputs);
void library_outputs(const KernelArguments& call, Stack& outputs);        // flash_attn 2
void split_library_outputs(const KernelArguments& call, Stack& outputs);  // flash_attn 3
void gradients(const KernelArguments& call, Stack& outputs);
void efficient_gradients(const KernelArguments& call, Stack& outputs);
void library_gradients(const KernelArguments& call, Stack& outputs);

}  // namespace nnprof

// What the kernels of attention put out, as PyTorch's meta kernels and the library's have it.
#include <algorithm>

#include "core/count.h"
#include "rules/attention_kernels.h"
#include "rules/known_integers.h"
#include "rules/outputs.h"

namespace nnprof {

at::Tensor KernelArguments::tensor(int place) const {
  if (place == kAbsent || first_[place].isNone()) return {};
  return first_[place].toTensor();
}

int64_t KernelArguments::integer(int place, int64_t if_none) const {
  return place == kAbsent || first_[place].isNone() ? if_none : first_[place].toInt();
}

bool KernelArguments::boolean(int place) const {
  return place != kAbsent && first_[place].isBool() && first_[place].toBool();
}

int64_t KernelArguments::heads() const {
  const at::Tensor query = this->query();
  return places_.heads_first && query.dim() == 4 ? query.size(1) : query.size(-2);
}

int64_t KernelArguments::queries() const {
  const at::Tensor query = this->query();
  if (packed()) return integer(places_.longest_q, query.size(-3));
  return places_.heads_first ? query.size(-2) : query.size(-3);
}

int64_t KernelArguments::keys() const {
  const at::Tensor key = this->key();
  const int64_t pages = places_.heads_first ? key.size(-2) : key.size(-3);
  const at::Tensor table = tensor(places_.pages);
  const int64_t there = table.defined() ? table.size(1) * pages : pages;
  return packed() || table.defined() ? integer(places_.longest_k, there) : there;
}

int64_t KernelArguments::batch() const {
  return packed() ? tensor(places_.starts_q).numel() - 1 : query().size(0);
}

namespace {

// Are lengths known, and so few that a signature holds them?
bool is_known(const at::Tensor& lengths) {
  constexpr int64_t kMost = 16 * 1024;
  return !lengths.is_meta() && lengths.numel() <= kMost;
}

c10::ScalarType half_of_float8(c10::ScalarType dtype) {
  return c10::isFloat8Type(dtype) ? at::kBFloat16 : dtype;
}

// The output has the width of the values.
at::Tensor empty_output(const KernelArguments& call) {
  const at::Tensor query = call.query(), value = call.value();
  const auto dtype = half_of_float8(query.scalar_type());
  if (value.size(-1) == query.size(-1)) return empty_preserving(query, dtype);
  c10::DimVector sizes(query.sizes());
  sizes.back() = value.size(-1);
  return empty_of(sizes, dtype);
}

// (B, H, S), or (H, T) of documents.
at::Tensor log_sums(const KernelArguments& call) {
  const at::Tensor query = call.query();
  if (call.packed()) return empty_of({call.heads(), query.size(-3)}, at::kFloat);
  return empty_of({call.batch(), call.heads(), call.queries()}, at::kFloat);
}

at::Tensor debug_mask(const KernelArguments& call) {
  const at::Tensor query = call.query();
  if (!call.boolean(call.places().debug_mask)) return empty_like_dtype({0}, query);
  const int64_t block = query.size(-1) > 64 ? 128 : 256;
  int64_t keys = round_up(call.queries(), block) / block;
  if (call.keys() <= 256) keys = call.keys() <= 128 ? 128 : 256;
  return empty_like_dtype({call.batch(), call.heads(), call.queries(), keys}, query);
}

}  // namespace

void check_kernel(const KernelArguments& call) {
  const KernelPlaces& places = call.places();
  const at::Tensor query = call.query(), key = call.key(), value = call.value();
  TORCH_CHECK(query.dim() == 3 || query.dim() == 4,
              "attention takes a query of 3 or 4 dimensions, "
              "but got ",
              query.sizes());
  TORCH_CHECK(query.dim() == 4 || call.packed(),
              "attention takes a query of 4 dimensions, or of 3 "
              "with the places where documents start, but got ",
              query.sizes());
  TORCH_CHECK(key.dim() >= 3 && value.dim() == key.dim() && query.size(-1) == key.size(-1),
              "attention: query of ", query.sizes(), ", key of ", key.sizes(), " and value of ",
              value.sizes(), " do not fit");
  for (const int place : {places.starts_q, places.starts_k, places.used_q, places.used_k}) {
    const at::Tensor lengths = call.tensor(place);
    if (lengths.defined() && !is_known(lengths)) note_guess();
  }
}

void flash_outputs(const KernelArguments& call, Stack& outputs) {
  outputs.emplace_back(empty_output(call));
  outputs.emplace_back(log_sums(call));
  outputs.emplace_back(empty_of({2}, at::kUInt64));
  outputs.emplace_back(empty_of({}, at::kUInt64));
  outputs.emplace_back(debug_mask(call));
}

void flash_log_sums(const KernelArguments& call, Stack& outputs) {
  outputs.emplace_back(log_sums(call));
}

// The kernel's log-sum-exps are padded to its alignment.
void efficient_outputs(const KernelArguments& call, Stack& outputs) {
  const KernelPlaces& places = call.places();
  const at::Tensor query = call.query();
  const int64_t longest = call.queries();
  const int64_t sums = call.boolean(places.log_sums_asked) ? round_up(longest, 32) : 0;
  outputs.emplace_back(empty_like_dtype(
      {query.size(0), query.size(1), query.size(2), call.value().size(-1)}, query));
  outputs.emplace_back(empty_of({call.batch(), call.heads(), sums}, at::kFloat));
  outputs.emplace_back(empty_of({}, at::kLong));
  outputs.emplace_back(empty_of({}, at::kLong));
  outputs.emplace_back(longest);
  outputs.emplace_back(call.integer(places.longest_k, call.key().size(1)));
}

void cudnn_outputs(const KernelArguments& call, Stack& outputs) {
  const KernelPlaces& places = call.places();
  c10::DimVector sums(call.query().sizes());
  sums.back() = 1;
  outputs.emplace_back(empty_output(call));
  outputs.emplace_back(empty_of(sums, at::kFloat));
  outputs.emplace_back(call.tensor(places.starts_q));
  outputs.emplace_back(call.tensor(places.starts_k));
  outputs.emplace_back(call.integer(places.longest_q, call.queries()));
  outputs.emplace_back(call.integer(places.longest_k, call.keys()));
  outputs.emplace_back(empty_of({}, at::kLong));
  outputs.emplace_back(empty_of({}, at::kLong));
  outputs.emplace_back(at::Tensor());
}

void varlen_outputs(const KernelArguments& call, Stack& outputs) {
  outputs.emplace_back(empty_output(call));
  outputs.emplace_back(log_sums(call));
  outputs.emplace_back(empty_of({2}, at::kUInt64));
}

// Two integers for the generator; the scores only for tests of the library.
void library_outputs(const KernelArguments& call, Stack& outputs) {
  at::Tensor scores = empty_like_dtype({0}, call.query());
  if (call.boolean(call.places().debug_mask)) {
    scores = empty_like_dtype(
        {call.batch(), call.heads(), round_up(call.queries(), 128), round_up(call.keys(), 128)},
        call.query());
  }
  outputs.emplace_back(empty_output(call));
  outputs.emplace_back(log_sums(call));
  outputs.emplace_back(scores);
  outputs.emplace_back(empty_of({2}, at::kLong));
}

// Keys that are split over blocks leave a part of the result each.
void split_library_outputs(const KernelArguments& call, Stack& outputs) {
  const at::Tensor output = empty_output(call), sums = log_sums(call);
  const int64_t splits = call.integer(call.places().splits, 1);
  at::Tensor parts = empty_of({0}, at::kFloat), part_sums = parts;
  if (splits > 1) {
    // (splits, B, H, S, D), or (splits, H, T, D)
    c10::DimVector sizes = {splits};
    sizes.append(sums.sizes().begin(), sums.sizes().end());
    part_sums = empty_of(sizes, at::kFloat);
    sizes.push_back(output.size(-1));
    parts = empty_of(sizes, at::kFloat);
  }
  outputs.emplace_back(output);
  outputs.emplace_back(sums);
  outputs.emplace_back(parts);
  outputs.emplace_back(part_sums);
}

void gradients(const KernelArguments& call, Stack& outputs) {
  for (const at::Tensor& input : {call.query(), call.key(), call.value()}) {
    outputs.emplace_back(empty_preserving(input));
  }
}

// Rows of the bias' gradient start at multiples of 16 elements.
void efficient_gradients(const KernelArguments& call, Stack& outputs) {
  gradients(call, outputs);
  const at::Tensor bias = call.tensor(call.places().bias);
  if (!bias.defined() || !call.boolean(call.places().bias_asked)) {
    outputs.emplace_back(at::Tensor());
    return;
  }
  outputs.emplace_back(empty_aligned_rows(bias));
}

// What is left is the row sums of the output times its gradient, padded to the kernel's blocks.
void library_gradients(const KernelArguments& call, Stack& outputs) {
  constexpr int64_t kBlock = 128;
  if (call.packed()) {
    outputs.emplace_back(
        empty_of({call.heads(), call.query().size(-3) + kBlock * call.batch()}, at::kFloat));
  } else {
    outputs.emplace_back(
        empty_of({call.batch(), call.heads(), round_up(call.queries(), kBlock)}, at::kFloat));
  }
}

}  // namespace nnprof

#include "replay/fills.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

namespace nnprof {
namespace {

struct FillRule;
// `position` counts the tensors of a list.
using FillFunction = Fill (*)(const NamedCall& call, const FillRule& rule, const TensorSpec& spec,
                              size_t position);

struct FillRule {
  std::string_view op;  // without its overload and the underscore of in-place operators; "*": any
  std::string_view argument;
  FillFunction fill;
  std::string_view of = "";  // the argument that sets the range
  int64_t number = 0;        // a dimension of it, or the data itself
};

Fill integers(int64_t high, int64_t low = 0) {
  return {.data = Data::integers, .low = low, .high = std::max(high, low + 1)};
}

Fill constant(int64_t value) { return {.data = Data::constant, .low = value}; }

int64_t size_or_one(const TensorSpec& spec, int64_t dim) {
  if (dim < 0) dim += spec.dim();
  return spec.defined && dim >= 0 && dim < spec.dim() ? spec.sizes[dim] : 1;
}

// Of a tensor that is made: they are no more than memory has.
int64_t elements(const TensorSpec& spec) { return static_cast<int64_t>(spec.numel()); }

// --- ranges of indices ---------------------------------------------------------------------------

Fill below_size(const NamedCall& call, const FillRule& rule, const TensorSpec&, size_t) {
  return integers(size_or_one(call.tensor(rule.of), rule.number));
}

Fill below_size_of_dim(const NamedCall& call, const FillRule& rule, const TensorSpec&, size_t) {
  const TensorSpec& self = call.tensor(rule.of);
  if (call.argument("dim").is_none()) return integers(self.defined ? elements(self) : 1);
  return integers(size_or_one(self, call.integer("dim", 0)));
}

Fill below_numel(const NamedCall& call, const FillRule& rule, const TensorSpec&, size_t) {
  return integers(elements(call.tensor(rule.of)));
}

Fill below_integer(const NamedCall& call, const FillRule& rule, const TensorSpec&, size_t) {
  return integers(call.integer(rule.of, 1));
}

// Of the last so many dimensions: a place in a pooled plane.
Fill below_plane(const NamedCall& call, const FillRule& rule, const TensorSpec&, size_t) {
  int64_t places = 1;
  for (int64_t d = 1; d <= rule.number; ++d) places *= size_or_one(call.tensor(rule.of), -d);
  return integers(places);
}

Fill below_first_output(const NamedCall& call, const FillRule& rule, const TensorSpec&, size_t) {
  int64_t places = 1;
  for (int64_t d = 1; d <= rule.number; ++d) places *= size_or_one(call.signature().output(), -d);
  return integers(places);
}

// Indices may be spread over the CPU's and the device's limits alike: classes are dimension 1, or
// the only one.
Fill below_classes(const NamedCall& call, const FillRule& rule, const TensorSpec& spec, size_t) {
  if (spec.is_floating()) return {.data = Data::unit};
  const TensorSpec& scores = call.tensor(rule.of);
  return integers(size_or_one(scores, scores.dim() > 1 ? 1 : 0));
}

int64_t dimensions_of_index(const TensorSpec& index) {
  const bool mask = index.defined && (index.dtype == at::kBool || index.dtype == at::kByte);
  return mask ? index.dim() : 1;
}

// How many elements of a mask were true when it was recorded. `chosen` holds what it chose.
int64_t trues_of_mask(const TensorSpec& self, const TensorSpec& mask, const TensorSpec& chosen) {
  int64_t rest = 1;
  for (int64_t d = mask.dim(); d < self.dim(); ++d) rest *= self.sizes[d];
  const bool whole = chosen.defined && chosen.dim() == self.dim() - mask.dim() + 1 && rest > 0;
  return whole ? std::min(elements(chosen) / rest, elements(mask)) : elements(mask);
}

// self[indices]: the dimension depends on the indices before it.
Fill below_indexed(const NamedCall& call, const FillRule& rule, const TensorSpec& spec,
                   size_t position) {
  const TensorSpec& self = call.tensor("self");
  const auto& indices = call.argument("indices").tensors;
  if (dimensions_of_index(spec) != 1 || spec.dtype == at::kBool || spec.dtype == at::kByte) {
    const TensorSpec& values = call.tensor("values");
    const TensorSpec& chosen = values.defined ? values : call.signature().output();
    const int64_t trues = trues_of_mask(self, spec, chosen);
    return {.data = Data::first_true, .high = trues};
  }
  int64_t dim = 0;
  for (size_t i = 0; i < position; ++i) dim += dimensions_of_index(indices[i]);
  return integers(size_or_one(self, dim + rule.number));
}

// --- other data ----------------------------------------------------------------------------------

Fill as_data(const NamedCall&, const FillRule& rule, const TensorSpec&, size_t) {
  return {.data = static_cast<Data>(rule.number)};
}

Fill always(const NamedCall&, const FillRule& rule, const TensorSpec&, size_t) {
  return constant(rule.number);
}

Fill as_long_as(const NamedCall& call, const FillRule& rule, const TensorSpec&, size_t) {
  return constant(size_or_one(call.tensor(rule.of), rule.number));
}

// Sums to a size: batch_sizes of packed sequences, sizes of groups.
Fill shares_of(const NamedCall& call, const FillRule& rule, const TensorSpec& spec, size_t) {
  return constant(size_or_one(call.tensor(rule.of), rule.number) /
                  std::max<int64_t>(elements(spec), 1));
}

// Step by step, how many of the packed sequences are that long.
Fill sizes_of_packed(const NamedCall& call, const FillRule& rule, const TensorSpec& spec, size_t) {
  const int64_t rows = size_or_one(call.tensor(rule.of), 0);
  const int64_t steps = std::max<int64_t>(elements(spec), 1);
  const TensorSpec& state = call.tensor("hx");
  const int64_t batch = state.defined ? size_or_one(state, 1) : (rows + steps - 1) / steps;
  return {.data = Data::packed, .low = batch, .high = rows};
}

// Rows are swapped with themselves.
Fill pivots(const NamedCall&, const FillRule&, const TensorSpec& spec, size_t) {
  return {.data = Data::cycle, .low = 1, .high = size_or_one(spec, -1) + 1};
}

Fill starts_within(const NamedCall& call, const FillRule& rule, const TensorSpec&, size_t) {
  const bool last = call.integer("include_last_offset", 0) != 0 || rule.number < 0;
  const int64_t count = size_or_one(call.tensor(rule.of), std::max<int64_t>(rule.number, 0));
  return {
      .data = Data::ascending, .low = 0, .high = last ? count : std::max(count - 1, int64_t{0})};
}

// Where each group of a grouped product ends: along what is grouped, rows or what is summed over.
Fill ends_of_groups(const NamedCall& call, const FillRule& rule, const TensorSpec&, size_t) {
  const TensorSpec& a = call.tensor(rule.of);
  const bool rows = a.dim() == 2 && call.signature().output().dim() == 2;
  return {.data = Data::ends, .low = 0, .high = size_or_one(a, rows ? 0 : -1)};
}

Fill ascending_floats(const NamedCall&, const FillRule&, const TensorSpec& spec, size_t) {
  return {.data = Data::ascending,
          .low = spec.is_floating() ? -2 : 0,
          .high = spec.is_floating() ? 2 : 8};
}

// As many trues as the recorded output has elements or rows.
Fill as_many_as_output(const NamedCall& call, const FillRule&, const TensorSpec&, size_t) {
  return {.data = Data::first_true, .high = size_or_one(call.signature().output(), 0)};
}

// The source has no more elements than the mask may choose.
Fill as_many_as_source(const NamedCall& call, const FillRule& rule, const TensorSpec&, size_t) {
  return {.data = Data::first_true, .high = elements(call.tensor(rule.of))};
}

// As many different values as the recorded output has.
Fill as_different_as_output(const NamedCall& call, const FillRule&, const TensorSpec&, size_t) {
  return {.data = Data::cycle, .low = 0, .high = size_or_one(call.signature().output(), 0)};
}

// The same of rows along `dim`: where all are different, no two elements need be equal.
Fill as_different_rows_as_output(const NamedCall& call, const FillRule&, const TensorSpec& spec,
                                 size_t) {
  const int64_t dim = call.integer("dim", 0);
  const bool single = elements(spec) == size_or_one(spec, dim);
  const int64_t rows = size_or_one(call.signature().output(), dim);
  return {.data = Data::cycle, .low = 0, .high = single ? rows : elements(spec)};
}

// The largest is there, for it decides the size of the output.
Fill classes_of_output(const NamedCall& call, const FillRule&, const TensorSpec&, size_t) {
  return {.data = Data::cycle, .low = 0, .high = size_or_one(call.signature().output(), -1)};
}

Fill repeats_of_output(const NamedCall& call, const FillRule&, const TensorSpec& spec, size_t) {
  const int64_t dim = call.integer("dim", 0);
  const int64_t total = size_or_one(call.signature().output(), dim);
  if (elements(spec) > 1) return constant(total / elements(spec));
  const TensorSpec& self = call.tensor("self");
  return constant(self.defined ? total / std::max<int64_t>(size_or_one(self, dim), 1) : total);
}

// Labels are apart from the blank, which is 0 by default.
Fill labels(const NamedCall& call, const FillRule& rule, const TensorSpec&, size_t) {
  return integers(size_or_one(call.tensor(rule.of), -1), 1);
}

// As long as leaves room for each label: a blank between equal ones at worst.
Fill label_lengths(const NamedCall& call, const FillRule&, const TensorSpec& spec, size_t) {
  const TensorSpec& targets = call.tensor("targets");
  const int64_t labels_each = targets.dim() == 2
                                  ? targets.sizes[1]
                                  : elements(targets) / std::max<int64_t>(elements(spec), 1);
  return constant(std::min(labels_each, size_or_one(call.tensor("log_probs"), 0) / 2));
}

Fill regions_of_image(const NamedCall& call, const FillRule& rule, const TensorSpec& spec, size_t) {
  const TensorSpec& image = call.tensor(rule.of);
  const double scale = call.argument("spatial_scale").number.real();
  const auto side = static_cast<double>(std::min(size_or_one(image, -1), size_or_one(image, -2)));
  return {.data = size_or_one(spec, 1) == 5 ? Data::regions : Data::boxes,
          .scale = side / (scale > 0 ? scale : 1),
          .high = size_or_one(image, 0)};
}

constexpr auto kPositive = static_cast<int64_t>(Data::positive);
constexpr auto kUnit = static_cast<int64_t>(Data::unit);
constexpr auto kBoxes = static_cast<int64_t>(Data::boxes);
constexpr auto kWellPosed = static_cast<int64_t>(Data::well_posed);

// The first row that fits is taken. "*" comes last: names that mean the same wherever they stand.
constexpr std::array kFillRules = {
    // Lookups.
    FillRule{"aten::embedding", "indices", below_size, "weight", 0},
    FillRule{"aten::embedding_renorm", "indices", below_size, "self", 0},
    FillRule{"aten::embedding_dense_backward", "indices", below_integer, "num_weights"},
    FillRule{"aten::embedding_backward", "indices", below_integer, "num_weights"},
    FillRule{"aten::embedding_bag", "indices", below_size, "weight", 0},
    FillRule{"aten::embedding_bag", "offsets", starts_within, "indices"},
    FillRule{"aten::_embedding_bag", "indices", below_size, "weight", 0},
    FillRule{"aten::_embedding_bag", "offsets", starts_within, "indices"},
    FillRule{"aten::_embedding_bag_forward_only", "indices", below_size, "weight", 0},
    FillRule{"aten::_embedding_bag_forward_only", "offsets", starts_within, "indices"},
    FillRule{"aten::_embedding_bag_dense_backward", "indices", below_integer, "num_weights"},
    FillRule{"aten::_embedding_bag_dense_backward", "offset2bag", below_size, "grad", 0},
    FillRule{"aten::_embedding_bag_dense_backward", "bag_size", always, "", 1},
    FillRule{"aten::_embedding_bag_per_sample_weights_backward", "indices", below_size, "weight",
             0},
    FillRule{"aten::_embedding_bag_per_sample_weights_backward", "offset2bag", below_size, "grad",
             0},
    FillRule{"aten::_embedding_bag_per_sample_weights_backward", "offsets", starts_within,
             "indices"},
    // Indexing.
    FillRule{"aten::index", "indices", below_indexed},
    FillRule{"aten::_unsafe_index", "indices", below_indexed},
    FillRule{"aten::index_put", "indices", below_indexed},
    FillRule{"aten::_unsafe_index_put", "indices", below_indexed},
    FillRule{"aten::_index_put_impl", "indices", below_indexed},
    FillRule{"aten::_unsafe_masked_index", "indices", below_indexed},
    FillRule{"aten::_unsafe_masked_index_put_accumulate", "indices", below_indexed},
    FillRule{"aten::take", "index", below_numel, "self"},
    FillRule{"aten::put", "index", below_numel, "self"},
    FillRule{"aten::take_along_dim", "indices", below_size_of_dim, "self"},
    FillRule{"aten::index_select_backward", "index", below_first_output, "", 1},
    FillRule{"aten::value_selecting_reduction_backward", "indices", always, "", 0},
    FillRule{"aten::masked_select", "mask", as_many_as_output},
    FillRule{"aten::masked_scatter", "mask", as_many_as_source, "source"},
    FillRule{"aten::masked_scatter_backward", "mask", as_many_as_source, "grad_output"},
    FillRule{"aten::nonzero", "self", as_many_as_output},
    FillRule{"aten::nonzero_numpy", "self", as_many_as_output},
    FillRule{"aten::argwhere", "self", as_many_as_output},
    FillRule{"aten::_unique", "self", as_different_as_output},
    FillRule{"aten::_unique2", "self", as_different_as_output},
    FillRule{"aten::unique_dim", "self", as_different_rows_as_output},
    FillRule{"aten::unique_consecutive", "self", as_different_as_output},
    FillRule{"aten::one_hot", "self", classes_of_output},
    FillRule{"aten::bincount", "self", classes_of_output},
    FillRule{"aten::repeat_interleave", "repeats", repeats_of_output},
    FillRule{"aten::tensor_split", "tensor_indices_or_sections", starts_within, "self"},
    FillRule{"aten::bucketize", "boundaries", ascending_floats},
    FillRule{"aten::searchsorted", "sorted_sequence", ascending_floats},
    FillRule{"aten::_grouped_mm", "offs", ends_of_groups, "self"},
    FillRule{"aten::_scaled_grouped_mm", "offs", ends_of_groups, "self"},
    FillRule{"aten::_scaled_grouped_mm_v2", "offs", ends_of_groups, "self"},
    FillRule{"transformers::grouped_mm_fallback", "offs", ends_of_groups, "input"},
    // Pooling and its inverses.
    FillRule{"aten::max_unpool2d", "indices", below_first_output, "", 2},
    FillRule{"aten::max_unpool3d", "indices", below_first_output, "", 3},
    FillRule{"aten::max_pool2d_with_indices_backward", "indices", below_plane, "self", 2},
    FillRule{"aten::max_pool3d_with_indices_backward", "indices", below_plane, "self", 3},
    FillRule{"aten::adaptive_max_pool2d_backward", "indices", below_plane, "self", 2},
    FillRule{"aten::adaptive_max_pool3d_backward", "indices", below_plane, "self", 3},
    FillRule{"aten::fractional_max_pool2d_backward", "indices", below_plane, "self", 2},
    FillRule{"aten::fractional_max_pool3d_backward", "indices", below_plane, "self", 3},
    FillRule{"*", "random_samples", as_data, "", kUnit},
    // Losses.
    FillRule{"aten::cross_entropy_loss", "target", below_classes, "self"},
    FillRule{"aten::nll_loss", "target", below_classes, "self"},
    FillRule{"aten::nll_loss_nd", "target", below_classes, "self"},
    FillRule{"aten::nll_loss_forward", "target", below_classes, "self"},
    FillRule{"aten::nll_loss_backward", "target", below_classes, "self"},
    FillRule{"aten::nll_loss_backward", "total_weight", always, "", 1},
    FillRule{"aten::nll_loss2d", "target", below_classes, "self"},
    FillRule{"aten::nll_loss2d_forward", "target", below_classes, "self"},
    FillRule{"aten::nll_loss2d_backward", "target", below_classes, "self"},
    FillRule{"aten::nll_loss2d_backward", "total_weight", always, "", 1},
    FillRule{"aten::multi_margin_loss", "target", below_classes, "self"},
    FillRule{"aten::multi_margin_loss_backward", "target", below_classes, "self"},
    FillRule{"aten::multilabel_margin_loss", "target", below_classes, "self"},
    FillRule{"aten::multilabel_margin_loss_forward", "target", below_classes, "self"},
    FillRule{"aten::multilabel_margin_loss_backward", "target", below_classes, "self"},
    FillRule{"aten::binary_cross_entropy", "self", as_data, "", kUnit},
    FillRule{"aten::binary_cross_entropy", "target", as_data, "", kUnit},
    FillRule{"aten::binary_cross_entropy_backward", "self", as_data, "", kUnit},
    FillRule{"aten::ctc_loss", "targets", labels, "log_probs"},
    FillRule{"aten::ctc_loss", "input_lengths", as_long_as, "log_probs", 0},
    FillRule{"aten::ctc_loss", "target_lengths", label_lengths},
    FillRule{"aten::_ctc_loss", "targets", labels, "log_probs"},
    FillRule{"aten::_ctc_loss", "input_lengths", as_long_as, "log_probs", 0},
    FillRule{"aten::_ctc_loss", "target_lengths", label_lengths},
    FillRule{"aten::_ctc_loss_backward", "targets", labels, "log_probs"},
    // Sequences.
    FillRule{"*", "batch_sizes", sizes_of_packed, "data"},
    FillRule{"aten::_pack_padded_sequence", "lengths", as_long_as, "input", 0},
    FillRule{"aten::_flash_attention_forward", "cum_seq_q", starts_within, "query", -1},
    FillRule{"aten::_flash_attention_forward", "cum_seq_k", starts_within, "key", -1},
    FillRule{"aten::segment_reduce", "lengths", shares_of, "data"},
    FillRule{"aten::segment_reduce", "offsets", starts_within, "data", -1},
    // Detection.
    FillRule{"torchvision::nms", "dets", as_data, "", kBoxes},
    FillRule{"torchvision::roi_align", "rois", regions_of_image, "input"},
    FillRule{"torchvision::roi_pool", "rois", regions_of_image, "input"},
    FillRule{"torchvision::ps_roi_align", "rois", regions_of_image, "input"},
    FillRule{"torchvision::ps_roi_pool", "rois", regions_of_image, "input"},
    // Probabilities, and what has a logarithm or a root.
    FillRule{"aten::bernoulli", "self", as_data, "", kUnit},
    FillRule{"aten::bernoulli", "p", as_data, "", kUnit},
    FillRule{"aten::multinomial", "self", as_data, "", kPositive},
    FillRule{"aten::poisson", "self", as_data, "", kPositive},
    FillRule{"aten::normal", "std", as_data, "", kPositive},
    FillRule{"aten::quantile", "q", as_data, "", kUnit},
    FillRule{"aten::nanquantile", "q", as_data, "", kUnit},
    FillRule{"aten::logit", "self", as_data, "", kUnit},
    FillRule{"aten::log", "self", as_data, "", kPositive},
    FillRule{"aten::log2", "self", as_data, "", kPositive},
    FillRule{"aten::log10", "self", as_data, "", kPositive},
    FillRule{"aten::log1p", "self", as_data, "", kPositive},
    FillRule{"aten::sqrt", "self", as_data, "", kPositive},
    FillRule{"aten::rsqrt", "self", as_data, "", kPositive},
    FillRule{"aten::pow", "self", as_data, "", kPositive},
    FillRule{"aten::float_power", "self", as_data, "", kPositive},
    FillRule{"aten::lgamma", "self", as_data, "", kPositive},
    FillRule{"aten::digamma", "self", as_data, "", kPositive},
    FillRule{"aten::_standard_gamma", "self", as_data, "", kPositive},
    FillRule{"aten::_sample_dirichlet", "self", as_data, "", kPositive},
    FillRule{"aten::div", "other", as_data, "", kPositive},
    FillRule{"aten::linalg_cholesky", "self", as_data, "", kWellPosed},
    FillRule{"aten::linalg_cholesky_ex", "self", as_data, "", kWellPosed},
    FillRule{"aten::cholesky", "self", as_data, "", kWellPosed},
    FillRule{"aten::cholesky_inverse", "self", as_data, "", kWellPosed},
    FillRule{"aten::cholesky_solve", "input2", as_data, "", kWellPosed},
    FillRule{"aten::linalg_inv", "A", as_data, "", kWellPosed},
    FillRule{"aten::linalg_inv_ex", "A", as_data, "", kWellPosed},
    FillRule{"aten::linalg_solve", "A", as_data, "", kWellPosed},
    FillRule{"aten::linalg_solve_triangular", "self", as_data, "", kWellPosed},
    FillRule{"aten::triangular_solve", "A", as_data, "", kWellPosed},
    FillRule{"aten::_linalg_check_errors", "info", always, "", 0},
    FillRule{"*", "pivots", pivots},
    FillRule{"*", "LU_pivots", pivots},
    FillRule{"*", "running_var", as_data, "", kPositive},
    FillRule{"*", "save_invstd", as_data, "", kPositive},
    FillRule{"*", "rstd", as_data, "", kPositive},
    // Whatever else is looked up along a dimension, and what nothing is known of: 0 is in range.
    FillRule{"*", "index", below_size_of_dim, "self"},
    FillRule{"*", "indices", always, "", 0},
    FillRule{"*", "offsets", always, "", 0},
};

constexpr std::array kStaysOnCpu = {
    std::pair<std::string_view, std::string_view>{"*", "batch_sizes"},
    std::pair<std::string_view, std::string_view>{"aten::_pack_padded_sequence", "lengths"},
    std::pair<std::string_view, std::string_view>{"aten::tensor_split",
                                                  "tensor_indices_or_sections"},
};

// "aten::add" of "aten::add_.Tensor"; "aten::__and__" is no in-place operator.
std::string_view base_name(std::string_view op) {
  op = op.substr(0, op.find('.'));
  const bool in_place = op.size() > 2 && op.back() == '_' && op[op.size() - 2] != '_';
  if (in_place) op.remove_suffix(1);
  return op;
}

bool fits(std::string_view pattern, std::string_view op) { return pattern == "*" || pattern == op; }

// Weights as a model has them: sums over them stay near one.
double scale_of_weight(const TensorSpec& spec) {
  if (spec.role != Role::parameter || spec.dim() < 2) return 1;
  const auto summed = static_cast<double>(elements(spec) / std::max<int64_t>(spec.sizes[0], 1));
  return 1 / std::sqrt(std::max(summed, 1.0));
}

Fill usual_fill(const TensorSpec& spec) {
  if (spec.dtype == at::kBool) return {.data = Data::coins};
  if (!spec.is_floating() && !spec.is_complex()) return {.data = Data::integers};
  return {.data = Data::normal, .scale = scale_of_weight(spec)};
}

}  // namespace

const Argument& NamedCall::argument(std::string_view name) const {
  static const Argument none;
  const auto& arguments = schema_.arguments();
  const auto found = std::find_if(arguments.begin(), arguments.end(),
                                  [&](const c10::Argument& a) { return a.name() == name; });
  if (found == arguments.end()) return none;
  return signature_.arguments[static_cast<size_t>(found - arguments.begin())];
}

const TensorSpec& NamedCall::tensor(std::string_view name) const {
  static const TensorSpec undefined;
  const auto& tensors = argument(name).tensors;
  return tensors.empty() ? undefined : tensors.front();
}

int64_t NamedCall::integer(std::string_view name, int64_t if_none) const {
  const Argument& found = argument(name);
  const bool whole = found.kind == Argument::Kind::integer || found.kind == Argument::Kind::boolean;
  return whole ? found.integer : if_none;
}

Fill fill_of(const NamedCall& call, size_t argument, size_t position) {
  const TensorSpec& spec = call.signature().arguments[argument].tensors[position];
  const std::string_view op = base_name(call.signature().op);
  const std::string& name = call.schema().arguments()[argument].name();
  for (const FillRule& rule : kFillRules) {
    if (!fits(rule.op, op) || rule.argument != name) continue;
    const Fill fill = rule.fill(call, rule, spec, position);
    // Rows that speak of floats leave integers and bools of the same name alone, and vice versa.
    const bool for_floats =
        fill.data == Data::positive || fill.data == Data::unit || fill.data == Data::well_posed;
    if (for_floats && !spec.is_floating()) continue;
    if (fill.data == Data::integers && spec.dtype == at::kBool) continue;
    return fill;
  }
  return usual_fill(spec);
}

bool stays_on_cpu(const NamedCall& call, size_t argument) {
  const std::string_view op = base_name(call.signature().op);
  const std::string& name = call.schema().arguments()[argument].name();
  return std::any_of(kStaysOnCpu.begin(), kStaysOnCpu.end(), [&](const auto& entry) {
    return fits(entry.first, op) && entry.second == name;
  });
}

}  // namespace nnprof

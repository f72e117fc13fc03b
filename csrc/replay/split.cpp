#include "replay/split.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "replay/materialize.h"

namespace nnprof {
namespace {

enum class Rows : uint8_t { first, any_leading };

// Operators that treat the rows of some arguments alike and apart: half of the rows takes half of
// the time. `any_leading`: all dimensions but the last count rows, as for linear.
struct SplitRule {
  std::string_view op;  // without its overload
  Rows rows;
  std::array<std::string_view, 3> arguments;
};

constexpr std::array kSplitRules = {
    SplitRule{"aten::linear", Rows::any_leading, {"input"}},
    SplitRule{"aten::mm", Rows::first, {"self"}},
    SplitRule{"aten::addmm", Rows::first, {"mat1"}},
    SplitRule{"aten::bmm", Rows::first, {"self", "mat2"}},
    SplitRule{"aten::conv1d", Rows::first, {"input"}},
    SplitRule{"aten::conv2d", Rows::first, {"input"}},
    SplitRule{"aten::conv3d", Rows::first, {"input"}},
    SplitRule{"aten::convolution", Rows::first, {"input"}},
    SplitRule{"aten::scaled_dot_product_attention", Rows::first, {"query", "key", "value"}},
    SplitRule{"aten::embedding", Rows::any_leading, {"indices"}},
    SplitRule{"aten::layer_norm", Rows::first, {"input"}},
    SplitRule{"aten::rms_norm", Rows::first, {"input"}},
    SplitRule{"aten::group_norm", Rows::first, {"input"}},
};

constexpr SplitRule kPointwise = {"", Rows::any_leading, {}};

const SplitRule* rule_of(const ReplayJob& job) {
  const std::string_view op = std::string_view(job.signature.op);
  const auto found =
      std::find_if(kSplitRules.begin(), kSplitRules.end(),
                   [&](const SplitRule& rule) { return rule.op == op.substr(0, op.find('.')); });
  if (found != kSplitRules.end()) return &*found;
  return job.op->generic == GenericClass::pointwise ? &kPointwise : nullptr;
}

// The first dimension of more than one row, -1 where there is none to split.
int64_t dim_to_split(const SplitRule& rule, const TensorSpec& output) {
  const int64_t last = rule.rows == Rows::first ? 1 : std::max<int64_t>(output.dim() - 1, 1);
  for (int64_t d = 0; d < std::min(last, output.dim()); ++d) {
    if (output.sizes[d] > 1) return d;
  }
  return -1;
}

void shorten(TensorSpec& spec, int64_t dim, int64_t rows, int64_t parts) {
  if (spec.defined && spec.dim() > dim && spec.sizes[dim] == rows) {
    spec.sizes[static_cast<size_t>(dim)] = rows / parts;
  }
}

OpSignature part_of(const ReplayJob& job, const SplitRule& rule, int64_t dim, int64_t parts) {
  OpSignature part = job.signature;
  const int64_t rows = part.output().sizes[dim];
  const int64_t dims = part.output().dim();
  const auto& schema = job.op->handle.schema().arguments();
  for (size_t i = 0; i < part.arguments.size(); ++i) {
    const bool named = std::find(rule.arguments.begin(), rule.arguments.end(), schema[i].name()) !=
                       rule.arguments.end();
    for (TensorSpec& spec : part.arguments[i].tensors) {
      if (named || (&rule == &kPointwise && spec.dim() == dims)) shorten(spec, dim, rows, parts);
    }
  }
  for (TensorSpec& output : part.outputs) shorten(output, dim, rows, parts);
  return part;
}

std::string in_mib(Count bytes) {
  return std::to_string(static_cast<int64_t>(bytes / (1 << 20))) + " MiB";
}

}  // namespace

Part part_that_fits(const ReplayJob& job, c10::Device device, int64_t usable_bytes) {
  const auto bytes_of = [&](const OpSignature& signature, int64_t parts) {
    return ArgumentSets(*job.op, signature, device).bytes() + 2 * output_bytes(signature) +
           job.temporary_bytes / parts;
  };
  Part part;
  part.signature = job.signature;
  part.bytes = bytes_of(job.signature, 1);
  if (part.bytes <= usable_bytes) return part;
  const std::string needs =
      "needs " + in_mib(part.bytes) + ", " + in_mib(usable_bytes) + " are free";
  const SplitRule* rule = job.signature.outputs.empty() ? nullptr : rule_of(job);
  const int64_t dim = rule == nullptr ? -1 : dim_to_split(*rule, job.signature.output());
  const int64_t rows = dim < 0 ? 1 : job.signature.output().sizes[dim];
  for (int64_t parts = 2; parts <= rows && rows % parts == 0; parts *= 2) {
    part.signature = part_of(job, *rule, dim, parts);
    part.bytes = bytes_of(part.signature, parts);
    if (part.bytes > usable_bytes) continue;
    part.parts = static_cast<size_t>(parts);
    part.note = needs + ": one of " + std::to_string(parts) + " parts was timed";
    return part;
  }
  part.parts = 0;
  part.note = needs;
  return part;
}

}  // namespace nnprof

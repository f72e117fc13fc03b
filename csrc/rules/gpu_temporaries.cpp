#include "rules/gpu_temporaries.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

namespace nnprof {
namespace {

enum class Blas : uint8_t {
  plain,      // cublasGemmEx and its like, with the handle's workspace
  with_bias,  // addmm: through cublasLt where the bias is a vector along the rows
};

// aten/src/ATen/native/cuda/Blas.cpp: all that takes getCurrentCUDABlasHandle().
const std::unordered_map<std::string_view, Blas> kBlas = {
    {"aten::_addmm_activation", Blas::with_bias},
    {"aten::addbmm", Blas::plain},
    {"aten::addmm", Blas::with_bias},
    {"aten::addmm_", Blas::with_bias},
    {"aten::addmv", Blas::plain},
    {"aten::addr", Blas::plain},
    {"aten::baddbmm", Blas::plain},
    {"aten::baddbmm_", Blas::plain},
    {"aten::bmm", Blas::plain},
    {"aten::dot", Blas::plain},
    {"aten::linear", Blas::with_bias},
    {"aten::mm", Blas::plain},
    {"aten::mv", Blas::plain},
    {"aten::vdot", Blas::plain},
};

// linear(input, weight, bias) has the bias last, addmm(bias, a, b) first.
bool goes_through_lt(const OpSignature& op) {
  const size_t place = op.op == "aten::linear" ? 2 : 0;
  if (op.arguments.size() <= place || op.arguments[place].tensors.empty()) return false;
  const TensorSpec& bias = op.arguments[place].tensors[0];
  return bias.defined && bias.dim() == 1 && bias.is_contiguous();
}

void add_blas(const OpSignature& op, int64_t cublaslt_workspace, Working& working) {
  const auto found = kBlas.find(op.op);
  if (found == kBlas.end() || op.output().numel() == 0) return;
  if (cublaslt_workspace != 0 && found->second == Blas::with_bias && goes_through_lt(op)) {
    working.bytes.push_back(cublaslt_workspace);
  } else {
    working.uses_blas = true;
  }
}

// aten/src/ATen/native/cuda/Indexing.cu, index_put_with_sort_kernel: where values add up, the
// places that they go to as numbers, twice (sorted), and the order that they came in, twice.
void add_sorted_places(const OpSignature& op, Working& working) {
  const bool accumulates = op.arguments.size() > 3 && op.boolean(3);
  if (!accumulates) return;
  Count places = 1;
  for (const TensorSpec& index : op.tensors(1)) {
    if (index.defined) places = std::max(places, index.numel());
  }
  const auto bytes = static_cast<int64_t>(places) * int64_t{sizeof(int64_t)};
  working.bytes.insert(working.bytes.end(), 4, bytes);
}

}  // namespace

Working gpu_working(const OpSignature& op, const Cost& cost, int64_t cublaslt_workspace) {
  Working working;
  add_blas(op, cublaslt_workspace, working);
  if (op.op == "aten::index_put_" || op.op == "aten::index_put") add_sorted_places(op, working);
  if (cost.temporary_bytes != 0) {
    working.bytes.push_back(static_cast<int64_t>(cost.temporary_bytes));
  }
  return working;
}

}  // namespace nnprof

#include "rules/gpu_temporaries.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>

namespace nnprof {
namespace {

// aten/src/ATen/native/cuda/Blas.cpp: all that takes the workspace of the thread's cuBLAS handle,
// those that go through cublasLt too (CublasHandlePool.cpp).
const std::unordered_set<std::string_view> kBlas = {
    "aten::_addmm_activation",
    "aten::addbmm",
    "aten::addmm",
    "aten::addmm_",
    "aten::addmv",
    "aten::addr",
    "aten::baddbmm",
    "aten::baddbmm_",
    "aten::bmm",
    "aten::dot",
    "aten::linear",
    "aten::mm",
    "aten::mv",
    "aten::vdot",
};

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

Working gpu_working(const OpSignature& op, const Cost& cost) {
  Working working;
  working.uses_blas = kBlas.count(op.op) != 0 && op.output().numel() != 0;
  if (op.op == "aten::index_put_" || op.op == "aten::index_put") add_sorted_places(op, working);
  if (cost.temporary_bytes != 0) {
    working.bytes.push_back(static_cast<int64_t>(cost.temporary_bytes));
  }
  return working;
}

}  // namespace nnprof

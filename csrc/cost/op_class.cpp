#include "cost/op_class.h"

#include <string>

namespace nnprof {
namespace {

// A pooling to one value a channel is a mean or a maximum over all. Its gradient goes back to all.
bool pools_everything(const OpSignature& op) {
  const TensorSpec& pooled = is_backward(op) ? op.tensor(0) : op.output();
  return pooled.dim() > 2 && pooled.numel() == pooled.size(0) * pooled.size(1);
}

}  // namespace

bool is_backward(const OpSignature& op) { return op.op.find("_backward") != std::string::npos; }

OpClass op_class(const OpSignature& op, const Cost& cost) {
  if (cost.bytes_read + cost.bytes_written == 0 && cost.flops() == 0) return OpClass::free;
  const OpClass named = op.op_class;
  if (cost.macs > 0 && !traits_of(named).own_model) return OpClass::matmul;
  if (cost.macs == 0 && named == OpClass::matmul) return OpClass::elementwise;
  if (named == OpClass::pooling && pools_everything(op)) {
    return is_backward(op) ? OpClass::elementwise : OpClass::reduction;
  }
  return named;
}

}  // namespace nnprof

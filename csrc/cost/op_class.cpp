#include "cost/op_class.h"

#include <algorithm>
#include <string_view>

namespace nnprof {
namespace {

struct FamilyClass {
  std::string_view family;
  OpClass op_class;
};

// By the rule's family; an operator without a rule is "other".
constexpr FamilyClass kFamilies[] = {
    {"activation", OpClass::elementwise},
    {"attention", OpClass::attention},
    {"comparison", OpClass::elementwise},
    {"convolution", OpClass::convolution},
    {"copy", OpClass::copy},
    {"distance", OpClass::matmul},
    {"dropout", OpClass::elementwise},
    {"embedding", OpClass::gather},
    {"factory", OpClass::copy},
    {"foreach", OpClass::elementwise},
    {"indexing", OpClass::gather},
    {"layer_norm", OpClass::layer_norm},
    {"linear", OpClass::matmul},
    {"loss", OpClass::reduction},
    {"matmul", OpClass::matmul},
    {"multihead_attention", OpClass::matmul},
    {"normalization", OpClass::normalization},
    {"optimizer", OpClass::elementwise},
    {"pad", OpClass::copy},
    {"pointwise", OpClass::elementwise},
    {"pooling", OpClass::pooling},
    {"random", OpClass::elementwise},
    {"recurrent", OpClass::recurrent},
    {"reduction", OpClass::reduction},
    {"scatter", OpClass::gather},
    {"softmax", OpClass::softmax},
    {"sorting", OpClass::sort},
    {"special", OpClass::elementwise},
    {"split", OpClass::copy},
    {"view", OpClass::copy},
    {"vision", OpClass::gather},
};

OpClass by_family(const OpSignature& op) {
  for (const FamilyClass& known : kFamilies) {
    if (known.family == op.family) return known.op_class;
  }
  return OpClass::other;
}

// A pooling to one value a channel is a mean or a maximum over all. Its gradient goes back to all.
bool pools_everything(const OpSignature& op) {
  const TensorSpec& pooled = is_backward(op) ? op.tensor(0) : op.output();
  return pooled.dim() > 2 && pooled.numel() == pooled.size(0) * pooled.size(1);
}

bool has_own_model(OpClass op_class) {
  return op_class == OpClass::matmul || op_class == OpClass::convolution ||
         op_class == OpClass::attention || op_class == OpClass::recurrent;
}

}  // namespace

bool is_backward(const OpSignature& op) { return op.op.find("_backward") != std::string::npos; }

OpClass op_class(const OpSignature& op, const Cost& cost) {
  if (cost.bytes_read + cost.bytes_written == 0 && cost.flops() == 0) return OpClass::free;
  const OpClass named = by_family(op);
  if (cost.macs > 0 && !has_own_model(named)) return OpClass::matmul;
  if (cost.macs == 0 && named == OpClass::matmul) return OpClass::elementwise;
  if (named == OpClass::pooling && pools_everything(op)) {
    return is_backward(op) ? OpClass::elementwise : OpClass::reduction;
  }
  return named;
}

}  // namespace nnprof

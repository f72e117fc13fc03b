#include "dispatch/pricing.h"

#include "dispatch/operators.h"

namespace nnprof {
namespace {

FormulaFinder find_formula = nullptr;

// What returns nothing (_foreach_add_) puts out what it writes.
void add_written(const Operator& op, OpSignature& signature) {
  for (const int i : op.written) {
    const std::vector<TensorSpec>& targets = signature.tensors(static_cast<size_t>(i));
    signature.outputs.insert(signature.outputs.end(), targets.begin(), targets.end());
  }
}

}  // namespace

void set_formula_finder(FormulaFinder finder) { find_formula = finder; }

PricedSignature price_signature(c10::ArrayRef<int64_t> words) {
  PricedSignature priced;
  const Operator& op = operator_numbered(decode_signature(words, priced.signature));
  priced.signature.op = op.name;
  priced.signature.rule = op.rule;
  priced.signature.op_class = op.family->op_class;
  priced.signature.outs = op.outs;
  if (op.returns == 0) add_written(op, priced.signature);
  CustomCost formula;
  priced.ruled = op.rule != nullptr || has_custom_cost(op.name);
  if (!priced.ruled && find_formula != nullptr) {
    formula = find_formula(op.name);
    priced.ruled = static_cast<bool>(formula);
  }
  priced.cost = price(priced.signature, op.generic, formula);
  return priced;
}

}  // namespace nnprof

// Decodes and prices the signatures of a session with what is known of the running torch.
#pragma once

#include "core/aggregate.h"
#include "rules/price.h"

namespace nnprof {

PricedSignature price_signature(c10::ArrayRef<int64_t> words);

// Asked for an operator that has no rule: the formula that others registered for it, null if none.
using FormulaFinder = CustomCost (*)(const std::string& op);
void set_formula_finder(FormulaFinder finder);

}  // namespace nnprof

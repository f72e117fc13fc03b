// From a signature to its cost: the usual traffic, then the rule's own counting.
#pragma once

#include <functional>
#include <string>

#include "core/cost.h"
#include "core/record.h"

namespace nnprof {

// Bytes an operator must read and write when each distinct element moves once: no cache, no fusion.
void add_traffic(const OpSignature& op, Cost& cost);

// Torch's own tags for an operator that has no rule.
enum class GenericClass : uint8_t { opaque, pointwise, reduction, view };

// A cost that is counted outside of the rules' tables.
using CustomCost = std::function<void(const OpSignature&, Cost&)>;

// `formula`, where there is one, prices an operator that has no rule.
Cost price(const OpSignature& op, GenericClass generic = GenericClass::opaque,
           const CustomCost& formula = nullptr);

// Rules added in Python (nnprof.register_rule). A null function removes the rule.
void register_custom_cost(const std::string& op, CustomCost cost);
bool has_custom_cost(const std::string& op);

}  // namespace nnprof

// Sums over a session: per signature, per scope, in all.
#pragma once

#include <functional>
#include <vector>

#include "core/cost.h"
#include "core/session.h"

namespace nnprof {

struct PricedSignature {
  OpSignature signature;
  Cost cost;
  bool ruled = false;  // priced by a rule or a registered formula, not from its sizes alone
  uint32_t calls = 0;
};

struct Aggregate {
  std::vector<PricedSignature> signatures;
  Cost total;
};

// `price` decodes and prices one signature.
using PriceFunction = std::function<PricedSignature(c10::ArrayRef<int64_t> words)>;
Aggregate aggregate(const Session& session, const PriceFunction& price);

struct PhaseTotals {
  Cost cost;
  int64_t calls = 0;
};
PhaseTotals phase_totals(const Session& session, const Aggregate& aggregate, Phase phase);

struct ScopeTotals {
  Cost own;
  Cost inclusive;
};
// Those of every scope, in the order of the session's. Apart, for whoever wants the totals alone.
std::vector<ScopeTotals> scope_totals(const Session& session, const Aggregate& aggregate);

}  // namespace nnprof

#include "core/aggregate.h"

namespace nnprof {

Aggregate aggregate(const Session& session, const PriceFunction& price) {
  Aggregate result;
  result.signatures.reserve(session.signatures().size());
  for (size_t i = 0; i < session.signatures().size(); ++i) {
    result.signatures.push_back(price(session.signatures().words(static_cast<uint32_t>(i))));
  }
  std::vector<uint32_t> recomputed(result.signatures.size());
  for (const OpRecord& record : session.records()) {
    ++result.signatures[record.signature].calls;
    recomputed[record.signature] += record.recomputed;
  }
  for (size_t i = 0; i < result.signatures.size(); ++i) {
    const PricedSignature& signature = result.signatures[i];
    result.total += signature.cost.times(signature.calls - recomputed[i]);
    result.total += signature.cost.again().times(recomputed[i]);
  }
  return result;
}

PhaseTotals phase_totals(const Session& session, const Aggregate& aggregate, Phase phase) {
  PhaseTotals totals;
  for (const OpRecord& record : session.records()) {
    if (record.phase != phase) continue;
    const Cost& one = aggregate.signatures[record.signature].cost;
    totals.cost += record.recomputed ? one.again() : one;
    ++totals.calls;
  }
  return totals;
}

std::vector<ScopeTotals> scope_totals(const Session& session, const Aggregate& aggregate) {
  std::vector<ScopeTotals> totals(session.scopes().size());
  for (const OpRecord& record : session.records()) {
    const Cost& cost = aggregate.signatures[record.signature].cost;
    totals[record.scope].own += record.recomputed ? cost.again() : cost;
  }
  // A scope is made after its parent: going backwards, children are complete before their parents.
  for (size_t i = totals.size(); i-- > 0;) {
    totals[i].inclusive += totals[i].own;
    const int32_t parent = session.scopes()[i].parent;
    if (parent >= 0) totals[static_cast<size_t>(parent)].inclusive += totals[i].inclusive;
  }
  return totals;
}

}  // namespace nnprof

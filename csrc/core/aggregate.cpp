#include "core/aggregate.h"

namespace nnprof {

Aggregate aggregate(const Session& session, const PriceFunction& price) {
  Aggregate result;
  result.signatures.reserve(session.signatures().size());
  for (size_t i = 0; i < session.signatures().size(); ++i) {
    result.signatures.push_back(price(session.signatures().words(static_cast<uint32_t>(i))));
  }
  result.scopes.resize(session.scopes().size());
  for (const OpRecord& record : session.records()) {
    PricedSignature& signature = result.signatures[record.signature];
    ++signature.calls;
    ScopeTotals& scope = result.scopes[record.scope];
    scope.own += record.recomputed ? signature.cost.again() : signature.cost;
    ++scope.own_calls;
  }
  // A scope is made after its parent: going backwards, children are complete before their parents.
  for (size_t i = result.scopes.size(); i-- > 0;) {
    result.scopes[i].inclusive += result.scopes[i].own;
    const int32_t parent = session.scopes()[i].parent;
    if (parent >= 0)
      result.scopes[static_cast<size_t>(parent)].inclusive += result.scopes[i].inclusive;
  }
  result.total = result.scopes[0].inclusive;
  return result;
}

}  // namespace nnprof

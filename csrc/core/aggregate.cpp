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
    if (record.recomputed) {
      scope.own += signature.cost.again();
    } else if (scope.own_calls == 0) {
      scope.own = signature.cost;
    } else {
      scope.own += signature.cost;
    }
    ++scope.own_calls;
  }
  // A scope is made after its parent: going backwards, children are complete before their parents.
  std::vector<bool> has_children(result.scopes.size());
  for (size_t i = result.scopes.size(); i-- > 0;) {
    ScopeTotals& scope = result.scopes[i];
    if (has_children[i]) {
      scope.inclusive += scope.own;
    } else {
      scope.inclusive = scope.own;
    }
    if (session.scopes()[i].parent < 0) continue;
    const auto parent = static_cast<size_t>(session.scopes()[i].parent);
    has_children[parent] = true;
    result.scopes[parent].inclusive += scope.inclusive;
  }
  result.total = result.scopes[0].inclusive;
  return result;
}

}  // namespace nnprof

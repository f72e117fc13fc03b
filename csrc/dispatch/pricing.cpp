#include "dispatch/pricing.h"

#include "dispatch/operators.h"

namespace nnprof {

PricedSignature price_signature(c10::ArrayRef<int64_t> words) {
  PricedSignature priced;
  const Operator& op = operator_numbered(decode_signature(words, priced.signature));
  priced.signature.op = op.name;
  priced.signature.rule = op.rule;
  priced.signature.outs = op.outs;
  priced.cost = price(priced.signature, op.generic);
  return priced;
}

}  // namespace nnprof

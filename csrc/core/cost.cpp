#include "core/cost.h"

namespace nnprof {
namespace {

template <class Combine>
void combine(Cost& own, const Cost& other, Combine combine) {
  combine(own.macs, other.macs);
  for (size_t kind = 0; kind < kFlopKinds; ++kind) {
    combine(own.flops_by_kind[kind], other.flops_by_kind[kind]);
  }
  combine(own.bytes_read, other.bytes_read);
  combine(own.bytes_written, other.bytes_written);
  combine(own.temporary_bytes, other.temporary_bytes);
  combine(own.flops_skipped, other.flops_skipped);
  combine(own.flops_remade, other.flops_remade);
  combine(own.flops_unneeded, other.flops_unneeded);
}

}  // namespace

Count Cost::flops() const {
  Count total;
  for (size_t kind = 0; kind < kFlopKinds; ++kind) {
    if (kind != static_cast<size_t>(FlopKind::int_ops)) total += flops_by_kind[kind];
  }
  return total;
}

Cost Cost::again() const {
  Cost cost = *this;
  cost.flops_unneeded = flops();
  return cost;
}

void Cost::add_macs(Count count, bool complex) {
  macs += count;
  (*this)[FlopKind::contraction] += (complex ? 8 : 2) * count;
}

void Cost::add(const FlopMix& mix, Count times) {
  (*this)[FlopKind::add] += mix.add * times;
  (*this)[FlopKind::multiply] += mix.multiply * times;
  (*this)[FlopKind::division] += mix.division * times;
  (*this)[FlopKind::sqrt] += mix.sqrt * times;
  (*this)[FlopKind::exp] += mix.exp * times;
  (*this)[FlopKind::tanh] += mix.tanh * times;
  (*this)[FlopKind::erf] += mix.erf * times;
  (*this)[FlopKind::trigonometric] += mix.trigonometric * times;
  (*this)[FlopKind::special] += mix.special * times;
  (*this)[FlopKind::compare] += mix.compare * times;
}

Cost& Cost::operator+=(const Cost& other) {
  combine(*this, other, [](Count& own, Count more) { own += more; });
  return *this;
}

Cost Cost::times(Count calls) const {
  Cost cost;
  combine(cost, *this, [&](Count& all, Count one) { all = one * calls; });
  return cost;
}

}  // namespace nnprof

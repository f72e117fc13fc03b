#include "core/count.h"

#include <cmath>

#include "core/errors.h"

namespace nnprof {

Count Count::rounded(double value) {
  if (!(std::abs(value) < 0x1p126)) raise_too_large();
  return of(static_cast<Wide>(std::round(value)));
}

void Count::raise_too_large() {
  raise(ErrorKind::unsupported, "a count is too large for nnprof: it keeps up to 2^127");
}

// By a division, which every compiler has for 128 bits; a checked product it may not have.
void Count::check_product(Wide a, Wide b) {
  constexpr Wide kMost = static_cast<Wide>(~static_cast<unsigned __int128>(0) >> 1);
  const auto size = [](Wide value) { return value < 0 ? -value : value; };
  if (b != 0 && size(a) > kMost / size(b)) raise_too_large();
}

}  // namespace nnprof

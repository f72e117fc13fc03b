// A number of elements, MACs, FLOPs or bytes.
//
// 64 bits are too few: a linear layer of 2^20 x 2^20 weights on 2^22 rows takes 2^63 FLOPs. A
// tensor's sizes and elements are Counts already (TensorSpec), so that every product of them is
// one. A number becomes a Count by itself and never stops being one by itself: what would lose its
// upper half does not compile. Beyond 2^127 it raises.
#pragma once

#include <compare>
#include <concepts>
#include <cstdint>
#include <type_traits>

namespace nnprof {

class Count {
 public:
  __extension__ using Wide = __int128;

  constexpr Count() = default;
  template <std::integral Integer>
  constexpr Count(Integer value) : value_(value) {}  // NOLINT: meant to happen by itself
  static constexpr Count of(Wide value) {
    Count count;
    count.value_ = value;
    return count;
  }

  // The nearest to an estimate.
  static Count rounded(double value);

  constexpr Wide wide() const { return value_; }
  constexpr bool fits() const { return value_ == static_cast<int64_t>(value_); }
  constexpr explicit operator double() const { return static_cast<double>(value_); }
  // Raises where it does not fit.
  constexpr explicit operator int64_t() const {
    if (!fits()) raise_too_large();
    return static_cast<int64_t>(value_);
  }

  friend constexpr Count operator+(Count a, Count b) {
    Count sum;
    if (__builtin_add_overflow(a.value_, b.value_, &sum.value_)) raise_too_large();
    return sum;
  }
  friend constexpr Count operator-(Count a, Count b) {
    Count difference;
    if (__builtin_sub_overflow(a.value_, b.value_, &difference.value_)) raise_too_large();
    return difference;
  }
  friend constexpr Count operator*(Count a, Count b) {
    if (!(a.fits() && b.fits())) check_product(a.value_, b.value_);
    return of(a.value_ * b.value_);
  }
  friend constexpr Count operator/(Count a, Count b) { return of(a.value_ / b.value_); }
  friend constexpr Count operator%(Count a, Count b) { return of(a.value_ % b.value_); }
  constexpr Count operator-() const { return Count() - *this; }
  constexpr Count& operator+=(Count other) { return *this = *this + other; }
  constexpr Count& operator-=(Count other) { return *this = *this - other; }
  constexpr Count& operator*=(Count other) { return *this = *this * other; }
  constexpr Count& operator/=(Count other) { return *this = *this / other; }

  friend constexpr bool operator==(Count a, Count b) { return a.value_ == b.value_; }
  friend constexpr std::strong_ordering operator<=>(Count a, Count b) {
    return a.value_ < b.value_   ? std::strong_ordering::less
           : a.value_ > b.value_ ? std::strong_ordering::greater
                                 : std::strong_ordering::equal;
  }

 private:
  [[noreturn]] static void raise_too_large();
  static void check_product(Wide a, Wide b);

  Wide value_ = 0;
};

// The next multiple, or the size itself where it is one.
template <class Number>
constexpr Number round_up(Number size, std::type_identity_t<Number> multiple) {
  return (size + multiple - 1) / multiple * multiple;
}

}  // namespace nnprof

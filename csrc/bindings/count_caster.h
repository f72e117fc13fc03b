// A Count is a Python int.
#pragma once

#include <pybind11/pybind11.h>

#include "core/count.h"

namespace pybind11::detail {

template <>
struct type_caster<nnprof::Count> {
 public:
  PYBIND11_TYPE_CASTER(nnprof::Count, const_name("int"));

  bool load(handle source, bool /*convert*/) {
    const auto number = reinterpret_steal<int_>(PyNumber_Index(source.ptr()));
    if (!number) return failed();
    const long long high = PyLong_AsLongLong((number >> int_(kHalf)).ptr());
    if (high == -1 && PyErr_Occurred() != nullptr) return failed();
    const unsigned long long low = PyLong_AsUnsignedLongLongMask(number.ptr());
    value = nnprof::Count::of((static_cast<nnprof::Count::Wide>(high) << kHalf) | low);
    return true;
  }

  static handle cast(nnprof::Count count, return_value_policy /*policy*/, handle /*parent*/) {
    if (count.fits()) return PyLong_FromLongLong(static_cast<int64_t>(count));
    const int_ high(static_cast<int64_t>(count.wide() >> kHalf));
    const int_ low(static_cast<uint64_t>(count.wide()));
    return ((high << int_(kHalf)) | low).release();
  }

 private:
  static constexpr int kHalf = 64;

  static bool failed() {
    PyErr_Clear();
    return false;
  }
};

}  // namespace pybind11::detail

// Tensors made from nothing but sizes and numbers. Whatever device is asked for, they are meta
// tensors.
#include <ATen/native/RangeUtils.h>
#include <ATen/native/TensorFactories.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tril_meta_dispatch.h>
#include <ATen/ops/triu_meta_dispatch.h>
#include <c10/core/DefaultDtype.h>

#include "rules/factories.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {

c10::ScalarType default_dtype() { return c10::get_default_dtype_as_scalartype(); }

at::Tensor new_tensor(at::IntArrayRef sizes, c10::ScalarType dtype, LayoutOption layout,
                      FormatOption format) {
  if (layout.value_or(at::kStrided) == at::kStrided) return empty_of(sizes, dtype, format);
  const auto options = at::TensorOptions().dtype(dtype).layout(*layout).device(at::kMeta);
  return at::empty(sizes, options);
}

at::Tensor new_tensor_like(const at::Tensor& self, DtypeOption dtype, LayoutOption layout,
                           FormatOption format) {
  const c10::ScalarType type = dtype.value_or(self.scalar_type());
  if (layout.value_or(at::kStrided) == at::kStrided) return empty_preserving(self, type, format);
  TORCH_CHECK(!format, "memory format option is only supported by strided tensors");
  return new_tensor(self.sizes(), type, layout);
}

void writes_output(const OpSignature& op, Cost& cost) {
  cost.bytes_read = 0;
  pointwise(op, cost);
}

namespace {

using at::IntArrayRef;
using at::Scalar;
using at::Tensor;

// Outputs -----------------------------------------------------------------------------------------

Tensor of_sizes(IntArrayRef sizes, DtypeOption dtype, LayoutOption layout, DeviceOption,
                PinOption) {
  return new_tensor(sizes, dtype.value_or(default_dtype()), layout);
}
Tensor of_sizes_and_format(IntArrayRef sizes, DtypeOption dtype, LayoutOption layout, DeviceOption,
                           PinOption, FormatOption format) {
  return new_tensor(sizes, dtype.value_or(default_dtype()), layout, format);
}
Tensor like(const Tensor& self, DtypeOption dtype, LayoutOption layout, DeviceOption, PinOption,
            FormatOption format) {
  return new_tensor_like(self, dtype, layout, format);
}
Tensor full_like(const Tensor& self, const Scalar&, DtypeOption dtype, LayoutOption layout,
                 DeviceOption, PinOption, FormatOption format) {
  return new_tensor_like(self, dtype, layout, format);
}
Tensor new_of_sizes(const Tensor& self, IntArrayRef sizes, DtypeOption dtype, LayoutOption layout,
                    DeviceOption, PinOption) {
  return new_tensor(sizes, dtype.value_or(self.scalar_type()), layout);
}
Tensor new_full(const Tensor& self, IntArrayRef sizes, const Scalar&, DtypeOption dtype,
                LayoutOption layout, DeviceOption, PinOption) {
  return new_tensor(sizes, dtype.value_or(self.scalar_type()), layout);
}

void check_strides(IntArrayRef sizes, IntArrayRef strides) {
  TORCH_CHECK(sizes.size() == strides.size(),
              "mismatch in length of strides and shape: ", strides.size(), " and ", sizes.size());
}
Tensor empty_strided(IntArrayRef sizes, IntArrayRef strides, DtypeOption dtype, LayoutOption,
                     DeviceOption, PinOption) {
  check_strides(sizes, strides);
  return empty_strided_of(sizes, strides, dtype.value_or(default_dtype()));
}
Tensor new_empty_strided(const Tensor& self, IntArrayRef sizes, IntArrayRef strides,
                         DtypeOption dtype, LayoutOption, DeviceOption, PinOption) {
  check_strides(sizes, strides);
  return empty_strided_of(sizes, strides, dtype.value_or(self.scalar_type()));
}

// Contiguous when its dimensions are read in the order of `layout`.
Tensor empty_permuted(IntArrayRef sizes, IntArrayRef layout, DtypeOption dtype, LayoutOption,
                      DeviceOption, PinOption) {
  const auto dims = static_cast<int64_t>(sizes.size());
  TORCH_CHECK(layout.size() == sizes.size(),
              "Number of dimensions in size does not match the length of the physical_layout; "
              "i.e. len(size) = ",
              dims, " is not equal to len(physical_layout) = ", layout.size());
  c10::DimVector strides(sizes.size(), -1);
  int64_t stride = 1;
  for (auto dim = layout.rbegin(); dim != layout.rend(); ++dim) {
    TORCH_CHECK(*dim >= 0 && *dim < dims, "Dimension out of range (expected to be between 0 and ",
                dims - 1, ", but got ", *dim, ")");
    const auto d = static_cast<size_t>(*dim);
    TORCH_CHECK(strides[d] == -1, "Duplicate dim not allowed");
    strides[d] = stride;
    stride *= std::max<int64_t>(sizes[d], 1);
  }
  return empty_strided_of(sizes, strides, dtype.value_or(default_dtype()));
}

c10::ScalarType dtype_of(const Scalar& value) {
  if (value.isBoolean()) return at::kBool;
  if (value.isIntegral(/*includeBool=*/false)) return at::kLong;
  return value.isComplex() ? c10::toComplexType(default_dtype()) : default_dtype();
}

Tensor full(IntArrayRef sizes, const Scalar& value, DtypeOption dtype, LayoutOption layout,
            DeviceOption, PinOption) {
  TORCH_CHECK(layout.value_or(at::kStrided) != at::kSparse,
              "full(...) is not implemented for sparse layout");
  return new_tensor(sizes, dtype.value_or(dtype_of(value)), layout);
}

Tensor scalar_tensor(const Scalar&, DtypeOption dtype, LayoutOption, DeviceOption, PinOption) {
  return empty_of({}, dtype.value_or(default_dtype()));
}

bool is_integer(const Scalar& number) { return number.isIntegral(/*includeBool=*/true); }

Tensor arange_step(const Scalar& start, const Scalar& end, const Scalar& step, DtypeOption dtype,
                   LayoutOption, DeviceOption, PinOption) {
  const bool integers = is_integer(start) && is_integer(end) && is_integer(step);
  const c10::ScalarType type = dtype.value_or(integers ? at::kLong : default_dtype());
  TORCH_CHECK_NOT_IMPLEMENTED(type != at::kBool && !c10::isComplexType(type),
                              "\"arange_cpu\" not implemented for '", type, "'");
  const int64_t size = type == at::kLong
                           ? at::native::compute_arange_size<int64_t>(start, end, step)
                           : at::native::compute_arange_size<double>(start, end, step);
  return empty_of({size}, type);
}
Tensor arange_start(const Scalar& start, const Scalar& end, DtypeOption dtype, LayoutOption layout,
                    DeviceOption device, PinOption pin) {
  return arange_step(start, end, 1, dtype, layout, device, pin);
}
Tensor arange(const Scalar& end, DtypeOption dtype, LayoutOption layout, DeviceOption device,
              PinOption pin) {
  return arange_step(0, end, 1, dtype, layout, device, pin);
}

// As arange, but with the end.
Tensor range_step(const Scalar& start, const Scalar& end, const Scalar& step, DtypeOption dtype,
                  LayoutOption, DeviceOption, PinOption) {
  at::native::arange_check_bounds(start, end, step);
  const double steps = (end.toDouble() - start.toDouble()) / step.toDouble();
  return empty_of({static_cast<int64_t>(steps) + 1}, dtype.value_or(default_dtype()));
}
Tensor range(const Scalar& start, const Scalar& end, DtypeOption dtype, LayoutOption layout,
             DeviceOption device, PinOption pin) {
  return range_step(start, end, 1, dtype, layout, device, pin);
}

// linspace and logspace take a number or a 0-dim tensor for either end.
bool is_complex_end(const Scalar& end) { return end.isComplex(); }
bool is_complex_end(const Tensor& end) { return end.is_complex(); }
void check_end(const Scalar&) {}
void check_end(const Tensor& end) {
  TORCH_CHECK(end.dim() == 0,
              "linspace and logspace only support 0-dimensional start and end tensors, but got ",
              end.dim(), " dimension(s).");
}

template <class Start, class End>
Tensor spaced(const Start& start, const End& end, int64_t steps, DtypeOption dtype) {
  check_end(start);
  check_end(end);
  TORCH_CHECK(steps >= 0, "number of steps must be non-negative");
  if (!is_complex_end(start) && !is_complex_end(end))
    return empty_of({steps}, dtype.value_or(default_dtype()));
  const c10::ScalarType inferred = c10::toComplexType(default_dtype());
  TORCH_CHECK(!dtype || c10::isComplexType(*dtype), "inferred dtype ", inferred,
              " can't be safely cast to passed dtype ", dtype.value_or(inferred));
  return empty_of({steps}, dtype.value_or(inferred));
}
template <class Start, class End>
Tensor linspace(const Start& start, const End& end, int64_t steps, DtypeOption dtype, LayoutOption,
                DeviceOption, PinOption) {
  return spaced(start, end, steps, dtype);
}
template <class Start, class End>
Tensor logspace(const Start& start, const End& end, int64_t steps, double, DtypeOption dtype,
                LayoutOption, DeviceOption, PinOption) {
  return spaced(start, end, steps, dtype);
}

Tensor eye_of_sizes(int64_t rows, int64_t columns, DtypeOption dtype, LayoutOption, DeviceOption,
                    PinOption) {
  TORCH_CHECK(rows >= 0, "n must be greater or equal to 0, got ", rows);
  TORCH_CHECK(columns >= 0, "m must be greater or equal to 0, got ", columns);
  return empty_of({rows, columns}, dtype.value_or(default_dtype()));
}
Tensor eye(int64_t rows, DtypeOption dtype, LayoutOption layout, DeviceOption device,
           PinOption pin) {
  return eye_of_sizes(rows, rows, dtype, layout, device, pin);
}

Tensor tril_indices(int64_t rows, int64_t columns, int64_t offset, DtypeOption dtype,
                    LayoutOption layout, DeviceOption, PinOption) {
  at::native::check_args(rows, columns, layout);
  const int64_t count = at::native::get_tril_size(rows, columns, offset);
  return empty_of({2, count}, dtype.value_or(at::kLong));
}
Tensor triu_indices(int64_t rows, int64_t columns, int64_t offset, DtypeOption dtype,
                    LayoutOption layout, DeviceOption, PinOption) {
  at::native::check_args(rows, columns, layout);
  const int64_t below = at::native::get_tril_size(rows, columns, offset - 1);
  return empty_of({2, rows * columns - below}, dtype.value_or(at::kLong));
}

// The window functions: a length, and how they are shaped.
template <class... Shape>
Tensor window(int64_t length, Shape..., DtypeOption dtype, LayoutOption, DeviceOption, PinOption) {
  const c10::ScalarType type = dtype.value_or(default_dtype());
  TORCH_CHECK(c10::isFloatingType(type) || c10::isComplexType(type),
              "a window expects floating point dtypes, got: ", type);
  TORCH_CHECK(length >= 0,
              "a window requires non-negative window_length, got window_length=", length);
  return empty_of({length}, type);
}

Tensor filled(const Tensor& self, const Scalar&) { return empty_preserving(self); }
Tensor zeroed(const Tensor& self) { return empty_preserving(self); }
Tensor filled_with_tensor(const Tensor& self, const Tensor& value) {
  TORCH_CHECK(value.dim() == 0, "fill_ only supports 0-dimension value tensor but got tensor with ",
              value.dim(), " dimensions.");
  return empty_preserving(self);
}
Tensor fill_in_place(const Tensor& self, const Scalar&) { return self; }
Tensor zero_in_place(const Tensor& self) { return self; }
Tensor fill_with_tensor_in_place(const Tensor& self, const Tensor& value) {
  filled_with_tensor(self, value);
  return self;
}

// Costs -------------------------------------------------------------------------------------------

// Nothing is read, and nothing written yet.
void allocates(const OpSignature&, Cost& cost) {
  cost.bytes_read = 0;
  cost.bytes_written = 0;
}

// Of each matrix only the triangle that is kept has to be read.
void read_triangle(const OpSignature& op, Cost& cost, Count kept) {
  const TensorSpec& self = op.tensor(0);
  const Count matrix = self.size(-1) * self.size(-2);
  if (matrix == 0) return;
  cost.bytes_read = self.numel() / matrix * kept * self.element_size();
}

// Row i keeps its first i + 1 + diagonal elements: a stretch of 1, 2, 3, ..., no row more than it
// has.
Count lower_triangle(Count rows, Count columns, Count diagonal) {
  const auto first = [&](Count count) -> Count {
    if (count <= 0) return 0;
    const Count growing = std::min(count, columns);
    return growing * (growing + 1) / 2 + (count - growing) * columns;
  };
  return first(rows + diagonal) - first(diagonal);
}

void tril_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& self = op.tensor(0);
  read_triangle(op, cost, lower_triangle(self.size(-2), self.size(-1), op.integer(1)));
}
void triu_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& self = op.tensor(0);
  const Count below = lower_triangle(self.size(-2), self.size(-1), Count(op.integer(1)) - 1);
  read_triangle(op, cost, self.size(-2) * self.size(-1) - below);
}

// Table -------------------------------------------------------------------------------------------

#define OPTIONS \
  "ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None"
#define LONG_OPTIONS \
  "ScalarType? dtype=4, Layout? layout=None, Device? device=None, bool? pin_memory=None"
#define FORMAT "MemoryFormat? memory_format=None"

constexpr FlopMix kLine = {.add = 1, .multiply = 1};  // start + i * step
constexpr FlopMix kPowerLine = {.add = 1, .multiply = 1, .exp = 1};
constexpr FlopMix kCosine = {.add = 1, .multiply = 2, .trigonometric = 1};
constexpr FlopMix kTwoCosines = {.add = 2, .multiply = 4, .trigonometric = 2};
constexpr FlopMix kTent = {.add = 2, .multiply = 1, .compare = 1};
constexpr FlopMix kBessel = {.add = 2, .multiply = 2, .division = 1, .sqrt = 1, .special = 1};

const Rule kFactoryTable[] = {
    {"aten::empty.memory_format(SymInt[] size, *, " OPTIONS ", " FORMAT ") -> Tensor",
     boxed<&of_sizes_and_format>, allocates},
    {"aten::empty_like(Tensor self, *, " OPTIONS ", " FORMAT ") -> Tensor",
     boxed<&like>,
     allocates,
     {},
     kSizesOnly},
    {"aten::new_empty(Tensor self, SymInt[] size, *, " OPTIONS ") -> Tensor",
     boxed<&new_of_sizes>,
     allocates,
     {},
     kSizesOnly},
    {"aten::empty_strided(SymInt[] size, SymInt[] stride, *, " OPTIONS ") -> Tensor",
     boxed<&empty_strided>, allocates},
    {"aten::new_empty_strided(Tensor self, SymInt[] size, SymInt[] stride, *, " OPTIONS
     ") -> Tensor",
     boxed<&new_empty_strided>,
     allocates,
     {},
     kSizesOnly},
    {"aten::empty_permuted(SymInt[] size, int[] physical_layout, *, " OPTIONS ") -> Tensor",
     boxed<&empty_permuted>, allocates},

    {"aten::zeros(SymInt[] size, *, " OPTIONS ") -> Tensor", boxed<&of_sizes>, writes_output},
    {"aten::zeros_like(Tensor self, *, " OPTIONS ", " FORMAT ") -> Tensor",
     boxed<&like>,
     writes_output,
     {},
     kSizesOnly},
    {"aten::new_zeros(Tensor self, SymInt[] size, *, " OPTIONS ") -> Tensor",
     boxed<&new_of_sizes>,
     writes_output,
     {},
     kSizesOnly},
    {"aten::ones(SymInt[] size, *, " OPTIONS ") -> Tensor", boxed<&of_sizes>, writes_output},
    {"aten::ones_like(Tensor self, *, " OPTIONS ", " FORMAT ") -> Tensor",
     boxed<&like>,
     writes_output,
     {},
     kSizesOnly},
    {"aten::new_ones(Tensor self, SymInt[] size, *, " OPTIONS ") -> Tensor",
     boxed<&new_of_sizes>,
     writes_output,
     {},
     kSizesOnly},
    {"aten::full(SymInt[] size, Scalar fill_value, *, " OPTIONS ") -> Tensor", boxed<&full>,
     writes_output},
    {"aten::full_like(Tensor self, Scalar fill_value, *, " OPTIONS ", " FORMAT ") -> Tensor",
     boxed<&full_like>,
     writes_output,
     {},
     kSizesOnly},
    {"aten::new_full(Tensor self, SymInt[] size, Scalar fill_value, *, " OPTIONS ") -> Tensor",
     boxed<&new_full>,
     writes_output,
     {},
     kSizesOnly},
    {"aten::scalar_tensor(Scalar s, *, " OPTIONS ") -> Tensor", boxed<&scalar_tensor>,
     writes_output},
    {"aten::fill.Scalar(Tensor self, Scalar value) -> Tensor", boxed<&filled>, writes_output},
    {"aten::fill.Tensor(Tensor self, Tensor value) -> Tensor", boxed<&filled_with_tensor>,
     writes_output},
    {"aten::fill_.Scalar(Tensor(a!) self, Scalar value) -> Tensor(a!)",
     boxed<&fill_in_place>,
     nullptr,
     {},
     kWritesOnly},
    {"aten::fill_.Tensor(Tensor(a!) self, Tensor value) -> Tensor(a!)",
     boxed<&fill_with_tensor_in_place>,
     nullptr,
     {},
     kWritesOnly},
    {"aten::zero(Tensor self) -> Tensor", boxed<&zeroed>, writes_output},
    {"aten::zero_(Tensor(a!) self) -> Tensor(a!)", boxed<&zero_in_place>, nullptr, {}, kWritesOnly},

    {"aten::arange(Scalar end, *, " OPTIONS ") -> Tensor", boxed<&arange>, pointwise, kLine},
    {"aten::arange.start(Scalar start, Scalar end, *, " OPTIONS ") -> Tensor", boxed<&arange_start>,
     pointwise, kLine},
    {"aten::arange.start_step(Scalar start, Scalar end, Scalar step=1, *, " OPTIONS ") -> Tensor",
     boxed<&arange_step>, pointwise, kLine},
    {"aten::range(Scalar start, Scalar end, *, " OPTIONS ") -> Tensor", boxed<&range>, pointwise,
     kLine},
    {"aten::range.step(Scalar start, Scalar end, Scalar step=1, *, " OPTIONS ") -> Tensor",
     boxed<&range_step>, pointwise, kLine},
    {"aten::linspace(Scalar start, Scalar end, int steps, *, " OPTIONS ") -> Tensor",
     boxed<&linspace<Scalar, Scalar>>, pointwise, kLine},
    {"aten::linspace.Tensor_Tensor(Tensor start, Tensor end, int steps, *, " OPTIONS ") -> Tensor",
     boxed<&linspace<Tensor, Tensor>>, pointwise, kLine},
    {"aten::linspace.Tensor_Scalar(Tensor start, Scalar end, int steps, *, " OPTIONS ") -> Tensor",
     boxed<&linspace<Tensor, Scalar>>, pointwise, kLine},
    {"aten::linspace.Scalar_Tensor(Scalar start, Tensor end, int steps, *, " OPTIONS ") -> Tensor",
     boxed<&linspace<Scalar, Tensor>>, pointwise, kLine},
    {"aten::logspace(Scalar start, Scalar end, int steps, float base=10., *, " OPTIONS
     ") -> Tensor",
     boxed<&logspace<Scalar, Scalar>>, pointwise, kPowerLine},
    {"aten::logspace.Tensor_Tensor(Tensor start, Tensor end, int steps, float base=10., *, " OPTIONS
     ") -> Tensor",
     boxed<&logspace<Tensor, Tensor>>, pointwise, kPowerLine},
    {"aten::logspace.Tensor_Scalar(Tensor start, Scalar end, int steps, float base=10., *, " OPTIONS
     ") -> Tensor",
     boxed<&logspace<Tensor, Scalar>>, pointwise, kPowerLine},
    {"aten::logspace.Scalar_Tensor(Scalar start, Tensor end, int steps, float base=10., *, " OPTIONS
     ") -> Tensor",
     boxed<&logspace<Scalar, Tensor>>, pointwise, kPowerLine},

    {"aten::eye(SymInt n, *, " OPTIONS ") -> Tensor", boxed<&eye>, writes_output},
    {"aten::eye.m(SymInt n, SymInt m, *, " OPTIONS ") -> Tensor", boxed<&eye_of_sizes>,
     writes_output},
    {"aten::tril_indices(int row, int col, int offset=0, *, " LONG_OPTIONS ") -> Tensor",
     boxed<&tril_indices>, pointwise, kLine},
    {"aten::triu_indices(int row, int col, int offset=0, *, " LONG_OPTIONS ") -> Tensor",
     boxed<&triu_indices>, pointwise, kLine},
    {"aten::tril(Tensor self, SymInt diagonal=0) -> Tensor",
     boxed<&at::meta::tril>,
     tril_cost,
     {},
     kExactOut | kOverlaps},
    {"aten::triu(Tensor self, SymInt diagonal=0) -> Tensor",
     boxed<&at::meta::triu>,
     triu_cost,
     {},
     kExactOut | kOverlaps},

    {"aten::bartlett_window(int window_length, *, " OPTIONS ") -> Tensor", boxed<&window<>>,
     pointwise, kTent},
    {"aten::bartlett_window.periodic(int window_length, bool periodic, *, " OPTIONS ") -> Tensor",
     boxed<&window<bool>>, pointwise, kTent},
    {"aten::blackman_window(int window_length, *, " OPTIONS ") -> Tensor", boxed<&window<>>,
     pointwise, kTwoCosines},
    {"aten::blackman_window.periodic(int window_length, bool periodic, *, " OPTIONS ") -> Tensor",
     boxed<&window<bool>>, pointwise, kTwoCosines},
    {"aten::hamming_window(int window_length, *, " OPTIONS ") -> Tensor", boxed<&window<>>,
     pointwise, kCosine},
    {"aten::hamming_window.periodic(int window_length, bool periodic, *, " OPTIONS ") -> Tensor",
     boxed<&window<bool>>, pointwise, kCosine},
    {"aten::hamming_window.periodic_alpha(int window_length, bool periodic, float alpha, "
     "*, " OPTIONS ") -> Tensor",
     boxed<&window<bool, double>>, pointwise, kCosine},
    {"aten::hamming_window.periodic_alpha_beta(int window_length, bool periodic, float alpha, "
     "float "
     "beta, *, " OPTIONS ") -> Tensor",
     boxed<&window<bool, double, double>>, pointwise, kCosine},
    {"aten::hann_window(int window_length, *, " OPTIONS ") -> Tensor", boxed<&window<>>, pointwise,
     kCosine},
    {"aten::hann_window.periodic(int window_length, bool periodic, *, " OPTIONS ") -> Tensor",
     boxed<&window<bool>>, pointwise, kCosine},
    {"aten::kaiser_window(int window_length, *, " OPTIONS ") -> Tensor", boxed<&window<>>,
     pointwise, kBessel},
    {"aten::kaiser_window.periodic(int window_length, bool periodic, *, " OPTIONS ") -> Tensor",
     boxed<&window<bool>>, pointwise, kBessel},
    {"aten::kaiser_window.beta(int window_length, bool periodic, float beta, *, " OPTIONS
     ") -> Tensor",
     boxed<&window<bool, double>>, pointwise, kBessel},
};

#undef OPTIONS
#undef LONG_OPTIONS
#undef FORMAT

}  // namespace

const RuleFamily kFactoryRules("factory", kFactoryTable, OpClass::copy, kFillsMemory);

}  // namespace nnprof

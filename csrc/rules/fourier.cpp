// Fourier transforms. stft, istft and all of torch.fft are made of these three.
//
// Counts are those of benchFFT (http://www.fftw.org/speed/method.html), which are the radix-2
// algorithm's: 5 N log2(N) FLOPs a complex transform of N points, half of it a real one; 3 in 5 of
// them are additions. A transform in several dimensions has N points in all.
#include <ATen/WrapDimUtils.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "rules/dtype_checks.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using at::IntArrayRef;
using at::Tensor;
using c10::DimVector;

DimVector checked_dims(const Tensor& self, IntArrayRef dims) {
  DimVector wrapped(dims);
  at::maybe_wrap_dims(wrapped, self.dim());
  return wrapped;
}

// Outer dimensions first: the order that transforms run in.
DimVector in_stride_order(const Tensor& self, DimVector dims, size_t leave_last) {
  std::sort(dims.begin(), dims.end() - static_cast<std::ptrdiff_t>(leave_last),
            [&](int64_t a, int64_t b) { return self.stride(a) > self.stride(b); });
  return dims;
}

// The transformed dimensions come last in memory, in their order; before them the others, in that
// of the input's strides.
Tensor transformed(const Tensor& self, const DimVector& sizes, const DimVector& dims,
                   c10::ScalarType dtype) {
  std::vector<int64_t> order(sizes.size());
  std::iota(order.begin(), order.end(), 0);
  const auto is_batch = [&](int64_t d) {
    return std::find(dims.begin(), dims.end(), d) == dims.end();
  };
  const auto batch_end = std::partition(order.begin(), order.end(), is_batch);
  std::sort(order.begin(), batch_end,
            [&](int64_t a, int64_t b) { return self.stride(a) > self.stride(b); });
  std::copy(dims.begin(), dims.end(), batch_end);
  DimVector strides(sizes.size());
  int64_t next = 1;
  for (auto d = order.rbegin(); d != order.rend(); ++d) {
    strides[static_cast<size_t>(*d)] = next;
    next *= sizes[static_cast<size_t>(*d)];
  }
  return empty_strided_of(sizes, strides, dtype);
}

void check_precision(const Tensor& self, const char* name) {
  const auto real = c10::toRealValueType(self.scalar_type());
  check_dtype(real == at::kFloat || real == at::kDouble, name, ": unsupported dtype ",
              self.scalar_type());
}

Tensor fft_c2c(const Tensor& self, IntArrayRef dim, int64_t /*normalization*/, bool /*forward*/) {
  TORCH_CHECK(self.is_complex(), "_fft_c2c: expected a complex tensor, got ", self.scalar_type());
  if (dim.empty()) return empty_preserving(self);
  check_precision(self, "_fft_c2c");
  const DimVector dims = in_stride_order(self, checked_dims(self, dim), 0);
  return transformed(self, DimVector(self.sizes()), dims, self.scalar_type());
}

// Of an input that is real, half of the last dimension says all.
Tensor fft_r2c(const Tensor& self, IntArrayRef dim, int64_t /*normalization*/, bool onesided) {
  TORCH_CHECK(self.is_floating_point(), "_fft_r2c: expected a floating-point tensor, got ",
              self.scalar_type());
  check_precision(self, "_fft_r2c");
  DimVector dims = checked_dims(self, dim);
  DimVector sizes(self.sizes());
  int64_t& last = sizes[static_cast<size_t>(dims.back())];
  if (onesided) last = last / 2 + 1;
  dims = in_stride_order(self, dims, 1);
  return transformed(self, sizes, dims, c10::toComplexType(self.scalar_type()));
}

// The last dimension comes last, after the complex transform of the others.
Tensor fft_c2r(const Tensor& self, IntArrayRef dim, int64_t normalization, int64_t last_dim_size) {
  TORCH_CHECK(self.is_complex(), "_fft_c2r: expected a complex tensor, got ", self.scalar_type());
  check_precision(self, "_fft_c2r");
  const DimVector dims = checked_dims(self, dim);
  const Tensor input = dims.size() > 1 ? fft_c2c(self, IntArrayRef(dims).slice(0, dims.size() - 1),
                                                 normalization, false)
                                       : self;
  DimVector sizes(self.sizes());
  sizes[static_cast<size_t>(dims.back())] = last_dim_size;
  return transformed(input, sizes, {dims.back()}, c10::toRealValueType(self.scalar_type()));
}

// `points` of all transforms together, `length` of each.
void add_transforms(Cost& cost, Count points, Count length, bool real) {
  if (length == 0) return;
  const double stages = static_cast<double>(points) * std::log2(static_cast<double>(length));
  const double share = real ? 0.5 : 1;
  cost.add({.add = 1}, Count::rounded(3 * share * stages));
  cost.add({.multiply = 1}, Count::rounded(2 * share * stages));
}

// `signal` is the side that has all the points: of a real transform the real one.
void add_fourier(const OpSignature& op, Cost& cost, const TensorSpec& signal, bool real) {
  Count length = 1;
  for (const int64_t d : op.integers(1)) length *= signal.size(d);
  add_transforms(cost, signal.numel(), length, real);
  const bool scaled = op.integer(2) != 0;
  const Count numbers = op.output().numel() * (op.output().is_complex() ? 2 : 1);
  if (scaled) cost.add({.multiply = 1}, numbers);
}

void c2c_cost(const OpSignature& op, Cost& cost) {
  if (!op.integers(1).empty()) add_fourier(op, cost, op.output(), false);
}
void r2c_cost(const OpSignature& op, Cost& cost) { add_fourier(op, cost, op.tensor(0), true); }
void c2r_cost(const OpSignature& op, Cost& cost) { add_fourier(op, cost, op.output(), true); }

const Rule kFourierTable[] = {
    {"aten::_fft_c2c(Tensor self, SymInt[] dim, int normalization, bool forward) -> Tensor",
     boxed<&fft_c2c>, c2c_cost},
    {"aten::_fft_r2c(Tensor self, int[] dim, int normalization, bool onesided) -> Tensor",
     boxed<&fft_r2c>, r2c_cost},
    {"aten::_fft_c2r(Tensor self, int[] dim, int normalization, SymInt last_dim_size) -> Tensor",
     boxed<&fft_c2r>, c2r_cost},
};

}  // namespace

const RuleFamily kFourierRules("fourier", kFourierTable, OpClass::other, kNothingSpecial);

}  // namespace nnprof

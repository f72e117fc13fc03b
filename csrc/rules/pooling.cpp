// Pooling: max and average windows, fixed, adaptive and fractional, and their inverse.
#include <ATen/native/MaxPooling.h>
#include <ATen/native/Pool.h>
#include <ATen/ops/adaptive_max_pool2d_meta_dispatch.h>
#include <ATen/ops/adaptive_max_pool3d_meta_dispatch.h>
#include <ATen/ops/avg_pool2d_meta_dispatch.h>
#include <ATen/ops/avg_pool3d_meta_dispatch.h>
#include <ATen/ops/fractional_max_pool2d_meta_dispatch.h>
#include <ATen/ops/fractional_max_pool3d_meta_dispatch.h>
#include <ATen/ops/max_pool2d_with_indices_meta_dispatch.h>
#include <ATen/ops/mean_meta_dispatch.h>
#include <ATen/ops/squeeze_native.h>
#include <ATen/ops/unsqueeze_native.h>

#include <array>

#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/pooling_windows.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using ValuesAndIndices = std::tuple<at::Tensor, at::Tensor>;

// Pooling in one dimension is pooling of images of height 1.
at::Tensor as_image(const at::Tensor& rows) { return at::native::unsqueeze(rows, -2); }
at::Tensor as_rows(const at::Tensor& image) { return at::native::squeeze(image, -2); }
ValuesAndIndices as_rows(const ValuesAndIndices& images) {
  return {as_rows(std::get<0>(images)), as_rows(std::get<1>(images))};
}

int64_t only_element(const char* function, const char* argument, at::IntArrayRef list) {
  TORCH_CHECK(list.size() == 1, function, "() argument '", argument,
              "' should contain one int (got ", list.size(), ")");
  return list[0];
}

// The i-th of three, or the one given for all.
int64_t element(at::IntArrayRef list, size_t i) { return list[list.size() == 1 ? 0 : i]; }

void check_dims(const char* function, const at::Tensor& self, int64_t low, int64_t high) {
  TORCH_CHECK(self.dim() >= low && self.dim() <= high, function, "(): Expected ", low, "D to ",
              high, "D input, but got ", self.sizes());
}

// `self` with other sizes for its last dimensions.
at::Tensor with_planes(const at::Tensor& self, at::IntArrayRef planes, at::MemoryFormat format) {
  c10::DimVector sizes(self.sizes());
  std::copy(planes.begin(), planes.end(), sizes.end() - planes.size());
  return empty_of(sizes, self.scalar_type(), format);
}

// Max pooling -------------------------------------------------------------------------------------

ValuesAndIndices max_pool1d_with_indices(const at::Tensor& self, at::IntArrayRef kernel_size,
                                         at::IntArrayRef stride, at::IntArrayRef padding,
                                         at::IntArrayRef dilation, bool ceil_mode) {
  at::native::check_max_pool1d(self, kernel_size, stride, padding, dilation, ceil_mode);
  const int64_t step = stride.empty() ? kernel_size[0] : stride[0];
  return as_rows(at::meta::max_pool2d_with_indices(as_image(self), {1, kernel_size[0]}, {1, step},
                                                   {0, padding[0]}, {1, dilation[0]}, ceil_mode));
}

// Laid out as CUDA does, which takes the way with indices. The CPU kernel that makes none gives a
// contiguous result also where the channels are innermost.
at::Tensor max_pool1d(const at::Tensor& self, at::IntArrayRef kernel_size, at::IntArrayRef stride,
                      at::IntArrayRef padding, at::IntArrayRef dilation, bool ceil_mode) {
  return std::get<0>(
      max_pool1d_with_indices(self, kernel_size, stride, padding, dilation, ceil_mode));
}

at::Tensor max_pool2d(const at::Tensor& self, at::IntArrayRef kernel_size, at::IntArrayRef stride,
                      at::IntArrayRef padding, at::IntArrayRef dilation, bool ceil_mode) {
  return std::get<0>(
      at::meta::max_pool2d_with_indices(self, kernel_size, stride, padding, dilation, ceil_mode));
}

ValuesAndIndices max_pool3d_with_indices(const at::Tensor& self, at::IntArrayRef kernel_size,
                                         at::IntArrayRef stride, at::IntArrayRef padding,
                                         at::IntArrayRef dilation, bool ceil_mode) {
  const auto one_or_three = [](at::IntArrayRef list) {
    return list.size() == 1 || list.size() == 3;
  };
  TORCH_CHECK(
      one_or_three(kernel_size) && one_or_three(padding) && one_or_three(dilation) &&
          (stride.empty() || one_or_three(stride)),
      "max_pool3d: kernel_size, stride, padding and dilation must each be a single int, or a "
      "tuple of three ints");
  check_dims("max_pool3d", self, 4, 5);
  if (stride.empty()) stride = kernel_size;
  std::array<int64_t, 3> sizes{};
  for (size_t i = 0; i < 3; ++i) {
    TORCH_CHECK(element(stride, i) > 0, "stride should be greater than zero, but got ", stride);
    sizes[i] = at::native::pooling_output_shape<int64_t>(
        self.size(static_cast<int64_t>(i) - 3), element(kernel_size, i), element(padding, i),
        element(stride, i), element(dilation, i), ceil_mode);
  }
  const auto narrow = [](at::IntArrayRef list, size_t i) {
    return at::native::safe_downcast<int, int64_t>(element(list, i));
  };
  at::native::pool3d_shape_check(
      self, self.size(-4), narrow(kernel_size, 0), narrow(kernel_size, 1), narrow(kernel_size, 2),
      narrow(stride, 0), narrow(stride, 1), narrow(stride, 2), narrow(padding, 0),
      narrow(padding, 1), narrow(padding, 2), narrow(dilation, 0), narrow(dilation, 1),
      narrow(dilation, 2), self.size(-3), self.size(-2), self.size(-1), sizes[0], sizes[1],
      sizes[2], "max_pool3d_with_indices()");
  c10::DimVector output(self.sizes().begin(), self.sizes().end() - 3);
  output.append(sizes.begin(), sizes.end());
  const at::MemoryFormat format = volume_format(self);
  return {empty_volumes(output, self.scalar_type(), format),
          empty_volumes(output, at::kLong, format)};
}

at::Tensor max_pool3d(const at::Tensor& self, at::IntArrayRef kernel_size, at::IntArrayRef stride,
                      at::IntArrayRef padding, at::IntArrayRef dilation, bool ceil_mode) {
  return std::get<0>(
      max_pool3d_with_indices(self, kernel_size, stride, padding, dilation, ceil_mode));
}

ValuesAndIndices adaptive_max_pool1d(const at::Tensor& self, at::IntArrayRef output_size) {
  check_dims("adaptive_max_pool1d", self, 2, 3);
  const int64_t size = only_element("adaptive_max_pool1d", "output_size", output_size);
  return as_rows(at::meta::adaptive_max_pool2d(as_image(self), {1, size}));
}

void check_unpool(const char* function, const at::Tensor& self, const at::Tensor& indices,
                  at::IntArrayRef output_size, size_t dims) {
  TORCH_CHECK(indices.scalar_type() == at::kLong,
              "elements in indices should be type int64 but got: ", indices.scalar_type());
  TORCH_CHECK(output_size.size() == dims, "There should be exactly ", dims,
              " elements in output_size, but got ", output_size.size(), " elements.");
  check_dims(function, self, static_cast<int64_t>(dims) + 1, static_cast<int64_t>(dims) + 2);
  TORCH_CHECK(self.sizes() == indices.sizes(),
              "Expected shape of indices to be same as that of the input tensor (", self.sizes(),
              ") but got indices tensor with shape: ", indices.sizes());
  for (int64_t d = 1; d < self.dim(); ++d) {
    TORCH_CHECK(self.size(d) > 0, function,
                "(): Expected input to have non-zero size for non-batch dimensions, but got ",
                self.sizes());
  }
}

at::Tensor max_unpool2d(const at::Tensor& self, const at::Tensor& indices,
                        at::IntArrayRef output_size) {
  check_unpool("max_unpool2d", self, indices, output_size, 2);
  return with_planes(self, output_size, self.suggest_memory_format());
}

at::Tensor max_unpool3d(const at::Tensor& self, const at::Tensor& indices,
                        at::IntArrayRef output_size, at::IntArrayRef stride,
                        at::IntArrayRef padding) {
  check_unpool("max_unpool3d", self, indices, output_size, 3);
  TORCH_CHECK(stride.size() == 3 && padding.size() == 3,
              "max_unpool3d: stride and padding need three elements each, but got ", stride,
              " and ", padding);
  TORCH_CHECK(std::all_of(stride.begin(), stride.end(), [](int64_t step) { return step > 0; }),
              "strides should be greater than zero, but got stride: ", stride);
  return with_planes(self, output_size, at::MemoryFormat::Contiguous);
}

// Average pooling ---------------------------------------------------------------------------------

at::Tensor avg_pool1d(const at::Tensor& self, at::IntArrayRef kernel_size, at::IntArrayRef stride,
                      at::IntArrayRef padding, bool ceil_mode, bool count_include_pad) {
  check_dims("avg_pool1d", self, 2, 3);
  const int64_t kernel = only_element("avg_pool1d", "kernel_size", kernel_size);
  const int64_t step = stride.empty() ? kernel : only_element("avg_pool1d", "stride", stride);
  const int64_t pad = only_element("avg_pool1d", "padding", padding);
  return as_rows(at::meta::avg_pool2d(as_image(self), {1, kernel}, {1, step}, {0, pad}, ceil_mode,
                                      count_include_pad));
}

void check_adaptive(const char* function, const at::Tensor& self, at::IntArrayRef output_size,
                    size_t dims) {
  TORCH_CHECK(output_size.size() == dims, function, ": output_size must be ", dims);
  TORCH_CHECK(std::all_of(output_size.begin(), output_size.end(), [](int64_t n) { return n >= 0; }),
              function,
              ": elements of output_size must be greater than or equal to 0 but received ",
              output_size);
  const int64_t without_batch = static_cast<int64_t>(dims) + 1;
  check_dims(function, self, without_batch, without_batch + 1);
  for (int64_t d = 1; d <= static_cast<int64_t>(dims); ++d) {
    TORCH_CHECK(self.size(-d) > 0, function,
                "(): Expected input to have non-zero size for non-batch dimensions, but input has "
                "sizes ",
                self.sizes());
  }
  TORCH_CHECK_NOT_IMPLEMENTED(self.is_floating_point() || self.is_complex(), "\"", function,
                              "\" not implemented for '", self.scalar_type(), "'");
}

// To a single element is the mean, as PyTorch computes it.
at::Tensor mean_of_plane(const at::Tensor& self, at::IntArrayRef dims) {
  const auto format = self.suggest_memory_format();
  at::Tensor mean = at::meta::mean(self, dims, /*keepdim=*/true);
  return format == at::MemoryFormat::Contiguous
             ? mean
             : empty_of(mean.sizes(), mean.scalar_type(), format);
}

at::Tensor adaptive_avg_pool2d_kernel(const at::Tensor& self, at::IntArrayRef output_size) {
  check_adaptive("adaptive_avg_pool2d", self, output_size, 2);
  return with_planes(self, output_size, self.suggest_memory_format());
}

at::Tensor adaptive_avg_pool2d(const at::Tensor& self, at::IntArrayRef output_size) {
  check_adaptive("adaptive_avg_pool2d", self, output_size, 2);
  if (output_size[0] == 1 && output_size[1] == 1) return mean_of_plane(self, {-1, -2});
  return with_planes(self, output_size, self.suggest_memory_format());
}

at::Tensor adaptive_avg_pool3d_kernel(const at::Tensor& self, at::IntArrayRef output_size) {
  check_adaptive("adaptive_avg_pool3d", self, output_size, 3);
  return with_planes(self, output_size, at::MemoryFormat::Contiguous);
}

at::Tensor adaptive_avg_pool3d(const at::Tensor& self, at::IntArrayRef output_size) {
  check_adaptive("adaptive_avg_pool3d", self, output_size, 3);
  if (output_size == at::IntArrayRef({1, 1, 1})) return mean_of_plane(self, {-1, -2, -3});
  return with_planes(self, output_size, at::MemoryFormat::Contiguous);
}

at::Tensor adaptive_avg_pool1d(const at::Tensor& self, at::IntArrayRef output_size) {
  check_dims("adaptive_avg_pool1d", self, 2, 3);
  const int64_t size = only_element("adaptive_avg_pool1d", "output_size", output_size);
  return as_rows(adaptive_avg_pool2d(as_image(self), {1, size}));
}

// Fractional windows lie at random, but never over the border.
ValuesAndIndices fractional_max_pool2d(const at::Tensor& self, at::IntArrayRef kernel_size,
                                       at::IntArrayRef output_size, const at::Tensor& samples) {
  return at::meta::fractional_max_pool2d(self, kernel_size, output_size, samples);
}

ValuesAndIndices fractional_max_pool3d(const at::Tensor& self, at::IntArrayRef kernel_size,
                                       at::IntArrayRef output_size, const at::Tensor& samples) {
  const auto made = at::meta::fractional_max_pool3d(self, kernel_size, output_size, samples);
  return {std::get<0>(made), std::get<1>(made)};
}

// Cost --------------------------------------------------------------------------------------------

void read_only(const OpSignature& op, Cost& cost, Count elements) {
  const TensorSpec& self = op.tensor(0);
  const Count skipped = self.distinct_bytes() - elements * self.element_size();
  if (skipped > 0) cost.bytes_read -= skipped;
}

// A comparison an element read. Where the indices are not asked for, the kernels make them yet.
template <size_t dims>
void max_pool_cost(const OpSignature& op, Cost& cost) {
  const Reads reads = fixed_reads(op, op.tensor(0), op.output(), 1, dims, /*dilated=*/true);
  add_elementwise(op, cost, {.compare = 1}, reads.taken);
  read_only(op, cost, reads.distinct);
  if (op.outputs.size() == 1) cost.temporary_bytes += op.output().numel() * sizeof(int64_t);
}

template <size_t dims>
void avg_pool_cost(const OpSignature& op, Cost& cost) {
  const Reads reads = fixed_reads(op, op.tensor(0), op.output(), 1, dims, /*dilated=*/false);
  add_elementwise(op, cost, {.add = 1}, reads.taken);
  add_elementwise(op, cost, {.division = 1}, op.output().numel());
  read_only(op, cost, reads.distinct);
}

template <size_t dims>
void adaptive_max_pool_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, {.compare = 1}, adaptive_reads(op.tensor(0), op.output(), dims).taken);
}

template <size_t dims>
void adaptive_avg_pool_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, {.add = 1}, adaptive_reads(op.tensor(0), op.output(), dims).taken);
  add_elementwise(op, cost, {.division = 1}, op.output().numel());
}

void fractional_max_pool_cost(const OpSignature& op, Cost& cost) {
  Count window = 1;
  for (Count size : op.integers(1)) window *= size;
  const Count taken = op.output().numel() * window;
  add_elementwise(op, cost, {.compare = 1}, taken);
  read_only(op, cost, std::min(taken, op.tensor(0).numel()));
}

const Rule kPoolingTable[] = {
    {"aten::adaptive_avg_pool1d(Tensor self, int[1] output_size) -> Tensor",
     boxed<&adaptive_avg_pool1d>, adaptive_avg_pool_cost<1>},
    {"aten::_adaptive_avg_pool2d(Tensor self, SymInt[2] output_size) -> Tensor",
     boxed<&adaptive_avg_pool2d_kernel>, adaptive_avg_pool_cost<2>},
    {"aten::adaptive_avg_pool2d(Tensor self, SymInt[2] output_size) -> Tensor",
     boxed<&adaptive_avg_pool2d>, adaptive_avg_pool_cost<2>},
    {"aten::_adaptive_avg_pool3d(Tensor self, SymInt[3] output_size) -> Tensor",
     boxed<&adaptive_avg_pool3d_kernel>, adaptive_avg_pool_cost<3>},
    {"aten::adaptive_avg_pool3d(Tensor self, SymInt[3] output_size) -> Tensor",
     boxed<&adaptive_avg_pool3d>, adaptive_avg_pool_cost<3>},
    {"aten::adaptive_max_pool1d(Tensor self, int[1] output_size) -> (Tensor, Tensor)",
     boxed<&adaptive_max_pool1d>, adaptive_max_pool_cost<1>},
    {"aten::adaptive_max_pool2d(Tensor self, int[2] output_size) -> (Tensor, Tensor)",
     boxed<&at::meta::adaptive_max_pool2d>, adaptive_max_pool_cost<2>},
    {"aten::adaptive_max_pool3d(Tensor self, int[3] output_size) -> (Tensor, Tensor)",
     boxed<&at::meta::adaptive_max_pool3d>, adaptive_max_pool_cost<3>},
    {"aten::avg_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], "
     "bool ceil_mode=False, bool count_include_pad=True) -> Tensor",
     boxed<&avg_pool1d>, avg_pool_cost<1>},
    {"aten::avg_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, "
     "bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None) -> Tensor",
     boxed<&at::meta::avg_pool2d>,
     avg_pool_cost<2>,
     {},
     kExactOut},
    {"aten::avg_pool3d(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, "
     "bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None) -> Tensor",
     boxed<&at::meta::avg_pool3d>,
     avg_pool_cost<3>,
     {},
     kExactOut},
    {"aten::fractional_max_pool2d(Tensor self, int[2] kernel_size, int[2] output_size, Tensor "
     "random_samples) -> (Tensor, Tensor)",
     boxed<&fractional_max_pool2d>, fractional_max_pool_cost},
    {"aten::fractional_max_pool3d(Tensor self, int[3] kernel_size, int[3] output_size, Tensor "
     "random_samples) -> (Tensor, Tensor)",
     boxed<&fractional_max_pool3d>, fractional_max_pool_cost},
    {"aten::max_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], "
     "int[1] dilation=[1], bool ceil_mode=False) -> Tensor",
     boxed<&max_pool1d>, max_pool_cost<1>},
    {"aten::max_pool1d_with_indices(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] "
     "padding=[0], int[1] dilation=[1], bool ceil_mode=False) -> (Tensor, Tensor)",
     boxed<&max_pool1d_with_indices>, max_pool_cost<1>},
    {"aten::max_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, "
     "int[2] dilation=1, bool ceil_mode=False) -> Tensor",
     boxed<&max_pool2d>, max_pool_cost<2>},
    {"aten::max_pool2d_with_indices(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] "
     "padding=0, int[2] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)",
     boxed<&at::meta::max_pool2d_with_indices>, max_pool_cost<2>},
    {"aten::max_pool3d(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, "
     "int[3] dilation=1, bool ceil_mode=False) -> Tensor",
     boxed<&max_pool3d>, max_pool_cost<3>},
    {"aten::max_pool3d_with_indices(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] "
     "padding=0, int[3] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)",
     boxed<&max_pool3d_with_indices>, max_pool_cost<3>},
    {"aten::max_unpool2d(Tensor self, Tensor indices, SymInt[2] output_size) -> Tensor",
     boxed<&max_unpool2d>},
    {"aten::max_unpool3d(Tensor self, Tensor indices, SymInt[3] output_size, int[3] stride, "
     "int[3] padding) -> Tensor",
     boxed<&max_unpool3d>},
};

}  // namespace

const RuleFamily kPoolingRules("pooling", kPoolingTable, OpClass::pooling, kNothingSpecial);

}  // namespace nnprof

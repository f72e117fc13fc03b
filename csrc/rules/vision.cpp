// Resampling of images, and moving elements between channels and space.
#include <ATen/native/GridSamplerUtils.h>
#include <ATen/native/UpSample.h>
#include <ATen/native/im2col_shape_check.h>
#include <ATen/ops/_upsample_bicubic2d_aa_meta_dispatch.h>
#include <ATen/ops/_upsample_bilinear2d_aa_meta_dispatch.h>
#include <ATen/ops/_upsample_nearest_exact1d_meta_dispatch.h>
#include <ATen/ops/_upsample_nearest_exact2d_meta_dispatch.h>
#include <ATen/ops/_upsample_nearest_exact3d_meta_dispatch.h>
#include <ATen/ops/upsample_bicubic2d_meta_dispatch.h>
#include <ATen/ops/upsample_bilinear2d_meta_dispatch.h>
#include <ATen/ops/upsample_linear1d_meta_dispatch.h>
#include <ATen/ops/upsample_nearest1d_meta_dispatch.h>
#include <ATen/ops/upsample_nearest2d_meta_dispatch.h>
#include <ATen/ops/upsample_nearest3d_meta_dispatch.h>
#include <ATen/ops/upsample_trilinear3d_meta_dispatch.h>

#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/resampling.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

// Interpolation -----------------------------------------------------------------------------------

using ScaleFactors = std::optional<at::ArrayRef<double>>;

// The overloads that models reach: the output's size, or how many times the input's.
template <auto Meta>
at::Tensor nearest1d(const at::Tensor& input, at::OptionalIntArrayRef size, ScaleFactors scales) {
  return Meta(input, at::native::upsample::compute_output_size(input.sizes(), size, scales), {});
}
template <auto Meta>
at::Tensor nearest2d(const at::Tensor& input, at::OptionalIntArrayRef size, ScaleFactors scales) {
  return Meta(input, at::native::upsample::compute_output_size(input.sizes(), size, scales), {},
              {});
}
template <auto Meta>
at::Tensor nearest3d(const at::Tensor& input, at::OptionalIntArrayRef size, ScaleFactors scales) {
  return Meta(input, at::native::upsample::compute_output_size(input.sizes(), size, scales), {}, {},
              {});
}
template <auto Meta>
at::Tensor linear1d(const at::Tensor& input, at::OptionalIntArrayRef size, bool align_corners,
                    ScaleFactors scales) {
  return Meta(input, at::native::upsample::compute_output_size(input.sizes(), size, scales),
              align_corners, {});
}
template <auto Meta>
at::Tensor linear2d(const at::Tensor& input, at::OptionalIntArrayRef size, bool align_corners,
                    ScaleFactors scales) {
  return Meta(input, at::native::upsample::compute_output_size(input.sizes(), size, scales),
              align_corners, {}, {});
}
template <auto Meta>
at::Tensor linear3d(const at::Tensor& input, at::OptionalIntArrayRef size, bool align_corners,
                    ScaleFactors scales) {
  return Meta(input, at::native::upsample::compute_output_size(input.sizes(), size, scales),
              align_corners, {}, {}, {});
}

// What interpolating one output element takes of `taps` neighbours along each dimension: along the
// last one for each of the others' neighbours, and so on, a product and a sum a neighbour:
//   (taps^(d-1) + ... + taps + 1) * (taps multiplications, taps - 1 additions)
// The weights are shared by a row or column, and not counted.
constexpr FlopMix interpolation(int64_t taps, int64_t dims) {
  int64_t times = 0;
  for (int64_t d = 0; d < dims; ++d) times = times * taps + 1;
  return {.add = times * (taps - 1), .multiply = times * taps};
}

// Shrinking an image skips over elements: an output row needs `taps` input rows.
template <int64_t taps>
void upsample_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& input = op.tensor(0);
  const TensorSpec& output = op.output();
  add_elementwise(op, cost, op.rule->mix, output.numel());
  Count read = input.size(0) * input.size(1);
  for (int64_t d = 2; d < input.dim(); ++d) read *= std::min(input.size(d), taps * output.size(d));
  read_at_most(op, cost, read);
}

template <int64_t filter>
void antialiased_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& input = op.tensor(0);
  const TensorSpec& output = op.output();
  const Count products =
      antialiased_products(input.size(0) * input.size(1), {input.sizes[2], input.sizes[3]},
                           {output.sizes[2], output.sizes[3]}, filter, op.boolean(2));
  add_elementwise(op, cost, {.add = 1, .multiply = 1}, products);
}

// Sampling at given places ------------------------------------------------------------------------

at::Tensor sampled(const at::Tensor& input, const at::Tensor& grid) {
  TORCH_CHECK(input.scalar_type() == grid.scalar_type(), "expected scalar type ",
              input.scalar_type(), " but found ", grid.scalar_type());
  TORCH_CHECK_NOT_IMPLEMENTED(input.is_floating_point(), "\"grid_sampler\" not implemented for '",
                              input.scalar_type(), "'");
  c10::DimVector sizes = {input.size(0), input.size(1)};
  sizes.append(grid.sizes().begin() + 1, grid.sizes().end() - 1);
  return empty_like_dtype(sizes, input);
}

at::Tensor grid_sampler_2d(const at::Tensor& input, const at::Tensor& grid, int64_t /*mode*/,
                           int64_t /*padding_mode*/, bool /*align_corners*/) {
  TORCH_CHECK(input.dim() >= 3 && grid.dim() >= 1, "grid_sampler(): expected 4D input and grid");
  at::native::check_grid_sampler_common(input, grid);
  at::native::check_grid_sampler_2d(input, grid);
  return sampled(input, grid);
}

at::Tensor grid_sampler_3d(const at::Tensor& input, const at::Tensor& grid, int64_t mode,
                           int64_t /*padding_mode*/, bool /*align_corners*/) {
  TORCH_CHECK(input.dim() >= 3 && grid.dim() >= 1, "grid_sampler(): expected 5D input and grid");
  at::native::check_grid_sampler_common(input, grid);
  at::native::check_grid_sampler_3d(input, grid, mode);
  return sampled(input, grid);
}

at::Tensor grid_sampler(const at::Tensor& input, const at::Tensor& grid, int64_t mode,
                        int64_t padding_mode, bool align_corners) {
  TORCH_CHECK(
      (input.dim() == 4 || input.dim() == 5) && input.dim() == grid.dim(),
      "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but "
      "got input with sizes ",
      input.sizes(), " and grid with sizes ", grid.sizes());
  return input.dim() == 4 ? grid_sampler_2d(input, grid, mode, padding_mode, align_corners)
                          : grid_sampler_3d(input, grid, mode, padding_mode, align_corners);
}

// Places and weights once a grid point; the sum of neighbours once a channel.
void grid_sampler_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& grid = op.tensor(1);
  const int64_t mode = op.integer(2);
  const int64_t dims = grid.dim() - 2;
  const Count points = dims == 0 ? 0 : grid.numel() / dims;
  const Count outputs = op.output().numel();
  const int64_t taps = taps_of(mode);
  const int64_t neighbours = to_the_power(taps, dims);
  cost.add(coordinate_mix(mode, op.integer(3)), points * dims);
  if (mode == kBilinear) {  // a corner's weight is the product of its fractions
    cost.add({.multiply = dims - 1}, points * neighbours);
    cost.add({.add = neighbours - 1, .multiply = neighbours}, outputs);
  }
  if (mode == kBicubic) cost.add(interpolation(taps, dims), outputs);
  read_at_most(op, cost, outputs * neighbours);
}

at::Tensor affine_grid_generator(const at::Tensor& theta, at::IntArrayRef size,
                                 bool /*align_corners*/) {
  TORCH_CHECK(size.size() == 4 || size.size() == 5,
              "AffineGridGenerator needs 4d (spatial) or 5d (volumetric) inputs.");
  const auto dims = static_cast<int64_t>(size.size()) - 2;
  TORCH_CHECK(theta.sizes() == at::IntArrayRef({size[0], dims, dims + 1}),
              "affine_grid: expected theta of ", size[0], " x ", dims, " x ", dims + 1,
              " for an output of ", size, ", but got ", theta.sizes());
  c10::DimVector sizes(size);
  sizes.erase(sizes.begin() + 1);
  sizes.push_back(dims);
  return empty_like_dtype(sizes, theta);
}

// Every point, with a one behind its coordinates, times theta'. All the points are made first.
void affine_grid_cost(const OpSignature& op, Cost& cost) {
  const Count dims = op.output().size(-1);
  cost.add_macs(op.output().numel() * (dims + 1));
  cost.temporary_bytes += op.output().numel() / dims * (dims + 1) * op.output().element_size();
}

// Columns of patches ------------------------------------------------------------------------------

void check_patches(const char* function, const at::Tensor& self, at::IntArrayRef kernel_size,
                   at::IntArrayRef dilation, at::IntArrayRef padding, at::IntArrayRef stride) {
  TORCH_CHECK(
      kernel_size.size() == 2 && dilation.size() == 2 && padding.size() == 2 && stride.size() == 2,
      "It is expected kernel_size, dilation, padding and stride equal to 2 each");
  TORCH_CHECK_NOT_IMPLEMENTED(!c10::isIntegralType(self.scalar_type(), /*includeBool=*/false), "\"",
                              function, "\" not implemented for '", self.scalar_type(), "'");
}

// How often a window fits along one of the two dimensions.
int64_t windows(int64_t size, size_t dim, at::IntArrayRef kernel_size, at::IntArrayRef dilation,
                at::IntArrayRef padding, at::IntArrayRef stride) {
  return (size + 2 * padding[dim] - dilation[dim] * (kernel_size[dim] - 1) - 1) / stride[dim] + 1;
}

at::Tensor im2col(const at::Tensor& self, at::IntArrayRef kernel_size, at::IntArrayRef dilation,
                  at::IntArrayRef padding, at::IntArrayRef stride) {
  check_patches("im2col", self, kernel_size, dilation, padding, stride);
  TORCH_CHECK(self.dim() == 3 || self.dim() == 4,
              "Expected 3D or 4D (batch mode) tensor, but got: ", self.sizes());
  at::native::im2col_shape_check(self, at::Tensor(), kernel_size[0], kernel_size[1], dilation[0],
                                 dilation[1], padding[0], padding[1], stride[0], stride[1]);
  c10::DimVector sizes(self.sizes().begin(), self.sizes().end() - 3);
  sizes.push_back(self.size(-3) * kernel_size[0] * kernel_size[1]);
  sizes.push_back(windows(self.size(-2), 0, kernel_size, dilation, padding, stride) *
                  windows(self.size(-1), 1, kernel_size, dilation, padding, stride));
  return empty_like_dtype(sizes, self);
}

at::Tensor col2im(const at::Tensor& self, at::IntArrayRef output_size, at::IntArrayRef kernel_size,
                  at::IntArrayRef dilation, at::IntArrayRef padding, at::IntArrayRef stride) {
  TORCH_CHECK(output_size.size() == 2, "It is expected output_size equals to 2, but got size ",
              output_size.size());
  check_patches("col2im", self, kernel_size, dilation, padding, stride);
  TORCH_CHECK(self.dim() == 2 || self.dim() == 3,
              "Expected 2D or 3D (batch mode) tensor, but got: ", self.sizes());
  at::native::col2im_shape_check(self, at::Tensor(), output_size[0], output_size[1], kernel_size[0],
                                 kernel_size[1], dilation[0], dilation[1], padding[0], padding[1],
                                 stride[0], stride[1]);
  c10::DimVector sizes(self.sizes().begin(), self.sizes().end() - 2);
  sizes.push_back(self.size(-2) / (kernel_size[0] * kernel_size[1]));
  sizes.append(output_size.begin(), output_size.end());
  return empty_like_dtype(sizes, self);
}

// Between channels and space ----------------------------------------------------------------------
// Channels-last images stay so, as on CPU (CUDA makes them contiguous).

void check_pixels(const char* function, const char* factor_name, const at::Tensor& self,
                  int64_t factor) {
  TORCH_CHECK(self.dim() >= 3, function, " expects input to have at least 3 dimensions, but got ",
              "input with ", self.dim(), " dimension(s)");
  TORCH_CHECK(factor > 0, function, " expects a positive ", factor_name, ", but got ", factor);
}

at::Tensor pixel_shuffle(const at::Tensor& self, int64_t upscale_factor) {
  check_pixels("pixel_shuffle", "upscale_factor", self, upscale_factor);
  const int64_t square = upscale_factor * upscale_factor;
  TORCH_CHECK(self.size(-3) % square == 0, "pixel_shuffle expects its input's 'channel' dimension ",
              "to be divisible by the square of upscale_factor, but input.size(-3)=", self.size(-3),
              " is not divisible by ", square);
  c10::DimVector sizes(self.sizes());
  sizes.end()[-3] /= square;
  sizes.end()[-2] *= upscale_factor;
  sizes.end()[-1] *= upscale_factor;
  return empty_of(sizes, self.scalar_type(), self.suggest_memory_format());
}

at::Tensor pixel_unshuffle(const at::Tensor& self, int64_t downscale_factor) {
  check_pixels("pixel_unshuffle", "downscale_factor", self, downscale_factor);
  TORCH_CHECK(self.size(-2) % downscale_factor == 0 && self.size(-1) % downscale_factor == 0,
              "pixel_unshuffle expects height and width to be divisible by downscale_factor, but ",
              "input ", self.sizes(), " is not divisible by ", downscale_factor);
  c10::DimVector sizes(self.sizes());
  sizes.end()[-3] *= downscale_factor * downscale_factor;
  sizes.end()[-2] /= downscale_factor;
  sizes.end()[-1] /= downscale_factor;
  return empty_of(sizes, self.scalar_type(), self.suggest_memory_format());
}

at::Tensor channel_shuffle(const at::Tensor& self, int64_t groups) {
  TORCH_CHECK(self.dim() > 2,
              "channel_shuffle expects input with > 2 dims, but got input with sizes ",
              self.sizes());
  TORCH_CHECK(groups > 0,
              "Number of groups to divide channels in must be positive. Value of groups:", groups);
  TORCH_CHECK(self.size(1) % groups == 0, "Number of channels must be divisible by groups. Got ",
              self.size(1), " channels and ", groups, " groups.");
  return empty_of(self.sizes(), self.scalar_type(), self.suggest_memory_format());
}

const Rule kVisionTable[] = {
    {"aten::affine_grid_generator(Tensor theta, SymInt[] size, bool align_corners) -> Tensor",
     boxed<&affine_grid_generator>, affine_grid_cost},
    {"aten::channel_shuffle(Tensor self, SymInt groups) -> Tensor", boxed<&channel_shuffle>},
    {"aten::col2im(Tensor self, SymInt[2] output_size, int[2] kernel_size, int[2] dilation, "
     "int[2] padding, int[2] stride) -> Tensor",
     boxed<&col2im>,
     per_input_element,
     {.add = 1}},
    {"aten::grid_sampler(Tensor input, Tensor grid, int interpolation_mode, int padding_mode, "
     "bool align_corners) -> Tensor",
     boxed<&grid_sampler>, grid_sampler_cost},
    {"aten::grid_sampler_2d(Tensor input, Tensor grid, int interpolation_mode, int "
     "padding_mode, bool align_corners) -> Tensor",
     boxed<&grid_sampler_2d>, grid_sampler_cost},
    {"aten::grid_sampler_3d(Tensor input, Tensor grid, int interpolation_mode, int "
     "padding_mode, bool align_corners) -> Tensor",
     boxed<&grid_sampler_3d>, grid_sampler_cost},
    {"aten::im2col(Tensor self, int[2] kernel_size, int[2] dilation, int[2] padding, int[2] "
     "stride) -> Tensor",
     boxed<&im2col>},
    {"aten::native_channel_shuffle(Tensor self, SymInt groups) -> Tensor", boxed<&channel_shuffle>},
    {"aten::pixel_shuffle(Tensor self, int upscale_factor) -> Tensor", boxed<&pixel_shuffle>},
    {"aten::pixel_unshuffle(Tensor self, int downscale_factor) -> Tensor", boxed<&pixel_unshuffle>},
    {"aten::upsample_bicubic2d(Tensor self, SymInt[2] output_size, bool align_corners, float? "
     "scales_h=None, float? scales_w=None) -> Tensor",
     boxed<&at::meta::upsample_bicubic2d>, upsample_cost<4>, interpolation(4, 2)},
    {"aten::upsample_bicubic2d.vec(Tensor input, SymInt[]? output_size, bool align_corners, "
     "float[]? scale_factors) -> Tensor",
     boxed<&linear2d<&at::meta::upsample_bicubic2d>>, upsample_cost<4>, interpolation(4, 2)},
    {"aten::_upsample_bicubic2d_aa(Tensor self, SymInt[2] output_size, bool align_corners, "
     "float? scales_h=None, float? scales_w=None) -> Tensor",
     boxed<&at::meta::_upsample_bicubic2d_aa>, antialiased_cost<4>},
    {"aten::_upsample_bicubic2d_aa.vec(Tensor input, SymInt[]? output_size, bool align_corners, "
     "float[]? scale_factors) -> Tensor",
     boxed<&linear2d<&at::meta::_upsample_bicubic2d_aa>>, antialiased_cost<4>},
    {"aten::upsample_bilinear2d(Tensor self, SymInt[2] output_size, bool align_corners, float? "
     "scales_h=None, float? scales_w=None) -> Tensor",
     boxed<&at::meta::upsample_bilinear2d>, upsample_cost<2>, interpolation(2, 2)},
    {"aten::upsample_bilinear2d.vec(Tensor input, SymInt[]? output_size, bool align_corners, "
     "float[]? scale_factors) -> Tensor",
     boxed<&linear2d<&at::meta::upsample_bilinear2d>>, upsample_cost<2>, interpolation(2, 2)},
    {"aten::_upsample_bilinear2d_aa(Tensor self, SymInt[2] output_size, bool align_corners, "
     "float? scales_h=None, float? scales_w=None) -> Tensor",
     boxed<&at::meta::_upsample_bilinear2d_aa>, antialiased_cost<2>},
    {"aten::_upsample_bilinear2d_aa.vec(Tensor input, SymInt[]? output_size, bool "
     "align_corners, float[]? scale_factors) -> Tensor",
     boxed<&linear2d<&at::meta::_upsample_bilinear2d_aa>>, antialiased_cost<2>},
    {"aten::_upsample_lanczos2d_aa(Tensor self, SymInt[2] output_size, bool align_corners, "
     "float? scales_h=None, float? scales_w=None) -> Tensor",
     boxed<&at::meta::_upsample_bilinear2d_aa>, antialiased_cost<6>},
    {"aten::_upsample_lanczos2d_aa.vec(Tensor input, SymInt[]? output_size, bool align_corners, "
     "float[]? scale_factors) -> Tensor",
     boxed<&linear2d<&at::meta::_upsample_bilinear2d_aa>>, antialiased_cost<6>},
    {"aten::upsample_linear1d(Tensor self, SymInt[1] output_size, bool align_corners, float? "
     "scales=None) -> Tensor",
     boxed<&at::meta::upsample_linear1d>, upsample_cost<2>, interpolation(2, 1)},
    {"aten::upsample_linear1d.vec(Tensor input, SymInt[]? output_size, bool align_corners, "
     "float[]? scale_factors) -> Tensor",
     boxed<&linear1d<&at::meta::upsample_linear1d>>, upsample_cost<2>, interpolation(2, 1)},
    {"aten::upsample_nearest1d(Tensor self, SymInt[1] output_size, float? scales=None) -> "
     "Tensor",
     boxed<&at::meta::upsample_nearest1d>, upsample_cost<1>},
    {"aten::upsample_nearest1d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) "
     "-> Tensor",
     boxed<&nearest1d<&at::meta::upsample_nearest1d>>, upsample_cost<1>},
    {"aten::upsample_nearest2d(Tensor self, SymInt[2] output_size, float? scales_h=None, float? "
     "scales_w=None) -> Tensor",
     boxed<&at::meta::upsample_nearest2d>, upsample_cost<1>},
    {"aten::upsample_nearest2d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) "
     "-> Tensor",
     boxed<&nearest2d<&at::meta::upsample_nearest2d>>, upsample_cost<1>},
    {"aten::upsample_nearest3d(Tensor self, SymInt[3] output_size, float? scales_d=None, float? "
     "scales_h=None, float? scales_w=None) -> Tensor",
     boxed<&at::meta::upsample_nearest3d>, upsample_cost<1>},
    {"aten::upsample_nearest3d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) "
     "-> Tensor",
     boxed<&nearest3d<&at::meta::upsample_nearest3d>>, upsample_cost<1>},
    {"aten::_upsample_nearest_exact1d(Tensor self, SymInt[1] output_size, float? scales=None) "
     "-> Tensor",
     boxed<&at::meta::_upsample_nearest_exact1d>, upsample_cost<1>},
    {"aten::_upsample_nearest_exact1d.vec(Tensor input, SymInt[]? output_size, float[]? "
     "scale_factors) -> Tensor",
     boxed<&nearest1d<&at::meta::_upsample_nearest_exact1d>>, upsample_cost<1>},
    {"aten::_upsample_nearest_exact2d(Tensor self, SymInt[2] output_size, float? scales_h=None, "
     "float? scales_w=None) -> Tensor",
     boxed<&at::meta::_upsample_nearest_exact2d>, upsample_cost<1>},
    {"aten::_upsample_nearest_exact2d.vec(Tensor input, SymInt[]? output_size, float[]? "
     "scale_factors) -> Tensor",
     boxed<&nearest2d<&at::meta::_upsample_nearest_exact2d>>, upsample_cost<1>},
    {"aten::_upsample_nearest_exact3d(Tensor self, SymInt[3] output_size, float? scales_d=None, "
     "float? scales_h=None, float? scales_w=None) -> Tensor",
     boxed<&at::meta::_upsample_nearest_exact3d>, upsample_cost<1>},
    {"aten::_upsample_nearest_exact3d.vec(Tensor input, SymInt[]? output_size, float[]? "
     "scale_factors) -> Tensor",
     boxed<&nearest3d<&at::meta::_upsample_nearest_exact3d>>, upsample_cost<1>},
    {"aten::upsample_trilinear3d(Tensor self, SymInt[3] output_size, bool align_corners, float? "
     "scales_d=None, float? scales_h=None, float? scales_w=None) -> Tensor",
     boxed<&at::meta::upsample_trilinear3d>, upsample_cost<2>, interpolation(2, 3)},
    {"aten::upsample_trilinear3d.vec(Tensor input, SymInt[]? output_size, bool align_corners, "
     "float[]? scale_factors) -> Tensor",
     boxed<&linear3d<&at::meta::upsample_trilinear3d>>, upsample_cost<2>, interpolation(2, 3)},
};

}  // namespace

const RuleFamily kVisionRules("vision", kVisionTable, OpClass::gather, kNothingSpecial);

}  // namespace nnprof

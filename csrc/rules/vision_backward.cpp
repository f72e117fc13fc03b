// The gradients of resampling: each output's is spread over the elements that it was made of.
#include <ATen/ops/_upsample_bicubic2d_aa_backward_meta_dispatch.h>
#include <ATen/ops/_upsample_bilinear2d_aa_backward_meta_dispatch.h>
#include <ATen/ops/_upsample_nearest_exact1d_backward_meta_dispatch.h>
#include <ATen/ops/_upsample_nearest_exact2d_backward_meta_dispatch.h>
#include <ATen/ops/_upsample_nearest_exact3d_backward_meta_dispatch.h>
#include <ATen/ops/upsample_bicubic2d_backward_meta_dispatch.h>
#include <ATen/ops/upsample_bilinear2d_backward_meta_dispatch.h>
#include <ATen/ops/upsample_linear1d_backward_meta_dispatch.h>
#include <ATen/ops/upsample_nearest1d_backward_meta_dispatch.h>
#include <ATen/ops/upsample_nearest2d_backward_meta_dispatch.h>
#include <ATen/ops/upsample_nearest3d_backward_meta_dispatch.h>
#include <ATen/ops/upsample_trilinear3d_backward_meta_dispatch.h>

#include <array>
#include <tuple>

#include "rules/dtype_checks.h"
#include "rules/families.h"
#include "rules/gradients.h"
#include "rules/outputs.h"
#include "rules/resampling.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

// Interpolation -----------------------------------------------------------------------------------

// What one output's gradient takes: it is multiplied with the weights along one dimension, each
// product with those along the next, and so on, and each of the last is added to its neighbour's.
constexpr FlopMix spreading(int64_t taps, int64_t dims) {
  FlopMix mix;
  int64_t neighbours = 1;
  for (int64_t d = 0; d < dims; ++d) {
    neighbours *= taps;
    mix.multiply += neighbours;
  }
  mix.add = neighbours;
  return mix;
}

void upsample_backward_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, op.rule->mix, op.tensor(0).numel());
}

// As antialiasing with other filters, but contiguous. Not every torch has a meta function of its
// own.
at::Tensor lanczos_backward(const at::Tensor& grad_output, at::IntArrayRef output_size,
                            at::IntArrayRef input_size, bool align_corners,
                            std::optional<double> scales_h, std::optional<double> scales_w) {
  at::meta::_upsample_bilinear2d_aa_backward(grad_output, output_size, input_size, align_corners,
                                             scales_h, scales_w);
  return empty_like_dtype(input_size, grad_output);
}

// The same products as forwards, the columns first.
template <int64_t filter>
void antialiased_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& output = op.tensor(0);
  const TensorSpec& input = op.output();
  const Count products =
      antialiased_products(input.size(0) * input.size(1), {input.sizes[2], input.sizes[3]},
                           {output.sizes[2], output.sizes[3]}, filter, op.boolean(3));
  add_elementwise(op, cost, {.add = 1, .multiply = 1}, products);
}

// Sampling at given places ------------------------------------------------------------------------

template <int64_t dims>
std::tuple<at::Tensor, at::Tensor> grid_sampler_backward(const at::Tensor& grad_output,
                                                         const at::Tensor& input,
                                                         const at::Tensor& grid, int64_t /*mode*/,
                                                         int64_t /*padding_mode*/,
                                                         bool /*align_corners*/,
                                                         std::array<bool, 2> asked_for) {
  TORCH_CHECK(input.dim() == dims + 2 && grid.dim() == dims + 2 && grid.size(-1) == dims,
              "grid_sampler(): expected input and grid of ", dims + 2, " dimensions, but got ",
              input.sizes(), " and ", grid.sizes());
  c10::DimVector sampled = {input.size(0), input.size(1)};
  sampled.append(grid.sizes().begin() + 1, grid.sizes().end() - 1);
  TORCH_CHECK(grad_output.sizes() == at::IntArrayRef(sampled),
              "grid_sampler_backward: expected grad_output of size ", at::IntArrayRef(sampled),
              ", but got one of size ", grad_output.sizes());
  TORCH_CHECK(
      input.scalar_type() == grid.scalar_type() && input.scalar_type() == grad_output.scalar_type(),
      "expected scalar type ", input.scalar_type(), " but found ", grid.scalar_type());
  check_kernel(is_float(input.scalar_type()), input);
  return {asked_for[0] ? empty_like_dtype(input.sizes(), input) : at::Tensor(),
          empty_like_dtype(grid.sizes(), grid)};
}

// Of the grid, a point's gradient is a sum over its neighbours in all channels, of
//   value * grad * (the weight's derivative along a dimension),
// which is nothing where the nearest element is taken.
void grid_sampler_backward_cost(const OpSignature& op, Cost& cost) {
  constexpr size_t kGrid = 2, kMode = 3, kPadding = 4, kMask = 6;
  const int64_t mode = op.integer(kMode);
  const int64_t dims = op.tensor(kGrid).dim() - 2;
  const Count points = op.tensor(kGrid).numel() / dims;
  const Count outputs = op.tensor(0).numel();
  const int64_t neighbours = to_the_power(taps_of(mode), dims);
  const bool of_grid = asked(op, kMask, 1) && mode != kNearest;
  cost.add(coordinate_mix(mode, op.integer(kPadding)), points * dims);
  if (mode == kBilinear) cost.add({.multiply = dims - 1}, points * neighbours);
  if (asked(op, kMask, 0)) {
    cost.add(mode == kNearest    ? FlopMix{.add = 1}
             : mode == kBilinear ? FlopMix{.add = neighbours, .multiply = neighbours}
                                 : spreading(taps_of(mode), dims),
             outputs);
  }
  if (!of_grid) {
    not_read(op, cost, 1);
    return;
  }
  if (mode == kBicubic) cost.add({.add = 2, .multiply = 3}, points * dims * taps_of(mode));
  // Derivatives are products of the weights along the other dimensions and of one slope, which for
  // linear weights is plus or minus one.
  const int64_t factors = mode == kBilinear ? dims - 2 : dims - 1;
  cost.add({.multiply = factors}, points * neighbours * dims);
  cost.add({.add = dims, .multiply = dims + 1}, outputs * neighbours);
  cost.add({.multiply = 1}, points * dims);  // half the size: from places to coordinates
}

const Rule kVisionBackwardTable[] = {
    {"aten::grid_sampler_2d_backward(Tensor grad_output, Tensor input, Tensor grid, int "
     "interpolation_mode, int padding_mode, bool align_corners, bool[2] output_mask) -> (Tensor, "
     "Tensor)",
     boxed<&grid_sampler_backward<2>>, grid_sampler_backward_cost},
    {"aten::grid_sampler_3d_backward(Tensor grad_output, Tensor input, Tensor grid, int "
     "interpolation_mode, int padding_mode, bool align_corners, bool[2] output_mask) -> (Tensor, "
     "Tensor)",
     boxed<&grid_sampler_backward<3>>, grid_sampler_backward_cost},
    {"aten::upsample_bicubic2d_backward(Tensor grad_output, SymInt[2] output_size, SymInt[4] "
     "input_size, bool align_corners, float? scales_h=None, float? scales_w=None) -> Tensor",
     boxed<for_floats<&at::meta::upsample_bicubic2d_backward>>, upsample_backward_cost,
     spreading(4, 2)},
    {"aten::_upsample_bicubic2d_aa_backward(Tensor grad_output, SymInt[2] output_size, SymInt[4]"
     " input_size, bool align_corners, float? scales_h=None, float? scales_w=None) -> Tensor",
     boxed<for_floats<&at::meta::_upsample_bicubic2d_aa_backward>>, antialiased_cost<4>},
    {"aten::upsample_bilinear2d_backward(Tensor grad_output, SymInt[2] output_size, SymInt[4] "
     "input_size, bool align_corners, float? scales_h=None, float? scales_w=None) -> Tensor",
     boxed<for_floats<&at::meta::upsample_bilinear2d_backward>>, upsample_backward_cost,
     spreading(2, 2)},
    {"aten::_upsample_bilinear2d_aa_backward(Tensor grad_output, SymInt[2] output_size, "
     "SymInt[4] input_size, bool align_corners, float? scales_h=None, float? scales_w=None) -> "
     "Tensor",
     boxed<for_floats<&at::meta::_upsample_bilinear2d_aa_backward>>, antialiased_cost<2>},
    {"aten::_upsample_lanczos2d_aa_backward(Tensor grad_output, SymInt[2] output_size, SymInt[4]"
     " input_size, bool align_corners, float? scales_h=None, float? scales_w=None) -> Tensor",
     boxed<for_floats<&lanczos_backward>>, antialiased_cost<6>},
    {"aten::upsample_linear1d_backward(Tensor grad_output, SymInt[1] output_size, SymInt[3] "
     "input_size, bool align_corners, float? scales=None) -> Tensor",
     boxed<for_floats<&at::meta::upsample_linear1d_backward>>, upsample_backward_cost,
     spreading(2, 1)},
    {"aten::upsample_nearest1d_backward(Tensor grad_output, SymInt[1] output_size, SymInt[3] "
     "input_size, float? scales=None) -> Tensor",
     boxed<for_floats<&at::meta::upsample_nearest1d_backward>>,
     upsample_backward_cost,
     {.add = 1}},
    {"aten::upsample_nearest2d_backward(Tensor grad_output, SymInt[2] output_size, SymInt[4] "
     "input_size, float? scales_h=None, float? scales_w=None) -> Tensor",
     boxed<for_floats<&at::meta::upsample_nearest2d_backward>>,
     upsample_backward_cost,
     {.add = 1}},
    {"aten::upsample_nearest3d_backward(Tensor grad_output, SymInt[3] output_size, SymInt[5] "
     "input_size, float? scales_d=None, float? scales_h=None, float? scales_w=None) -> Tensor",
     boxed<for_floats<&at::meta::upsample_nearest3d_backward>>,
     upsample_backward_cost,
     {.add = 1}},
    {"aten::_upsample_nearest_exact1d_backward(Tensor grad_output, SymInt[1] output_size, "
     "SymInt[3] input_size, float? scales=None) -> Tensor",
     boxed<for_floats<&at::meta::_upsample_nearest_exact1d_backward>>,
     upsample_backward_cost,
     {.add = 1}},
    {"aten::_upsample_nearest_exact2d_backward(Tensor grad_output, SymInt[2] output_size, "
     "SymInt[4] input_size, float? scales_h=None, float? scales_w=None) -> Tensor",
     boxed<for_floats<&at::meta::_upsample_nearest_exact2d_backward>>,
     upsample_backward_cost,
     {.add = 1}},
    {"aten::_upsample_nearest_exact3d_backward(Tensor grad_output, SymInt[3] output_size, "
     "SymInt[5] input_size, float? scales_d=None, float? scales_h=None, float? scales_w=None) ->"
     " Tensor",
     boxed<for_floats<&at::meta::_upsample_nearest_exact3d_backward>>,
     upsample_backward_cost,
     {.add = 1}},
    {"aten::upsample_trilinear3d_backward(Tensor grad_output, SymInt[3] output_size, SymInt[5] "
     "input_size, bool align_corners, float? scales_d=None, float? scales_h=None, float? "
     "scales_w=None) -> Tensor",
     boxed<for_floats<&at::meta::upsample_trilinear3d_backward>>, upsample_backward_cost,
     spreading(2, 3)},
};

}  // namespace

const RuleFamily kVisionBackwardRules("vision", kVisionBackwardTable, OpClass::gather,
                                      kNothingSpecial);

}  // namespace nnprof

// torchvision's operators: boxes that suppress each other, regions of interest, deformable
// convolution. In force once torchvision has defined them.
#include <algorithm>

#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using at::Tensor;
using TwoTensors = std::tuple<Tensor, Tensor>;

// Non-maximum suppression -------------------------------------------------------------------------

// Which boxes overlap is not known: all are kept.
Tensor nms(const Tensor& boxes, const Tensor& scores, double /*iou_threshold*/) {
  TORCH_CHECK(boxes.dim() == 2, "boxes should be a 2d tensor, got ", boxes.dim(), "D");
  TORCH_CHECK(boxes.size(1) == 4, "boxes should have 4 elements in dimension 1, got ",
              boxes.size(1));
  TORCH_CHECK(scores.dim() == 1, "scores should be a 1d tensor, got ", scores.dim(), "D");
  TORCH_CHECK(boxes.size(0) == scores.size(0),
              "boxes and scores should have same number of elements in dimension 0, got ",
              boxes.size(0), " and ", scores.size(0));
  return empty_of({boxes.size(0)}, at::kLong);
}

// A sort, the areas, and the intersection over union of every pair.
void nms_cost(const OpSignature& op, Cost& cost) {
  const Count boxes = op.tensor(0).size(0);
  cost.add({.compare = log2_ceil(boxes)}, boxes);
  cost.add({.add = 2, .multiply = 1}, boxes);
  const Count pairs = boxes * (boxes - 1) / 2;
  cost.add({.add = 4, .multiply = 1, .division = 1, .compare = 7}, pairs);
}

// Regions of interest -----------------------------------------------------------------------------

void check_regions(const Tensor& input, const Tensor& rois) {
  TORCH_CHECK(rois.dim() == 2 && rois.size(1) == 5, "rois must have shape as Tensor[K, 5]");
  TORCH_CHECK(input.dim() == 4, "input must be 4D, got ", input.dim(), "D");
  TORCH_CHECK(input.scalar_type() == rois.scalar_type(),
              "Expected tensor for input to have the same type as tensor for rois; but type ",
              input.scalar_type(), " does not equal ", rois.scalar_type());
}

c10::DimVector pooled_sizes(const Tensor& input, const Tensor& rois, int64_t height,
                            int64_t width) {
  check_regions(input, rois);
  return {rois.size(0), input.size(1), height, width};
}

// Each bin has channels of its own.
c10::DimVector position_sensitive_sizes(const Tensor& input, const Tensor& rois, int64_t height,
                                        int64_t width) {
  check_regions(input, rois);
  TORCH_CHECK(input.size(1) % (height * width) == 0,
              "input channels must be a multiple of pooling height * pooling width");
  return {rois.size(0), input.size(1) / (height * width), height, width};
}

Tensor roi_align(const Tensor& input, const Tensor& rois, double /*spatial_scale*/, int64_t height,
                 int64_t width, int64_t /*sampling_ratio*/, bool /*aligned*/) {
  return empty_like_dtype(pooled_sizes(input, rois, height, width), input);
}

TwoTensors roi_pool(const Tensor& input, const Tensor& rois, double /*spatial_scale*/,
                    int64_t height, int64_t width) {
  const auto sizes = pooled_sizes(input, rois, height, width);
  return {empty_like_dtype(sizes, input), empty_of(sizes, at::kInt)};
}

TwoTensors ps_roi_align(const Tensor& input, const Tensor& rois, double /*spatial_scale*/,
                        int64_t height, int64_t width, int64_t /*sampling_ratio*/) {
  const auto sizes = position_sensitive_sizes(input, rois, height, width);
  return {empty_like_dtype(sizes, input), empty_of(sizes, at::kInt)};
}

TwoTensors ps_roi_pool(const Tensor& input, const Tensor& rois, double /*spatial_scale*/,
                       int64_t height, int64_t width) {
  const auto sizes = position_sensitive_sizes(input, rois, height, width);
  return {empty_like_dtype(sizes, input), empty_of(sizes, at::kInt)};
}

Count divide_up(Count a, Count b) { return (a + b - 1) / b; }

// Bilinear interpolation: of a coordinate the floor, the fraction and what it lacks to one; of a
// point the weights of its four corners; of a value the weighted sum of the corners'.
constexpr FlopMix kCoordinate = {.add = 3};
constexpr FlopMix kPoint = {.multiply = 4};
constexpr FlopMix kInterpolated = {.add = 3, .multiply = 4};

// Points in each bin, along both dimensions. Chosen by the region's size, there is one a pixel;
// that size is unknown: the whole input's.
Count points_of_a_bin(const OpSignature& op) {
  const Count ratio = op.integer(5);
  if (ratio > 0) return ratio * ratio;
  const TensorSpec& input = op.tensor(0);
  const Count height = std::max<Count>(op.integer(3), 1);
  const Count width = std::max<Count>(op.integer(4), 1);
  return divide_up(input.size(2), height) * divide_up(input.size(3), width);
}

// The mean over the points of each bin. Where they lie is found once for all channels.
void roi_align_cost(const OpSignature& op, Cost& cost) {
  const Count outputs = op.output().numel();
  const Count regions = op.tensor(1).size(0);
  const Count points = points_of_a_bin(op);
  const Count all_points = regions * op.integer(3) * op.integer(4) * points;
  // The corners scaled, a region's size, and that of its bins.
  cost.add({.add = 2, .multiply = 4, .division = 2}, regions);
  // start + bin * bin size + (point + 1/2) * bin size / points, kept inside
  cost.add({.add = 3, .multiply = 2, .division = 1, .compare = 2}, 2 * all_points);
  cost.add(kCoordinate, 2 * all_points);
  cost.add(kPoint, all_points);
  cost.add(kInterpolated, outputs * points);
  cost.add({.add = 1}, outputs * points);
  cost.add({.division = 1}, outputs);
  read_at_most(op, cost, outputs * points * 4);
}

// How many elements the bins of all regions cover, of which the sizes are unknown: each region is
// taken to be the whole input.
Count covered(const OpSignature& op) {
  const TensorSpec& input = op.tensor(0);
  return op.tensor(1).size(0) * op.output().size(1) * input.size(2) * input.size(3);
}

// Each bin's borders: bin * bin size, rounded, moved, and kept inside.
constexpr FlopMix kBorders = {.add = 8, .multiply = 4, .compare = 8};

Count bins(const OpSignature& op) {
  return op.tensor(1).size(0) * op.output().size(2) * op.output().size(3);
}

void roi_pool_cost(const OpSignature& op, Cost& cost) {
  cost.add(kBorders, bins(op));
  cost.add({.compare = 1}, covered(op));
}

void ps_roi_pool_cost(const OpSignature& op, Cost& cost) {
  cost.add(kBorders, bins(op));
  cost.add({.add = 1}, covered(op));
  cost.add({.division = 1}, op.output().numel());
}

// Deformable convolution --------------------------------------------------------------------------

int64_t window_positions(int64_t size, int64_t kernel, int64_t stride, int64_t pad,
                         int64_t dilation) {
  return (size + 2 * pad - (dilation * (kernel - 1) + 1)) / stride + 1;
}

Tensor deform_conv2d(const Tensor& input, const Tensor& weight, const Tensor& offset,
                     const Tensor& mask, const Tensor& /*bias*/, int64_t stride_h, int64_t stride_w,
                     int64_t pad_h, int64_t pad_w, int64_t dilation_h, int64_t dilation_w,
                     int64_t groups, int64_t offset_groups, bool use_mask) {
  TORCH_CHECK(input.dim() == 4, "input should be 4D, got ", input.dim(), "D");
  TORCH_CHECK(offset.dim() == 4, "offset should be 4D, got ", offset.dim(), "D");
  TORCH_CHECK(!use_mask || mask.dim() == 4, "mask should be 4D, got ", mask.dim(), "D");
  TORCH_CHECK(weight.dim() == 4, "weight should be 4D, got ", weight.dim(), "D");
  TORCH_CHECK(stride_h > 0 && stride_w > 0, "stride_h: ", stride_h, " stride_w: ", stride_w);
  TORCH_CHECK(pad_h >= 0 && pad_w >= 0, "pad_h: ", pad_h, " pad_w: ", pad_w);
  TORCH_CHECK(dilation_h > 0 && dilation_w > 0, "dil_h: ", dilation_h, " dil_w: ", dilation_w);
  TORCH_CHECK(weight.size(1) * groups == input.size(1), "expected ", weight.size(1) * groups,
              " input channels, got ", input.size(1));
  TORCH_CHECK(weight.size(0) % groups == 0, "the output channels, ", weight.size(0),
              ", must be a multiple of the groups, ", groups);
  TORCH_CHECK(offset_groups > 0 && input.size(1) % offset_groups == 0, "the input channels, ",
              input.size(1), ", must be a multiple of the offset groups, ", offset_groups);
  const int64_t kernel = weight.size(2) * weight.size(3);
  const int64_t height =
      window_positions(input.size(2), weight.size(2), stride_h, pad_h, dilation_h);
  const int64_t width =
      window_positions(input.size(3), weight.size(3), stride_w, pad_w, dilation_w);
  TORCH_CHECK(height > 0 && width > 0, "Calculated output size too small - out_h: ", height,
              " out_w: ", width);
  const auto check_field = [&](const Tensor& field, const char* name, int64_t channels) {
    const c10::DimVector expected = {input.size(0), channels, height, width};
    TORCH_CHECK(field.sizes().equals(expected), name, " should have the sizes ",
                at::IntArrayRef(expected), ", got ", field.sizes());
  };
  check_field(offset, "offset", 2 * offset_groups * kernel);
  if (use_mask) check_field(mask, "mask", offset_groups * kernel);
  return empty_like_dtype({input.size(0), weight.size(0), height, width}, input);
}

// A convolution of samples: each of them interpolated at its own place, which the channels of an
// offset group share, and weighted by the mask if there is one.
void deform_conv2d_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& input = op.tensor(0);
  const TensorSpec& weight = op.tensor(1);
  const TensorSpec& output = op.output();
  const bool use_mask = op.boolean(13);
  const Count window =
      output.size(0) * output.size(2) * output.size(3) * weight.size(2) * weight.size(3);
  const Count points = window * op.integer(12);
  const Count samples = window * input.size(1);
  cost.add_macs(output.numel() * weight.size(1) * weight.size(2) * weight.size(3));
  cost.add({.add = 1}, 2 * points);  // the offset
  cost.add(kCoordinate, 2 * points);
  cost.add(kPoint, points);
  cost.add(kInterpolated, samples);
  if (use_mask) cost.add({.multiply = 1}, samples);
  cost.add({.add = 1}, output.numel());  // the bias, which is zeros where there is none
  read_at_most(op, cost, 4 * samples);
  if (!use_mask) cost.bytes_read -= op.tensor(3).distinct_bytes();
  // Samples of so many images at once.
  const Count images = std::max<Count>(output.size(0), 1);
  Count parallel = std::min<Count>(images, 32);
  while (images % parallel != 0) parallel -= 1;
  cost.temporary_bytes += samples / images * parallel * input.element_size();
}

const Rule kDetectionTable[] = {
    {"torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
     boxed<&nms>,
     nms_cost,
     {},
     kDataDependent | kChoices,
     "all boxes are kept"},
    {"torchvision::roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
     "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor",
     boxed<&roi_align>, roi_align_cost},
    {"torchvision::roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
     "SymInt pooled_width) -> (Tensor, Tensor)",
     boxed<&roi_pool>, roi_pool_cost},
    {"torchvision::ps_roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt "
     "pooled_height, SymInt pooled_width, int sampling_ratio) -> (Tensor, Tensor)",
     boxed<&ps_roi_align>, roi_align_cost},
    {"torchvision::ps_roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt "
     "pooled_height, SymInt pooled_width) -> (Tensor, Tensor)",
     boxed<&ps_roi_pool>, ps_roi_pool_cost},
    {"torchvision::deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor "
     "bias, SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, "
     "SymInt dilation_w, SymInt groups, SymInt offset_groups, bool use_mask) -> Tensor",
     boxed<&deform_conv2d>, deform_conv2d_cost},
};

}  // namespace

const RuleFamily kDetectionRules("detection", kDetectionTable, OpClass::other, kNothingSpecial);

}  // namespace nnprof

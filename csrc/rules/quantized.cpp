// Products with packed weights of four and eight bits, and simulated quantization.
#include <ATen/core/Tensor.h>

#include <algorithm>

#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using at::Tensor;
using TwoTensors = std::tuple<Tensor, Tensor>;

// Packed weights ----------------------------------------------------------------------------------

void check_matrix(const Tensor& x) {
  TORCH_CHECK(x.dim() == 2, "x must be a 2D tensor, got ", x.dim(), "D");
  const auto dtype = x.scalar_type();
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kHalf || dtype == at::kBFloat16,
              "expected x to be f32/f16/bf16, got ", dtype);
}

void check_weight(const Tensor& weight, int64_t dim, c10::ScalarType dtype) {
  TORCH_CHECK(weight.dim() == dim, "w must be a ", dim, "D tensor, got ", weight.dim(), "D");
  TORCH_CHECK(weight.scalar_type() == dtype, "expected w to be ", dtype, ", got ",
              weight.scalar_type());
}

void check_contiguous(const Tensor& tensor, const char* name) {
  TORCH_CHECK(tensor.is_contiguous(), "expect ", name, " to be contiguous.");
}

// Tiles of 8 outputs.
Tensor int4_product(const Tensor& x, const Tensor& weight, int64_t /*group*/, const Tensor&) {
  check_matrix(x);
  check_weight(weight, 4, at::kInt);
  return empty_like_dtype({x.size(0), weight.size(0) * 8}, x);
}

Tensor int4_product_for_cpu(const Tensor& x, const Tensor& weight, int64_t /*group*/,
                            const Tensor&) {
  check_matrix(x);
  check_weight(weight, 2, at::kByte);
  check_contiguous(x, "A");
  check_contiguous(weight, "B");
  TORCH_CHECK(weight.size(1) * 2 == x.size(1), "expected w of ", x.size(1) / 2,
              " columns, two numbers each, got ", weight.size(1));
  return empty_like_dtype({x.size(0), weight.size(0)}, x);
}

Tensor int8_product(const Tensor& x, const Tensor& weight, const Tensor& scales) {
  check_matrix(x);
  check_weight(weight, 2, at::kChar);
  TORCH_CHECK(x.stride(1) == 1, "A must be contiguous on the last dimension.");
  check_contiguous(weight, "B");
  TORCH_CHECK(weight.size(1) == x.size(1), "expected w.size(1) (", weight.size(1),
              ") == x.size(1) (", x.size(1), ")");
  TORCH_CHECK(scales.dim() == 1 && scales.size(0) == weight.size(0),
              "expected q_scales to be 1D with size ", weight.size(0), ", got shape ",
              scales.sizes());
  return empty_like_dtype({x.size(0), weight.size(0)}, x);
}

Tensor dynamic_int4_product(const Tensor& x, const Tensor& /*weight*/, int64_t /*block*/,
                            int64_t in_features, int64_t out_features) {
  TORCH_CHECK(x.dim() == 2, "input must be a 2D tensor, got ", x.dim(), "D");
  TORCH_CHECK(x.size(1) == in_features, "expected input of ", in_features, " features, got ",
              x.size(1));
  return empty_like_dtype({x.size(0), out_features}, x);
}

Tensor packed_int4(const Tensor& weight, int64_t tiles) {
  check_weight(weight, 2, at::kByte);
  TORCH_CHECK(tiles == 2 || tiles == 4 || tiles == 8, "innerKTiles need to be 2, 4, or 8, got ",
              tiles);
  return empty_of({weight.size(0) / 8, weight.size(1) * 2 / (tiles * 16), 32, tiles / 2}, at::kInt);
}

Tensor packed_int4_for_cpu(const Tensor& weight, int64_t /*tiles*/) {
  check_weight(weight, 2, at::kInt);
  return empty_of({weight.size(0), weight.size(1) / 2}, at::kByte);
}

// A product whose depth is that of x. Each weight is scaled once: a multiplication, and where it
// has a zero point an addition.
template <bool zeros>
void packed_product_cost(const OpSignature& op, Cost& cost) {
  const Count depth = op.tensor(0).size(1);
  const Count outputs = op.output().size(1);
  cost.add_macs(op.output().numel() * depth);
  cost.add({.add = zeros ? 1 : 0, .multiply = 1}, outputs * depth);
}

// The sum is scaled, once an output.
void int8_product_cost(const OpSignature& op, Cost& cost) {
  cost.add_macs(op.output().numel() * op.tensor(0).size(1));
  cost.add({.multiply = 1}, op.output().numel());
}

// The input is quantized on the way: its extremes a row, then scaled, rounded, moved and clamped.
void dynamic_int4_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& x = op.tensor(0);
  cost.add_macs(op.output().numel() * x.size(1));
  cost.add({.add = 2, .multiply = 1, .compare = 4}, x.numel());
  const Count blocks = x.size(1) / std::max<Count>(op.integer(2), 1);
  cost.add({.add = 1, .multiply = 1}, op.output().numel() * blocks);
}

// Simulated quantization --------------------------------------------------------------------------

void check_range(const Tensor& self, int64_t least, int64_t most) {
  TORCH_CHECK(self.is_floating_point(), "Expected floating-point input, got ", self.scalar_type());
  TORCH_CHECK(least <= most, "`quant_min` should be less than or equal to `quant_max`.");
}

TwoTensors with_mask(const Tensor& self) {
  return {empty_preserving(self), empty_preserving(self, at::kBool)};
}

TwoTensors fake_quantized(const Tensor& self, double /*scale*/, int64_t zero_point, int64_t least,
                          int64_t most) {
  check_range(self, least, most);
  TORCH_CHECK(zero_point >= least && zero_point <= most,
              "`zero_point` must be between `quant_min` and `quant_max`.");
  return with_mask(self);
}

TwoTensors fake_quantized_by_tensors(const Tensor& self, const Tensor&, const Tensor&,
                                     const Tensor&, int64_t least, int64_t most) {
  check_range(self, least, most);
  return with_mask(self);
}

TwoTensors fake_quantized_channels(const Tensor& self, const Tensor& scale,
                                   const Tensor& zero_point, int64_t axis, int64_t least,
                                   int64_t most) {
  check_range(self, least, most);
  TORCH_CHECK(scale.scalar_type() == at::kFloat, "Scale must be Float, found ",
              scale.scalar_type());
  TORCH_CHECK(scale.dim() == 1 && zero_point.dim() == 1,
              "scale and zero point should be 1-D tensors");
  TORCH_CHECK(scale.numel() == zero_point.numel(),
              "scale and zero-point need to have the same dimensions");
  TORCH_CHECK(axis >= 0 && axis < self.dim(),
              "`axis` must be between 0 and number of dimensions of input");
  TORCH_CHECK(scale.numel() == self.size(axis),
              "dimensions of scale and zero-point are not consistent with input tensor");
  return with_mask(self);
}

const Rule kQuantizedTable[] = {
    {"aten::_weight_int4pack_mm(Tensor self, Tensor mat2, int qGroupSize, Tensor qScaleAndZeros) "
     "-> Tensor",
     boxed<&int4_product>, packed_product_cost<true>},
    {"aten::_weight_int4pack_mm_for_cpu(Tensor self, Tensor mat2, int qGroupSize, Tensor "
     "qScaleAndZeros) -> Tensor",
     boxed<&int4_product_for_cpu>, packed_product_cost<true>},
    {"aten::_weight_int8pack_mm(Tensor self, Tensor mat2, Tensor scales) -> Tensor",
     boxed<&int8_product>, int8_product_cost},
    {"aten::_dyn_quant_matmul_4bit(Tensor inp, Tensor packed_weights, int block_size, int "
     "in_features, int out_features) -> Tensor",
     boxed<&dynamic_int4_product>, dynamic_int4_cost},
    {"aten::_convert_weight_to_int4pack(Tensor self, int innerKTiles) -> Tensor",
     boxed<&packed_int4>},
    {"aten::_convert_weight_to_int4pack_for_cpu(Tensor self, int innerKTiles) -> Tensor",
     boxed<&packed_int4_for_cpu>},

    // round(x / scale) + zero point, clamped; then back: (q - zero point) * scale; in range or not
    {"aten::fake_quantize_per_tensor_affine_cachemask(Tensor self, float scale, int zero_point, "
     "int quant_min, int quant_max) -> (Tensor output, Tensor mask)",
     boxed<&fake_quantized>,
     pointwise,
     {.add = 3, .multiply = 2, .compare = 4}},
    {"aten::_fake_quantize_per_tensor_affine_cachemask_tensor_qparams(Tensor self, Tensor scale, "
     "Tensor zero_point, Tensor fake_quant_enabled, int quant_min, int quant_max) -> (Tensor "
     "output, Tensor mask)",
     boxed<&fake_quantized_by_tensors>,
     pointwise,
     {.add = 3, .multiply = 2, .compare = 4}},
    {"aten::fake_quantize_per_channel_affine_cachemask(Tensor self, Tensor scale, Tensor "
     "zero_point, int axis, int quant_min, int quant_max) -> (Tensor output, Tensor mask)",
     boxed<&fake_quantized_channels>,
     pointwise,
     {.add = 3, .multiply = 2, .compare = 4}},
};

}  // namespace

const RuleFamily kQuantizedRules("quantized", kQuantizedTable, OpClass::other, kTakesQuantized);

}  // namespace nnprof

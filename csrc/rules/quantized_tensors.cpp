// Operators on tensors with a scale: making them, taking it away, and what runs on them as on
// floats. Their elements are integers: what is done to them counts as int_ops.
//
// The scale itself is given to an output by the dispatcher; see dispatch/call.cpp.
#include <ATen/ExpandUtils.h>
#include <ATen/quantized/QTensorImpl.h>
#include <ATen/quantized/Quantizer.h>

#include "rules/elementwise.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using at::Tensor;

// To and from floats ------------------------------------------------------------------------------

// In the order of channels last, or contiguous, whatever other order the input is in: quantized
// kernels keep no other.
Tensor laid_out_anew(const Tensor& self, std::optional<c10::ScalarType> dtype = {}) {
  return empty_preserving(self, dtype, self.suggest_memory_format());
}

void check_floats(const Tensor& self) {
  TORCH_CHECK(self.scalar_type() == at::kFloat, "Quantize only works on Float Tensor, got ",
              self.scalar_type());
}

void check_dtype(c10::ScalarType dtype) {
  TORCH_CHECK(c10::isQIntType(dtype), "expected a quantized dtype, got ", dtype);
}

Tensor quantized(const Tensor& self, c10::ScalarType dtype) {
  check_floats(self);
  check_dtype(dtype);
  return laid_out_anew(self, dtype);
}

Tensor quantize(const Tensor& self, double, int64_t, c10::ScalarType dtype) {
  return quantized(self, dtype);
}

Tensor quantize_by_tensors(const Tensor& self, const Tensor&, const Tensor&,
                           c10::ScalarType dtype) {
  return quantized(self, dtype);
}

Tensor quantize_dynamic(const Tensor& self, c10::ScalarType dtype, bool) {
  return quantized(self, dtype);
}

Tensor quantize_channels(const Tensor& self, const Tensor& scales, const Tensor& zero_points,
                         int64_t axis, c10::ScalarType dtype) {
  TORCH_CHECK(scales.dim() == 1 && scales.sizes() == zero_points.sizes(),
              "number of elements in scales and zero_points must match");
  TORCH_CHECK(axis >= 0 && axis < self.dim() && scales.size(0) == self.size(axis),
              "length of scales must equal to the size of the axis");
  return quantized(self, dtype);
}

std::vector<Tensor> quantize_each(at::TensorList tensors, const Tensor&, const Tensor&,
                                  c10::ScalarType dtype) {
  std::vector<Tensor> made;
  for (const Tensor& tensor : tensors) made.push_back(quantized(tensor, dtype));
  return made;
}

Tensor dequantize(const Tensor& self) { return laid_out_anew(self, at::kFloat); }

std::vector<Tensor> dequantize_each(at::TensorList tensors) {
  std::vector<Tensor> made;
  for (const Tensor& tensor : tensors) made.push_back(dequantize(tensor));
  return made;
}

c10::ScalarType underlying(c10::ScalarType dtype) { return c10::toUnderlying(dtype); }

Tensor integers_of(const Tensor& self) {
  return laid_out_anew(self, underlying(self.scalar_type()));
}

Tensor with_scale(const Tensor& self, double, int64_t) {
  const auto dtype = self.scalar_type();
  TORCH_CHECK(dtype == at::kByte || dtype == at::kChar || dtype == at::kInt,
              "no quantized dtype has elements of ", dtype);
  return laid_out_anew(self, dtype == at::kByte   ? at::kQUInt8
                             : dtype == at::kChar ? at::kQInt8
                                                  : at::kQInt32);
}

// What is asked of the scale ----------------------------------------------------------------------

at::QuantizerPtr quantizer_of(const Tensor& self) {
  TORCH_CHECK(self.is_quantized(), "expected a quantized tensor, got ", self.scalar_type());
  return at::get_qtensorimpl(self)->quantizer();
}

double scale_of(const Tensor& self) {
  const at::QuantizerPtr quantizer = quantizer_of(self);
  TORCH_CHECK(quantizer->qscheme() == at::kPerTensorAffine, "expected one scale for all");
  return static_cast<at::PerTensorAffineQuantizer*>(quantizer.get())->scale();
}

int64_t zero_point_of(const Tensor& self) {
  const at::QuantizerPtr quantizer = quantizer_of(self);
  TORCH_CHECK(quantizer->qscheme() == at::kPerTensorAffine, "expected one zero point for all");
  return static_cast<at::PerTensorAffineQuantizer*>(quantizer.get())->zero_point();
}

at::QScheme scheme_of(const Tensor& self) { return quantizer_of(self)->qscheme(); }

at::PerChannelAffineQuantizer* by_channel(const at::QuantizerPtr& quantizer) {
  auto* each = dynamic_cast<at::PerChannelAffineQuantizer*>(quantizer.get());
  TORCH_CHECK(each != nullptr, "expected a scale for each channel");
  return each;
}

Tensor channel_scales(const Tensor& self) {
  const Tensor scales = by_channel(quantizer_of(self))->scales();
  return empty_of(scales.sizes(), scales.scalar_type());
}

Tensor channel_zero_points(const Tensor& self) {
  const Tensor points = by_channel(quantizer_of(self))->zero_points();
  return empty_of(points.sizes(), points.scalar_type());
}

int64_t channel_axis(const Tensor& self) { return by_channel(quantizer_of(self))->axis(); }

// As of floats ------------------------------------------------------------------------------------

void check_quantized(const Tensor& self) {
  TORCH_CHECK(c10::isQIntType(self.scalar_type()),
              "Could not run a quantized operator with an input of ", self.scalar_type(),
              ": it takes quantized tensors");
}

// An output like the first of `arity` arguments.
template <size_t arity, size_t self = 0>
void like_input(Stack& stack) {
  const Tensor input = stack[stack.size() - arity + self].toTensor();
  check_quantized(input);
  torch::jit::drop(stack, arity);
  stack.emplace_back(laid_out_anew(input));
}

// The same where the kernel knows no other order than the contiguous one.
template <size_t arity>
void contiguous_like_input(Stack& stack) {
  like_input<arity>(stack);
  const Tensor output = stack.back().toTensor();
  stack.back() = empty_like_dtype(output.sizes(), output);
}

// Of images in the order that the kernels want: channels last.
void batch_normalized(Stack& stack) {
  constexpr size_t kArity = 8;
  const Tensor input = stack[stack.size() - kArity].toTensor();
  check_quantized(input);
  const auto format = input.dim() == 4   ? at::MemoryFormat::ChannelsLast
                      : input.dim() == 5 ? at::MemoryFormat::ChannelsLast3d
                                         : at::MemoryFormat::Contiguous;
  torch::jit::drop(stack, kArity);
  stack.emplace_back(empty_preserving(input, std::nullopt, format));
}

Tensor dropped(const Tensor& self, double, int64_t, const at::Scalar&, bool training) {
  check_quantized(self);
  return training ? laid_out_anew(self) : self;
}

Tensor broadcast(const Tensor& a, const Tensor& b, double, int64_t) {
  check_quantized(a);
  check_quantized(b);
  TORCH_CHECK(a.scalar_type() == b.scalar_type(), "Add operands should have same data type.");
  const c10::DimVector sizes = at::infer_size_dimvector(a.sizes(), b.sizes());
  return a.sizes() == c10::IntArrayRef(sizes) ? laid_out_anew(a) : empty_like_dtype(sizes, a);
}

Tensor joined(at::TensorList tensors, int64_t dim, std::optional<double>, std::optional<int64_t>) {
  TORCH_CHECK(!tensors.empty(), "quantized::cat expects a list of tensors");
  for (const Tensor& tensor : tensors) check_quantized(tensor);
  c10::DimVector sizes(tensors[0].sizes());
  const auto axis = static_cast<size_t>(c10::maybe_wrap_dim(dim, tensors[0].dim()));
  for (size_t i = 1; i < tensors.size(); ++i) {
    for (size_t d = 0; d < sizes.size(); ++d) {
      TORCH_CHECK(tensors[i].dim() == tensors[0].dim() &&
                      (d == axis || tensors[i].size(static_cast<int64_t>(d)) == sizes[d]),
                  "Sizes of tensors must match except in dimension ", dim, ", got ",
                  tensors[0].sizes(), " and ", tensors[i].sizes());
    }
    sizes[axis] += tensors[i].size(static_cast<int64_t>(axis));
  }
  auto format = tensors[0].suggest_memory_format();
  for (const Tensor& tensor : tensors) {
    if (tensor.suggest_memory_format() != format) format = at::MemoryFormat::Contiguous;
  }
  return empty_of(sizes, tensors[0].scalar_type(), format);
}

Tensor product(const Tensor& a, const Tensor& b, double, int64_t) {
  check_quantized(a);
  check_quantized(b);
  TORCH_CHECK(a.dim() >= 2 && a.dim() == b.dim() && a.size(-1) == b.size(-2),
              "quantized::matmul: matrices of ", a.sizes(), " and ", b.sizes(), " do not fit");
  c10::DimVector sizes(a.sizes());
  sizes.back() = b.size(-1);
  return empty_like_dtype(sizes, a);
}

void product_cost(const OpSignature& op, Cost& cost) {
  cost.add_macs(op.output().numel() * op.tensor(0).size(-1));
  cost.add({.multiply = 1}, op.output().numel());
}

// x * scale + shift, of the channel.
void norm_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, {.add = 1, .multiply = 1}, op.output().numel());
}

// The statistics of a row and what is made of them, as layer_norm has it.
void row_norm_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, {.add = 5, .multiply = 3}, op.output().numel());
}

constexpr FlopMix kQuantize = {.add = 2, .multiply = 1, .compare = 2};
constexpr FlopMix kDequantize = {.add = 1, .multiply = 1};

const Rule kQuantizedTensorTable[] = {
    // round(x / scale) + zero point, clamped; and back, (q - zero point) * scale
    {"aten::quantize_per_tensor(Tensor self, float scale, int zero_point, ScalarType dtype) -> "
     "Tensor",
     boxed<&quantize>, pointwise, kQuantize},
    {"aten::quantize_per_tensor.tensor_qparams(Tensor self, Tensor scale, Tensor zero_point, "
     "ScalarType dtype) -> Tensor",
     boxed<&quantize_by_tensors>, pointwise, kQuantize},
    {"aten::quantize_per_tensor.tensors(Tensor[] tensors, Tensor scales, Tensor zero_points, "
     "ScalarType dtype) -> Tensor[]",
     boxed<&quantize_each>, pointwise, kQuantize},
    {"aten::quantize_per_channel(Tensor self, Tensor scales, Tensor zero_points, int axis, "
     "ScalarType dtype) -> Tensor",
     boxed<&quantize_channels>, pointwise, kQuantize},
    {"aten::quantize_per_tensor_dynamic(Tensor self, ScalarType dtype, bool reduce_range) -> "
     "Tensor",
     boxed<&quantize_dynamic>,
     pointwise,
     {.add = 2, .multiply = 1, .compare = 4}},
    {"aten::dequantize.self(Tensor self) -> Tensor", boxed<&dequantize>, pointwise, kDequantize},
    {"aten::dequantize.tensors(Tensor[] tensors) -> Tensor[]", boxed<&dequantize_each>, pointwise,
     kDequantize},
    {"aten::int_repr(Tensor self) -> Tensor", boxed<&integers_of>},
    {"aten::_make_per_tensor_quantized_tensor(Tensor self, float scale, int zero_point) -> Tensor",
     boxed<&with_scale>},

    {"aten::q_scale(Tensor self) -> float", boxed<&scale_of>, nullptr, {}, kView},
    {"aten::q_zero_point(Tensor self) -> int", boxed<&zero_point_of>, nullptr, {}, kView},
    {"aten::qscheme(Tensor self) -> QScheme", boxed<&scheme_of>, nullptr, {}, kView},
    {"aten::q_per_channel_scales(Tensor self) -> Tensor",
     boxed<&channel_scales>,
     nullptr,
     {},
     kView},
    {"aten::q_per_channel_zero_points(Tensor self) -> Tensor",
     boxed<&channel_zero_points>,
     nullptr,
     {},
     kView},
    {"aten::q_per_channel_axis(Tensor self) -> int", boxed<&channel_axis>, nullptr, {}, kView},

    {"quantized::add(Tensor qa, Tensor qb, float scale, int zero_point) -> Tensor qc",
     boxed<&broadcast>,
     pointwise,
     {.add = 1, .multiply = 1}},
    {"_quantized::add(Tensor qa, Tensor qb, float scale, int zero_point) -> Tensor qc",
     boxed<&broadcast>,
     pointwise,
     {.add = 1, .multiply = 1}},
    {"quantized::add_relu(Tensor qa, Tensor qb, float scale, int zero_point) -> Tensor qc",
     boxed<&broadcast>,
     pointwise,
     {.add = 1, .multiply = 1, .compare = 1}},
    {"quantized::mul(Tensor qa, Tensor qb, float scale, int zero_point) -> Tensor qc",
     boxed<&broadcast>,
     pointwise,
     {.multiply = 2}},
    {"quantized::mul_relu(Tensor qa, Tensor qb, float scale, int zero_point) -> Tensor qc",
     boxed<&broadcast>,
     pointwise,
     {.multiply = 2, .compare = 1}},
    {"quantized::matmul(Tensor qa, Tensor qb, float scale, int zero_point) -> Tensor qc",
     boxed<&product>, product_cost},
    {"quantized::add.Scalar(Tensor qa, Scalar b) -> Tensor qc",
     like_input<2>,
     pointwise,
     {.add = 1}},
    {"quantized::add.Scalar2(Scalar b, Tensor qa) -> Tensor qc",
     like_input<2, 1>,
     pointwise,
     {.add = 1}},
    {"quantized::add_scalar(Tensor qa, Scalar b) -> Tensor qc",
     like_input<2>,
     pointwise,
     {.add = 1}},
    {"quantized::add_scalar.Tensor(Tensor qa, Tensor b) -> Tensor qc",
     like_input<2>,
     pointwise,
     {.add = 1}},
    {"quantized::add_relu.Scalar(Tensor qa, Scalar b) -> Tensor qc",
     like_input<2>,
     pointwise,
     {.add = 1, .compare = 1}},
    {"quantized::add_scalar_relu(Tensor qa, Scalar b) -> Tensor qc",
     like_input<2>,
     pointwise,
     {.add = 1, .compare = 1}},
    {"quantized::add_scalar_relu.Tensor(Tensor qa, Tensor b) -> Tensor qc",
     like_input<2>,
     pointwise,
     {.add = 1, .compare = 1}},
    {"quantized::mul.Scalar(Tensor qa, Scalar b) -> Tensor qc",
     like_input<2>,
     pointwise,
     {.multiply = 1}},
    {"quantized::mul.Scalar2(Scalar b, Tensor qa) -> Tensor qc",
     like_input<2, 1>,
     pointwise,
     {.multiply = 1}},
    {"quantized::mul_scalar(Tensor qa, Scalar b) -> Tensor qc",
     like_input<2>,
     pointwise,
     {.multiply = 1}},
    {"quantized::mul_scalar.Tensor(Tensor qa, Tensor b) -> Tensor qc",
     like_input<2>,
     pointwise,
     {.multiply = 1}},
    {"quantized::mul_scalar_relu(Tensor qa, Scalar b) -> Tensor qc",
     like_input<2>,
     pointwise,
     {.multiply = 1, .compare = 1}},
    {"quantized::cat(Tensor[] qx, int dim, float? scale, int? zero_point) -> Tensor",
     boxed<&joined>,
     pointwise,
     {.multiply = 1}},
    {"quantized::cat_relu(Tensor[] qx, int dim, float? scale, int? zero_point) -> Tensor",
     boxed<&joined>,
     pointwise,
     {.multiply = 1, .compare = 1}},

    {"quantized::relu6(Tensor qx, bool inplace=False) -> Tensor",
     like_input<2>,
     pointwise,
     {.compare = 2}},
    {"quantized::clamp(Tensor qx, Scalar? min=None, Scalar? max=None) -> Tensor qy",
     like_input<3>,
     pointwise,
     {.compare = 2}},
    {"quantized::threshold(Tensor qx, Scalar threshold, Scalar value) -> Tensor qy",
     like_input<3>,
     pointwise,
     {.compare = 1}},
    {"quantized::leaky_relu(Tensor qx, Scalar negative_slope, bool inplace, float output_scale, "
     "int output_zero_point) -> Tensor",
     like_input<5>,
     pointwise,
     {.multiply = 1, .compare = 1}},
    {"quantized::prelu(Tensor qx, Tensor weight, float output_scale, int output_zero_point) -> "
     "Tensor",
     like_input<4>,
     pointwise,
     {.multiply = 1, .compare = 1}},
    {"quantized::sigmoid(Tensor qx, float output_scale, int output_zero_point) -> Tensor",
     like_input<3>, pointwise, kSigmoid},
    {"quantized::hardswish(Tensor input, float output_scale, int output_zero_point) -> Tensor",
     like_input<3>,
     pointwise,
     {.add = 1, .multiply = 1, .division = 1, .compare = 2}},
    {"quantized::elu(Tensor self, float output_scale, int output_zero_point, Scalar alpha=1, "
     "Scalar scale=1, Scalar input_scale=1) -> Tensor",
     contiguous_like_input<6>,
     pointwise,
     {.multiply = 2, .exp = 1, .compare = 1}},
    {"quantized::celu(Tensor self, float output_scale, int output_zero_point, Scalar alpha=1) -> "
     "Tensor",
     contiguous_like_input<4>,
     pointwise,
     {.multiply = 2, .exp = 1, .compare = 1}},
    {"quantized::softmax(Tensor qx, int dim, float output_scale, int output_zero_point) -> Tensor",
     contiguous_like_input<4>,
     pointwise,
     {.add = 2, .division = 1, .exp = 1, .compare = 1}},
    {"quantized::dropout(Tensor self, float output_scale, int output_zero_point, Scalar p=0.5, "
     "bool training=False) -> Tensor",
     boxed<&dropped>,
     pointwise,
     {.multiply = 1, .compare = 1},
     kReturnsInput},

#define BATCH_NORM(name)                                                      \
  "quantized::" name                                                          \
  "(Tensor qx, Tensor? weight, Tensor? bias, Tensor mean, Tensor var, float " \
  "eps, float output_scale, int output_zero_point) -> Tensor"
    {BATCH_NORM("batch_norm"), batch_normalized, norm_cost},
    {BATCH_NORM("batch_norm1d"), batch_normalized, norm_cost},
    {BATCH_NORM("batch_norm2d"), batch_normalized, norm_cost},
    {BATCH_NORM("batch_norm3d"), batch_normalized, norm_cost},
    {BATCH_NORM("batch_norm_relu"), batch_normalized, norm_cost},
    {BATCH_NORM("batch_norm1d_relu"), batch_normalized, norm_cost},
    {BATCH_NORM("batch_norm2d_relu"), batch_normalized, norm_cost},
    {BATCH_NORM("batch_norm3d_relu"), batch_normalized, norm_cost},
    {"aten::quantized_batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor mean, Tensor "
     "var, float eps, float output_scale, int output_zero_point) -> Tensor",
     batch_normalized, norm_cost},
    {"quantized::layer_norm(Tensor input, int[] normalized_shape, Tensor? weight, Tensor? bias, "
     "float eps, float output_scale, int output_zero_point) -> Tensor",
     contiguous_like_input<7>, row_norm_cost},
    {"quantized::group_norm(Tensor input, int num_groups, Tensor? weight, Tensor? bias, float eps, "
     "float output_scale, int output_zero_point) -> Tensor",
     like_input<7>, row_norm_cost},
    {"quantized::instance_norm(Tensor input, Tensor? weight, Tensor? bias, float eps, float "
     "output_scale, int output_zero_point) -> Tensor",
     like_input<6>, row_norm_cost},
};

}  // namespace

const RuleFamily kQuantizedTensorRules("quantized tensors", kQuantizedTensorTable, OpClass::other,
                                       kTakesQuantized);

}  // namespace nnprof

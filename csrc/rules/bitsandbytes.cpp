// Operators of bitsandbytes (0.46 to 0.50): products with weights of four and eight bits, and
// optimizers whose state is eight bits an element.
//
// Weights of four bits are looked up in a table of 16 numbers and scaled by their block's absolute
// maximum; those of eight bits by their row's. The products count as those of floats.
#include <ATen/core/Tensor.h>

#include <algorithm>

#include "rules/families.h"
#include "rules/known_integers.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

// Four bits ---------------------------------------------------------------------------------------

Tensor product_4bit(const Tensor& a, at::IntArrayRef shape) {
  TORCH_CHECK(shape.size() == 2 && a.dim() >= 1, "shapeB must be 2D [N, K], got ", shape);
  TORCH_CHECK(a.size(-1) == shape[1], "A inner dim (", a.size(-1), ") must match shapeB (",
              shape[1], ")");
  c10::DimVector sizes(a.sizes());
  sizes.back() = shape[0];
  return empty_like_dtype(sizes, a);
}

Tensor gemm_4bit(const Tensor& a, const Tensor&, at::IntArrayRef shape, const Tensor&, int64_t,
                 c10::string_view, const OptionalTensor&, const OptionalTensor&,
                 const OptionalTensor&, const OptionalTensor&) {
  return product_4bit(a, shape);
}

Tensor gemv_4bit(const Tensor& a, const Tensor&, at::IntArrayRef shape, const Tensor&,
                 const Tensor&, int64_t) {
  return product_4bit(a, shape);
}

Tensor dequantize_4bit(const Tensor&, const Tensor&, int64_t, c10::string_view,
                       at::IntArrayRef shape, c10::ScalarType dtype) {
  return empty_of(shape, dtype);
}

std::tuple<Tensor, Tensor> quantize_4bit(const Tensor& a, int64_t block, c10::string_view,
                                         c10::ScalarType storage) {
  const int64_t bytes = (a.numel() + 1) / 2;
  const auto each = static_cast<int64_t>(c10::elementSize(storage));
  return {empty_of({bytes / each, 1}, storage),
          empty_of({(a.numel() + block - 1) / block}, at::kFloat)};
}

Count weights_in(const OpSignature& op, size_t shape) {
  Count count = 1;
  for (int64_t size : op.integers(shape)) count *= size;
  return count;
}

// Each weight is scaled once; with nested statistics each block's scale, too.
void product_4bit_cost(const OpSignature& op, Cost& cost) {
  cost.add_macs(op.output().numel() * op.integers(2)[1]);
  cost.add({.multiply = 1}, weights_in(op, 2));
}

void gemm_4bit_cost(const OpSignature& op, Cost& cost) {
  product_4bit_cost(op, cost);
  if (op.has_tensor(6)) cost.add({.add = 1}, op.output().numel());
  if (op.has_tensor(7)) cost.add({.add = 1, .multiply = 1}, op.tensor(7).numel());
}

// Eight bits --------------------------------------------------------------------------------------

c10::DimVector rows_by(const Tensor& a, const Tensor& b) {
  TORCH_CHECK(b.dim() == 2 && a.dim() >= 1 && a.size(-1) == b.size(1), "a product of ", a.sizes(),
              " with weights of ", b.sizes(), " does not fit");
  c10::DimVector sizes(a.sizes());
  sizes.back() = b.size(0);
  return sizes;
}

// Rows without an outlier: how many columns have one is not known.
OptionalTensor no_outliers(double threshold) {
  if (threshold <= 0) return std::nullopt;
  note_guess();
  return empty_of({0}, at::kLong);
}

int64_t rows_of(const Tensor& a) { return a.size(-1) == 0 ? 0 : a.numel() / a.size(-1); }

std::tuple<Tensor, Tensor, OptionalTensor> quantize_rows(const Tensor& a, double threshold) {
  return {empty_preserving(a, at::kChar), empty_of({rows_of(a)}, at::kFloat),
          no_outliers(threshold)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, OptionalTensor> quantize_both(const Tensor& a,
                                                                         double threshold) {
  return {empty_preserving(a, at::kChar), empty_preserving(a, at::kChar),
          empty_of({rows_of(a)}, at::kFloat), empty_of({a.size(-1)}, at::kFloat),
          no_outliers(threshold)};
}

Tensor scaled_product(const Tensor& a, const Tensor& b, const Tensor&, const Tensor&,
                      const OptionalTensor&, std::optional<c10::ScalarType> dtype) {
  return empty_of(rows_by(a, b), dtype.value_or(at::kHalf));
}

std::tuple<Tensor, OptionalTensor> mixed_product(const Tensor& a, const Tensor& ca,
                                                 const Tensor& cb, const Tensor&, const Tensor&,
                                                 const OptionalTensor& outliers,
                                                 const OptionalTensor&) {
  const int64_t columns = outliers && outliers->defined() ? outliers->numel() : 0;
  return {empty_like_dtype(rows_by(ca, cb), a), empty_like_dtype({rows_of(a), columns}, a)};
}

Tensor integer_product(const Tensor& a, const Tensor& b) {
  return empty_of(rows_by(a, b), at::kInt);
}

Tensor dequantize_rows(const Tensor& a, const Tensor&) { return empty_preserving(a, at::kFloat); }

Tensor dequantize_product(const Tensor& a, const Tensor&, const Tensor&,
                          std::optional<c10::ScalarType> dtype, const OptionalTensor&) {
  return empty_preserving(a, dtype.value_or(at::kHalf));
}

// Each sum is scaled by its row and its column.
template <size_t a, size_t bias>
void product_8bit_cost(const OpSignature& op, Cost& cost) {
  cost.add_macs(op.output().numel() * op.tensor(a).size(-1));
  cost.add({.multiply = 2}, op.output().numel());
  if (op.has_tensor(bias)) cost.add({.add = 1}, op.output().numel());
}

void integer_product_cost(const OpSignature& op, Cost& cost) {
  cost.add_macs(op.output().numel() * op.tensor(0).size(-1));
}

// Blocks ------------------------------------------------------------------------------------------

Tensor dequantize_blocks(const Tensor& a, const Tensor&, const Tensor&, int64_t,
                         c10::ScalarType dtype) {
  return empty_preserving(a, dtype);
}

std::tuple<Tensor, Tensor> quantize_blocks(const Tensor& a, const Tensor&, int64_t block) {
  return {empty_preserving(a, at::kByte), empty_of({(a.numel() + block - 1) / block}, at::kFloat)};
}

// Optimizers --------------------------------------------------------------------------------------

template <size_t arity>
void nothing_returned(Stack& stack) {
  torch::jit::drop(stack, arity);
}

// The parameter and the states are written back; operations an element are those of the rule named,
// as optimizer.cpp has them, and with states of eight bits each is scaled, looked up and back.
template <bool eight_bits>
void update_cost(const OpSignature& op, Cost& cost) {
  const Count elements = op.tensor(2).numel();
  const int64_t states = op.has_tensor(4) ? 2 : 1;
  for (size_t i : {2, 3, 4, 14, 15}) {
    const bool statistics = i > 4;
    if (statistics && !eight_bits) continue;
    if (op.has_tensor(i)) cost.bytes_written += op.tensor(i).distinct_bytes();
  }
  cost.add(states > 1 ? FlopMix{.add = 4, .multiply = 6, .division = 2, .sqrt = 1}
                      : FlopMix{.add = 2, .multiply = 2},
           elements);
  if (eight_bits) cost.add({.multiply = 1, .division = 1, .compare = 9}, elements * states);
}

const Rule kBitsandbytesTable[] = {
    {"bitsandbytes::gemm_4bit(Tensor A, Tensor B, int[] shapeB, Tensor absmax, int blocksize, str "
     "quant_type, Tensor? bias=None, Tensor? absmax_8bit=None, Tensor? absmax_code=None, Tensor? "
     "absmax_offset=None) -> Tensor",
     boxed<&gemm_4bit>, gemm_4bit_cost},
    {"bitsandbytes::gemv_4bit(Tensor A, Tensor B, int[] shapeB, Tensor absmax, Tensor code, int "
     "blocksize) -> Tensor",
     boxed<&gemv_4bit>, product_4bit_cost},
    {"bitsandbytes::dequantize_4bit(Tensor A, Tensor absmax, int blocksize, str quant_type, int[] "
     "shape, ScalarType dtype) -> Tensor",
     boxed<&dequantize_4bit>,
     pointwise,
     {.multiply = 1}},
    {"bitsandbytes::quantize_4bit(Tensor A, int blocksize, str quant_type, ScalarType "
     "quant_storage) -> (Tensor, Tensor)",
     boxed<&quantize_4bit>,
     per_input_element,
     {.multiply = 1, .compare = 5}},

    {"bitsandbytes::int8_vectorwise_quant(Tensor A, float threshold=0.) -> (Tensor, Tensor, "
     "Tensor?)",
     boxed<&quantize_rows>,
     per_input_element,
     {.add = 1, .multiply = 1, .compare = 1},
     kKnownIntegers,
     "no column has an outlier"},
    {"bitsandbytes::int8_double_quant(Tensor A, float threshold=0.) -> (Tensor, Tensor, Tensor, "
     "Tensor, Tensor?)",
     boxed<&quantize_both>,
     per_input_element,
     {.add = 2, .multiply = 2, .compare = 2},
     kKnownIntegers,
     "no column has an outlier"},
    {"bitsandbytes::int8_scaled_mm(Tensor A, Tensor B, Tensor row_stats, Tensor col_stats, Tensor? "
     "bias=None, ScalarType? dtype=None) -> Tensor",
     boxed<&scaled_product>, product_8bit_cost<0, 4>},
    {"bitsandbytes::int8_mixed_scaled_mm(Tensor A, Tensor CA, Tensor CB, Tensor SCA, Tensor SCB, "
     "Tensor? outlier_cols=None, Tensor? bias=None) -> (Tensor, Tensor?)",
     boxed<&mixed_product>, product_8bit_cost<1, 6>},
    {"bitsandbytes::int8_linear_matmul(Tensor A, Tensor B) -> Tensor", boxed<&integer_product>,
     integer_product_cost},
    {"bitsandbytes::int8_vectorwise_dequant(Tensor A, Tensor stats) -> Tensor",
     boxed<&dequantize_rows>,
     pointwise,
     {.multiply = 2}},
    {"bitsandbytes::int8_mm_dequant(Tensor A, Tensor row_stats, Tensor col_stats, ScalarType? "
     "dtype=None, Tensor? bias=None) -> Tensor",
     boxed<&dequantize_product>,
     pointwise,
     {.multiply = 2}},

    {"bitsandbytes::dequantize_blockwise(Tensor A, Tensor absmax, Tensor code, int blocksize, "
     "ScalarType dtype) -> Tensor",
     boxed<&dequantize_blocks>,
     pointwise,
     {.multiply = 1}},
    {"bitsandbytes::quantize_blockwise(Tensor A, Tensor code, int blocksize) -> (Tensor, Tensor)",
     boxed<&quantize_blocks>,
     per_input_element,
     {.multiply = 1, .compare = 9}},

    {"bitsandbytes::optimizer_update_32bit(str optimizer_name, Tensor(a0!) g, Tensor(a1!) p, "
     "Tensor(a2!) state1, Tensor(a3!)? state2, Tensor(a4!)? unorm_vec, float max_unorm, float "
     "param_norm, float beta1, float beta2, float beta3, float alpha, float eps, float "
     "weight_decay, int step, float lr, float gnorm_scale, bool skip_zeros=False) -> ()",
     nothing_returned<18>, update_cost<false>},
    {"bitsandbytes::optimizer_update_8bit_blockwise(str optimizer_name, Tensor(a0!) g, Tensor(a1!) "
     "p, Tensor(a2!) state1, Tensor(a3!)? state2, float beta1, float beta2, float beta3, float "
     "alpha, float eps, int step, float lr, Tensor(a4!) qmap1, Tensor(a5!)? qmap2, Tensor(a6!) "
     "absmax1, Tensor(a7!)? absmax2, float weight_decay, float gnorm_scale, bool "
     "skip_zeros=False) -> ()",
     nothing_returned<19>, update_cost<true>},
};

}  // namespace

const RuleFamily kBitsandbytesRules("bitsandbytes", kBitsandbytesTable, OpClass::other,
                                    kNothingSpecial);

}  // namespace nnprof

// Matrix products: mm, bmm, addmm and their kin. matmul and linear, which are made of them, stand
// in linear.cpp.
#include <ATen/ExpandUtils.h>
#include <ATen/TensorIterator.h>
#include <ATen/ops/_addmm_activation_meta_dispatch.h>
#include <ATen/ops/addmm_meta_dispatch.h>
#include <ATen/ops/addmv_meta_dispatch.h>
#include <ATen/ops/bmm_meta_dispatch.h>
#include <ATen/ops/mm_meta_dispatch.h>

#include <algorithm>

#include "core/count.h"
#include "core/torch_version.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using c10::IntArrayRef;

void check_same_dtype(const char* function, const at::Tensor& a, const at::Tensor& b) {
  TORCH_CHECK(a.scalar_type() == b.scalar_type(), function,
              ": expected both operands to have the same dtype, but got ", a.scalar_type(), " and ",
              b.scalar_type());
}

void check_expandable(const at::Tensor& tensor, IntArrayRef sizes) {
  TORCH_CHECK(at::is_expandable_to(tensor.sizes(), sizes), "The size of the tensor ",
              tensor.sizes(), " cannot be expanded to the size of the product ", sizes);
}

void check_batches(const at::Tensor& a, const at::Tensor& b) {
  TORCH_CHECK(a.dim() == 3, "batch1 must be a 3D tensor");
  TORCH_CHECK(b.dim() == 3, "batch2 must be a 3D tensor");
  TORCH_CHECK(a.size(0) == b.size(0) && a.size(2) == b.size(1),
              "Expected size for first two dimensions of batch2 tensor to be: [", a.size(0), ", ",
              a.size(2), "] but got: [", b.size(0), ", ", b.size(1), "].");
}

at::Tensor mm(const at::Tensor& self, const at::Tensor& mat2) {
  check_same_dtype("mm", self, mat2);
  return at::meta::mm(self, mat2);
}

at::Tensor bmm(const at::Tensor& self, const at::Tensor& mat2) {
  check_same_dtype("bmm", self, mat2);
  return at::meta::bmm(self, mat2);
}

at::Tensor mm_to_dtype(const at::Tensor& self, const at::Tensor& mat2, c10::ScalarType dtype) {
  const at::Tensor product = at::meta::mm(self, mat2);
  return empty_of(product.sizes(), dtype);
}

at::Tensor bmm_to_dtype(const at::Tensor& self, const at::Tensor& mat2, c10::ScalarType dtype) {
  const at::Tensor product = at::meta::bmm(self, mat2);
  return empty_of(product.sizes(), dtype);
}

at::Tensor addmm(const at::Tensor& self, const at::Tensor& mat1, const at::Tensor& mat2,
                 const at::Scalar& beta, const at::Scalar& alpha) {
  at::Tensor product = at::meta::addmm(self, mat1, mat2, beta, alpha);
  check_same_dtype("addmm", self, mat2);
  check_expandable(self, product.sizes());
  return product;
}

at::Tensor addmm_to_dtype(const at::Tensor& self, const at::Tensor& mat1, const at::Tensor& mat2,
                          c10::ScalarType dtype, const at::Scalar& beta, const at::Scalar& alpha) {
  const at::Tensor product = at::meta::addmm(self, mat1, mat2, beta, alpha);
  check_expandable(self, product.sizes());
  return empty_of(product.sizes(), dtype);
}

at::Tensor addmm_activation(const at::Tensor& self, const at::Tensor& mat1, const at::Tensor& mat2,
                            const at::Scalar& beta, const at::Scalar& alpha, bool use_gelu) {
  at::Tensor product = at::meta::_addmm_activation(self, mat1, mat2, beta, alpha, use_gelu);
  check_expandable(self, product.sizes());
  return product;
}

at::Tensor baddbmm(const at::Tensor& self, const at::Tensor& batch1, const at::Tensor& batch2,
                   const at::Scalar&, const at::Scalar&) {
  check_batches(batch1, batch2);
  check_same_dtype("baddbmm", batch1, batch2);
  check_same_dtype("baddbmm", self, batch2);
  at::Tensor product = empty_like_dtype({batch1.size(0), batch1.size(1), batch2.size(2)}, batch2);
  check_expandable(self, product.sizes());
  return product;
}

at::Tensor baddbmm_to_dtype(const at::Tensor& self, const at::Tensor& batch1,
                            const at::Tensor& batch2, c10::ScalarType dtype, const at::Scalar&,
                            const at::Scalar&) {
  check_batches(batch1, batch2);
  check_same_dtype("baddbmm", batch1, batch2);
  at::Tensor product = empty_of({batch1.size(0), batch1.size(1), batch2.size(2)}, dtype);
  check_expandable(self, product.sizes());
  return product;
}

at::Tensor addbmm(const at::Tensor& self, const at::Tensor& batch1, const at::Tensor& batch2,
                  const at::Scalar&, const at::Scalar&) {
  check_batches(batch1, batch2);
  check_same_dtype("addbmm", batch1, batch2);
  check_same_dtype("addbmm", self, batch2);
  at::Tensor product = empty_like_dtype({batch1.size(1), batch2.size(2)}, self);
  check_expandable(self, product.sizes());
  return product;
}

at::Tensor mv(const at::Tensor& self, const at::Tensor& vec) {
  TORCH_CHECK(self.dim() == 2 && vec.dim() == 1, "vector + matrix @ vector expected, got 1, ",
              self.dim(), ", ", vec.dim());
  TORCH_CHECK(self.size(1) == vec.size(0), "size mismatch, got input (", self.size(0), "), mat (",
              self.size(0), "x", self.size(1), "), vec (", vec.size(0), ")");
  check_same_dtype("mv", self, vec);
  return empty_like_dtype({self.size(0)}, self);
}

at::Tensor addmv(const at::Tensor& self, const at::Tensor& mat, const at::Tensor& vec,
                 const at::Scalar& beta, const at::Scalar& alpha) {
  check_same_dtype("addmv", mat, vec);
  check_same_dtype("addmv", self, mat);
  return at::meta::addmv(self, mat, vec, beta, alpha);
}

at::Tensor dot(const at::Tensor& self, const at::Tensor& other) {
  TORCH_CHECK(self.dim() == 1 && other.dim() == 1, "1D tensors expected, but got ", self.dim(),
              "D and ", other.dim(), "D tensors");
  check_same_dtype("dot", self, other);
  TORCH_CHECK(self.size(0) == other.size(0), "inconsistent tensor size, expected tensor ",
              self.sizes(), " and src ", other.sizes(), " to have the same number of elements");
  return empty_like_dtype({}, self);
}

at::Tensor outer(const at::Tensor& self, const at::Tensor& vec2) {
  TORCH_CHECK(self.dim() == 1 && vec2.dim() == 1, "outer: Expected 1-D arguments, but got ",
              self.dim(), "-D and ", vec2.dim(), "-D");
  return empty_of({self.size(0), vec2.size(0)},
                  c10::promoteTypes(self.scalar_type(), vec2.scalar_type()));
}

// Elementwise in PyTorch: the strides follow those of `self`, the dtypes promote.
at::Tensor addr(const at::Tensor& self, const at::Tensor& vec1, const at::Tensor& vec2,
                const at::Scalar& beta, const at::Scalar& alpha) {
  TORCH_CHECK(vec1.dim() == 1 && vec2.dim() == 1, "addr: Expected 1-D vectors, but got ",
              vec1.dim(), "-D and ", vec2.dim(), "-D");
  const c10::DimVector sizes = {vec1.size(0), vec2.size(0)};
  TORCH_CHECK(self.dim() <= 2 && at::is_expandable_to(self.sizes(), sizes),
              "addr: the size of the tensor ", self.sizes(), " cannot be expanded to ",
              IntArrayRef(sizes));
  const auto fits = [&](const at::Scalar& factor) {
    const bool integers = !c10::isFloatingType(self.scalar_type()) && !self.is_complex() &&
                          !c10::isFloatingType(vec1.scalar_type()) && !vec1.is_complex();
    return !integers || factor.isIntegral(/*includeBool=*/true);
  };
  TORCH_CHECK(
      fits(beta) && fits(alpha),
      "For integral input tensors, the scaling factors must not be floating point numbers.");
  const auto dtype = c10::promoteTypes(self.scalar_type(),
                                       c10::promoteTypes(vec1.scalar_type(), vec2.scalar_type()));
  const bool columns_first = self.dim() == 2 && self.sizes().equals(sizes) &&
                             self.stride(0) < self.stride(1) && self.stride(0) != 0;
  if (columns_first) return empty_strided_of(sizes, {1, sizes[0]}, dtype);
  return empty_of(sizes, dtype);
}

at::Tensor int_mm(const at::Tensor& self, const at::Tensor& mat2) {
  TORCH_CHECK(self.dim() == 2, "Expected self to be of dimension 2 but got ", self.dim());
  TORCH_CHECK(mat2.dim() == 2, "Expected mat2 to be of dimension 2 but got ", mat2.dim());
  TORCH_CHECK(self.size(1) == mat2.size(0), "self.size(1) needs to match mat2.size(0) but got ",
              self.size(1), " and ", mat2.size(0));
  TORCH_CHECK(self.scalar_type() == at::kChar && mat2.scalar_type() == at::kChar,
              "Expected both operands to be of type int8 but got ", self.scalar_type(), " and ",
              mat2.scalar_type());
  return empty_of({self.size(0), mat2.size(1)}, at::kInt);
}

at::Tensor scaled_mm(const at::Tensor& self, const at::Tensor& mat2, const at::Tensor&,
                     const at::Tensor&, const std::optional<at::Tensor>&,
                     const std::optional<at::Tensor>&, std::optional<c10::ScalarType> dtype, bool) {
  TORCH_CHECK(self.dim() == 2 && mat2.dim() == 2,
              "Inputs must be 2D but got self.dim()=", self.dim(), " and mat2.dim()=", mat2.dim());
  TORCH_CHECK(self.size(1) == mat2.size(0), "mat1 and mat2 shapes cannot be multiplied (",
              self.size(0), "x", self.size(1), " and ", mat2.size(0), "x", mat2.size(1), ")");
  return empty_of({self.size(0), mat2.size(1)}, dtype.value_or(self.scalar_type()));
}

// What the kernel demands of the layout: one of the last two dimensions dense, the other's stride a
// multiple of 16 bytes. (PyTorch's own check looks at the address of the data.)
void check_aligned(const at::Tensor& matrix) {
  const int64_t rows = matrix.size(-2), columns = matrix.size(-1);
  const int64_t row = matrix.stride(-2), column = matrix.stride(-1);
  const auto alignment = 16 / static_cast<int64_t>(matrix.element_size());
  const bool by_columns = row == 1 && column >= std::max<int64_t>(1, rows);
  const bool by_rows = column == 1 && row >= std::max<int64_t>(1, columns);
  TORCH_CHECK(by_columns || by_rows, "Invalid strides/sizes, got ", matrix.strides(),
              " for strides and ", matrix.sizes(), " for sizes");
  TORCH_CHECK((by_columns ? column : row) % alignment == 0,
              "strides should be multiple of 16 bytes");
}

void check_groups(const at::Tensor& self, const at::Tensor& mat2,
                  const std::optional<at::Tensor>& offs, const std::optional<at::Tensor>& bias) {
  const auto two_or_three = [](int64_t dim) { return dim == 2 || dim == 3; };
  TORCH_CHECK(two_or_three(self.dim()), "mat_a has to be 2 or 3d");
  TORCH_CHECK(two_or_three(mat2.dim()), "mat_b has to be 2 or 3d");
  const bool a_flat = self.dim() == 2, b_flat = mat2.dim() == 2;
  TORCH_CHECK((a_flat && b_flat) || self.size(-1) == mat2.size(-2),
              "contraction dimension of mat_a and mat_b must match");
  check_aligned(self);
  check_aligned(mat2);
  TORCH_CHECK(
      offs.has_value() == (a_flat || b_flat),
      "Have to provide offsets if there is a 2d matrix, or no offset if both matrices are 3d");
  TORCH_CHECK(
      !torch_is_at_least(2, 14) || !offs.has_value() || offs->dim() != 1 || offs->stride(0) == 1,
      "Offsets must have stride (1,)");
  TORCH_CHECK(!offs.has_value() || (offs->dim() == 1 && offs->scalar_type() == at::kInt),
              "Offsets have to be int32, of one dimension");
  TORCH_CHECK(!bias.has_value(), "Bias not supported yet");
}

// Rows (or columns, or the depth) of a 2d operand fall to the groups of a 3d one as `offs` says.
// Rows of the output are aligned to 16 bytes.
at::Tensor grouped_product(const at::Tensor& self, const at::Tensor& mat2,
                           const std::optional<at::Tensor>& offs, c10::ScalarType out_dtype) {
  const bool a_flat = self.dim() == 2, b_flat = mat2.dim() == 2;
  const at::Tensor& grouped = a_flat ? mat2 : self;
  const int64_t groups = a_flat && b_flat ? offs->size(0) : grouped.size(0);
  TORCH_CHECK(a_flat == b_flat ? a_flat || mat2.size(0) == groups : offs->size(0) == groups,
              "matrix batch sizes have to match");
  const int64_t rows = self.size(-2);
  const int64_t columns = mat2.size(-1);
  const auto alignment = static_cast<int64_t>(16 / c10::elementSize(out_dtype));
  const int64_t pitch = round_up(columns, alignment);
  if (a_flat != b_flat) return empty_strided_of({rows, columns}, {pitch, 1}, out_dtype);
  return empty_strided_of({groups, rows, columns}, {rows * pitch, pitch, 1}, out_dtype);
}

at::Tensor grouped_mm(const at::Tensor& self, const at::Tensor& mat2,
                      const std::optional<at::Tensor>& offs, const std::optional<at::Tensor>& bias,
                      std::optional<c10::ScalarType> dtype) {
  const auto has_kernel = [](c10::ScalarType type) {
    return type == at::kBFloat16 || type == at::kFloat || type == at::kHalf;
  };
  TORCH_CHECK(has_kernel(self.scalar_type()) && has_kernel(mat2.scalar_type()),
              "Expected matrices of Float32, BFloat16 or Float16, got ", self.scalar_type(),
              " and ", mat2.scalar_type());
  check_groups(self, mat2, offs, bias);
  TORCH_CHECK(!dtype || *dtype == self.scalar_type(),
              "Grouped gemm output dtype must match `mat_a` dtype");
  return grouped_product(self, mat2, offs, self.scalar_type());
}

// The CUDA kernels' layouts: a by rows, b by columns.
void check_scaled_layouts(const at::Tensor& self, const at::Tensor& mat2) {
  TORCH_CHECK(self.stride(-1) == 1 && self.stride(-2) > 1,
              "Expected mat_a tensor to be row major in the last two dimensions, got strides ",
              self.strides());
  TORCH_CHECK(mat2.stride(-2) == 1 && mat2.stride(-1) > 1,
              "Expected mat_b tensor to be column major in the last two dimensions, got strides ",
              mat2.strides());
}

at::Tensor scaled_grouped_mm(const at::Tensor& self, const at::Tensor& mat2, const at::Tensor&,
                             const at::Tensor&, const std::optional<at::Tensor>& offs,
                             const std::optional<at::Tensor>& bias,
                             const std::optional<at::Tensor>&, std::optional<c10::ScalarType> dtype,
                             bool) {
  check_groups(self, mat2, offs, bias);
  check_scaled_layouts(self, mat2);
  return grouped_product(self, mat2, offs, dtype.value_or(at::kBFloat16));
}

at::Tensor scaled_grouped_mm_v2(const at::Tensor& self, const at::Tensor& mat2, at::TensorList,
                                IntArrayRef, IntArrayRef, at::TensorList, IntArrayRef, IntArrayRef,
                                const std::optional<at::Tensor>& offs,
                                const std::optional<at::Tensor>& bias,
                                std::optional<c10::ScalarType> dtype, IntArrayRef, bool) {
  check_groups(self, mat2, offs, bias);
  check_scaled_layouts(self, mat2);
  return grouped_product(self, mat2, offs, dtype.value_or(at::kBFloat16));
}

at::Tensor scaled_mm_v2(const at::Tensor& self, const at::Tensor& mat2, at::TensorList scale_a,
                        IntArrayRef, IntArrayRef, at::TensorList scale_b, IntArrayRef, IntArrayRef,
                        const std::optional<at::Tensor>& bias, std::optional<c10::ScalarType> dtype,
                        IntArrayRef, bool fast) {
  TORCH_CHECK(!scale_a.empty() && !scale_b.empty(), "Expected scales for both operands");
  return scaled_mm(self, mat2, scale_a[0], scale_b[0], bias, {}, dtype, fast);
}

// Costs
// --------------------------------------------------------------------------------------------

bool equals(const OpSignature& op, size_t argument, double value) {
  const Argument& scalar = op.arguments.at(argument);
  if (scalar.kind == Argument::Kind::complex) return scalar.number == value;
  return op.floating(argument) == value;
}

// beta * self + alpha * product: `self` is not read where beta is 0, factors of 1 are no work.
void add_scaled(const OpSignature& op, Cost& cost, size_t beta) {
  const Count outputs = op.output().numel();
  if (equals(op, beta, 0)) {
    cost.bytes_read -= op.tensor(0).distinct_bytes();
  } else {
    add_elementwise(op, cost, {.add = 1}, outputs);
    if (!equals(op, beta, 1)) add_elementwise(op, cost, {.multiply = 1}, outputs);
  }
  if (!equals(op, beta + 1, 1)) add_elementwise(op, cost, {.multiply = 1}, outputs);
}

// outputs x depth, for a product whose first operand is argument `first` and ends in the depth.
void add_product(const OpSignature& op, Cost& cost, size_t first) {
  cost.add_macs(op.output().numel() * op.tensor(first).size(-1), op.output().is_complex());
}

void product_cost(const OpSignature& op, Cost& cost) { add_product(op, cost, 0); }

void add_product_cost(const OpSignature& op, Cost& cost) {
  add_product(op, cost, 1);
  add_scaled(op, cost, 3);
}

void add_product_to_dtype_cost(const OpSignature& op, Cost& cost) {
  add_product(op, cost, 1);
  add_scaled(op, cost, 4);
}

// The batches are summed too: each output gathers batch x depth products.
void addbmm_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& batch1 = op.tensor(1);
  cost.add_macs(op.output().numel() * batch1.size(0) * batch1.size(2), op.output().is_complex());
  add_scaled(op, cost, 3);
}

void addmm_activation_cost(const OpSignature& op, Cost& cost) {
  add_product_cost(op, cost);
  const FlopMix relu = {.compare = 1};
  const FlopMix gelu = {.add = 1, .multiply = 3, .erf = 1};
  add_elementwise(op, cost, op.boolean(5) ? gelu : relu, op.output().numel());
}

void outer_cost(const OpSignature& op, Cost& cost) {
  cost.add_macs(op.output().numel(), op.output().is_complex());
}

// The add of a multiply-accumulate is that of `self`.
void addr_cost(const OpSignature& op, Cost& cost) {
  const Count outputs = op.output().numel();
  cost.add_macs(outputs, op.output().is_complex());
  if (equals(op, 3, 0)) cost.bytes_read -= op.tensor(0).distinct_bytes();
  const bool scales_self = !equals(op, 3, 0) && !equals(op, 3, 1);
  if (scales_self) add_elementwise(op, cost, {.multiply = 1}, outputs);
  if (!equals(op, 4, 1)) add_elementwise(op, cost, {.multiply = 1}, outputs);
}

// Two numbers of four bits share an element.
int64_t numbers_an_element(c10::ScalarType dtype) {
  return dtype == c10::ScalarType::Float4_e2m1fn_x2 ? 2 : 1;
}

// Scales are per tensor, row or block: one multiply an output stands for them.
template <size_t bias>
void scaled_mm_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& a = op.tensor(0);
  cost.add_macs(op.output().numel() * a.size(-1) * numbers_an_element(a.dtype));
  add_elementwise(op, cost, {.multiply = 1}, op.output().numel());
  if (op.has_tensor(bias)) add_elementwise(op, cost, {.add = 1}, op.output().numel());
}

// The offsets part one dimension among the groups: whichever it is, each of its indices meets all
// of the other two dimensions of one group.
void grouped_mm_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& a = op.tensor(0);
  const TensorSpec& b = op.tensor(1);
  const Count batches = a.dim() == 3 && b.dim() == 3 ? a.size(0) : 1;
  const Count depth = a.size(-1) * numbers_an_element(a.dtype);
  cost.add_macs(batches * a.size(-2) * depth * b.size(-1));
}

void scaled_grouped_mm_cost(const OpSignature& op, Cost& cost) {
  grouped_mm_cost(op, cost);
  add_elementwise(op, cost, {.multiply = 1}, op.output().numel());
}

const Rule kMatmulTable[] = {
    {"aten::mm(Tensor self, Tensor mat2) -> Tensor", boxed<&mm>, product_cost, {}, kExactOut},
    {"aten::mm.dtype(Tensor self, Tensor mat2, ScalarType out_dtype) -> Tensor",
     boxed<&mm_to_dtype>,
     product_cost,
     {},
     kExactOut},
    {"aten::bmm(Tensor self, Tensor mat2) -> Tensor", boxed<&bmm>, product_cost, {}, kExactOut},
    {"aten::bmm.dtype(Tensor self, Tensor mat2, ScalarType out_dtype) -> Tensor",
     boxed<&bmm_to_dtype>,
     product_cost,
     {},
     kExactOut},
    {"aten::addmm(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1) -> "
     "Tensor",
     boxed<&addmm>,
     add_product_cost,
     {},
     kExactOut},
    {"aten::addmm.dtype(Tensor self, Tensor mat1, Tensor mat2, ScalarType out_dtype, *, Scalar "
     "beta=1, Scalar alpha=1) -> Tensor",
     boxed<&addmm_to_dtype>,
     add_product_to_dtype_cost,
     {},
     kExactOut},
    {"aten::_addmm_activation(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar "
     "alpha=1, bool use_gelu=False) -> Tensor",
     boxed<&addmm_activation>, addmm_activation_cost},
    {"aten::baddbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) "
     "-> Tensor",
     boxed<&baddbmm>,
     add_product_cost,
     {},
     kExactOut},
    {"aten::baddbmm.dtype(Tensor self, Tensor batch1, Tensor batch2, ScalarType out_dtype, *, "
     "Scalar beta=1, Scalar alpha=1) -> Tensor",
     boxed<&baddbmm_to_dtype>,
     add_product_to_dtype_cost,
     {},
     kExactOut},
    {"aten::addbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) -> "
     "Tensor",
     boxed<&addbmm>,
     addbmm_cost,
     {},
     kExactOut},
    {"aten::mv(Tensor self, Tensor vec) -> Tensor", boxed<&mv>, product_cost, {}, kExactOut},
    {"aten::addmv(Tensor self, Tensor mat, Tensor vec, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
     boxed<&addmv>,
     add_product_cost,
     {},
     kExactOut},
    {"aten::dot(Tensor self, Tensor tensor) -> Tensor", boxed<&dot>, product_cost},
    {"aten::vdot(Tensor self, Tensor other) -> Tensor", boxed<&dot>, product_cost},
    {"aten::outer(Tensor self, Tensor vec2) -> Tensor", boxed<&outer>, outer_cost},
    {"aten::ger(Tensor self, Tensor vec2) -> Tensor", boxed<&outer>, outer_cost},
    {"aten::addr(Tensor self, Tensor vec1, Tensor vec2, *, Scalar beta=1, Scalar alpha=1) -> "
     "Tensor",
     boxed<&addr>, addr_cost},
    {"aten::_int_mm(Tensor self, Tensor mat2) -> Tensor", boxed<&int_mm>, product_cost},
    {"aten::_scaled_mm(Tensor self, Tensor mat2, Tensor scale_a, Tensor scale_b, Tensor? "
     "bias=None, Tensor? scale_result=None, ScalarType? out_dtype=None, bool use_fast_accum=False) "
     "-> Tensor",
     boxed<&scaled_mm>, scaled_mm_cost<4>},
    {"aten::_grouped_mm(Tensor self, Tensor mat2, Tensor? offs=None, Tensor? bias=None, "
     "ScalarType? out_dtype=None) -> Tensor",
     boxed<&grouped_mm>, grouped_mm_cost},
    {"aten::_scaled_mm_v2(Tensor self, Tensor mat2, Tensor[] scale_a, int[] recipe_a, int[] "
     "swizzle_a, Tensor[] scale_b, int[] recipe_b, int[] swizzle_b, Tensor? bias, ScalarType? "
     "out_dtype, int[] contraction_dim=[], bool use_fast_accum=False) -> Tensor",
     boxed<&scaled_mm_v2>, scaled_mm_cost<8>},
    {"aten::_scaled_grouped_mm(Tensor self, Tensor mat2, Tensor scale_a, Tensor scale_b, Tensor? "
     "offs=None, Tensor? bias=None, Tensor? scale_result=None, ScalarType? out_dtype=None, bool "
     "use_fast_accum=False) -> Tensor",
     boxed<&scaled_grouped_mm>, scaled_grouped_mm_cost},
    {"aten::_scaled_grouped_mm_v2(Tensor self, Tensor mat2, Tensor[] scale_a, int[] recipe_a, "
     "int[] swizzle_a, Tensor[] scale_b, int[] recipe_b, int[] swizzle_b, Tensor? offs=None, "
     "Tensor? bias=None, ScalarType? out_dtype=None, int[] contraction_dim=[], bool "
     "use_fast_accum=False) -> Tensor",
     boxed<&scaled_grouped_mm_v2>, scaled_grouped_mm_cost},
};

}  // namespace

const RuleFamily kMatmulRules("matmul", kMatmulTable, OpClass::matmul, kNothingSpecial);

}  // namespace nnprof

// matmul, linear and bilinear: what PyTorch makes of mm, mv, bmm and addmm, with the copies that it
// makes on the way.
#include <ATen/ExpandUtils.h>

#include <algorithm>

#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using c10::DimVector;
using c10::IntArrayRef;

void check_dtypes(const at::Tensor& a, const at::Tensor& b) {
  TORCH_CHECK(a.scalar_type() == b.scalar_type(),
              "mat1 and mat2 must have the same dtype, but got ", a.scalar_type(), " and ",
              b.scalar_type());
}

IntArrayRef batch_sizes(const at::Tensor& tensor) {
  return tensor.sizes().slice(0, static_cast<size_t>(std::max<int64_t>(tensor.dim() - 2, 0)));
}

// However PyTorch folds the operands, the output is contiguous.
at::Tensor matmul(const at::Tensor& self, const at::Tensor& other) {
  TORCH_CHECK(self.dim() != 0 && other.dim() != 0,
              "both arguments to matmul need to be at least 1D, but they are ", self.dim(),
              "D and ", other.dim(), "D");
  const int64_t depth = other.size(other.dim() == 1 ? 0 : -2);
  TORCH_CHECK(self.size(-1) == depth, "mat1 and mat2 shapes cannot be multiplied (", self.sizes(),
              " and ", other.sizes(), ")");
  check_dtypes(self, other);
  DimVector sizes;
  if (self.dim() > 2 && other.dim() > 2) {
    sizes = at::infer_size_dimvector(batch_sizes(self), batch_sizes(other));
  } else {
    const IntArrayRef batches = batch_sizes(self.dim() > 2 ? self : other);
    sizes.append(batches.begin(), batches.end());
  }
  if (self.dim() > 1) sizes.push_back(self.size(-2));
  if (other.dim() > 1) sizes.push_back(other.size(-1));
  return empty_like_dtype(sizes, self);
}

// Is the bias added within addmm? Otherwise its sum is a pass of its own over the output.
bool fuses_bias(int64_t input_dim, bool input_contiguous, IntArrayRef bias) {
  if (input_dim == 2) return true;
  if (!input_contiguous) return false;
  return bias.size() == 1 ||
         std::count_if(bias.begin(), bias.end(), [](int64_t n) { return n != 1; }) == 1;
}

void check_bias(const at::Tensor& bias, const at::Tensor& input, const at::Tensor& weight,
                IntArrayRef outputs) {
  if (!fuses_bias(input.dim(), input.is_contiguous(), bias.sizes())) {
    TORCH_CHECK(at::is_expandable_to(bias.sizes(), outputs), "output with shape ", outputs,
                " doesn't match the broadcast shape of a bias of ", bias.sizes());
    return;
  }
  TORCH_CHECK(weight.dim() == 2, "mat2 must be a matrix, got ", weight.dim(), "-D tensor");
  check_dtypes(bias, weight);
  const DimVector rows = {c10::multiply_integers(outputs.slice(0, outputs.size() - 1)),
                          outputs.back()};
  TORCH_CHECK(at::is_expandable_to(bias.sizes(), rows), "linear(): a bias of size ", bias.sizes(),
              " does not fit an output of size ", outputs);
}

at::Tensor linear(const at::Tensor& input, const at::Tensor& weight,
                  const std::optional<at::Tensor>& bias) {
  TORCH_CHECK(input.dim() != 0 && weight.dim() != 0,
              "both arguments to linear need to be at least 1D, but they are ", input.dim(),
              "D and ", weight.dim(), "D");
  TORCH_CHECK(weight.dim() <= 2, "t() expects a tensor with <= 2 dimensions, but self is ",
              weight.dim(), "D");
  const int64_t depth = weight.size(-1);
  TORCH_CHECK(input.size(-1) == depth, "mat1 and mat2 shapes cannot be multiplied (input ",
              input.sizes(), " and weight ", weight.sizes(), ")");
  check_dtypes(input, weight);
  DimVector sizes(input.sizes().begin(), input.sizes().end() - 1);
  if (weight.dim() == 2) sizes.push_back(weight.size(0));
  if (bias && bias->defined()) check_bias(*bias, input, weight, sizes);
  return empty_like_dtype(sizes, input);
}

void check_bilinear(const at::Tensor& input1, const at::Tensor& input2, const at::Tensor& weight) {
  TORCH_CHECK(input1.dim() == input2.dim(), "bilinear(): input dimensions do not match: got ",
              input1.dim(), " and ", input2.dim());
  for (int64_t d = 0; d + 1 < input1.dim(); ++d) {
    TORCH_CHECK(input1.size(d) == input2.size(d),
                "bilinear(): input batch dimensions do not match at dim ", d, ": got ",
                input1.size(d), " and ", input2.size(d));
  }
  TORCH_CHECK(weight.dim() == 3, "bilinear(): expected a weight of 3 dimensions, got ",
              weight.dim());
  TORCH_CHECK(input1.size(-1) == weight.size(1),
              "bilinear(): input1 size does not match weight size: got ", input1.size(-1),
              " but expected ", weight.size(1));
  TORCH_CHECK(input2.size(-1) == weight.size(2),
              "bilinear(): input2 size does not match weight size: got ", input2.size(-1),
              " but expected ", weight.size(2));
}

at::Tensor bilinear(const at::Tensor& input1, const at::Tensor& input2, const at::Tensor& weight,
                    const std::optional<at::Tensor>& bias) {
  check_bilinear(input1, input2, weight);
  check_dtypes(input1, input2);
  check_dtypes(input1, weight);
  if (bias && bias->defined()) {
    check_dtypes(input1, *bias);
    TORCH_CHECK(bias->dim() == 1 && bias->size(0) == weight.size(0),
                "bilinear(): bias size does not match weight size: got ", bias->sizes(),
                " but expected ", weight.size(0));
  }
  DimVector sizes(input1.sizes().begin(), input1.sizes().end() - 1);
  sizes.push_back(weight.size(0));
  return empty_like_dtype(sizes, input1);
}

// `sizes` with dimensions of one element inserted, so that each comes to stand at its `expand`.
DimVector expanded(IntArrayRef sizes, IntArrayRef expand, size_t dims) {
  DimVector all;
  size_t next = 0;
  for (size_t d = 0; d < dims; ++d) {
    const bool inserted =
        std::find(expand.begin(), expand.end(), static_cast<int64_t>(d)) != expand.end();
    TORCH_CHECK(inserted || next < sizes.size(), "_trilinear: number of dimensions must match");
    all.push_back(inserted ? 1 : sizes[next++]);
  }
  TORCH_CHECK(next == sizes.size(), "_trilinear: number of dimensions must match");
  return all;
}

// Three factors, broadcast, multiplied and summed over `sumdim`.
at::Tensor trilinear(const at::Tensor& i1, const at::Tensor& i2, const at::Tensor& i3,
                     IntArrayRef expand1, IntArrayRef expand2, IntArrayRef expand3,
                     IntArrayRef sumdim, int64_t unroll_dim) {
  const size_t dims = i1.sizes().size() + expand1.size();
  TORCH_CHECK(unroll_dim >= 0 && unroll_dim < static_cast<int64_t>(dims),
              "unroll_dim must be in [0,", dims - 1, "]");
  const DimVector all =
      at::infer_size_dimvector(at::infer_size_dimvector(expanded(i1.sizes(), expand1, dims),
                                                        expanded(i2.sizes(), expand2, dims)),
                               expanded(i3.sizes(), expand3, dims));
  DimVector kept;
  for (size_t d = 0; d < dims; ++d) {
    const bool summed =
        std::find(sumdim.begin(), sumdim.end(), static_cast<int64_t>(d)) != sumdim.end();
    if (!summed) kept.push_back(all[d]);
  }
  return empty_like_dtype(kept, i1);
}

// Costs: the multiply-accumulates, and the copies that folding the operands into matrices makes.
// What follows mirrors PyTorch's own decisions.

// A matrix or a stack of them, as an operand of bmm or mm.
struct Operand {
  DimVector sizes;
  DimVector strides;
  Count element_size = 0;
  bool is_parameter = false;

  explicit Operand(const TensorSpec& tensor)
      : sizes(tensor.sizes),
        strides(tensor.strides),
        element_size(tensor.element_size()),
        is_parameter(tensor.role == Role::parameter) {}

  size_t dim() const { return sizes.size(); }
  Count numel() const { return c10::multiply_integers(sizes); }
  Count bytes() const { return numel() * element_size; }
  Operand transposed() const {
    Operand other = *this;
    std::swap(other.sizes.end()[-1], other.sizes.end()[-2]);
    std::swap(other.strides.end()[-1], other.strides.end()[-2]);
    return other;
  }
  Operand without_batch() const {
    Operand other = *this;
    other.sizes.erase(other.sizes.begin());
    other.strides.erase(other.strides.begin());
    return other;
  }
};

// Are the first `count` dimensions one, as memory goes? Then reshaping them into one makes no copy.
bool collapses(const Operand& tensor, size_t count) {
  if (tensor.numel() == 0) return true;
  int64_t inner_stride = -1, inner_size = 1;
  for (size_t i = count; i-- > 0;) {
    if (tensor.sizes[i] == 1) continue;
    if (inner_stride >= 0 && tensor.strides[i] != inner_stride * inner_size) return false;
    inner_stride = tensor.strides[i];
    inner_size = tensor.sizes[i];
  }
  return true;
}

// Is the larger operand folded into a matrix, for mm, or the smaller one expanded, for bmm? For a
// parameter (anything that requires a gradient, but parameters are what there is) always the
// former, for the sake of its gradient.
bool folds(const Operand& a, const Operand& b) {
  const bool a_is_larger = a.dim() >= b.dim();
  const Operand larger = a_is_larger ? a : b.transposed();
  const Operand& smaller = a_is_larger ? b : a;
  if (larger.dim() < 3 || smaller.dim() > 2) return false;
  if (smaller.is_parameter) return true;
  if (a.dim() == 2) return false;
  if (larger.numel() == 0) return true;
  for (size_t i = 0; i + 2 < larger.dim(); ++i) {
    if (larger.strides[i] != larger.strides[i + 1] * larger.sizes[i + 1]) return false;
  }
  return true;
}

void add_folding_copies(const Operand& a, const Operand& b, Count output_bytes, Cost& cost) {
  const bool a_is_larger = a.dim() >= b.dim();
  const Operand larger = a_is_larger ? a : b.transposed();
  if (!collapses(larger, larger.dim() - 1)) add_copy(cost, larger.bytes());
  const bool turns_output = !a_is_larger && a.dim() == 2;
  if (turns_output) add_copy(cost, output_bytes);
}

void add_expanding_copy(Operand operand, IntArrayRef batches, Cost& cost) {
  while (operand.dim() < batches.size() + 2) {
    operand.sizes.insert(operand.sizes.begin(), 1);
    operand.strides.insert(operand.strides.begin(), 0);
  }
  for (size_t i = 0; i < batches.size(); ++i) {
    if (operand.sizes[i] != batches[i]) operand.strides[i] = 0;
    operand.sizes[i] = batches[i];
  }
  if (!collapses(operand, batches.size())) add_copy(cost, operand.bytes());
}

void add_matmul_copies(const Operand& a, const Operand& b, Count output_bytes, Cost& cost) {
  if (std::max(a.dim(), b.dim()) < 3) return;
  if (folds(a, b)) return add_folding_copies(a, b, output_bytes, cost);
  if (a.dim() == 3 && b.dim() == 3 && a.sizes[0] != b.sizes[0]) {
    if (a.sizes[0] == 1 && a.is_parameter) {
      return add_matmul_copies(a.without_batch(), b, output_bytes, cost);
    }
    if (b.sizes[0] == 1 && b.is_parameter) {
      return add_matmul_copies(a, b.without_batch(), output_bytes, cost);
    }
  }
  const auto batches = [](const Operand& t) {
    return IntArrayRef(t.sizes).slice(0, t.dim() < 2 ? 0 : t.dim() - 2);
  };
  const DimVector shared = at::infer_size_dimvector(batches(a), batches(b));
  // A vector is expanded with strides of 0 before it is a row or column: that collapses.
  if (a.dim() > 1) add_expanding_copy(a, shared, cost);
  if (b.dim() > 1) add_expanding_copy(b, shared, cost);
}

void matmul_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& output = op.output();
  cost.add_macs(output.numel() * op.tensor(0).size(-1), output.is_complex());
  add_matmul_copies(Operand(op.tensor(0)), Operand(op.tensor(1)), output.distinct_bytes(), cost);
}

void linear_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& input = op.tensor(0);
  const TensorSpec& output = op.output();
  cost.add_macs(output.numel() * input.size(-1), output.is_complex());
  const bool biased = op.has_tensor(2);
  if (biased) add_elementwise(op, cost, {.add = 1}, output.numel());
  if (input.numel() == 0) return;
  const bool contiguous = input.is_contiguous();
  if (biased && fuses_bias(input.dim(), contiguous, op.tensor(2).sizes)) return;
  if (biased) {  // output += bias
    cost.bytes_read += output.distinct_bytes();
    cost.bytes_written += output.distinct_bytes();
  }
  if (contiguous) return;
  Operand weight(op.tensor(1));
  if (weight.dim() == 2) weight = weight.transposed();
  add_matmul_copies(Operand(input), weight, output.distinct_bytes(), cost);
}

// Each row meets each element of weight (outputs, inputs 1, inputs 2) once.
void bilinear_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& weight = op.tensor(2);
  const TensorSpec& output = op.output();
  cost.add_macs(output.numel() * weight.size(1) * weight.size(2), output.is_complex());
  if (op.has_tensor(3)) add_elementwise(op, cost, {.add = 1}, output.numel());
}

// One a position of the broadcast sizes.
void trilinear_cost(const OpSignature& op, Cost& cost) {
  const size_t dims = op.tensor(0).sizes.size() + op.integers(3).size();
  DimVector all(dims, 1);
  for (size_t i = 0; i < 3; ++i) {
    all = at::infer_size_dimvector(all, expanded(op.tensor(i).sizes, op.integers(3 + i), dims));
  }
  cost.add_macs(c10::multiply_integers(all), op.output().is_complex());
}

const Rule kLinearTable[] = {
    {"aten::_trilinear(Tensor i1, Tensor i2, Tensor i3, int[] expand1, int[] expand2, int[] "
     "expand3, int[] sumdim, int unroll_dim=1) -> Tensor",
     boxed<&trilinear>, trilinear_cost},
    {"aten::bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None) -> Tensor",
     boxed<&bilinear>, bilinear_cost},
    {"aten::linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor", boxed<&linear>,
     linear_cost},
    {"aten::matmul(Tensor self, Tensor other) -> Tensor", boxed<&matmul>, matmul_cost},
};

}  // namespace

const RuleFamily kLinearRules("linear", kLinearTable, OpClass::matmul, kNothingSpecial);

}  // namespace nnprof

// The gradients of poolings: each output's goes to what its window held, or to its largest.
#include <ATen/ops/adaptive_max_pool2d_backward_meta_dispatch.h>
#include <ATen/ops/adaptive_max_pool3d_backward_meta_dispatch.h>
#include <ATen/ops/avg_pool2d_backward_meta_dispatch.h>
#include <ATen/ops/avg_pool3d_backward_meta_dispatch.h>
#include <ATen/ops/fractional_max_pool2d_backward_meta_dispatch.h>
#include <ATen/ops/max_pool2d_with_indices_backward_meta_dispatch.h>

#include "rules/dtype_checks.h"
#include "rules/families.h"
#include "rules/gradients.h"
#include "rules/outputs.h"
#include "rules/pooling_windows.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using at::IntArrayRef;

void check_volumes(const char* function, const at::Tensor& grad_output, const at::Tensor& self,
                   const at::Tensor& indices) {
  TORCH_CHECK(self.dim() == 4 || self.dim() == 5, function,
              ": Expected 4D or 5D input tensor, but got ", self.sizes());
  TORCH_CHECK(grad_output.dim() == self.dim() && grad_output.size(-4) == self.size(-4), function,
              ": grad_output of ", grad_output.sizes(), " does not fit an input of ", self.sizes());
  TORCH_CHECK(indices.sizes() == grad_output.sizes(), function, ": indices of ", indices.sizes(),
              " and grad_output of ", grad_output.sizes(), " differ");
  TORCH_CHECK(grad_output.scalar_type() == self.scalar_type(), "expected scalar type ",
              self.scalar_type(), " but found ", grad_output.scalar_type());
}

at::Tensor max_pool3d_backward(const at::Tensor& grad_output, const at::Tensor& self,
                               IntArrayRef /*kernel_size*/, IntArrayRef /*stride*/,
                               IntArrayRef /*padding*/, IntArrayRef /*dilation*/,
                               bool /*ceil_mode*/, const at::Tensor& indices) {
  check_volumes("max_pool3d_with_indices_backward", grad_output, self, indices);
  check_kernel(is_float(self.scalar_type()), self);
  // Without a batch the CPU's kernel has it as grad_output is laid out.
  const at::MemoryFormat format = volume_format(self.dim() == 5 ? self : grad_output);
  return empty_volumes(self.sizes(), self.scalar_type(), format);
}

at::Tensor fractional_max_pool3d_backward(const at::Tensor& grad_output, const at::Tensor& self,
                                          IntArrayRef /*kernel_size*/, IntArrayRef output_size,
                                          const at::Tensor& indices) {
  check_volumes("fractional_max_pool3d_backward", grad_output, self, indices);
  TORCH_CHECK(output_size.size() == 3 &&
                  grad_output.sizes().slice(grad_output.sizes().size() - 3) == output_size,
              "fractional_max_pool3d_backward: grad_output of ", grad_output.sizes(),
              " does not end with ", output_size);
  check_kernel(is_float(self.scalar_type()), self);
  return empty_like_dtype(self.sizes(), self);
}

void check_adaptive(const char* function, const at::Tensor& grad_output, const at::Tensor& self,
                    int64_t dims) {
  TORCH_CHECK(self.dim() == dims + 1 || self.dim() == dims + 2, function, "(): Expected ", dims + 1,
              "D or ", dims + 2, "D tensor, but got ", self.sizes());
  TORCH_CHECK(grad_output.dim() == self.dim(), function, "(): Expected grad_output of ", self.dim(),
              " dimensions, but got ", grad_output.sizes());
  for (int64_t d = 1; d < grad_output.dim(); ++d) {
    TORCH_CHECK(grad_output.size(d) > 0, function,
                "(): Expected grad_output to have non-zero size for non-batch dimensions, but got ",
                grad_output.sizes());
  }
  TORCH_CHECK(self.scalar_type() == grad_output.scalar_type(), function, ": Expected dtype ",
              self.scalar_type(), " for `grad_output` but got dtype ", grad_output.scalar_type());
  check_kernel(is_float(self.scalar_type()), self);
}

at::Tensor adaptive_avg_pool2d_backward(const at::Tensor& grad_output, const at::Tensor& self) {
  check_adaptive("adaptive_avg_pool2d_backward", grad_output, self, 2);
  return empty_of(self.sizes(), self.scalar_type(), self.suggest_memory_format());
}

at::Tensor adaptive_avg_pool3d_backward(const at::Tensor& grad_output, const at::Tensor& self) {
  check_adaptive("adaptive_avg_pool3d_backward", grad_output, self, 3);
  return empty_like_dtype(self.sizes(), self);
}

// Cost: of the input only the sizes matter --------------------------------------------------------

// An output's share is added to each element of its window.
void add_shares(const OpSignature& op, Cost& cost, const Reads& reads) {
  add_elementwise(op, cost, {.division = 1}, op.tensor(0).numel());
  add_elementwise(op, cost, {.add = 1}, reads.taken);
  not_read(op, cost, 1);
}

template <size_t dims>
void avg_pool_cost(const OpSignature& op, Cost& cost) {
  add_shares(op, cost, fixed_reads(op, op.tensor(1), op.tensor(0), 2, dims, /*dilated=*/false));
}

template <size_t dims>
void adaptive_avg_pool_cost(const OpSignature& op, Cost& cost) {
  add_shares(op, cost, adaptive_reads(op.tensor(1), op.tensor(0), dims));
}

// One window's largest may be another's, too.
void max_pool_cost(const OpSignature& op, Cost& cost) {
  add_elementwise(op, cost, {.add = 1}, op.tensor(0).numel());
  not_read(op, cost, 1);
}

const Rule kPoolingBackwardTable[] = {
    {"aten::_adaptive_avg_pool2d_backward(Tensor grad_output, Tensor self) -> Tensor",
     boxed<&adaptive_avg_pool2d_backward>, adaptive_avg_pool_cost<2>},
    {"aten::_adaptive_avg_pool3d_backward(Tensor grad_output, Tensor self) -> Tensor",
     boxed<&adaptive_avg_pool3d_backward>, adaptive_avg_pool_cost<3>},
    {"aten::adaptive_max_pool2d_backward(Tensor grad_output, Tensor self, Tensor indices) -> "
     "Tensor",
     boxed<for_floats<&at::meta::adaptive_max_pool2d_backward>>, max_pool_cost},
    {"aten::adaptive_max_pool3d_backward(Tensor grad_output, Tensor self, Tensor indices) -> "
     "Tensor",
     boxed<for_floats<&at::meta::adaptive_max_pool3d_backward>>, max_pool_cost},
    {"aten::avg_pool2d_backward(Tensor grad_output, Tensor self, int[2] kernel_size, int[2] "
     "stride, int[2] padding, bool ceil_mode, bool count_include_pad, int? divisor_override) -> "
     "Tensor",
     boxed<&at::meta::avg_pool2d_backward>, avg_pool_cost<2>},
    {"aten::avg_pool3d_backward(Tensor grad_output, Tensor self, int[3] kernel_size, int[3] "
     "stride, int[3] padding, bool ceil_mode, bool count_include_pad, int? divisor_override) -> "
     "Tensor",
     boxed<&at::meta::avg_pool3d_backward>, avg_pool_cost<3>},
    {"aten::fractional_max_pool2d_backward(Tensor grad_output, Tensor self, int[2] kernel_size, "
     "int[2] output_size, Tensor indices) -> Tensor",
     boxed<for_floats<&at::meta::fractional_max_pool2d_backward>>, max_pool_cost},
    {"aten::fractional_max_pool3d_backward(Tensor grad_output, Tensor self, int[3] kernel_size, "
     "int[3] output_size, Tensor indices) -> Tensor",
     boxed<&fractional_max_pool3d_backward>, max_pool_cost},
    {"aten::max_pool2d_with_indices_backward(Tensor grad_output, Tensor self, int[2] kernel_size, "
     "int[2] stride, int[2] padding, int[2] dilation, bool ceil_mode, Tensor indices) -> Tensor",
     boxed<for_floats<&at::meta::max_pool2d_with_indices_backward>>, max_pool_cost},
    {"aten::max_pool3d_with_indices_backward(Tensor grad_output, Tensor self, int[3] kernel_size, "
     "int[3] stride, int[3] padding, int[3] dilation, bool ceil_mode, Tensor indices) -> Tensor",
     boxed<&max_pool3d_backward>, max_pool_cost},
};

}  // namespace

const RuleFamily kPoolingBackwardRules("pooling", kPoolingBackwardTable, OpClass::pooling,
                                       kNothingSpecial);

}  // namespace nnprof

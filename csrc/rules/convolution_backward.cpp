// The gradients of convolutions: two more convolutions, and a sum for the bias.
#include <array>
#include <tuple>

#include "rules/convolution_sizes.h"
#include "rules/families.h"
#include "rules/gradients.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using c10::DimVector;
using c10::IntArrayRef;

void check_gradient(const at::Tensor& grad_output, const at::Tensor& input,
                    const at::Tensor& weight, const Window& window) {
  check_types(input, weight, grad_output);
  check_window(window);
  check_shapes(as_is(input), weight.sizes(), {}, window);
  TORCH_CHECK(input.dim() == grad_output.dim(),
              "Expected input and grad_output to have the same number of dimensions, but got: ",
              input.dim(), " and ", grad_output.dim());
  if (!window.transposed) {
    for (int64_t p : window.output_padding) {
      TORCH_CHECK(p == 0,
                  "output_padding is not supported for non-transposed convolutions; got: "
                  "output_padding = ",
                  IntArrayRef(window.output_padding));
    }
  }
  const DimVector expected = convolved_sizes(as_is(input), weight.sizes(), window);
  TORCH_CHECK(grad_output.sizes() == IntArrayRef(expected), "Expected grad_output of size ",
              IntArrayRef(expected), ", but got one of size ", grad_output.sizes());
  // Complex convolutions reach PyTorch's kernels as real ones; in a trace they are not split up.
  TORCH_CHECK_NOT_IMPLEMENTED(input.is_floating_point() || input.is_complex(),
                              "\"convolution_backward\" not implemented for '", input.scalar_type(),
                              "'");
}

// Laid out as the kernels work, whatever the layout of grad_output.
at::Tensor gradient_of(const at::Tensor& tensor, bool channels_last) {
  if (!channels_last) return empty_like_dtype(tensor.sizes(), tensor);
  return empty_strided_of(tensor.sizes(), channels_last_strides(tensor.sizes()),
                          tensor.scalar_type());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight,
    at::OptionalIntArrayRef /*bias_sizes*/, IntArrayRef stride, IntArrayRef padding,
    IntArrayRef dilation, bool transposed, IntArrayRef output_padding, int64_t groups,
    std::array<bool, 3> asked_for) {
  Window window = window_of(weight, stride, padding, dilation, groups);
  window.output_padding = each_dimension(output_padding, "output_padding", window.stride.size());
  window.transposed = transposed;
  check_gradient(grad_output, input, weight, window);
  const bool channels_last = runs_channels_last(as_is(input), weight);
  return {asked_for[0] ? gradient_of(input, channels_last) : at::Tensor(),
          asked_for[1] ? gradient_of(weight, channels_last) : at::Tensor(),
          asked_for[2] ? empty_like_dtype({grad_output.size(1)}, grad_output) : at::Tensor()};
}

// Costs -------------------------------------------------------------------------------------------

// Each product of an output with a place of the window comes back once in either gradient; what
// lies in the padding counts, as it does forwards.
Count forward_macs(const OpSignature& op, bool transposed) {
  const TensorSpec& weight = op.tensor(2);
  const Count per_position = weight.numel() / std::max<Count>(weight.size(0), 1);
  return op.tensor(transposed ? 1 : 0).numel() * per_position;
}

void convolution_backward_cost(const OpSignature& op, Cost& cost) {
  constexpr size_t kTransposed = 7, kMask = 10;
  const bool of_input = asked(op, kMask, 0), of_weight = asked(op, kMask, 1);
  const Count macs = forward_macs(op, op.boolean(kTransposed));
  cost.add_macs(macs * (static_cast<int64_t>(of_input) + static_cast<int64_t>(of_weight)),
                op.tensor(0).is_complex());
  const bool of_bias = asked(op, kMask, 2);
  if (of_bias) add_elementwise(op, cost, {.add = 1}, op.tensor(0).numel());
  if (!of_input && !of_weight && !of_bias) not_read(op, cost, 0);
  if (!of_weight) not_read(op, cost, 1);
  if (!of_input) not_read(op, cost, 2);
}

const Rule kConvolutionBackwardTable[] = {
    {"aten::convolution_backward(Tensor grad_output, Tensor input, Tensor weight, SymInt[]? "
     "bias_sizes, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] "
     "output_padding, SymInt groups, bool[3] output_mask) -> (Tensor, Tensor, Tensor)",
     boxed<&convolution_backward>, convolution_backward_cost},
};

}  // namespace

const RuleFamily kConvolutionBackwardRules("convolution", kConvolutionBackwardTable,
                                           OpClass::convolution, kNothingSpecial);

}  // namespace nnprof

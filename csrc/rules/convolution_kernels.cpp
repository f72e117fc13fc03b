// The kernels of convolutions that are called by themselves: cuDNN's, MIOpen's, oneDNN's, and
// PyTorch's own. They do what the operators in convolution.cpp do, with arguments in other places.
#include "rules/convolution_sizes.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using OptionalTensor = std::optional<at::Tensor>;

// Argument numbers; 0 for what a kernel has not.
struct ConvolutionPlaces {
  size_t arguments;
  size_t bias = 0, stride = 0, padding = 0, dilation = 0, groups = 0;
  size_t output_padding = 0;
  size_t added = 0;  // to the output, before what is negative becomes 0
  bool relu = false, transposed = false, depthwise = false;
};

constexpr ConvolutionPlaces kCudnnPlain = {
    .arguments = 9, .stride = 3, .padding = 2, .dilation = 4, .groups = 5};
constexpr ConvolutionPlaces kCudnnTransposed = {.arguments = 10,
                                                .stride = 4,
                                                .padding = 2,
                                                .dilation = 5,
                                                .groups = 6,
                                                .output_padding = 3,
                                                .transposed = true};
constexpr ConvolutionPlaces kRelu = {
    .arguments = 7, .bias = 2, .stride = 3, .padding = 4, .dilation = 5, .groups = 6, .relu = true};
constexpr ConvolutionPlaces kAddRelu = {.arguments = 9,
                                        .bias = 4,
                                        .stride = 5,
                                        .padding = 6,
                                        .dilation = 7,
                                        .groups = 8,
                                        .added = 2,
                                        .relu = true};
constexpr ConvolutionPlaces kMkldnn = {
    .arguments = 7, .bias = 2, .stride = 4, .padding = 3, .dilation = 5, .groups = 6};
constexpr ConvolutionPlaces kMiopen = {
    .arguments = 9, .bias = 2, .stride = 4, .padding = 3, .dilation = 5, .groups = 6};
constexpr ConvolutionPlaces kMiopenTransposed = {.arguments = 10,
                                                 .bias = 2,
                                                 .stride = 5,
                                                 .padding = 3,
                                                 .dilation = 6,
                                                 .groups = 7,
                                                 .output_padding = 4,
                                                 .transposed = true};
constexpr ConvolutionPlaces kSlow = {.arguments = 6, .bias = 3, .stride = 4, .padding = 5};
constexpr ConvolutionPlaces kDilated = {
    .arguments = 7, .bias = 3, .stride = 4, .padding = 5, .dilation = 6};
constexpr ConvolutionPlaces kDepthwise = {
    .arguments = 7, .bias = 3, .stride = 4, .padding = 5, .dilation = 6, .depthwise = true};
constexpr ConvolutionPlaces kSlowTransposed = {.arguments = 8,
                                               .bias = 3,
                                               .stride = 4,
                                               .padding = 5,
                                               .dilation = 7,
                                               .output_padding = 6,
                                               .transposed = true};

at::Tensor output_of(const c10::IValue* arguments, const ConvolutionPlaces& places) {
  const at::Tensor input = arguments[0].toTensor(), weight = arguments[1].toTensor();
  const OptionalTensor bias =
      places.bias == 0 ? std::nullopt : arguments[places.bias].toOptional<at::Tensor>();
  const auto sizes = [&](size_t place, int64_t if_none) {
    return place == 0 ? std::vector<int64_t>{if_none} : arguments[place].toIntVector();
  };
  const int64_t groups = places.depthwise     ? input.size(1)
                         : places.groups == 0 ? 1
                                              : arguments[places.groups].toInt();
  Window window = window_of(weight, sizes(places.stride, 1), sizes(places.padding, 0),
                            sizes(places.dilation, 1), groups);
  window.output_padding =
      each_dimension(sizes(places.output_padding, 0), "output_padding", window.stride.size());
  window.transposed = places.transposed;
  check_types(input, weight, bias);
  return convolve(as_is(input), weight, bias, window);
}

template <ConvolutionPlaces places>
void kernel(Stack& stack) {
  at::Tensor output = output_of(stack.data() + (stack.size() - places.arguments), places);
  torch::jit::drop(stack, places.arguments);
  stack.emplace_back(std::move(output));
}

template <ConvolutionPlaces places>
void kernel_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& weight = op.tensor(1);
  const Count outputs = op.output().numel();
  const Count positions = places.transposed ? op.tensor(0).numel() : outputs;
  cost.add_macs(positions * weight.numel() / std::max<Count>(weight.size(0), 1));
  if (places.bias != 0 && op.has_tensor(places.bias)) {
    add_elementwise(op, cost, {.add = 1}, outputs);
  }
  if (places.added != 0) add_elementwise(op, cost, {.add = 1, .multiply = 1}, outputs);
  if (places.relu) add_elementwise(op, cost, {.compare = 1}, outputs);
}

const Rule kConvolutionKernelTable[] = {
    {"aten::cudnn_convolution(Tensor self, Tensor weight, SymInt[] padding, SymInt[] stride, "
     "SymInt[] dilation, SymInt groups, bool benchmark, bool deterministic, bool allow_tf32) -> "
     "Tensor",
     kernel<kCudnnPlain>, kernel_cost<kCudnnPlain>},
    {"aten::cudnn_convolution_transpose(Tensor self, Tensor weight, SymInt[] padding, SymInt[] "
     "output_padding, SymInt[] stride, SymInt[] dilation, SymInt groups, bool benchmark, bool "
     "deterministic, bool allow_tf32) -> Tensor",
     kernel<kCudnnTransposed>, kernel_cost<kCudnnTransposed>},
    {"aten::cudnn_convolution_relu(Tensor self, Tensor weight, Tensor? bias, SymInt[] stride, "
     "SymInt[] padding, SymInt[] dilation, SymInt groups) -> Tensor",
     kernel<kRelu>, kernel_cost<kRelu>},
    {"aten::cudnn_convolution_add_relu(Tensor self, Tensor weight, Tensor z, Scalar? alpha, "
     "Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups) -> Tensor",
     kernel<kAddRelu>, kernel_cost<kAddRelu>},
    {"aten::miopen_convolution(Tensor self, Tensor weight, Tensor? bias, SymInt[] padding, "
     "SymInt[] stride, SymInt[] dilation, SymInt groups, bool benchmark, bool deterministic) -> "
     "Tensor",
     kernel<kMiopen>, kernel_cost<kMiopen>},
    {"aten::miopen_convolution_transpose(Tensor self, Tensor weight, Tensor? bias, SymInt[] "
     "padding, SymInt[] output_padding, SymInt[] stride, SymInt[] dilation, SymInt groups, bool "
     "benchmark, bool deterministic) -> Tensor",
     kernel<kMiopenTransposed>, kernel_cost<kMiopenTransposed>},
    {"aten::miopen_depthwise_convolution(Tensor self, Tensor weight, Tensor? bias, SymInt[] "
     "padding, SymInt[] stride, SymInt[] dilation, SymInt groups, bool benchmark, bool "
     "deterministic) -> Tensor",
     kernel<kMiopen>, kernel_cost<kMiopen>},
    {"aten::miopen_convolution_relu(Tensor self, Tensor weight, Tensor? bias, SymInt[] stride, "
     "SymInt[] padding, SymInt[] dilation, SymInt groups) -> Tensor",
     kernel<kRelu>, kernel_cost<kRelu>},
    {"aten::miopen_convolution_add_relu(Tensor self, Tensor weight, Tensor z, Scalar? alpha, "
     "Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups) -> Tensor",
     kernel<kAddRelu>, kernel_cost<kAddRelu>},
    {"aten::mkldnn_convolution(Tensor self, Tensor weight, Tensor? bias, SymInt[] padding, "
     "SymInt[] stride, SymInt[] dilation, SymInt groups) -> Tensor",
     kernel<kMkldnn>, kernel_cost<kMkldnn>},
    {"aten::_slow_conv2d_forward(Tensor self, Tensor weight, SymInt[2] kernel_size, Tensor? bias, "
     "SymInt[2] stride, SymInt[2] padding) -> Tensor",
     kernel<kSlow>, kernel_cost<kSlow>},
    {"aten::slow_conv3d_forward(Tensor self, Tensor weight, SymInt[3] kernel_size, Tensor? bias, "
     "SymInt[3] stride, SymInt[3] padding) -> Tensor",
     kernel<kSlow>, kernel_cost<kSlow>},
    {"aten::slow_conv_dilated2d(Tensor self, Tensor weight, SymInt[2] kernel_size, Tensor? "
     "bias=None, SymInt[2] stride=[1, 1], SymInt[2] padding=[0, 0], SymInt[2] dilation=[1, 1]) -> "
     "Tensor",
     kernel<kDilated>, kernel_cost<kDilated>},
    {"aten::slow_conv_dilated3d(Tensor self, Tensor weight, SymInt[3] kernel_size, Tensor? "
     "bias=None, SymInt[3] stride=[1, 1, 1], SymInt[3] padding=[0, 0, 0], SymInt[3] dilation=[1, "
     "1, 1]) -> Tensor",
     kernel<kDilated>, kernel_cost<kDilated>},
    {"aten::_conv_depthwise2d(Tensor self, Tensor weight, SymInt[2] kernel_size, Tensor? bias, "
     "SymInt[2] stride, SymInt[2] padding, SymInt[2] dilation) -> Tensor",
     kernel<kDepthwise>, kernel_cost<kDepthwise>},
    {"aten::conv_depthwise3d(Tensor self, Tensor weight, SymInt[3] kernel_size, Tensor? bias, "
     "SymInt[3] stride, SymInt[3] padding, SymInt[3] dilation) -> Tensor",
     kernel<kDepthwise>, kernel_cost<kDepthwise>},
    {"aten::slow_conv_transpose2d(Tensor self, Tensor weight, SymInt[2] kernel_size, Tensor? "
     "bias=None, SymInt[2] stride=[1, 1], SymInt[2] padding=[0, 0], SymInt[2] output_padding=[0, "
     "0], SymInt[2] dilation=[1, 1]) -> Tensor",
     kernel<kSlowTransposed>, kernel_cost<kSlowTransposed>},
    {"aten::slow_conv_transpose3d(Tensor self, Tensor weight, SymInt[3] kernel_size, Tensor? "
     "bias=None, SymInt[3] stride=[1, 1, 1], SymInt[3] padding=[0, 0, 0], SymInt[3] "
     "output_padding=[0, 0, 0], SymInt[3] dilation=[1, 1, 1]) -> Tensor",
     kernel<kSlowTransposed>, kernel_cost<kSlowTransposed>},
};

}  // namespace

const RuleFamily kConvolutionKernelRules("convolution", kConvolutionKernelTable,
                                         OpClass::convolution, kNothingSpecial);

}  // namespace nnprof

#include "dispatch/linear_node.h"

#include <ATen/EmptyTensor.h>
#include <ATen/SavedTensorHooks.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/strides.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include "dispatch/call.h"
#include "dispatch/node_compat.h"
#include "dispatch/operators.h"
#include "dispatch/trace.h"
#include "rules/views.h"

namespace nnprof {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

// A call of an operator by a gradient function. Where no graph of gradients is wanted it is
// recorded at once, without the way through the dispatcher.
class Caller {
 public:
  Caller(const char* name, const char* overload)
      : op_(operator_of(c10::Dispatcher::singleton().findSchemaOrThrow(name, overload))) {}

  template <class... Arguments>
  at::Tensor operator()(Arguments&&... arguments) const {
    Stack stack;
    (stack.emplace_back(std::forward<Arguments>(arguments)), ...);
    Trace* trace = current_trace();
    if (trace == nullptr || at::GradMode::is_enabled()) {
      op_.handle.callBoxed(stack);
    } else {
      run_call(op_, stack, *trace);
    }
    return std::move(stack.back()).toTensor();
  }

 private:
  const Operator& op_;
};

at::Tensor mm(const at::Tensor& a, const at::Tensor& b) {
  static const Caller call("aten::mm", "");
  return call(a, b);
}

// Views on the way are part of the layer's gradient, as they are of the layer: no calls.
at::Tensor transposed(const at::Tensor& matrix) {
  if (at::GradMode::is_enabled()) return matrix.t();
  return view_of(matrix, {matrix.size(1), matrix.size(0)}, {matrix.stride(1), matrix.stride(0)});
}

at::Tensor reshaped(const at::Tensor& tensor, at::IntArrayRef sizes) {
  static const Caller call("aten::reshape", "");
  if (at::GradMode::is_enabled() || !tensor.is_contiguous()) return call(tensor, sizes);
  return view_of(tensor, sizes, c10::contiguous_strides(sizes));
}

at::Tensor same_view(const at::Tensor& tensor) {
  return view_of(tensor, tensor.sizes(), tensor.strides());
}

// PyTorch has kept this view from the forward: it is no call.
at::Tensor as_rows(const at::Tensor& input) {
  if (at::GradMode::is_enabled()) return input.view({-1, input.size(-1)});
  const int64_t features = input.size(-1);
  return view_of(input, {input.numel() / features, features}, {features, 1});
}

at::Tensor rows_of(const at::Tensor& gradient) {
  const int64_t features = gradient.size(-1);
  return reshaped(gradient, {features == 0 ? 0 : gradient.numel() / features, features});
}

struct LinearBackward final : torch::autograd::Node {
  variable_list apply(variable_list&& gradients) override;
  std::string name() const override { return "LinearBackward0"; }
  void release_variables() override {
    input.reset_data();
    weight.reset_data();
  }

  SavedVariable input, weight;
  c10::DimVector input_sizes;
  bool weight_row_major = true;
  bool has_bias = false;
};

variable_list LinearBackward::apply(variable_list&& gradients) {
  variable_list results(has_bias ? 3 : 2);
  const size_t of_input_at = has_bias ? 1 : 0, of_weight_at = of_input_at + 1;
  at::Tensor gradient = std::move(gradients[0]);
  if (!gradient.defined()) return results;
  gradient = rows_of(gradient);
  if (task_should_compute_output(of_input_at)) {
    results[of_input_at] = reshaped(mm(gradient, weight.unpack()), input_sizes);
  }
  if (task_should_compute_output(of_weight_at)) {
    const at::Tensor rows = as_rows(input.unpack());
    // torch/csrc/autograd/FunctionsManual.cpp, mm_mat2_grad: in the layout of the weight. There it
    // is transposed twice, and so a view.
    results[of_weight_at] = weight_row_major ? same_view(mm(transposed(gradient), rows))
                                             : transposed(mm(transposed(rows), gradient));
  }
  if (has_bias && task_should_compute_output(0)) results[0] = gradient;
  return results;
}

Count bytes_of(const at::Tensor& tensor) { return Count(tensor.numel()) * tensor.element_size(); }

void save(SavedVariable& place, const at::Tensor& tensor, Trace& trace) {
  place = SavedVariable(tensor, /*is_output=*/false);
  if (!place.has_hooks()) trace.silently_saved += bytes_of(tensor);
}

// Of batches of rows: PyTorch's gradient of those is a chain of views around a product. That of a
// matrix is one function already.
bool is_plain(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  return weight.dim() == 2 && input.dim() > 2 && input.size(-1) == weight.size(1) &&
         input.numel() > 0 && input.scalar_type() == weight.scalar_type() &&
         input.is_floating_point() && input.is_contiguous() &&
         (!bias.defined() || (bias.dim() == 1 && bias.size(0) == weight.size(0) &&
                              bias.scalar_type() == weight.scalar_type()));
}

}  // namespace

bool linear_in_graph(Stack& stack, Trace& trace) {
  const c10::IValue* arguments = stack.data() + (stack.size() - 3);
  const at::Tensor input = arguments[0].toTensor(), weight = arguments[1].toTensor();
  const at::Tensor bias = arguments[2].isNone() ? at::Tensor() : arguments[2].toTensor();
  // Hooks on saved tensors see what PyTorch's own functions save.
  if (!is_plain(input, weight, bias) || at::SavedTensorDefaultHooks::get_hooks().has_value()) {
    return false;
  }
  c10::DimVector sizes(input.sizes());
  sizes.back() = weight.size(0);
  at::Tensor output(at::detail::empty_meta(sizes, input.scalar_type()));
  trace.adopt(output, Values::unknown);

  auto node = make_node<LinearBackward>();
  if (bias.defined()) {
    node->set_next_edges(torch::autograd::collect_next_edges(bias, input, weight));
  } else {
    node->set_next_edges(torch::autograd::collect_next_edges(input, weight));
  }
  node->has_bias = bias.defined();
  node->input_sizes = input.sizes();
  node->weight_row_major = weight.stride(1) == 1 && weight.stride(0) == weight.size(1);
  if (weight.requires_grad()) save(node->input, input, trace);
  if (input.requires_grad()) save(node->weight, weight, trace);
  torch::autograd::set_history(output, node);
  torch::jit::drop(stack, 3);
  stack.emplace_back(std::move(output));
  return true;
}

}  // namespace nnprof

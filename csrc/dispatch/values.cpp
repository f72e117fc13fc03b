#include "dispatch/values.h"

#include <ATen/EmptyTensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/remainder.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include "core/errors.h"
#include "dispatch/key.h"
#include "dispatch/stack_walk.h"

namespace nnprof {
namespace {

bool integral(const at::Tensor& tensor) {
  return c10::isIntegralType(tensor.scalar_type(), /*includeBool=*/true);
}

c10::IValue* arguments_of(const Operator& op, Stack& stack) {
  return stack.data() + (stack.size() - op.arguments);
}

void call_on_cpu(const Operator& op, Stack& stack) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  op.handle.callBoxed(stack);
}

// Some kernels exist for floats only (histc on integers): compute in float64 and cast back.
bool retry_in_double(const Operator& op, Stack& stack) {
  bool changed = false;
  c10::ScalarType dtype = at::kLong;
  c10::IValue* arguments = arguments_of(op, stack);
  for (size_t i = 0; i < op.arguments; ++i) {
    map_tensors(arguments[i], [&](const at::Tensor& tensor) {
      if (!integral(tensor) || tensor.scalar_type() == at::kBool) return tensor;
      changed = true;
      dtype = tensor.scalar_type();
      return tensor.to(at::kDouble);
    });
  }
  if (!changed || !op.written.empty()) return false;
  call_on_cpu(op, stack);
  for (size_t i = stack.size() - op.returns; i < stack.size(); ++i) {
    map_tensors(stack[i], [&](const at::Tensor& tensor) {
      return tensor.is_floating_point() ? tensor.to(dtype) : tensor;
    });
  }
  return true;
}

}  // namespace

void compute(const Operator& op, Stack& stack, Trace& trace) {
  c10::IValue* arguments = arguments_of(op, stack);
  for (int device : op.devices) {
    if (!arguments[device].isNone()) arguments[device] = c10::IValue(c10::Device(at::kCPU));
  }
  for (int generator : op.generators) arguments[generator] = c10::IValue(trace.generator());
  const Stack saved(stack.end() - static_cast<std::ptrdiff_t>(op.arguments), stack.end());
  const size_t below = stack.size() - op.arguments;
  try {
    call_on_cpu(op, stack);
  } catch (const c10::Error& error) {
    if (std::string_view(error.what()).find("not implemented for") == std::string_view::npos) throw;
    stack.resize(below);
    stack.insert(stack.end(), saved.begin(), saved.end());
    const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
    if (!retry_in_double(op, stack)) throw;
  }
}

bool worth_computing(const Operator& op, const Stack& stack, const TraceOptions& options) {
  bool worth = true;
  for (size_t i = stack.size() - op.returns; i < stack.size(); ++i) {
    for_each_tensor(stack[i], [&](const at::Tensor& tensor) {
      const int64_t limit = integral(tensor) ? options.integer_limit : options.float_limit;
      if (tensor.numel() > limit) worth = false;
    });
  }
  return worth;
}

at::Tensor balanced_choices(const at::Tensor& indices, int64_t choices) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  const at::Tensor numbers = at::arange(indices.numel(), at::TensorOptions().dtype(at::kLong));
  at::Tensor values = at::empty_strided(indices.sizes(), indices.strides(),
                                        at::TensorOptions().dtype(indices.scalar_type()));
  values.copy_(at::remainder(numbers, std::max<int64_t>(choices, 1)).view(indices.sizes()));
  return values;
}

c10::IValue assumed_scalar(const Operator& op, const at::Tensor& tensor, Trace& trace,
                           const char* question) {
  Session& session = *trace.session();
  const auto& answers = trace.assumed_values;
  const int32_t module = session.scopes()[session.current_scope()].module;
  const std::string path = session.module_path(module);
  auto answer = answers.find(path);
  if (answer == answers.end()) answer = answers.find("");
  if (answer == answers.end()) {
    raise(ErrorKind::data_dependent,
          std::string("the model asks ") + question + " that nothing was computed for (" + op.name +
              " " + session.describe_scope() + "). Pass assume={\"" + path +
              "\": VALUE} to measure() to say what it should read, or assume=VALUE for every such "
              "question.");
  }
  session.assume("a value asked for " + session.describe_scope() + " reads " +
                 std::to_string(answer->second) + ", as the caller said");
  const auto dtype = tensor.scalar_type();
  if (dtype == at::kBool) return c10::IValue(c10::Scalar(answer->second != 0));
  if (integral(tensor)) return c10::IValue(c10::Scalar(static_cast<int64_t>(answer->second)));
  return c10::IValue(c10::Scalar(answer->second));
}

void check_rows(const at::Tensor& table, const at::Tensor& indices) {
  if (indices.scalar_type() != at::kLong || !indices.is_contiguous() || table.dim() == 0) return;
  const int64_t* index = indices.const_data_ptr<int64_t>();
  const int64_t rows = table.size(0);
  for (int64_t i = 0; i < indices.numel(); ++i) {
    TORCH_CHECK_INDEX(index[i] >= 0 && index[i] < rows, "index out of range: row ", index[i],
                      " is asked of a table of ", rows, " rows");
  }
}

void want_rerun(const Operator& op, Trace& trace) {
  trace.session()->rerun_wanted = true;
  raise(ErrorKind::data_dependent, "the value of a large integer tensor is needed (" + op.name +
                                       " " + trace.session()->describe_scope() +
                                       "): trace again with a higher limit on real integers");
}

}  // namespace nnprof

#include "dispatch/call_outputs.h"

#include <ATen/EmptyTensor.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include "dispatch/key.h"
#include "dispatch/values.h"

namespace nnprof {

void CallOutputs::make(Stack& stack) const {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  if (op_.rule == nullptr) return run_meta_kernel(stack);
  const AskedScale scale = asked_scale(stack);
  for (int i : op_.objects) {
    c10::IValue& value = stack[stack.size() - op_.arguments + static_cast<size_t>(i)];
    if (is_packed(value)) value = c10::List<at::Tensor>(packed_tensors(value, trace_));
  }
  if (op_.variant == Variant::functional) {
    run_rule(stack);
  } else {
    run_derived(stack);
  }
  if (may_make_quantized(stack)) give_scales(stack, scale);
}

// On quantized tensors an operator that floats have, too, does what it does to floats: its rule
// sees such, and what it makes of them is quantized. Views go on to the same memory.
void CallOutputs::run_rule(Stack& stack) const {
  const bool as_floats = walk_.quantized().defined() && !op_.has(kView) &&
                         !op_.has(kReturnsInput) && !op_.family->has(kTakesQuantized);
  if (!as_floats) return op_.rule->outputs(stack);
  const c10::ScalarType dtype = walk_.quantized().scalar_type();
  for (size_t i = stack.size() - op_.arguments; i < stack.size(); ++i) {
    map_tensors(stack[i], [](const at::Tensor& t) {
      if (!c10::isQIntType(t.scalar_type())) return t;
      return at::Tensor(at::detail::empty_strided_meta(t.sizes(), t.strides(), at::kFloat));
    });
  }
  op_.rule->outputs(stack);
  for (size_t i = stack.size() - op_.returns; i < stack.size(); ++i) {
    map_tensors(stack[i], [&](const at::Tensor& t) {
      if (t.scalar_type() != at::kFloat) return t;
      return at::Tensor(at::detail::empty_strided_meta(t.sizes(), t.strides(), dtype));
    });
  }
}

AskedScale CallOutputs::asked_scale(const Stack& stack) const {
  AskedScale asked;
  const auto argument = [&](int i) {
    return stack[stack.size() - op_.arguments + static_cast<size_t>(i)];
  };
  if (op_.scale < 0 || op_.zero_point < 0) return asked;
  const c10::IValue scale = argument(op_.scale), zero_point = argument(op_.zero_point);
  if (scale.isDouble() && zero_point.isInt()) {
    asked.one = std::pair(scale.toDouble(), zero_point.toInt());
  } else if (scale.isTensor() && zero_point.isTensor() && op_.axis >= 0) {
    asked.of_channels = std::pair(scale.toTensor(), zero_point.toTensor());
    asked.axis = argument(op_.axis).toInt();
  }
  return asked;
}

// A rule makes plain tensors: those of a quantized dtype get the scale that was asked for, or
// that of the first quantized input.
void CallOutputs::give_scales(Stack& stack, const AskedScale& asked) const {
  for (size_t i = stack.size() - op_.returns; i < stack.size(); ++i) {
    map_tensors(stack[i], [&](const at::Tensor& made) {
      if (!c10::isQIntType(made.scalar_type()) || made.is_quantized()) return made;
      return quantized(made, asked, walk_.quantized());
    });
  }
}

bool CallOutputs::may_make_quantized(const Stack& stack) const {
  return walk_.quantized().defined() || op_.scale >= 0 ||
         std::any_of(stack.end() - static_cast<std::ptrdiff_t>(op_.returns), stack.end(),
                     [](const c10::IValue& value) {
                       return value.isTensor() && c10::isQIntType(value.toTensor().scalar_type());
                     });
}

void CallOutputs::run_meta_kernel(Stack& stack) const {
  c10::IValue* arguments = stack.data() + (stack.size() - op_.arguments);
  for (int device : op_.devices) {
    if (!arguments[device].isNone() || !walk_.has_tensors()) {
      arguments[device] = c10::IValue(c10::Device(at::kMeta));
    }
  }
  op_.handle.callBoxed(stack);
}

// add_ and add.out through the rule of add: the result must fit what it is written to.
void CallOutputs::run_derived(Stack& stack) const {
  const size_t extra = op_.variant == Variant::out ? op_.returns : 0;
  const size_t first = stack.size() - op_.arguments;
  Stack targets;
  if (op_.variant == Variant::in_place) {
    targets.push_back(stack[first]);
  } else {
    targets.assign(stack.end() - static_cast<std::ptrdiff_t>(extra), stack.end());
    stack.resize(stack.size() - extra);
  }
  run_rule(stack);
  for (size_t i = 0; i < targets.size(); ++i) {
    c10::IValue& result = stack[first + i];
    if (targets[i].isTensorList() && result.isTensorList()) check_each_fits(result, targets[i]);
    if (!targets[i].isTensor() || !result.isTensor()) continue;
    check_fits(result.toTensor(), targets[i].toTensor());
    result = targets[i];
  }
  stack.resize(first + op_.returns);  // _foreach_add_ returns nothing
}

void CallOutputs::check_each_fits(const c10::IValue& results, const c10::IValue& targets) const {
  const auto made = results.toTensorList(), written = targets.toTensorList();
  for (size_t i = 0; i < made.size(); ++i) check_fits(made.get(i), written.get(i));
}

void CallOutputs::check_fits(const at::Tensor& result, const at::Tensor& target) const {
  TORCH_CHECK(!op_.has(kExactOut) || result.scalar_type() == target.scalar_type(),
              "Expected out tensor to have dtype ", result.scalar_type(), ", but got ",
              target.scalar_type(), " instead");
  TORCH_CHECK(c10::canCast(result.scalar_type(), target.scalar_type()), "result type ",
              result.scalar_type(), " can't be cast to the desired output type ",
              target.scalar_type());
  if (result.sizes() == target.sizes()) return;
  if (op_.variant == Variant::out) {
    target.unsafeGetTensorImpl()->set_sizes_contiguous(result.sizes());
    return;
  }
  TORCH_CHECK(false, "output with shape ", target.sizes(), " doesn't match the broadcast shape ",
              result.sizes());
}

void CallOutputs::spread_choices(c10::IValue* outputs, const Stack& originals,
                                 Values others) const {
  const at::Tensor& input = originals[0].toTensor();
  // Of two outputs the first is values, which are no indices where they are integers, too. They
  // are allocated first.
  const size_t first = op_.returns > 1 ? 1 : 0;
  if (first == 1 && op_.return_aliases[0] < 0 && outputs[0].isTensor()) {
    trace_.adopt(outputs[0].toTensor(), others);
  }
  for (size_t i = first; i < op_.returns; ++i) {
    c10::IValue& output = outputs[i];
    if (!output.isTensor() || output.toTensor().scalar_type() != at::kLong) continue;
    const at::Tensor& indices = output.toTensor();
    if (indices.numel() == 0) continue;
    trace_.session()->assume_indices(op_.name + " " + trace_.session()->describe_scope() +
                                     ": indices are spread evenly");
    if (indices.numel() > trace_.options().integer_limit) {
      trace_.adopt(indices, Values::over_limit);
      continue;
    }
    output = balanced_choices(indices, choices(input, originals));
    trace_.adopt(output.toTensor(), Values::known);
    trace_.place_on_device(output.toTensor());
    trace_.mark_guessed(output.toTensor());
  }
}

// Where all is taken as true, the indices are those of every element.
void CallOutputs::list_indices(c10::IValue* outputs, at::IntArrayRef sizes) const {
  if (op_.return_aliases[0] >= 0) return;
  const at::Tensor indices = outputs[0].toTensor();
  if (indices.numel() > trace_.options().integer_limit) {
    return trace_.adopt(indices, Values::over_limit);
  }
  outputs[0] = every_index(indices, sizes);
  trace_.adopt(outputs[0].toTensor(), Values::known);
  trace_.place_on_device(outputs[0].toTensor());
}

// Of the dimension that is named; of all elements where none is; of the last one where none can
// be.
int64_t CallOutputs::choices(const at::Tensor& input, const Stack& originals) const {
  if (input.dim() == 0) return 1;
  for (size_t i = 1; i < op_.arguments; ++i) {
    if (op_.handle.schema().arguments()[i].name() != "dim") continue;
    return originals[i].isInt() ? input.size(originals[i].toInt()) : input.numel();
  }
  return input.size(-1);
}

void CallOutputs::choose(c10::IValue* outputs, const Stack& originals, Values others) const {
  if (!op_.has(kChoices)) return;
  if (op_.has(kDataDependent)) return list_indices(outputs, originals[0].toTensor().sizes());
  spread_choices(outputs, originals, others);
}

}  // namespace nnprof

#include "dispatch/truth.h"

#include <ATen/ops/full.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "dispatch/key.h"
#include "dispatch/operators.h"
#include "dispatch/stack_walk.h"
#include "dispatch/trace.h"

namespace nnprof {
namespace {

const std::unordered_map<std::string_view, Truth> kTruths = {
    {"aten::eq", Truth::question},
    {"aten::ne", Truth::question},
    {"aten::lt", Truth::question},
    {"aten::le", Truth::question},
    {"aten::gt", Truth::question},
    {"aten::ge", Truth::question},
    {"aten::isnan", Truth::finite},
    {"aten::isinf", Truth::finite},
    {"aten::isfinite", Truth::finite},
    {"aten::isposinf", Truth::finite},
    {"aten::isneginf", Truth::finite},
    {"aten::isreal", Truth::question},
    {"aten::isclose", Truth::question},
    {"aten::signbit", Truth::question},

    {"aten::logical_not", Truth::logic},
    {"aten::logical_and", Truth::logic},
    {"aten::logical_or", Truth::logic},
    {"aten::logical_xor", Truth::logic},
    {"aten::bitwise_not", Truth::logic},
    {"aten::bitwise_and", Truth::logic},
    {"aten::bitwise_or", Truth::logic},
    {"aten::bitwise_xor", Truth::logic},
    {"aten::__and__", Truth::logic},
    {"aten::__or__", Truth::logic},
    {"aten::__xor__", Truth::logic},
    {"aten::__iand__", Truth::logic},
    {"aten::__ior__", Truth::logic},
    {"aten::__ixor__", Truth::logic},
    {"aten::where", Truth::logic},
    {"aten::add", Truth::logic},
    {"aten::sub", Truth::logic},
    {"aten::rsub", Truth::logic},
    {"aten::mul", Truth::logic},
    {"aten::div", Truth::logic},
    {"aten::maximum", Truth::logic},
    {"aten::minimum", Truth::logic},
    {"aten::abs", Truth::logic},
    {"aten::neg", Truth::logic},
    {"aten::clamp", Truth::logic},

    {"aten::all", Truth::every},
    {"aten::_is_all_true", Truth::every},
    {"aten::prod", Truth::every},  // of truth values
    {"aten::any", Truth::some},
    {"aten::_is_any_true", Truth::some},
    {"aten::max", Truth::greatest},
    {"aten::amax", Truth::greatest},
    {"aten::min", Truth::least},
    {"aten::amin", Truth::least},
    {"aten::sum", Truth::sum},
    {"aten::count_nonzero", Truth::nonzeros},

    {"aten::mean", Truth::same},
    {"aten::clone", Truth::same},
    {"aten::detach", Truth::same},
    {"aten::to", Truth::same},
    {"aten::_to_copy", Truth::same},
    {"aten::contiguous", Truth::same},
    {"aten::copy", Truth::same},
    {"aten::fill", Truth::same},
    {"aten::reshape", Truth::same},
    {"aten::flatten", Truth::same},
    {"aten::repeat", Truth::same},
    {"aten::index", Truth::same},
    {"aten::index_select", Truth::same},
    {"aten::gather", Truth::same},
    {"aten::masked_select", Truth::same},
    {"aten::cat", Truth::same},
    {"aten::stack", Truth::same},

    {"aten::zeros", Truth::zeros},
    {"aten::zeros_like", Truth::zeros},
    {"aten::new_zeros", Truth::zeros},
    {"aten::zero", Truth::zeros},
    {"aten::ones", Truth::ones},
    {"aten::ones_like", Truth::ones},
    {"aten::new_ones", Truth::ones},
    {"aten::full", Truth::full},
    {"aten::full_like", Truth::full},
    {"aten::new_full", Truth::full},
};

// Of more known numbers nobody asks a training loop, and to look at them takes long.
constexpr int64_t kMostNumbers = 64 * 1024;

bool is_number(const at::Tensor& tensor) {
  return tensor.unsafeGetTensorImpl()->is_wrapped_number();
}

bool is_known(const at::Tensor& tensor, Trace& trace) {
  return is_number(tensor) || trace.identify(tensor).values == Values::known;
}

// What a tensor reads; `unknown` where it is an unknown value like any other.
std::optional<Reads> reads_of(const at::Tensor& tensor, Trace& trace,
                              std::optional<Reads> unknown) {
  if (is_known(tensor, trace)) return reads_of_known(trace.value(tensor));
  const auto reads = trace.assumed_reads(tensor);
  return reads ? reads : unknown;
}

// What all tensors of a list read, or a number.
std::optional<Reads> reads_of_all(const c10::IValue& argument, Trace& trace,
                                  std::optional<Reads> unknown) {
  if (argument.isScalar() && !argument.isComplexDouble()) {
    const double number = argument.toScalar().toDouble();
    return Reads{number, number};
  }
  std::optional<Reads> all;
  bool complete = true;
  for_each_tensor(argument, [&](const at::Tensor& tensor) {
    const auto reads = complete ? reads_of(tensor, trace, unknown) : std::nullopt;
    complete = reads.has_value();
    if (!complete) return;
    all = all ? Reads{std::min(all->low, reads->low), std::max(all->high, reads->high)} : reads;
  });
  return complete ? all : std::nullopt;
}

bool every_unknown_is_an_answer(const Operator& op, const c10::IValue* arguments, Trace& trace,
                                bool of_finite_checks) {
  bool all = true;
  for (size_t i = 0; i < op.arguments; ++i) {
    for_each_tensor(arguments[i], [&](const at::Tensor& tensor) {
      if (!all || is_known(tensor, trace)) return;
      const auto reads = trace.assumed_reads(tensor);
      all = reads && (reads->finite || !of_finite_checks);
    });
  }
  return all;
}

// A real tensor for one in an operator that works on single elements: itself where it is known, one
// number where it is not, the least or the greatest that it reads.
std::optional<at::Tensor> stand_in(const at::Tensor& tensor, Trace& trace, bool greatest) {
  if (is_number(tensor)) return tensor;
  if (is_known(tensor, trace)) {
    if (tensor.numel() > kMostNumbers) return std::nullopt;
    return trace.value(tensor);
  }
  const Reads reads = trace.assumed_reads(tensor).value_or(Reads{});
  return at::full({}, greatest ? reads.high : reads.low,
                  at::TensorOptions().dtype(tensor.scalar_type()));
}

// Runs the operator on what its arguments read: the least of each, or the greatest.
std::optional<Reads> computed_once(const Operator& op, const c10::IValue* arguments, Trace& trace,
                                   bool greatest) {
  Stack stack(arguments, arguments + op.arguments);
  bool complete = true;
  for (size_t i = 0; i < stack.size(); ++i) {
    map_tensors(stack[i], [&](const at::Tensor& tensor) {
      const auto real = stand_in(tensor, trace, greatest);
      complete = complete && real.has_value();
      if (!complete || !op.writes(i)) return real.value_or(tensor);
      // It has room for all that is written to it.
      const bool whole = tensor.numel() <= kMostNumbers && real->dim() == 0;
      return (whole ? real->expand(tensor.sizes()) : *real).clone();
    });
  }
  if (!complete) return std::nullopt;
  try {
    op.handle.callBoxed(stack);
  } catch (const c10::Error&) {
    return std::nullopt;  // written in place to fewer elements than there are
  }
  if (stack.size() != 1 || !stack[0].isTensor()) return std::nullopt;
  return reads_of_known(stack[0].toTensor());
}

std::optional<Reads> computed(const Operator& op, const c10::IValue* arguments, Trace& trace) {
  const auto low = computed_once(op, arguments, trace, false);
  bool uniform = true;
  for (size_t i = 0; i < op.arguments; ++i) {
    for_each_tensor(arguments[i], [&](const at::Tensor& tensor) {
      uniform = uniform && trace.assumed_reads(tensor).value_or(Reads{}).uniform();
    });
  }
  if (!low || uniform) return low;
  const auto high = computed_once(op, arguments, trace, true);
  if (!high) return std::nullopt;
  return Reads{std::min(low->low, high->low), std::max(low->high, high->high)};
}

// Casts to bool are the only ones that change what an answer reads.
Reads as_cast(const Operator& op, const c10::IValue* arguments, Reads reads) {
  const bool to_bool = op.name == "aten::_to_copy" && arguments[1].isInt() &&
                       static_cast<c10::ScalarType>(arguments[1].toInt()) == at::kBool;
  if (!to_bool) return reads;
  return {reads.low != 0 ? 1.0 : 0.0, reads.high != 0 ? 1.0 : 0.0};
}

std::optional<Reads> reduced(const Operator& op, const c10::IValue* arguments, Trace& trace) {
  const bool asks = op.truth == Truth::every || op.truth == Truth::some;
  // copy_ and fill_ read what they write.
  const size_t read = op.truth == Truth::same && op.writes(0) && op.arguments > 1 ? 1 : 0;
  const auto reads =
      reads_of_all(arguments[read], trace, asks ? std::optional(Reads{}) : std::nullopt);
  if (!reads) return std::nullopt;
  const bool all = reads->low > 0 || reads->high < 0;
  const bool any = reads->low != 0 || reads->high != 0;
  switch (op.truth) {
    case Truth::every:
      return Reads{all ? 1.0 : 0.0, all ? 1.0 : 0.0};
    case Truth::some:
      return Reads{any ? 1.0 : 0.0, any ? 1.0 : 0.0};
    case Truth::greatest:
      return Reads{reads->high, reads->high};
    case Truth::least:
      return Reads{reads->low, reads->low};
    case Truth::nonzeros:
      return Reads{reads->low != 0 ? 1.0 : 0.0, reads->high != 0 ? 1.0 : 0.0};
    default:
      return as_cast(op, arguments, *reads);
  }
}

std::optional<Reads> constant(const Operator& op, const c10::IValue* arguments, Trace& trace) {
  if (op.truth == Truth::zeros) return Reads{0, 0};
  if (op.truth == Truth::ones) return Reads{1, 1};
  const bool sized = op.handle.operator_name().name == "aten::new_full";
  return reads_of_all(arguments[sized ? 2 : 1], trace, std::nullopt);
}

}  // namespace

std::optional<Reads> reads_of_known(const at::Tensor& value) {
  if (value.is_complex() || value.numel() == 0 || value.numel() > kMostNumbers) return std::nullopt;
  const at::Tensor numbers = value.to(at::kDouble).contiguous();
  const auto* first = numbers.const_data_ptr<double>();
  const auto [low, high] = std::minmax_element(first, first + numbers.numel());
  return Reads{*low, *high};
}

Truth truth_of(std::string_view name) {
  auto found = kTruths.find(name);
  if (found == kTruths.end() && name.ends_with('_')) {
    found = kTruths.find(name.substr(0, name.size() - 1));
  }
  return found == kTruths.end() ? Truth::none : found->second;
}

bool asks_if_finite(const Operator& op, const c10::IValue* arguments) {
  if (op.truth != Truth::question || op.arguments != 2) return op.truth == Truth::finite;
  if (!arguments[0].isTensor()) return false;
  if (arguments[1].isTensor()) {
    return arguments[0].toTensor().is_same(arguments[1].toTensor()) &&
           !is_number(arguments[1].toTensor());
  }
  return arguments[1].isDouble() && std::isinf(arguments[1].toDouble());
}

std::optional<Reads> reads_of_result(const Operator& op, const c10::IValue* arguments,
                                     Trace& trace) {
  if (op.truth == Truth::none) return std::nullopt;
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  if (op.truth >= Truth::zeros) return constant(op, arguments, trace);
  const bool element_wise = asks(op.truth) || op.truth == Truth::logic;
  if (op.truth == Truth::logic && !every_unknown_is_an_answer(op, arguments, trace, false)) {
    return std::nullopt;
  }
  auto reads = element_wise ? computed(op, arguments, trace) : reduced(op, arguments, trace);
  if (reads) {
    reads->finite =
        asks_if_finite(op, arguments) || every_unknown_is_an_answer(op, arguments, trace, true);
  }
  return reads;
}

std::optional<bool> decided(const Operator& op, const c10::IValue* arguments, Trace& trace) {
  if (op.truth != Truth::logic || op.variant != Variant::functional) return std::nullopt;
  const std::string& name = op.handle.operator_name().name;
  const bool is_and = name == "aten::logical_and" || name == "aten::bitwise_and";
  if (!is_and && name != "aten::logical_or" && name != "aten::bitwise_or") return std::nullopt;
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  bool all_bool = true, found = false;
  for (size_t i = 0; i < op.arguments; ++i) {
    for_each_tensor(arguments[i], [&](const at::Tensor& tensor) {
      all_bool = all_bool && tensor.scalar_type() == at::kBool;
      if (!all_bool || found || !is_known(tensor, trace)) return;
      const auto reads = reads_of_known(trace.value(tensor));
      found = reads && reads->uniform() && (reads->low == 0) == is_and;
    });
  }
  return all_bool && found ? std::optional(!is_and) : std::nullopt;
}

bool reads_equal(const at::Tensor& a, const at::Tensor& b, Trace& trace) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  const auto first = reads_of(a, trace, Reads{}), second = reads_of(b, trace, Reads{});
  return first && second && first->uniform() && first->low == second->low &&
         first->high == second->high;
}

}  // namespace nnprof

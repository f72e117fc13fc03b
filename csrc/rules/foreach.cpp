// List operators (_foreach_*): what one operator does to a tensor, done to each tensor of a list.
// Outputs and operations are those of the other operator's rule, element by element of the lists;
// the in-place siblings, which return nothing, are derived.
#include <ATen/ExpandUtils.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/core/List_inl.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_vector_norm_meta_dispatch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <vector>

#include "rules/dtype_checks.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/registry.h"
#include "rules/rule.h"
#include "rules/views.h"

namespace nnprof {
namespace {

using Tensors = std::vector<at::Tensor>;

// An operator's name as a template argument.
template <size_t N>
struct Name {
  char text[N];
  constexpr Name(const char (&name)[N]) { std::copy_n(name, N, text); }
};

template <Name Op>
const Rule& rule_of() {
  static const Rule& rule = [&]() -> const Rule& {
    const std::vector<RuleEntry> found = rules_named(Op.text);
    TORCH_INTERNAL_ASSERT(found.size() == 1, found.size(), " rules for ", Op.text);
    return *found.front().rule;
  }();
  return rule;
}

// Of a schema without commas in its defaults.
constexpr size_t count_arguments(std::string_view schema) {
  size_t count = 1;
  for (size_t i = schema.find('('); schema[i] != ')'; ++i) {
    if (schema[i] == ',') ++count;
    if (schema[i] == '*' && schema[i + 1] == ',') --count;  // what follows is named
  }
  return count;
}

// Outputs -----------------------------------------------------------------------------------------

// The length of the lists among the arguments, which have to agree.
size_t common_length(at::ArrayRef<c10::IValue> arguments) {
  std::optional<size_t> length;
  for (const c10::IValue& argument : arguments) {
    if (!argument.isList()) continue;
    const size_t size = argument.toListRef().size();
    TORCH_CHECK(size != 0 || length.has_value(), "Tensor list must have at least one tensor.");
    TORCH_CHECK(size == length.value_or(size), "Tensor lists must have the same number of ",
                "tensors, got ", *length, " and ", size);
    length = size;
  }
  return *length;
}

void check_is_number(const at::Tensor& scalar) {
  TORCH_CHECK(scalar.dim() == 0, "scalar tensor expected to be 0 dim but it has ", scalar.dim(),
              " dimensions and ", scalar.numel(), " elements.");
}

// The first `count` of the rule's arguments are given; one that is not is a factor of 1 (alpha).
void run_for_each(const Rule& rule, size_t count, Stack& stack) {
  const size_t first = stack.size() - count;
  const at::ArrayRef<c10::IValue> arguments(stack.data() + first, count);
  const size_t length = common_length(arguments);
  for (const c10::IValue& argument : arguments) {
    if (argument.isTensor()) check_is_number(argument.toTensor());
  }
  const size_t wanted = count_arguments(rule.schema);
  c10::List<at::Tensor> outputs;
  outputs.reserve(length);
  Stack call;
  for (size_t i = 0; i < length; ++i) {
    call.clear();
    for (const c10::IValue& argument : arguments) {
      call.push_back(argument.isList() ? argument.toListRef()[i] : argument);
    }
    if (call.size() < wanted) call.emplace_back(1);
    rule.outputs(call);
    outputs.push_back(call.back().toTensor());
  }
  torch::jit::drop(stack, count);
  stack.emplace_back(std::move(outputs));
}

template <Name Op, size_t Count>
void outputs_of_each(Stack& stack) {
  run_for_each(rule_of<Op>(), Count, stack);
}

// In place, where another rule than that of the functional operator is in the way.
template <Name Op, size_t Count>
void each_in_place(Stack& stack) {
  outputs_of_each<Op, Count>(stack);
  stack.pop_back();
}

// The last argument is a tensor of as many numbers as the lists have tensors. No output depends on
// them.
template <Name Op, size_t Count>
void outputs_of_each_with_packed(Stack& stack) {
  const at::Tensor scalars = stack.back().toTensor();
  const size_t length = stack[stack.size() - Count].toListRef().size();
  TORCH_CHECK(scalars.is_contiguous(), "Expected scalars to be contiguous.");
  TORCH_CHECK(scalars.dim() == 1, "Expected packed scalar Tensor to be of dimension 1. Got ",
              scalars.dim(), " instead.");
  TORCH_CHECK(scalars.size(0) == static_cast<int64_t>(length),
              "Expected length of scalars to match input of length ", length, " but got ",
              scalars.size(0), " instead.");
  stack.back() = 1;
  outputs_of_each<Op, Count>(stack);
}

template <class Function>
Tensors of_each(at::TensorList tensors, Function function) {
  TORCH_CHECK(!tensors.empty(), "Tensor list must have at least one tensor.");
  Tensors outputs;
  outputs.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) outputs.push_back(function(tensor));
  return outputs;
}

Tensors norms(at::TensorList self, const at::Scalar& ord, std::optional<at::ScalarType> dtype) {
  return of_each(self, [&](const at::Tensor& tensor) {
    return at::meta::linalg_vector_norm(tensor, ord, at::IntArrayRef(), /*keepdim=*/false, dtype);
  });
}

// As the norm, whatever the power.
Tensors power_sums(at::TensorList self, const at::Scalar& /*ord*/,
                   std::optional<at::ScalarType> dtype) {
  for (const at::Tensor& tensor : self) check_kernel(is_inexact(tensor.scalar_type()), tensor);
  return norms(self, 2, dtype);
}

Tensors zeros(at::TensorList self) {
  return of_each(self, [](const at::Tensor& tensor) { return empty_preserving(tensor); });
}

// With its strides and offset, in a storage of the same size, unless elements overlap.
at::Tensor with_layout_of(const at::Tensor& like) {
  const bool plain = like.storage_offset() == 0 && like.is_non_overlapping_and_dense();
  if (plain || at::has_internal_overlap(like) == at::MemOverlap::Yes) return empty_preserving(like);
  const auto bytes = static_cast<int64_t>(like.storage().nbytes());
  const at::Tensor whole = empty_like_dtype({bytes / like.element_size()}, like);
  return view_of(whole, like.sizes(), like.strides(), like.storage_offset());
}

Tensors copies(at::TensorList self, at::TensorList source, bool /*non_blocking*/) {
  Tensors outputs = of_each(self, &with_layout_of);
  TORCH_CHECK(self.size() == source.size(), "Tensor lists must have the same number of tensors, ",
              "got ", self.size(), " and ", source.size());
  for (size_t i = 0; i < self.size(); ++i) {
    TORCH_CHECK(at::is_expandable_to(source[i].sizes(), self[i].sizes()), "The size of tensor a ",
                self[i].sizes(), " must match the size of tensor b ", source[i].sizes(),
                " that is copied into it");
  }
  return outputs;
}

// Costs -------------------------------------------------------------------------------------------

// What the operator gets of a list operator's argument for element `i`.
Argument element(const Argument& argument, size_t i) {
  Argument own;
  switch (argument.kind) {
    case Argument::Kind::tensors:
      own.kind = Argument::Kind::tensor;
      own.tensors = {argument.tensors[i]};
      return own;
    case Argument::Kind::integers:
      own.kind = Argument::Kind::integer;
      own.integer = argument.integers[i];
      return own;
    case Argument::Kind::floatings:
      own.kind = Argument::Kind::floating;
      own.number = argument.floatings[i];
      return own;
    case Argument::Kind::opaque:  // numbers, some of them complex
      own.kind = Argument::Kind::floating;
      own.number = std::numeric_limits<double>::quiet_NaN();
      return own;
    default:
      return argument;
  }
}

bool alike(const TensorSpec& a, const TensorSpec& b) {
  return a.dtype == b.dtype && a.sizes == b.sizes && a.strides == b.strides;
}

// Do the elements `i` and `j` of all lists cost the same?
bool alike(const OpSignature& op, size_t i, size_t j) {
  if (!alike(op.outputs[i], op.outputs[j])) return false;
  return std::all_of(op.arguments.begin(), op.arguments.end(), [&](const Argument& argument) {
    switch (argument.kind) {
      case Argument::Kind::tensors:
        return alike(argument.tensors[i], argument.tensors[j]);
      case Argument::Kind::integers:
        return argument.integers[i] == argument.integers[j];
      case Argument::Kind::floatings:
        return argument.floatings[i] == argument.floatings[j];
      default:
        return true;
    }
  });
}

Cost cost_of_element(const Rule& rule, const OpSignature& op, size_t i) {
  OpSignature call;
  call.rule = &rule;
  call.outputs = {op.outputs[i]};
  for (const Argument& argument : op.arguments) call.arguments.push_back(element(argument, i));
  if (call.arguments.size() < count_arguments(rule.schema)) {
    Argument& one = call.arguments.emplace_back();
    one.kind = Argument::Kind::integer;
    one.integer = 1;
  }
  Cost cost;
  rule.cost(call, cost);
  return cost;
}

// The traffic is that of all elements, which is there already. A model's parameters have few sizes:
// each is priced once, as far as a short search finds it.
void add_each(const Rule& rule, const OpSignature& op, Cost& cost) {
  constexpr size_t kSearched = 16;
  struct Alike {
    size_t first;
    int64_t count;
  };
  c10::SmallVector<Alike, kSearched> found;
  for (size_t i = 0; i < op.outputs.size(); ++i) {
    const auto same = std::find_if(found.begin(), found.end(),
                                   [&](const Alike& other) { return alike(op, i, other.first); });
    if (same != found.end()) {
      ++same->count;
    } else if (found.size() < kSearched) {
      found.push_back({i, 1});
    } else {
      cost += cost_of_element(rule, op, i);
    }
  }
  for (const Alike& one : found) {
    cost += cost_of_element(rule, op, one.first).times(one.count);
  }
}

template <Name Op>
void cost_of_each(const OpSignature& op, Cost& cost) {
  add_each(rule_of<Op>(), op, cost);
}

// sum |x|^p of each: the power of a number that has any exponent, but for 0, 1 and 2.
void power_sums_cost(const OpSignature& op, Cost& cost) {
  const double p = op.floating(1, 2);
  for (const TensorSpec& tensor : op.tensors(0)) {
    const Count real = tensor.numel() * (tensor.is_complex() ? 2 : 1);
    if (p == 2) {  // |x|^2 needs no absolute value
      cost.add({.add = 1, .multiply = 1}, real);
    } else if (p == 0) {
      cost.add({.add = 1, .compare = 1}, tensor.numel());
    } else {
      const FlopMix complex = {.add = 1, .multiply = 2, .sqrt = 1};
      cost.add(tensor.is_complex() ? complex : FlopMix{.add = 1}, tensor.numel());
      cost.add({.add = 1, .exp = p == 1 ? 0 : 1}, tensor.numel());
    }
  }
}

// Table -------------------------------------------------------------------------------------------

#define EACH(SCHEMA, OP) {SCHEMA, &outputs_of_each<OP, count_arguments(SCHEMA)>, &cost_of_each<OP>}

#define UNARY(NAME) EACH("aten::_foreach_" #NAME "(Tensor[] self) -> Tensor[]", "aten::" #NAME)

// The operators with a number, with a number for each tensor, and with a second list.
#define NUMBER(NAME, ARGUMENT, OP) \
  EACH("aten::_foreach_" #NAME ".Scalar(Tensor[] self, Scalar " #ARGUMENT ") -> Tensor[]", OP)
#define NUMBERS(NAME, ARGUMENT, OP) \
  EACH("aten::_foreach_" #NAME ".ScalarList(Tensor[] self, Scalar[] " #ARGUMENT ") -> Tensor[]", OP)
#define LIST(NAME, ARGUMENT, OP) \
  EACH("aten::_foreach_" #NAME ".List(Tensor[] self, Tensor[] " #ARGUMENT ") -> Tensor[]", OP)
#define SCALED_LIST(NAME, OP)                                                 \
  EACH("aten::_foreach_" #NAME                                                \
       ".List(Tensor[] self, Tensor[] other, *, Scalar alpha=1) -> Tensor[]", \
       OP)
#define THREE_LISTS(NAME, OP)                                                                    \
  EACH("aten::_foreach_" #NAME                                                                   \
       ".Scalar(Tensor[] self, Tensor[] tensor1, Tensor[] tensor2, Scalar value=1) -> Tensor[]", \
       OP),                                                                                      \
      EACH("aten::_foreach_" #NAME                                                               \
           ".ScalarList(Tensor[] self, Tensor[] tensor1, Tensor[] tensor2, Scalar[] scalars) "   \
           "-> Tensor[]",                                                                        \
           OP),                                                                                  \
  {                                                                                              \
    "aten::_foreach_" #NAME                                                                      \
    ".Tensor(Tensor[] self, Tensor[] tensor1, Tensor[] tensor2, Tensor scalars) -> Tensor[]",    \
        &outputs_of_each_with_packed<OP, 4>, &cost_of_each<OP>                                   \
  }

const Rule kForeachTable[] = {
    NUMBER(add, scalar, "aten::add.Scalar"),
    NUMBERS(add, scalars, "aten::add.Scalar"),
    SCALED_LIST(add, "aten::add.Tensor"),
    EACH("aten::_foreach_add.Tensor(Tensor[] self, Tensor other, *, Scalar alpha=1) -> Tensor[]",
         "aten::add.Tensor"),
    NUMBER(sub, scalar, "aten::sub.Scalar"),
    NUMBERS(sub, scalars, "aten::sub.Scalar"),
    SCALED_LIST(sub, "aten::sub.Tensor"),
    NUMBER(mul, scalar, "aten::mul.Scalar"),
    NUMBERS(mul, scalars, "aten::mul.Scalar"),
    LIST(mul, other, "aten::mul.Tensor"),
    EACH("aten::_foreach_mul.Tensor(Tensor[] self, Tensor other) -> Tensor[]", "aten::mul.Tensor"),
    NUMBER(div, scalar, "aten::div.Scalar"),
    NUMBERS(div, scalars, "aten::div.Scalar"),
    LIST(div, other, "aten::div.Tensor"),
    EACH("aten::_foreach_div.Tensor(Tensor[] self, Tensor other) -> Tensor[]", "aten::div.Tensor"),

    // A maximum is clamped from below.
    NUMBER(maximum, scalar, "aten::clamp_min"),
    NUMBERS(maximum, scalars, "aten::clamp_min"),
    LIST(maximum, other, "aten::clamp_min.Tensor"),
    NUMBER(clamp_min, scalar, "aten::clamp_min"),
    NUMBERS(clamp_min, scalars, "aten::clamp_min"),
    LIST(clamp_min, other, "aten::clamp_min.Tensor"),
    NUMBER(minimum, scalar, "aten::clamp_max"),
    NUMBERS(minimum, scalars, "aten::clamp_max"),
    LIST(minimum, other, "aten::clamp_max.Tensor"),
    NUMBER(clamp_max, scalar, "aten::clamp_max"),
    NUMBERS(clamp_max, scalars, "aten::clamp_max"),
    LIST(clamp_max, other, "aten::clamp_max.Tensor"),

    NUMBER(pow, exponent, "aten::pow.Tensor_Scalar"),
    NUMBERS(pow, exponent, "aten::pow.Tensor_Scalar"),
    LIST(pow, exponent, "aten::pow.Tensor_Tensor"),
    EACH("aten::_foreach_pow.ScalarAndTensor(Scalar self, Tensor[] exponent) -> Tensor[]",
         "aten::pow.Scalar"),

    THREE_LISTS(addcmul, "aten::addcmul"),
    THREE_LISTS(addcdiv, "aten::addcdiv"),
    EACH("aten::_foreach_lerp.Scalar(Tensor[] self, Tensor[] tensors1, Scalar weight) -> Tensor[]",
         "aten::lerp.Scalar"),
    EACH("aten::_foreach_lerp.ScalarList(Tensor[] self, Tensor[] tensors1, Scalar[] weight) -> "
         "Tensor[]",
         "aten::lerp.Scalar"),
    EACH("aten::_foreach_lerp.List(Tensor[] self, Tensor[] tensors1, Tensor[] weights) -> Tensor[]",
         "aten::lerp.Tensor"),

    UNARY(abs),
    {"aten::_foreach_abs_(Tensor(a!)[] self) -> ()", &each_in_place<"aten::abs_", 1>,
     &cost_of_each<"aten::abs_">},
    UNARY(acos),
    UNARY(asin),
    UNARY(atan),
    UNARY(ceil),
    UNARY(cos),
    UNARY(cosh),
    UNARY(erf),
    UNARY(erfc),
    UNARY(exp),
    UNARY(expm1),
    UNARY(floor),
    UNARY(frac),
    UNARY(lgamma),
    UNARY(log),
    UNARY(log10),
    UNARY(log1p),
    UNARY(log2),
    UNARY(neg),
    UNARY(reciprocal),
    UNARY(round),
    UNARY(rsqrt),
    UNARY(sigmoid),
    UNARY(sign),
    UNARY(sin),
    UNARY(sinh),
    UNARY(sqrt),
    UNARY(tan),
    UNARY(tanh),
    UNARY(trunc),

    UNARY(max),
    {"aten::_foreach_norm.Scalar(Tensor[] self, Scalar ord=2, ScalarType? dtype=None) -> Tensor[]",
     boxed<&norms>, &cost_of_each<"aten::norm.Scalar">},
    {"aten::_foreach_powsum.Scalar(Tensor[] self, Scalar ord=2, ScalarType? dtype=None) -> "
     "Tensor[]",
     boxed<&power_sums>, &power_sums_cost},
    EACH("aten::_foreach_mm(Tensor[] self, Tensor[] mat2) -> Tensor[]", "aten::mm"),

    {"aten::_foreach_clone(Tensor[] self, *, MemoryFormat? memory_format=None) -> Tensor[]",
     &outputs_of_each<"aten::clone", 2>},
    {"aten::_foreach_copy(Tensor[] self, Tensor[] src, bool non_blocking=False) -> Tensor[] "
     "self_out",
     boxed<&copies>,
     nullptr,
     {},
     kWritesOnly},
    {"aten::_foreach_zero(Tensor[] self) -> Tensor[] self_out",
     boxed<&zeros>,
     nullptr,
     {},
     kWritesOnly},
};

#undef EACH
#undef UNARY
#undef NUMBER
#undef NUMBERS
#undef LIST
#undef SCALED_LIST
#undef THREE_LISTS

}  // namespace

const RuleFamily kForeachRules("foreach", kForeachTable, OpClass::elementwise, kNothingSpecial);

}  // namespace nnprof

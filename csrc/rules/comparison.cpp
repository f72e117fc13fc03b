// Comparisons, logic and bits, and the choice between two tensors that they lead to.
#include <ATen/TensorIterator.h>
#include <ATen/native/TypeProperties.h>
#include <ATen/ops/bitwise_and_meta_dispatch.h>
#include <ATen/ops/bitwise_left_shift_meta_dispatch.h>
#include <ATen/ops/bitwise_not_meta_dispatch.h>
#include <ATen/ops/bitwise_or_meta_dispatch.h>
#include <ATen/ops/bitwise_right_shift_meta_dispatch.h>
#include <ATen/ops/bitwise_xor_meta_dispatch.h>
#include <ATen/ops/eq_meta_dispatch.h>
#include <ATen/ops/ge_meta_dispatch.h>
#include <ATen/ops/gt_meta_dispatch.h>
#include <ATen/ops/isneginf_meta_dispatch.h>
#include <ATen/ops/isposinf_meta_dispatch.h>
#include <ATen/ops/le_meta_dispatch.h>
#include <ATen/ops/lt_meta_dispatch.h>
#include <ATen/ops/mul_meta_dispatch.h>
#include <ATen/ops/ne_meta_dispatch.h>
#include <ATen/ops/signbit_meta_dispatch.h>

#include "rules/elementwise.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using at::Scalar;
using at::Tensor;
using TensorTensor = Tensor(const Tensor&, const Tensor&);
using TensorScalar = Tensor(const Tensor&, const Scalar&);

template <auto Function>
Tensor with_number(const Tensor& self, const Scalar& number) {
  if (c10::isFloatingType(self.scalar_type()) && !number.isComplex()) {
    if (Tensor made = quick_output(self, at::kBool); made.defined()) return made;
  }
  return Function(self, number);
}

// Complex numbers have no order.
template <auto Function>
Tensor ordered(const Tensor& self, const Tensor& other) {
  check_has_kernel(!self.is_complex() && !other.is_complex(), self.scalar_type());
  return quick_comparison<Function>(self, other);
}
template <auto Function>
Tensor ordered_with_number(const Tensor& self, const Scalar& number) {
  check_has_kernel(!self.is_complex() && !number.isComplex(), self.scalar_type());
  return with_number<Function>(self, number);
}

constexpr auto compare = quick_comparison<overload<TensorTensor>(&at::meta::ne)>;

Tensor is_nan(const Tensor& self) { return compare(self, self); }

Tensor logical_not(const Tensor& self) { return compare(self, self); }

Tensor bool_like(const Tensor& self) {
  Tensor made = quick_output(self, at::kBool);
  return made.defined() ? made : empty_preserving(self, at::kBool);
}

template <auto Function>
Tensor is_infinite(const Tensor& self) {
  const bool plain = c10::isFloatingType(self.scalar_type());
  return plain ? bool_like(self) : Function(self);
}

// Left and right shifts written `<<` and `>>`.
Tensor shift(const Tensor& self, const Tensor& other) {
  Tensor shifted = at::meta::mul(self, other);
  check_has_kernel(c10::isIntegralType(shifted.scalar_type(), /*includeBool=*/false),
                   shifted.scalar_type());
  return shifted;
}

Tensor bitwise_not(const Tensor& self) {
  check_has_kernel(c10::isIntegralType(self.scalar_type(), /*includeBool=*/true),
                   self.scalar_type());
  return at::meta::bitwise_not(self);
}

Tensor where_of_any_layout(const Tensor& condition, const Tensor& self, const Tensor& other,
                           c10::ScalarType dtype) {
  const Tensor unmade;
  at::TensorIterator iterator = at::TensorIteratorConfig()
                                    .check_all_same_dtype(false)
                                    .declare_static_dtype(dtype)
                                    .add_output(unmade)
                                    .add_const_input(condition)
                                    .add_const_input(self)
                                    .add_const_input(other)
                                    .build();
  return iterator.output();
}

Tensor where(const Tensor& condition, const Tensor& self, const Tensor& other) {
  TORCH_CHECK(condition.scalar_type() == at::kBool || condition.scalar_type() == at::kByte,
              "where expected condition to be a boolean tensor, but got a tensor with dtype ",
              condition.scalar_type());
  const c10::ScalarType dtype = self.scalar_type() == other.scalar_type()
                                    ? self.scalar_type()
                                    : at::native::result_type({self, other});
  const auto is_plain = [&](const Tensor& tensor) {
    return tensor.dim() == 0 ||
           (tensor.sizes() == condition.sizes() && tensor.strides() == condition.strides());
  };
  // The condition comes first in deciding the layout.
  if (condition.dim() != 0 && is_plain(self) && is_plain(other)) {
    if (Tensor made = quick_output(condition, dtype); made.defined()) return made;
  }
  return where_of_any_layout(condition, self, other, dtype);
}

// Whether they are is for the values to say.
bool may_be_equal(const Tensor& self, const Tensor& other) { return self.sizes() == other.sizes(); }

#define UNARY(NAME, OUTPUTS, ...)                                                        \
  {                                                                                      \
    "aten::" #NAME "(Tensor self) -> Tensor", boxed<OUTPUTS>, pointwise, { __VA_ARGS__ } \
  }
#define COMPARISON(NAME, TENSORS, NUMBER)                                                  \
  {"aten::" #NAME ".Tensor(Tensor self, Tensor other) -> Tensor",                          \
   boxed<TENSORS<overload<TensorTensor>(&at::meta::NAME)>>,                                \
   pointwise,                                                                              \
   {.compare = 1}},                                                                        \
  {                                                                                        \
    "aten::" #NAME ".Scalar(Tensor self, Scalar other) -> Tensor",                         \
        boxed<&NUMBER<overload<TensorScalar>(&at::meta::NAME)>>, pointwise, {.compare = 1} \
  }
#define LOGICAL(NAME)                                      \
  {"aten::" #NAME "(Tensor self, Tensor other) -> Tensor", \
   boxed<compare>,                                         \
   pointwise,                                              \
   {.compare = 1}}
#define BITWISE(NAME, SCALAR)                                                                     \
  {"aten::" #NAME ".Tensor(Tensor self, Tensor other) -> Tensor",                                 \
   boxed<integer_result<overload<TensorTensor>(&at::meta::NAME)>>,                                \
   pointwise,                                                                                     \
   {.add = 1}},                                                                                   \
      {"aten::" #NAME "." #SCALAR "(Tensor self, Scalar other) -> Tensor",                        \
       boxed<&number_second<integer_result<overload<TensorTensor>(&at::meta::NAME)>>>,            \
       pointwise,                                                                                 \
       {.add = 1}},                                                                               \
  {                                                                                               \
    "aten::" #NAME ".Scalar_Tensor(Scalar self, Tensor other) -> Tensor",                         \
        boxed<&number_first<integer_result<overload<TensorTensor>(&at::meta::NAME)>>>, pointwise, \
        {.add = 1}                                                                                \
  }

const Rule kComparisonTable[] = {
    COMPARISON(eq, quick_comparison, with_number),
    COMPARISON(ge, &ordered, ordered_with_number),
    COMPARISON(gt, &ordered, ordered_with_number),
    COMPARISON(le, &ordered, ordered_with_number),
    COMPARISON(lt, &ordered, ordered_with_number),
    COMPARISON(ne, quick_comparison, with_number),

    UNARY(isnan, &is_nan, .compare = 1),
    UNARY(isinf, &bool_like, .compare = 1),
    UNARY(isneginf, &is_infinite<&at::meta::isneginf>, .compare = 1),
    UNARY(isposinf, &is_infinite<&at::meta::isposinf>, .compare = 1),
    UNARY(signbit, &is_infinite<&at::meta::signbit>, .compare = 1),

    {"aten::equal(Tensor self, Tensor other) -> bool",
     boxed<&may_be_equal>,
     per_input_element,
     {.compare = 1}},

    LOGICAL(logical_and),
    LOGICAL(logical_or),
    LOGICAL(logical_xor),
    UNARY(logical_not, &logical_not, .compare = 1),

    BITWISE(bitwise_and, Scalar),
    BITWISE(bitwise_or, Scalar),
    BITWISE(bitwise_xor, Scalar),
    BITWISE(bitwise_left_shift, Tensor_Scalar),
    BITWISE(bitwise_right_shift, Tensor_Scalar),
    UNARY(bitwise_not, &bitwise_not, .add = 1),
    {"aten::__lshift__.Tensor(Tensor self, Tensor other) -> Tensor",
     boxed<&shift>,
     pointwise,
     {.add = 1}},
    {"aten::__lshift__.Scalar(Tensor self, Scalar other) -> Tensor",
     boxed<&number_second<&shift>>,
     pointwise,
     {.add = 1}},
    {"aten::__rshift__.Tensor(Tensor self, Tensor other) -> Tensor",
     boxed<&shift>,
     pointwise,
     {.add = 1}},
    {"aten::__rshift__.Scalar(Tensor self, Scalar other) -> Tensor",
     boxed<&number_second<&shift>>,
     pointwise,
     {.add = 1}},

    {"aten::where.self(Tensor condition, Tensor self, Tensor other) -> Tensor",
     boxed<&where>,
     pointwise,
     {.compare = 1},
     kExactOut},
};

#undef UNARY
#undef COMPARISON
#undef LOGICAL
#undef BITWISE

}  // namespace

const RuleFamily kComparisonRules("comparison", kComparisonTable, OpClass::elementwise,
                                  kKeepsGuesses);

}  // namespace nnprof

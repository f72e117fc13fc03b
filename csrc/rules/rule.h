// A rule tells all about one operator: its outputs from shapes alone, and what it costs.
//
// Adding one takes a table line in csrc/rules/<family>.cpp, plus a function where no existing one
// fits. The in-place (`add_`) and `out=` siblings of a rule are derived from it when the registry
// is made, unless they have lines of their own.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/boxing/impl/make_boxed_from_unboxed_functor.h>
#include <ATen/core/stack.h>

#include <span>
#include <utility>

#include "core/cost.h"
#include "core/op_class.h"
#include "core/record.h"

namespace nnprof {

using Stack = torch::jit::Stack;

// Takes the operator's arguments off the stack and leaves its outputs: meta tensors, nothing is
// computed. Every tensor on the stack is a meta tensor (or a 0-dim CPU number). Runs below autograd
// and with our dispatch key excluded, so ATen may be called, but prefer at::meta:: and at::native::
// functions, which skip the dispatcher. Raises (TORCH_CHECK) where PyTorch does.
using OutputsFunction = void (*)(Stack&);

// Fills in what the call costs. `cost` comes with the usual traffic already in it (each distinct
// input element read once, each output element written once; for views nothing): change it
// where the operator differs. Pure: a function of the signature only.
struct Rule;
using CostFunction = void (*)(const OpSignature&, Cost&);

enum RuleFlag : uint32_t {
  kDefault = 0,
  kView = 1 << 0,           // outputs alias inputs: costs nothing
  kRandom = 1 << 1,         // draws random numbers
  kDataDependent = 1 << 2,  // output sizes depend on values: see dispatch/values
  kChoices = 1 << 3,        // integer outputs are indices into a dimension: made balanced
  kWritesOnly = 1 << 4,     // the first argument is written, not read (fill_, zero_, copy_)
  kReturnsInput = 1 << 5,   // may hand an input back untouched (dropout in eval, contiguous)
  kKnownIntegers = 1 << 6,  // known integers after the first tensor come real: see known_integers.h
  kExactOut = 1 << 7,       // an out= must be of the result's own dtype, nothing is cast
  kOverlaps = 1 << 8,       // may be written to a tensor whose elements share memory
  kOutApart = 1 << 9,       // an out= may not be one of the inputs
  kSizesOnly = 1 << 10,     // of the first tensor only sizes and dtype are read (zeros_like)
  kLikeSecond = 1 << 11,    // of the second tensor only sizes and dtype are read (expand_as)
  kCostsByValue = 1 << 12,  // the cost function reads known integers
  kNoOut = 1 << 13,         // PyTorch's out= sibling never works: no rule is derived for it
  kNeverReal = 1 << 14,     // has no kernel for CPUs, whatever is registered: known values or not
  kTrueHides = 1 << 15,     // `mask` lets through where it is false
};

struct Rule {
  const char* schema;  // exactly as torch prints it: "aten::relu(Tensor self) -> Tensor"
  OutputsFunction outputs;
  CostFunction cost = nullptr;  // null: the traffic alone (copies, views, factories)
  FlopMix mix = {};             // read by the shape classes: per element, or per row
  uint32_t flags = kDefault;
  // What a kDataDependent rule takes for granted where values are unknown.
  const char* guess = "the mask is taken as all true";
  // The argument that masks attention, if any: of its values only is recorded how much they hide.
  int mask = -1;

  bool has(RuleFlag flag) const { return (flags & flag) != 0; }
  bool reads_values_of(size_t argument) const {
    if (argument == 0) return !has(kWritesOnly) && !has(kSizesOnly);
    return argument != 1 || !has(kLikeSecond);
  }
};

// What holds of all operators of a family.
enum FamilyFlag : uint32_t {
  kNothingSpecial = 0,
  kKeepsGuesses = 1 << 0,   // a number made of a guessed one is guessed too
  kWritesUnsaid = 1 << 1,   // writes what its schemas do not name: running statistics
  kFillsMemory = 1 << 2,    // makes memory from nothing, maybe a lot, seldom read before a write
  kLooksUp = 1 << 3,        // its integers are rows of a table
  kTakesQuantized = 1 << 4  // made for quantized tensors; others see them as floats
};

// A family of rules: one table at the bottom of a file. A constructor, so that a family that does
// not say what its operators are does not compile.
struct RuleFamily {
  const char* name;
  std::span<const Rule> rules;
  OpClass op_class;
  uint32_t flags;

  constexpr RuleFamily(const char* n, std::span<const Rule> all, OpClass of_class, uint32_t special)
      : name(n), rules(all), op_class(of_class), flags(special) {}

  bool has(FamilyFlag flag) const { return (flags & flag) != 0; }
};

// Of operators without a rule.
inline constexpr RuleFamily kNoFamily = {"", {}, OpClass::other, kNothingSpecial};

// Adapts a function with an operator's own C++ signature to the stack:
//   {"aten::relu(Tensor self) -> Tensor", boxed<&relu_outputs>, ...}
template <auto Function>
struct FunctionHolder final : c10::OperatorKernel {};

namespace detail {
template <auto Function, class Signature>
struct BoxedFunctor;
template <auto Function, class Return, class... Args>
struct BoxedFunctor<Function, Return (*)(Args...)> final : c10::OperatorKernel {
  Return operator()(Args... args) { return Function(std::forward<Args>(args)...); }
};
}  // namespace detail

template <auto Function>
void boxed(Stack& stack) {
  using Functor = detail::BoxedFunctor<Function, decltype(Function)>;
  static Functor functor;
  static const c10::OperatorHandle* const unused_handle = nullptr;
  c10::impl::make_boxed_from_unboxed_functor<Functor, true>::call(&functor, *unused_handle,
                                                                  c10::DispatchKeySet(), &stack);
}

}  // namespace nnprof

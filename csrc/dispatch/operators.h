// What we know of each operator of the running torch: its rule, how its outputs alias its inputs,
// which arguments are devices and generators.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/TensorOptions.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dispatch/compositions.h"
#include "dispatch/truth.h"
#include "rules/price.h"
#include "rules/rule.h"

namespace nnprof {

// How an operator is related to the rule that serves it.
enum class Variant : uint8_t { functional, in_place, out };

enum class Known : uint8_t {
  none,
  scalar_value,    // aten::_local_scalar_dense: hands a value to the program
  row_lookup,      // aten::embedding: known indices are checked against the table
  always_padded,   // aten::_nested_tensor_from_mask_left_aligned: sequences stay padded
  parts_are_cast,  // aten::pad: autocast casts the operators it is made of
  fresh_constant,  // aten::lift_fresh: torch.tensor([...])
  assertion,       // aten::_is_all_true: torch._check_tensor_all asks it
  equality,        // aten::equal: hands to the program whether two tensors are equal
  makes_nested,    // aten::_nested_tensor_from_tensor_list: the strided layout
  same_device,     // aten::quantile, aten::meshgrid: check that their tensors are on one device
  finite_check,   // aten::_amp_foreach_non_finite_check_and_unscale_: GradScaler asks what it found
  factorization,  // aten::linalg_cholesky_ex: tells in `info` whether it succeeded
  profiler_mark,  // profiler::_record_function_enter_new: is no work
  forward_mode,   // aten::_make_dual: is autograd's own
  uninitialised,  // aten::empty: what is in it is not known
  mask_maker,     // aten::where, aten::masked_fill: make masks of attention out of booleans
  makes_sparse,   // aten::_sparse_coo_tensor_with_dims_and_tensors: out of dense ones
  gradient_seed,  // aten::ones_like: what autograd starts from, on the device of the result
  zeros,          // aten::zeros: what gradient functions fill
  fills_zeros,    // aten::scatter, aten::index_put: what they fill it with
};

enum class CastPolicy : uint8_t {
  none,
  lower_precision,
  fp32,
  fp32_set_opt_dtype,
  fp32_append_dtype,
  promote
};

struct Operator {
  c10::OperatorHandle handle;
  std::string name;  // "aten::add.Tensor"
  uint32_t number = 0;
  const Rule* rule = nullptr;  // of the operator, or of the functional one it derives from
  const RuleFamily* family = &kNoFamily;
  Variant variant = Variant::functional;
  bool composite = false;             // PyTorch writes it in terms of other operators
  bool fused = false;                 // on accelerators one kernel, with a gradient of its own
  Composition composition = nullptr;  // ours, where these depend on the device
  Known known = Known::none;
  Truth truth = Truth::none;
  GenericClass generic = GenericClass::opaque;
  CastPolicy cpu_autocast = CastPolicy::none;
  CastPolicy accelerator_autocast = CastPolicy::none;
  std::vector<int> return_aliases;  // per return: the argument it is, written in place; or -1
  std::vector<int> written;         // arguments that are written
  std::vector<int> devices;         // Device and Device? arguments
  std::vector<int> generators;
  std::vector<int> objects;  // script objects, alone or in lists: packed weights
  // Of a quantized output: the arguments that are its scale and its zero point, or -1.
  int scale = -1;
  int zero_point = -1;
  int copy = -1;  // the argument that says whether to copy what is as it should be: of aten::to
  int axis = -1;  // and, where these are of channels, which dimension that is
  size_t arguments = 0;
  size_t outs = 0;  // of the arguments, the last so many are out=
  size_t returns = 0;
  bool view = false;  // by its schema: outputs alias inputs
  // Of the keys that autograd uses, those that this operator has a kernel for.
  c10::DispatchKeySet autograd_keys;
  // Its CPU kernel was found to take no int64. Threads may find it out at once: through atomic_ref.
  mutable bool takes_no_integers = false;
  // Its kernel below autograd is registered (see graph.h). Likewise.
  mutable bool known_below_autograd = false;
  // Of a library's operator, which may be taken away and its place in memory given to another one.
  std::optional<c10::FunctionSchema> schema;

  // Is it still the operator that this entry was made for?
  bool is_of(const c10::OperatorHandle& other) const {
    return !schema.has_value() || *schema == other.schema();
  }

  bool has(RuleFlag flag) const { return rule != nullptr && rule->has(flag); }

  // Can it be computed? An accelerator's operator may have no other kernel than the meta one.
  bool has_cpu_kernel() const {
    return handle.hasComputedKernelForDispatchKey(c10::DispatchKey::CPU);
  }

  // The same of any device, for operators that run on tensors of it.
  bool has_kernel_for(c10::Device device) const {
    return handle.hasComputedKernelForDispatchKey(
        c10::computeDispatchKey(std::nullopt, std::nullopt, device));
  }

  bool writes(size_t argument) const {
    return std::find(written.begin(), written.end(), static_cast<int>(argument)) != written.end();
  }

  explicit Operator(c10::OperatorHandle h) : handle(h) {}
};

// The entry for an operator; made at its first call, kept for the process. Thread-safe.
const Operator& operator_of(const c10::OperatorHandle& handle);
const Operator& operator_numbered(uint32_t number);

struct RuleStatus {
  std::string op;
  std::string schema;
  std::string family;
  std::string reason;  // empty: in use; else why this torch left it out
  bool derived = false;
};
// Every rule line, and every sibling that this torch derives from one.
std::vector<RuleStatus> rule_statuses();

}  // namespace nnprof

#include "dispatch/operators.h"

#include <ATen/core/function_schema.h>

#include <algorithm>
#include <deque>
#include <mutex>
#include <sstream>
#include <unordered_map>

#include "dispatch/autocast.h"
#include "dispatch/key.h"
#include "rules/registry.h"

namespace nnprof {
namespace {

const std::unordered_map<std::string_view, Known> kKnownOperators = {
    {"aten::_local_scalar_dense", Known::scalar_value},
    {"aten::embedding", Known::row_lookup},
    {"aten::_nested_tensor_from_mask_left_aligned", Known::always_padded},
    {"aten::pad", Known::parts_are_cast},
    {"aten::lift_fresh", Known::fresh_constant},
    {"aten::lift_fresh_copy", Known::fresh_constant},
    {"aten::lift", Known::fresh_constant},
    {"aten::_is_all_true", Known::assertion},
    {"aten::_amp_foreach_non_finite_check_and_unscale_", Known::finite_check},
    {"aten::linalg_cholesky_ex", Known::factorization},
    {"aten::linalg_inv_ex", Known::factorization},
    {"aten::linalg_ldl_factor_ex", Known::factorization},
    {"aten::linalg_lu_factor_ex", Known::factorization},
    {"aten::_linalg_solve_ex", Known::factorization},
    {"aten::equal", Known::equality},
    {"profiler::_record_function_enter", Known::profiler_mark},
    {"profiler::_record_function_enter_new", Known::profiler_mark},
    {"profiler::_record_function_exit", Known::profiler_mark},
    {"profiler::_record_function_exit._RecordFunction", Known::profiler_mark},
    {"aten::masked_fill.Scalar", Known::mask_maker},
    {"aten::masked_fill_.Scalar", Known::mask_maker},
    {"aten::where.ScalarOther", Known::mask_maker},
    {"aten::where.ScalarSelf", Known::mask_maker},
    {"aten::where.self", Known::mask_maker},
    {"aten::ones_like", Known::gradient_seed},
    {"aten::zeros", Known::zeros},
    {"aten::zeros_like", Known::zeros},
    {"aten::new_zeros", Known::zeros},
    {"aten::index_add", Known::fills_zeros},
    {"aten::index_put", Known::fills_zeros},
    {"aten::masked_scatter", Known::fills_zeros},
    {"aten::put", Known::fills_zeros},
    {"aten::scatter.src", Known::fills_zeros},
    {"aten::scatter_add", Known::fills_zeros},
    {"aten::empty.memory_format", Known::uninitialised},
    {"aten::empty_like", Known::uninitialised},
    {"aten::new_empty", Known::uninitialised},
    {"aten::empty_strided", Known::uninitialised},
    {"aten::new_empty_strided", Known::uninitialised},
    {"aten::empty_permuted", Known::uninitialised},
    {"aten::_nested_tensor_from_tensor_list", Known::makes_nested},
    {"aten::_sparse_coo_tensor_with_dims_and_tensors", Known::makes_sparse},
    {"aten::quantile", Known::same_device},
    {"aten::quantile.scalar", Known::same_device},
    {"aten::nanquantile", Known::same_device},
    {"aten::nanquantile.scalar", Known::same_device},
    {"aten::linalg_matrix_rank", Known::same_device},
    {"aten::linalg_matrix_rank.atol_rtol_tensor", Known::same_device},
    {"aten::linalg_matrix_rank.atol_rtol_float", Known::same_device},
    {"aten::linalg_matrix_rank.tol_tensor", Known::same_device},
    {"aten::stft", Known::same_device},
    {"aten::stft.center", Known::same_device},
    {"aten::istft", Known::same_device},
    {"aten::take_along_dim", Known::same_device},
    {"aten::meshgrid", Known::same_device},
    {"aten::meshgrid.indexing", Known::same_device},
    {"aten::cartesian_prod", Known::same_device},
    {"aten::combinations", Known::same_device},
    {"aten::block_diag", Known::same_device},
    {"aten::inner", Known::same_device},
    {"aten::inner.out", Known::same_device},
    {"aten::linalg_multi_dot", Known::same_device},
    {"aten::linalg_multi_dot.out", Known::same_device},
    {"aten::chain_matmul", Known::same_device},
    {"aten::_make_dual", Known::forward_mode},
    {"aten::_unpack_dual", Known::forward_mode},
    {"aten::_fw_primal", Known::forward_mode},
};

bool written(const c10::Argument& argument) {
  return argument.alias_info() != nullptr && argument.alias_info()->isWrite();
}

// The same name, type and default? Aliasing aside, which is what tells `add_` from `add`.
bool same_argument(const c10::Argument& a, const c10::Argument& b) {
  return a.name() == b.name() && *a.real_type() == *b.real_type();
}

bool same_arguments(const c10::FunctionSchema& a, const c10::FunctionSchema& b, size_t count) {
  if (a.arguments().size() < count || b.arguments().size() != count) return false;
  for (size_t i = 0; i < count; ++i) {
    if (!same_argument(a.arguments()[i], b.arguments()[i])) return false;
  }
  return true;
}

std::string schema_text(const c10::FunctionSchema& schema) {
  std::ostringstream out;
  out << schema;
  return out.str();
}

size_t out_arguments(const c10::FunctionSchema& schema) {
  return static_cast<size_t>(std::count_if(schema.arguments().begin(), schema.arguments().end(),
                                           [](const c10::Argument& a) { return a.is_out(); }));
}

const RuleEntry* matching(const std::vector<RuleEntry>& entries, const std::string& schema) {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const RuleEntry& entry) {
    return schema == entry.rule->schema;
  });
  return found == entries.end() ? nullptr : &*found;
}

bool adopt(Operator& op, const std::string& functional, Variant variant, size_t argument_count) {
  for (const RuleEntry& entry : rules_of_function(functional)) {
    if (variant == Variant::out && entry.rule->has(kNoOut)) continue;
    const std::string base(operator_name(*entry.rule));
    const size_t dot = base.find('.');
    const auto handle = c10::Dispatcher::singleton().findSchema(
        {base.substr(0, dot), dot == std::string::npos ? "" : base.substr(dot + 1)});
    if (!handle || !same_arguments(op.handle.schema(), handle->schema(), argument_count)) continue;
    if (schema_text(handle->schema()) != entry.rule->schema) continue;
    op.rule = entry.rule;
    op.family = entry.family;
    op.variant = variant;
    return true;
  }
  return false;
}

void find_rule(Operator& op) {
  const auto own = rules_named(op.name);
  if (const RuleEntry* entry = matching(own, schema_text(op.handle.schema()))) {
    op.rule = entry->rule;
    op.family = entry->family;
    return;
  }
  if (!own.empty()) return;
  const std::string& function = op.handle.operator_name().name;
  if (op.outs != 0) {
    if (op.outs != op.returns) return;  // an out= that is a list of tensors
    adopt(op, function, Variant::out, op.arguments - op.outs);
  } else if (function.back() == '_' && !op.written.empty()) {
    adopt(op, function.substr(0, function.size() - 1), Variant::in_place, op.arguments);
  }
}

// The scale of a quantized output, by the names that PyTorch's operators have for it.
void note_scale(Operator& op, int i, const std::string& name, const std::string& type) {
  if (type == "float" && (name == "scale" || name == "output_scale" || name == "Y_scale_i")) {
    op.scale = i;
  }
  if (type == "int" &&
      (name == "zero_point" || name == "output_zero_point" || name == "Y_zero_point_i")) {
    op.zero_point = i;
  }
  if (type == "Tensor" && name == "scales") op.scale = i;
  if (type == "Tensor" && name == "zero_points") op.zero_point = i;
  if (type == "int" && name == "axis") op.axis = i;
}

void describe_arguments(Operator& op) {
  const auto& schema = op.handle.schema();
  op.arguments = schema.arguments().size();
  op.outs = out_arguments(schema);
  op.returns = schema.returns().size();
  for (size_t i = 0; i < op.arguments; ++i) {
    const c10::Argument& argument = schema.arguments()[i];
    const auto& type = *argument.real_type();
    const std::string text = type.annotation_str();
    if (written(argument)) op.written.push_back(static_cast<int>(i));
    if (text == "Device" || text == "Optional[Device]" || text == "Device?" ||
        text == "Optional[torch.device]" || text == "torch.device") {
      op.devices.push_back(static_cast<int>(i));
    }
    if (text.find("Generator") != std::string::npos) op.generators.push_back(static_cast<int>(i));
    const bool object = text.find("torch.classes.") != std::string::npos;
    // Not a process group, nor how it reduces.
    const bool packed = object && text.find("torch.classes.c10d.") == std::string::npos;
    if (packed) op.objects.push_back(static_cast<int>(i));
    note_scale(op, static_cast<int>(i), argument.name(), text);
    if (argument.name() == "copy" && text == "bool") op.copy = static_cast<int>(i);
  }
  for (const c10::Argument& result : schema.returns()) {
    int alias = -1;
    if (written(result)) {
      for (int i : op.written) {
        if (*schema.arguments()[static_cast<size_t>(i)].alias_info() == *result.alias_info())
          alias = i;
      }
    } else if (result.alias_info() != nullptr) {
      op.view = true;
    }
    op.return_aliases.push_back(alias);
  }
}

GenericClass generic_class(const Operator& op) {
  if (op.view) return GenericClass::view;
  if (op.handle.hasTag(at::Tag::pointwise)) return GenericClass::pointwise;
#if defined(NNPROF_HAS_REDUCTION_TAG)
  if (op.handle.hasTag(at::Tag::reduction)) return GenericClass::reduction;
#endif
  return GenericClass::opaque;
}

// Written in terms of others on the CPU, and one kernel on CUDA: see aten's native_functions.yaml.
constexpr std::string_view kFusedOnAccelerators[] = {"aten::_fused_rms_norm"};

c10::DispatchKeySet autograd_keys(const Operator& op) {
  if (op.fused) return c10::DispatchKeySet({kLentBackend, kLentAutograd});
  c10::DispatchKeySet keys;
  // An operator of a library without one takes PyTorch's fallback, which refuses in the backward.
  const bool of_library = op.name.rfind("aten::", 0) != 0;
  if (of_library || op.handle.hasKernelForDispatchKey(c10::DispatchKey::Autograd) ||
      op.handle.hasKernelForDispatchKey(c10::DispatchKey::AutogradMeta)) {
    keys = keys.add(c10::DispatchKey::AutogradMeta);
  }
  if (op.handle.hasKernelForDispatchKey(c10::DispatchKey::ADInplaceOrView)) {
    keys = keys.add(c10::DispatchKey::ADInplaceOrView);
  }
  return keys;
}

Operator describe(const c10::OperatorHandle& handle) {
  Operator op(handle);
  op.name = toString(handle.operator_name());
  describe_arguments(op);
  find_rule(op);
  op.composite = handle.hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd) ||
                 op.name == "aten::allclose";  // which asks for the value of isclose
  op.composition = composition_of(op.name);
  op.fused = std::find(std::begin(kFusedOnAccelerators), std::end(kFusedOnAccelerators), op.name) !=
             std::end(kFusedOnAccelerators);
  op.generic = generic_class(op);
  op.autograd_keys = autograd_keys(op);
  op.cpu_autocast = cpu_cast_policy(op.name);
  op.accelerator_autocast = accelerator_cast_policy(op.name);
  if (op.name.rfind("aten::", 0) != 0) op.schema = handle.schema();
  const auto known = kKnownOperators.find(op.name);
  if (known != kKnownOperators.end()) op.known = known->second;
  op.truth = truth_of(handle.operator_name().name);
  return op;
}

struct OperatorTable {
  std::mutex mutex;
  std::unordered_map<c10::OperatorHandle, uint32_t> numbers;
  std::deque<Operator> operators;  // never moves what it holds
};

OperatorTable& table() {
  static auto* operators = new OperatorTable;  // never destroyed: threads may outlive main
  return *operators;
}

const Operator& enter(const c10::OperatorHandle& handle) {
  OperatorTable& all = table();
  const std::lock_guard<std::mutex> lock(all.mutex);
  const auto found = all.numbers.find(handle);
  if (found != all.numbers.end() && all.operators[found->second].is_of(handle)) {
    return all.operators[found->second];
  }
  all.operators.push_back(describe(handle));
  Operator& op = all.operators.back();
  op.number = static_cast<uint32_t>(all.operators.size() - 1);
  all.numbers[handle] = op.number;
  return op;
}

}  // namespace

const Operator& operator_of(const c10::OperatorHandle& handle) {
  thread_local std::unordered_map<c10::OperatorHandle, const Operator*> seen;
  const Operator*& op = seen[handle];
  if (op == nullptr || !op->is_of(handle)) op = &enter(handle);
  return *op;
}

const Operator& operator_numbered(uint32_t number) {
  OperatorTable& all = table();
  const std::lock_guard<std::mutex> lock(all.mutex);
  return all.operators[number];
}

std::vector<RuleStatus> rule_statuses() {
  std::vector<RuleStatus> statuses;
  for (const RuleFamily& family : rule_families()) {
    for (const Rule& rule : family.rules) {
      const std::string name(operator_name(rule));
      const size_t dot = name.find('.');
      const auto handle = c10::Dispatcher::singleton().findSchema(
          {name.substr(0, dot), dot == std::string::npos ? "" : name.substr(dot + 1)});
      std::string reason;
      if (!handle && name.rfind("aten::", 0) != 0) continue;  // of a library that is not loaded
      if (!handle) {
        reason = "this torch has no such operator";
      } else if (schema_text(handle->schema()) != rule.schema) {
        reason = "this torch has " + schema_text(handle->schema());
      }
      statuses.push_back({name, rule.schema, family.name, reason, false});
    }
  }
  for (const c10::OperatorName& name : c10::Dispatcher::singleton().getAllOpNames()) {
    if (name.name.rfind("aten::", 0) != 0 || !rules_named(toString(name)).empty()) continue;
    const auto handle = c10::Dispatcher::singleton().findSchema(name);
    if (!handle) continue;
    const Operator& op = operator_of(*handle);
    if (op.rule == nullptr) continue;
    statuses.push_back({op.name, schema_text(handle->schema()), op.family->name, "", true});
  }
  return statuses;
}

}  // namespace nnprof

#include "dispatch/sparse.h"

#include <ATen/Functions.h>
#include <ATen/native/SparseTensorUtils.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <string_view>
#include <unordered_map>

#include "dispatch/key.h"
#include "dispatch/stack_walk.h"

// Gradients of embeddings are sparse where they are asked for, and optimizers have steps for them:
// sums of sparse tensors, of a sparse one and a dense one, functions of the values. PyTorch's
// kernels for the meta device are few. What is stored is what the dense parts are, so that their
// bytes are those of the sparse tensor.

namespace nnprof {
namespace {

using at::Tensor;
using Handler = bool (*)(const Operator&, Stack&, Trace&);

Tensor indices_of(const Tensor& sparse) { return at::sparse::get_sparse_impl(sparse)->indices(); }

Tensor values_of(const Tensor& sparse) { return at::sparse::get_sparse_impl(sparse)->values(); }

// Out of parts, shape-only, without a call that anyone sees.
Tensor sparse_of(const Tensor& real_indices, const Tensor& real_values, at::IntArrayRef sizes,
                 bool coalesced) {
  Trace& trace = *current_trace();
  const Tensor indices = trace.shadow(real_indices), values = trace.shadow(real_values);
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  const auto options = values.options().layout(at::kSparse);
  return at::_sparse_coo_tensor_with_dims_and_tensors(indices.size(0), values.dim() - 1, sizes,
                                                      indices, values, options, coalesced);
}

void set_parts(const Tensor& sparse, const Tensor& indices, const Tensor& values) {
  Trace& trace = *current_trace();
  at::sparse::get_sparse_impl(sparse)->set_indices_and_values_unsafe(trace.shadow(indices),
                                                                     trace.shadow(values));
}

Tensor like(const Tensor& sparse, const Tensor& values) {
  return sparse_of(indices_of(sparse), values, sparse.sizes(), sparse.is_coalesced());
}

c10::IValue* arguments_of(const Operator& op, Stack& stack) {
  return stack.data() + (stack.size() - op.arguments);
}

bool is_sparse(const c10::IValue& value) {
  return value.isTensor() && value.toTensor().is_sparse();
}

bool answer(const Operator& op, Stack& stack, c10::IValue output) {
  torch::jit::drop(stack, op.arguments);
  stack.push_back(std::move(output));
  return true;
}

// Rows of a dense tensor by the sparse dimensions, as one index where there is one.
Tensor add_rows(Tensor dense, const Tensor& sparse, const at::Scalar& alpha) {
  const Tensor indices = indices_of(sparse), values = values_of(sparse);
  if (indices.size(0) == 1) return dense.index_add_(0, indices.select(0, 0), values, alpha);
  c10::List<std::optional<Tensor>> each;
  for (int64_t i = 0; i < indices.size(0); ++i) each.push_back(indices.select(0, i));
  const Tensor scaled = alpha.equal(1) ? values : values.mul(alpha);
  return dense.index_put_(each, scaled, /*accumulate=*/true);
}

bool make(const Operator& op, Stack& stack, Trace& trace) {
  const c10::IValue* arguments = arguments_of(op, stack);
  const Tensor indices = arguments[3].toTensor(), values = arguments[4].toTensor();
  const bool coalesced = arguments[9].isBool() && arguments[9].toBool();
  const Tensor made = sparse_of(indices, values, arguments[2].toIntVector(), coalesced);
  trace.note_gradient(made);
  return answer(op, stack, made);
}

// No call that anyone sees: autograd asks for them, to keep them as a gradient.
bool get_indices(const Operator& op, Stack& stack, Trace&) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  return answer(op, stack, indices_of(stack.back().toTensor()).alias());
}

bool get_values(const Operator& op, Stack& stack, Trace&) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  return answer(op, stack, values_of(stack.back().toTensor()).alias());
}

// How many entries differ in their indices. Where these are not known, all do.
int64_t distinct_entries(const Tensor& sparse, Trace& trace) {
  const Tensor indices = indices_of(sparse);
  if (trace.identify(indices).values == Values::known) {
    const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
    return std::get<0>(at::unique_dim(trace.value(indices), 1)).size(1);
  }
  trace.session()->assume("entries of a sparse tensor " + trace.session()->describe_scope() +
                          " are taken to be of different rows");
  return indices.size(1);
}

// Each entry is added to the one that is kept of its row; which one that is decides nothing.
bool coalesce(const Operator& op, Stack& stack, Trace& trace) {
  const Tensor self = stack.back().toTensor();
  const Tensor indices = indices_of(self), values = values_of(self);
  if (indices.size(1) == 0) return answer(op, stack, like(self, values));
  const int64_t entries = distinct_entries(self, trace);
  const Tensor rows = at::zeros({indices.size(1)}, indices.options());
  c10::DimVector sizes(values.sizes());
  sizes[0] = entries;
  const Tensor sums = at::zeros(sizes, values.options()).index_add_(0, rows, values);
  const Tensor kept = at::zeros({indices.size(0), entries}, indices.options());
  return answer(op, stack, sparse_of(kept, sums, self.sizes(), true));
}

bool add(const Operator& op, Stack& stack, Trace&) {
  const c10::IValue* arguments = arguments_of(op, stack);
  const Tensor self = arguments[0].toTensor(), other = arguments[1].toTensor();
  const at::Scalar alpha = arguments[2].toScalar();
  const bool in_place = !op.written.empty();
  if (!other.is_sparse()) return false;
  TORCH_CHECK(self.sizes() == other.sizes(), "add: expected 'self' and 'other' to have same size, ",
              "but self has size ", self.sizes(), " while other has size ", other.sizes());
  if (!self.is_sparse()) {
    Tensor sum = add_rows(in_place ? self : self.clone(), other, alpha);
    return answer(op, stack, in_place ? self : sum);
  }
  const Tensor scaled = alpha.equal(1) ? values_of(other) : values_of(other).mul(alpha);
  const Tensor indices = at::cat({indices_of(self), indices_of(other)}, 1);
  const Tensor values = at::cat({values_of(self), scaled}, 0);
  if (!in_place) return answer(op, stack, sparse_of(indices, values, self.sizes(), false));
  set_parts(self, indices, values);
  at::sparse::get_sparse_impl(self)->set_coalesced(false);
  return answer(op, stack, self);
}

// A function that leaves zeros as they are, with numbers besides: of the values alone.
bool of_values(const Operator& op, Stack& stack, Trace&) {
  const c10::IValue* arguments = arguments_of(op, stack);
  if (!is_sparse(arguments[0])) return false;
  for (size_t i = 1; i < op.arguments; ++i) {
    if (arguments[i].isTensor() && arguments[i].toTensor().dim() != 0) return false;
  }
  const Tensor self = arguments[0].toTensor();
  Stack inner(arguments, arguments + op.arguments);
  inner[0] = values_of(self);
  op.handle.callBoxed(inner);
  return answer(op, stack, op.written.empty() ? like(self, inner.back().toTensor()) : self);
}

bool reduce_values(const Operator& op, Stack& stack, Trace&) {
  c10::IValue* arguments = arguments_of(op, stack);
  const bool all = op.arguments < 3 || arguments[2].isNone() || !arguments[2].isIntList() ||
                   arguments[2].toIntVector().empty();
  if (!is_sparse(arguments[0]) || !all) return false;
  arguments[0] = values_of(arguments[0].toTensor());
  op.handle.callBoxed(stack);
  return true;
}

bool clone(const Operator& op, Stack& stack, Trace&) {
  const Tensor self = arguments_of(op, stack)[0].toTensor();
  return answer(op, stack,
                sparse_of(indices_of(self).clone(), values_of(self).clone(), self.sizes(),
                          self.is_coalesced()));
}

bool alias(const Operator& op, Stack& stack, Trace&) {
  const Tensor self = arguments_of(op, stack)[0].toTensor();
  return answer(op, stack, like(self, values_of(self)));
}

// What a dense tensor has where another one has entries.
bool mask(const Operator& op, Stack& stack, Trace&) {
  const c10::IValue* arguments = arguments_of(op, stack);
  const Tensor self = arguments[0].toTensor(), entries = arguments[1].toTensor();
  if (self.is_sparse() || !entries.is_sparse()) return false;
  const Tensor indices = indices_of(entries);
  if (indices.size(0) != 1) return false;
  const Tensor values = self.index_select(0, indices.select(0, 0));
  return answer(op, stack, like(entries, values));
}

bool to_dense(const Operator& op, Stack& stack, Trace&) {
  const Tensor self = arguments_of(op, stack)[0].toTensor();
  if (!self.is_sparse()) return false;
  return answer(op, stack, add_rows(at::zeros(self.sizes(), values_of(self).options()), self, 1));
}

bool zero(const Operator& op, Stack& stack, Trace&) {
  const Tensor self = stack.back().toTensor();
  const Tensor indices = at::zeros({indices_of(self).size(0), 0}, indices_of(self).options());
  c10::DimVector sizes(values_of(self).sizes());
  sizes[0] = 0;
  const Tensor values = at::zeros(sizes, values_of(self).options());
  set_parts(self, indices, values);
  return answer(op, stack, self);
}

bool mark_coalesced(const Operator& op, Stack& stack, Trace&) {
  const bool coalesced = stack.back().toBool();
  const Tensor self = arguments_of(op, stack)[0].toTensor();
  at::sparse::get_sparse_impl(self)->set_coalesced(coalesced);
  return answer(op, stack, self);
}

// Sizes and flags: what the tensor itself tells.
bool ask(const Operator& op, Stack& stack, Trace&) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  op.handle.callBoxed(stack);
  return true;
}

const std::unordered_map<std::string_view, Handler> kHandlers = {
    {"aten::_sparse_coo_tensor_with_dims_and_tensors", &make},
    {"aten::_indices", &get_indices},
    {"aten::indices", &get_indices},
    {"aten::_values", &get_values},
    {"aten::values", &get_values},
    {"aten::_coalesce", &coalesce},
    {"aten::_coalesced_", &mark_coalesced},
    {"aten::add.Tensor", &add},
    {"aten::add_.Tensor", &add},
    {"aten::mul.Tensor", &of_values},
    {"aten::mul_.Tensor", &of_values},
    {"aten::mul.Scalar", &of_values},
    {"aten::mul_.Scalar", &of_values},
    {"aten::div.Tensor", &of_values},
    {"aten::div_.Tensor", &of_values},
    {"aten::div.Scalar", &of_values},
    {"aten::div_.Scalar", &of_values},
    {"aten::neg", &of_values},
    {"aten::neg_", &of_values},
    {"aten::pow.Tensor_Scalar", &of_values},
    {"aten::sqrt", &of_values},
    {"aten::sqrt_", &of_values},
    {"aten::abs", &of_values},
    {"aten::isnan", &of_values},
    {"aten::isinf", &of_values},
    {"aten::_to_copy", &of_values},
    {"aten::norm.Scalar", &reduce_values},
    {"aten::norm.ScalarOpt_dim", &reduce_values},
    {"aten::linalg_vector_norm", &reduce_values},
    {"aten::sum", &reduce_values},
    {"aten::clone", &clone},
    {"aten::detach", &alias},
    {"aten::alias", &alias},
    {"aten::sparse_mask", &mask},
    {"aten::_to_dense", &to_dense},
    {"aten::zero_", &zero},
    {"aten::_nnz", &ask},
    {"aten::is_coalesced", &ask},
    {"aten::sparse_dim", &ask},
    {"aten::dense_dim", &ask},
    {"aten::_dimI", &ask},
    {"aten::_dimV", &ask},
};

}  // namespace

bool run_sparse(const Operator& op, Stack& stack, Trace& trace) {
  const auto found = kHandlers.find(op.name);
  if (found == kHandlers.end()) return false;
  // Neither is one of the user's looked into, nor one that autograd has to know of.
  bool apart = true;
  for (size_t i = stack.size() - op.arguments; i < stack.size(); ++i) {
    for_each_tensor(stack[i], [&](const Tensor& tensor) {
      apart &= !tensor.is_sparse() || tensor.is_meta();
      apart &= !tensor.requires_grad() || !at::GradMode::is_enabled();
    });
  }
  return apart && found->second(op, stack, trace);
}

}  // namespace nnprof

// Collectives: what one rank sends and receives. Nothing is sent in a trace, on a real group
// either.
//
// A call costs the traffic of its own tensors: what it gives is read once, what it gets is written
// once. What a network adds up is no work of this rank's cores, and counts no FLOPs. Copies into
// and out of a flat buffer (fsdp::) are traffic like any other.
#include <ATen/core/Tensor.h>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"

namespace nnprof {
namespace {

using at::Tensor;
using Tensors = std::vector<Tensor>;

// c10d:: ------------------------------------------------------------------------------------------

// A collective that has ended. Like a real one it holds its tensors as long as it is held itself.
class Ended final : public c10d::Work {
 public:
  Ended(Tensors results, Tensors others)
      : results_(std::move(results)), others_(std::move(others)) {}

  bool isCompleted() override { return true; }
  bool isSuccess() const override { return true; }
  bool wait(std::chrono::milliseconds) override { return true; }
  void synchronize() override {}
  void blockCurrentStream() override {}
  // Of what any rank may have sent: the first one's.
  int sourceRank() const override { return 0; }
  Tensors result() override { return results_; }
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override {
    auto future =
        c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()));
    future->markCompleted(c10::IValue(results_));
    return future;
  }

 private:
  Tensors results_;
  Tensors others_;
};

void collect(const c10::IValue& value, Tensors& found) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) found.push_back(value.toTensor());
  } else if (value.isList()) {
    for (const c10::IValue& item : value.toListRef()) collect(item, found);
  }
}

enum class Returns { work, first_and_work };

// All of c10d:: have what they write in front, and hand it back, if at all.
template <size_t arguments, Returns returns>
void in_group(Stack& stack) {
  const size_t start = stack.size() - arguments;
  Tensors results, others;
  c10::IValue first = stack[start];
  collect(first, results);
  for (size_t i = start + 1; i < stack.size(); ++i) collect(stack[i], others);
  torch::jit::drop(stack, arguments);
  if (returns == Returns::first_and_work) stack.push_back(std::move(first));
  const c10::intrusive_ptr<c10d::Work> work =
      c10::make_intrusive<Ended>(std::move(results), std::move(others));
  stack.emplace_back(work);
}

// What the first argument is, and that it is written: the schemas do not say.
template <size_t results, size_t given>
void exchange_cost(const OpSignature& op, Cost& cost) {
  cost.bytes_read = cost.bytes_written = 0;
  for (const TensorSpec& tensor : op.tensors(results))
    cost.bytes_written += tensor.distinct_bytes();
  for (const TensorSpec& tensor : op.tensors(given)) cost.bytes_read += tensor.distinct_bytes();
}

// _c10d_functional:: ------------------------------------------------------------------------------

Tensor same(const Tensor& input) { return empty_like_dtype(input.sizes(), input); }

Tensor first_times(const Tensor& input, int64_t factor) {
  TORCH_CHECK(input.dim() > 0, "a collective over ranks needs a dimension to join them in");
  c10::DimVector sizes(input.sizes());
  sizes[0] *= factor;
  return empty_like_dtype(sizes, input);
}

Tensor first_over(const Tensor& input, int64_t ranks) {
  TORCH_CHECK(input.dim() > 0 && ranks > 0 && input.size(0) % ranks == 0, "the first dimension (",
              input.sizes(), ") must be divisible by group_size (", ranks, ")");
  c10::DimVector sizes(input.sizes());
  sizes[0] /= ranks;
  return empty_like_dtype(sizes, input);
}

template <Tensor (*one)(const Tensor&, int64_t)>
Tensors each(at::TensorList inputs, int64_t ranks) {
  Tensors made;
  for (const Tensor& input : inputs) made.push_back(one(input, ranks));
  return made;
}

// The name of the group, or the group: of no concern here.
using Group = c10::IValue;

Tensor all_reduce(const Tensor& input, c10::string_view, const Group&) { return same(input); }

Tensors all_reduce_each(at::TensorList inputs, c10::string_view, const Group&) {
  Tensors made;
  for (const Tensor& input : inputs) made.push_back(same(input));
  return made;
}

Tensor broadcast(const Tensor& input, int64_t, const Group&) { return same(input); }

Tensor all_gather(const Tensor& input, int64_t ranks, const Group&) {
  return first_times(input, ranks);
}

Tensors all_gather_each(at::TensorList inputs, int64_t ranks, const Group&) {
  return each<&first_times>(inputs, ranks);
}

Tensor reduce_scatter(const Tensor& input, c10::string_view, int64_t ranks, const Group&) {
  return first_over(input, ranks);
}

Tensors reduce_scatter_each(at::TensorList inputs, c10::string_view, int64_t ranks, const Group&) {
  return each<&first_over>(inputs, ranks);
}

Tensor all_to_all(const Tensor& input, at::IntArrayRef to_get, at::IntArrayRef, const Group&) {
  c10::DimVector sizes(input.sizes());
  if (!to_get.empty()) {
    sizes[0] = 0;
    for (const int64_t rows : to_get) sizes[0] += rows;
  }
  return empty_like_dtype(sizes, input);
}

Tensor itself(const Tensor& input) { return input; }

// fsdp:: ------------------------------------------------------------------------------------------

std::tuple<Tensor, Tensor> copy_in(at::TensorList, const Tensor& output, at::IntArrayRef,
                                   int64_t numel, int64_t rank) {
  return {output.narrow(0, numel * rank, numel), output};
}

void copy_in_cost(const OpSignature& op, Cost& cost) {
  cost.bytes_read = 0;
  for (const TensorSpec& input : op.tensors(0)) cost.bytes_read += input.distinct_bytes();
  cost.bytes_written = op.output(0).distinct_bytes();
}

template <size_t arguments>
void nothing_back(Stack& stack) {
  torch::jit::drop(stack, arguments);
}

#define GROUP "__torch__.torch.classes.c10d.ProcessGroup process_group"
#define REDUCTION "__torch__.torch.classes.c10d.ReduceOp reduce_op"
#define WORK "__torch__.torch.classes.c10d.Work"

constexpr Rule kCollectiveTable[] = {
    {"c10d::allreduce_(Tensor[] tensors, " GROUP ", " REDUCTION
     ", Tensor? sparse_indices, bool async_op=True, int timeout=-1) -> (Tensor[], " WORK ")",
     &in_group<6, Returns::first_and_work>,
     exchange_cost<0, 0>,
     {},
     kNeverReal},
    {"c10d::allreduce_coalesced_(Tensor[] tensors, " GROUP ", " REDUCTION
     ", bool async_op=True, int timeout=-1) -> " WORK,
     &in_group<5, Returns::work>,
     exchange_cost<0, 0>,
     {},
     kNeverReal},
    {"c10d::broadcast_(Tensor[] tensors, " GROUP
     ", int root_rank, int root_tensor, bool async_op=True, int timeout=-1) -> (Tensor[], " WORK
     ")",
     &in_group<6, Returns::first_and_work>,
     exchange_cost<0, 0>,
     {},
     kNeverReal},
    {"c10d::reduce_(Tensor[] tensors, " GROUP ", " REDUCTION
     ", int root_rank, int root_tensor, bool async_op=True, int timeout=-1) -> " WORK,
     &in_group<7, Returns::work>,
     exchange_cost<0, 0>,
     {},
     kNeverReal},
    {"c10d::_allgather_base_(Tensor output_tensor, Tensor input_tensor, " GROUP
     ", bool async_op=True, int timeout=-1) -> (Tensor, " WORK ")",
     &in_group<5, Returns::first_and_work>,
     exchange_cost<0, 1>,
     {},
     kNeverReal},
    {"c10d::allgather_into_tensor_coalesced_(Tensor[] outputs, Tensor[] inputs, " GROUP
     ", bool async_op=True) -> " WORK,
     &in_group<4, Returns::work>,
     exchange_cost<0, 1>,
     {},
     kNeverReal},
    {"c10d::_reduce_scatter_base_(Tensor output_tensor, Tensor input_tensor, " GROUP ", " REDUCTION
     ", bool async_op=True, int timeout=-1) -> (Tensor, " WORK ")",
     &in_group<6, Returns::first_and_work>,
     exchange_cost<0, 1>,
     {},
     kNeverReal},
    {"c10d::reduce_scatter_tensor_coalesced_(Tensor[] outputs, Tensor[] inputs, " GROUP
     ", " REDUCTION ", bool async_op=True, int timeout=-1) -> " WORK,
     &in_group<6, Returns::work>,
     exchange_cost<0, 1>,
     {},
     kNeverReal},
    {"c10d::alltoall_(Tensor[] output_tensors, Tensor[] input_tensors, " GROUP
     ", bool async_op=True, int timeout=-1) -> (Tensor[], " WORK ")",
     &in_group<5, Returns::first_and_work>,
     exchange_cost<0, 1>,
     {},
     kNeverReal},
    {"c10d::alltoall_base_(Tensor output, Tensor input, " GROUP
     ", int[] output_split_sizes, int[] input_split_sizes, bool async_op=True, int timeout=-1) "
     "-> " WORK,
     &in_group<7, Returns::work>,
     exchange_cost<0, 1>,
     {},
     kNeverReal},
    {"c10d::send(Tensor[] tensors, " GROUP ", int dst, int tag) -> " WORK,
     &in_group<4, Returns::work>,
     nullptr,
     {},
     kNeverReal},
    {"c10d::recv_(Tensor[] tensors, " GROUP ", int src, int tag) -> " WORK,
     &in_group<4, Returns::work>,
     nullptr,
     {},
     kNeverReal},
    {"c10d::recv_any_source_(Tensor[] tensors, " GROUP ", int tag) -> " WORK,
     &in_group<3, Returns::work>,
     nullptr,
     {},
     kNeverReal},
    {"c10d::barrier(Tensor tensor, " GROUP
     ", int[] device_ids, bool async_op=True, int timeout=-1) -> " WORK,
     &in_group<5, Returns::work>,
     nullptr,
     {},
     kNeverReal},

    {"_c10d_functional::all_reduce(Tensor input, str reduce_op, Any group_name) -> Tensor",
     boxed<&all_reduce>,
     nullptr,
     {},
     kNeverReal},
    {"_c10d_functional::all_reduce_coalesced(Tensor[] inputs, str reduce_op, Any group_name) -> "
     "Tensor[]",
     boxed<&all_reduce_each>,
     nullptr,
     {},
     kNeverReal},
    {"_c10d_functional::broadcast(Tensor input, int src, Any group_name) -> Tensor",
     boxed<&broadcast>,
     nullptr,
     {},
     kNeverReal},
    {"_c10d_functional::all_gather_into_tensor(Tensor input, int group_size, Any group_name) -> "
     "Tensor",
     boxed<&all_gather>,
     nullptr,
     {},
     kNeverReal},
    {"_c10d_functional::all_gather_into_tensor_coalesced(Tensor[] inputs, int group_size, Any "
     "group_name) -> Tensor[]",
     boxed<&all_gather_each>,
     nullptr,
     {},
     kNeverReal},
    {"_c10d_functional::reduce_scatter_tensor(Tensor input, str reduce_op, int group_size, Any "
     "group_name) -> Tensor",
     boxed<&reduce_scatter>,
     nullptr,
     {},
     kNeverReal},
    {"_c10d_functional::reduce_scatter_tensor_coalesced(Tensor[] inputs, str reduce_op, int "
     "group_size, Any group_name) -> Tensor[]",
     boxed<&reduce_scatter_each>,
     nullptr,
     {},
     kNeverReal},
    {"_c10d_functional::all_to_all_single(Tensor input, SymInt[] output_split_sizes, SymInt[] "
     "input_split_sizes, Any group_name) -> Tensor",
     boxed<&all_to_all>,
     nullptr,
     {},
     kNeverReal},
    {"_c10d_functional::wait_tensor(Tensor tensor) -> Tensor",
     boxed<&itself>,
     nullptr,
     {},
     kReturnsInput | kNeverReal},
    {"_c10d_functional::_wrap_tensor_autograd(Tensor input) -> Tensor",
     boxed<&itself>,
     nullptr,
     {},
     kReturnsInput | kNeverReal},

    {"fsdp::all_gather_copy_in(Tensor[] all_gather_inputs, Tensor all_gather_output, SymInt[] "
     "inp_split_sizes, SymInt all_gather_input_numel, SymInt rank) -> (Tensor, Tensor)",
     boxed<&copy_in>,
     copy_in_cost,
     {},
     kNeverReal},
    {"fsdp::chunk_cat(Tensor[] tensors, int dim, int num_chunks, *, Tensor(a!) out) -> ()",
     &nothing_back<4>,
     exchange_cost<3, 0>,
     {},
     kNeverReal},
    {"fsdp::split_with_sizes_copy(Tensor all_gather_output, SymInt[] all_gather_input_split_sizes, "
     "int dim=0, *, Tensor(a!)[] out) -> ()",
     &nothing_back<4>,
     exchange_cost<3, 0>,
     {},
     kNeverReal},
    {"fsdp::copy_(Tensor(a!) tensor, Tensor data) -> ()",
     &nothing_back<2>,
     exchange_cost<0, 1>,
     {},
     kNeverReal},
};

#undef GROUP
#undef REDUCTION
#undef WORK

}  // namespace

const RuleFamily kCollectiveRules("collectives", kCollectiveTable, OpClass::other, kNothingSpecial);

}  // namespace nnprof

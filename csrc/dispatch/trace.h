// The state of one trace in one thread: the session it fills, and who every tensor is.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <c10/util/flat_hash_map.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/session.h"
#include "dispatch/assigned_data.h"
#include "dispatch/graph_roots.h"
#include "dispatch/mask_counts.h"
#include "dispatch/question.h"
#include "dispatch/torch_compat.h"
#include "dispatch/truth.h"
#include "dispatch/turns.h"

namespace nnprof {

// Whether the elements of a tensor are known while nothing is computed. NOTE [Values], values.h.
enum class Values : uint8_t {
  known,       // a real tensor on the CPU
  over_limit,  // it would be known with a higher limit on real integers
  unknown,     // depends on weights, activations or other data that is not there
};

// Integers and bools.
inline bool integral(const at::Tensor& tensor) {
  return c10::isIntegralType(tensor.scalar_type(), /*includeBool=*/true);
}

// Does a class of Python's say what operators do to it?
inline bool has_python_key(const at::Tensor& tensor) {
  return tensor.key_set().has(c10::DispatchKey::Python);
}

// And does it stand for other tensors, without memory of its own? So does a FakeTensor.
inline bool is_wrapper(const at::Tensor& tensor) {
  if (!has_python_key(tensor)) return false;
  return !tensor.has_storage() ||
         tensor.storage().unsafeGetStorageImpl()->_mutable_data_ptr_no_checks().get() == nullptr;
}

struct ExternalStorage;

using WeakTensor = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;

// Hangs on every storage that the trace makes, through its DataPtr's context.
struct StorageTag {
  std::shared_ptr<Session> session = {};
  uint32_t id = 0;
  Role role = Role::activation;
  Values values = Values::unknown;
  at::DataPtr memory = {};          // the real memory, where there is some
  std::optional<Reads> reads = {};  // what a training loop reads where values are not known
  bool is_shadow = false;           // it stands for another storage, and is no memory of its own
  // Of a shadow: the real storage of the trace's own that it stands for and keeps alive, or that of
  // the user's.
  c10::Storage original = {};
  // A real one: the program has put it on its device, where it would be, rather than on the CPU.
  bool placed = false;
  bool guessed = false;  // its values are known, but were made up: indices of an unknown maximum
  ExternalStorage* external = nullptr;
  // Of shape-only memory whose values are known all the same: the values, laid out alike. They are
  // no memory of the model's.
  c10::Storage computed = {};
  // How to make them, where nobody has asked yet.
  std::unique_ptr<std::function<c10::Storage()>> compute_later = {};
  // Nobody has written to all of it yet. Each write is made twice, to what was in it and to `other`
  // garbage: an element is known once the two agree.
  bool uninitialised = false;
  c10::Storage other = {};
  std::optional<MaskCount> mask = {};  // of all its elements, where they mask attention
  // In a backward: the tensor that is no view of another one.
  std::optional<WeakTensor> base = {};
};

// A storage that existed before the trace: the user's. Never written.
struct ExternalStorage {
  c10::Storage keep_alive;
  uint32_t id = 0;
  Role role = Role::constant;
  c10::Storage shadow;             // meta, made when first needed
  c10::Storage private_copy;       // real, made at the first in-place write
  Values written = Values::known;  // what was written to it in place, at the worst
  std::optional<Reads> reads;
  bool is_freed = false;  // the program holds it no longer
};

// A tensor inside of a script object: what stands for it, and the bytes it takes with its scales.
struct PackedTensor {
  at::Tensor meta;
  int64_t bytes = 0;
};

struct TraceOptions {
  bool recording = true;
  // Autograd records its graph, shape-only, so that backward() can run.
  bool backward = false;
  // Memory is laid out, and kernels are picked, as on an accelerator rather than on a CPU.
  bool accelerator = true;
  // Integer tensors of at most so many elements are really computed.
  int64_t integer_limit = 16 * 1024;
  // Bools, where that is more: the mask of 4,096 tokens made from two rows of positions takes a few
  // milliseconds, and a second run for what it hides takes as long as the model.
  static constexpr int64_t kBooleanLimit = int64_t{16} << 20;
  // Floating tensors made only from real values, likewise.
  int64_t float_limit = 4 * 1024;
  // Real floating tensors of the user's so small that their values may be asked for: parameters,
  // and what a run with higher limits may be asked for, the inputs and the buffers.
  int64_t parameter_limit = 16;
  int64_t input_float_limit = 16;
  // Whoever runs this trace runs it again with higher limits where that makes a value known.
  bool may_rerun = false;

  // Of a tensor that a call makes.
  int64_t limit_of(c10::ScalarType dtype) const {
    if (dtype == c10::ScalarType::Bool) return std::max(integer_limit, kBooleanLimit);
    return c10::isIntegralType(dtype, /*includeBool=*/false) ? integer_limit : float_limit;
  }
};

// What an operator's argument is to the trace.
struct Identity {
  uint32_t storage = 0;
  Role role = Role::activation;
  Values values = Values::unknown;
  bool guessed = false;
};

class Trace final : public c10::DebugInfoBase, public std::enable_shared_from_this<Trace> {
 public:
  explicit Trace(TraceOptions options);

  // Who is it, and are its values known?
  Identity identify(const at::Tensor& tensor);
  // The meta tensor that stands for it in shape-only execution. NOTE [Shadows], shadows.h.
  at::Tensor shadow(const at::Tensor& tensor);
  // The same, also inside of wrappers of vmap's. Without `integers` these stay: their values may be
  // asked for.
  at::Tensor shadow_for_transform(const at::Tensor& tensor, bool integers = false);
  // The same for a FakeTensor, whose storage is of no use.
  at::Tensor shadow_of_fake(const at::Tensor& fake);
  // The tensors that packed weights are made of, which the program holds as a script object. They
  // are looked up once, and are parameters of the user's on the meta device.
  const std::vector<PackedTensor>& packed(const c10::IValue& object);
  // The CPU tensor with its values; only where identify() says they are known.
  at::Tensor value(const at::Tensor& tensor);
  // The same for a real tensor of the user's and its views whatever the limits are; undefined where
  // there are no values to read.
  at::Tensor readable_value(const at::Tensor& tensor);
  // The values of a shape-only tensor of the trace's own, which was just made.
  void hang_values(const at::Tensor& tensor, const at::Tensor& values);
  // The same, made when they are first asked for.
  void hang_values_later(const at::Tensor& tensor, std::function<at::Tensor()> compute);
  // Is it shape-only, and has values beside?
  bool has_values_beside(const at::Tensor& tensor) const;
  // How much a mask hides, where its values are known or it was made of one such as that.
  std::optional<MaskCount> mask_count(const at::Tensor& mask);
  // The numbers of `mask` hide so much, be they known or not.
  void masks_like(const at::Tensor& mask, const MaskCount& count);
  // What a training loop reads of a tensor that answers a question about unknown values: see
  // truth.h.
  void assume_reads(const at::Tensor& tensor, std::optional<Reads> reads);
  std::optional<Reads> assumed_reads(const at::Tensor& tensor) const;
  // Its values are known, and were made up by the trace.
  void mark_guessed(const at::Tensor& tensor);
  // Before an in-place write: the user's storage gets its private copy. Returns what to write to.
  at::Tensor writable_value(const at::Tensor& tensor);
  // Of torch.empty: what is in it is not known before it is written.
  void mark_uninitialised(const at::Tensor& tensor);
  bool is_uninitialised(const at::Tensor& tensor) const;
  // The second place to write to in memory that is not initialised.
  at::Tensor other_value(const at::Tensor& tensor);
  // All of it is about to be overwritten: what was not known is forgotten.
  void renew(const at::Tensor& tensor);
  // An in-place write whose result is not known.
  void lose_values(const at::Tensor& tensor, Values values);

  // Does autograd track writes to it? Of a real tensor of the trace's own it has no graph.
  bool is_tracked(const at::Tensor& tensor) const {
    return tensor.is_meta() || is_wrapper(tensor) ||
           (tensor.has_storage() && tag_of(tensor) == nullptr);
  }
  // After a call in the backward pass: its output may have become a leaf's gradient.
  void note_gradient(const c10::IValue& output);
  // Of what a language model goes on with; also after the trace. What the trace did not make is
  // left what it is.
  void mark_cache(const at::Tensor& tensor);
  // The program sets `.grad`, or clears it. True when it is done: autograd refuses a gradient on
  // another device than the leaf's.
  bool assign_gradient(const at::Tensor& leaf, const at::Tensor& gradient);
  // The program sets `.data`. True when it is done: PyTorch refuses data on another device.
  bool assign_data(const at::Tensor& tensor, const at::Tensor& data);
  // Where a call belongs that is made now.
  Place place() const;
  // Threads of the program that work for it.
  Turns& turns() { return turns_; }
  int32_t workers = 0;  // that are at it
  // It is the turn of `thread`, which goes on where it was.
  void go_on_in(uint64_t thread);
  // Inside of PyTorch's own code for an operator that is recorded as a whole: its calls are not.
  // NOTE [Silent calls], graph_calls.h.
  int32_t silent = 0;
  // The program has made dual tensors: forward-mode derivatives.
  bool has_duals = false;
  // What dual tensors are made of was recorded before: only their tangents are.
  bool only_tangents = false;
  // Of the tensors that autograd kept in there.
  Count silently_saved;

  // An in-place change of sizes and strides (t_, squeeze_): undone when the trace stops.
  void change_metadata(const at::Tensor& tensor, const at::Tensor& as);
  // Autograd finds by its version that a tensor was written to after it was saved. The user's own
  // tensors get theirs back.
  void bump_version(const at::Tensor& tensor);
  void keep_version(const at::Tensor& tensor);
  // Before an operator writes to a meta tensor of the user's, which no shadow stands for.
  void keep_metadata(const at::Tensor& tensor);
  // Puts back what the trace changed in tensors of the user's.
  void restore();

  // Was it made while the trace ran? So is a wrapper, which has no storage.
  bool is_own(const at::Tensor& tensor) const {
    return !tensor.has_storage() || tag_of(tensor) != nullptr;
  }
  // The same of what has a storage.
  bool has_own_storage(const at::Tensor& tensor) const {
    return tensor.has_storage() && tag_of(tensor) != nullptr;
  }
  // Tags a new storage as the trace's own.
  void adopt(const at::Tensor& output, Values values);
  // Of what a backward makes: PyTorch's views keep alive what they are views of, in a backward too,
  // where ours do not.
  void note_base(const at::Tensor& output);
  // The program takes and gives back the memory of a tensor that stays, as FSDP does. Raises for
  // real memory that was there before: its data would be lost.
  void resize(const c10::Storage& storage, int64_t bytes);
  // Of what was there before, and nobody but the trace holds any longer, the memory is free.
  void free_what_nobody_holds();
  bool is_base(const at::Tensor& tensor) const;
  // The last zeros that a backward made.
  void note_fresh_zeros(const at::Tensor& zeros);
  bool is_fresh_zeros(const at::Tensor& tensor) const;
  // What a tensor of the user's is to the model; to be said before it is used.
  void set_role(const at::Tensor& tensor, Role role);
  // Is it on the program's device? So is what is shape-only, and what was made for the program.
  bool is_placed(const at::Tensor& tensor) const;
  // Of a program on an accelerator: is it in the CPU's memory?
  bool is_host(const at::Tensor& tensor) const;
  void mark_host(const at::Tensor& output, size_t first_storage = 0);
  void place_on_device(const at::Tensor& tensor);
  // Was it named as an input of the program's?
  bool is_input(const at::Tensor& tensor) const;
  // Where the first tensor of the user's is that was used and is not on meta; meta when all are.
  std::optional<at::Device> device_of_externals() const;
  // The number of the user's storage, or -1 when no operator has seen it.
  int64_t number_of_external(const at::Tensor& tensor) const;

  const std::shared_ptr<Session>& session() const { return session_; }
  const TraceOptions& options() const { return options_; }
  // May a floating tensor that is made now be a real one? Where autograd records its graph none
  // may: it could be written to, and such values hang on shape-only tensors.
  bool floats_may_be_real() const;
  // Off for what comes before the calls in question: they still run shape-only.
  void set_recording(bool recording) { options_.recording = session_->recording = recording; }
  at::Generator& generator();
  // Weight casts under autocast, kept as autocast keeps them.
  ska::flat_hash_map<c10::TensorImpl*, std::pair<at::Tensor, at::Tensor>>& cast_cache() {
    return cast_cache_;
  }
  void* companion = nullptr;  // what the bindings hang on a trace
  AskCaller ask_caller;       // null: nobody answers
  bool asked_finite = false;  // the program has asked whether numbers are
  // Is the program's device another one than the CPU, whose memory is then not the model's?
  std::function<bool()> host_is_apart;
  std::optional<at::Device> asked_device;  // by the first call of the program that names one

 private:
  void mark_gradient(const at::Tensor& gradient);
  at::Tensor wrapped_number(c10::ScalarType dtype);
  at::Tensor shadow_of_own(const at::Tensor& tensor, const StorageTag& tag);
  bool is_written(const at::Tensor& tensor);
  Identity identify_external(const at::Tensor& tensor, const ExternalStorage& storage) const;
  at::Tensor value_of_external(const at::Tensor& tensor, ExternalStorage& storage);
  at::Tensor private_copy(const at::Tensor& tensor, ExternalStorage& storage);
  int64_t float_limit(Role role) const;
  void remember_metadata(const at::Tensor& tensor);
  void restore_metadata();
  ExternalStorage& external(const c10::Storage& storage);
  StorageTag* tag_of(const at::Tensor& tensor) const;
  StorageTag* tag_of(c10::StorageImpl& storage) const;
  void adopt_storage(const c10::Storage& storage, uint32_t id, Role role, Values values);

  std::shared_ptr<Session> session_;
  TraceOptions options_;
  ska::flat_hash_map<c10::StorageImpl*, std::unique_ptr<ExternalStorage>> externals_;
  ska::flat_hash_map<c10::StorageImpl*, Role> roles_;
  struct Shadow {
    at::Tensor real;  // keeps the identity
    c10::StorageImpl* storage;
    at::Tensor meta;
  };
  ska::flat_hash_map<c10::TensorImpl*, Shadow> shadows_;
  ska::flat_hash_map<c10::TensorImpl*, std::pair<at::Tensor, at::Tensor>> cast_cache_;
  int64_t fresh_zeros_ = -1;  // number of their storage
  struct Metadata {
    at::Tensor tensor;
    c10::DimVector sizes;
    c10::DimVector strides;
    int64_t offset;
    c10::Storage storage;
    size_t nbytes;
  };
  std::vector<Metadata> changed_metadata_;
  std::map<int8_t, at::Tensor> wrapped_numbers_;
  Turns turns_;
  struct Silence {
    int32_t silent = 0;
    Count saved = 0;
  };
  std::map<uint64_t, Silence> waiting_;  // of threads that are not in turn
  uint64_t thread_ = 0;                  // that is
  MaskCounts masks_;
  struct PackedObject {
    c10::IValue object;  // keeps the identity
    std::vector<PackedTensor> tensors;
  };
  std::unordered_map<const void*, PackedObject> packed_;
  at::Generator generator_;
  GraphRoots graph_roots_;
  AssignedData assigned_data_;
  ska::flat_hash_map<c10::TensorImpl*, std::pair<WeakTensor, int64_t>> versions_;
};

// The mask that an operator makes out of booleans and a number that hides: `where` with three
// arguments, the booleans first, or `masked_fill` with the booleans in the middle.
std::optional<MaskCount> mask_made(const c10::IValue* arguments, Trace& trace);

// Is a tensor with a Python dispatch a FakeTensor? The bindings say how to find out.
using FakeTest = bool (*)(const at::Tensor&);
void set_fake_test(FakeTest test);
bool is_fake_tensor(const at::Tensor& tensor);

// The trace of this thread, or of the thread that its autograd work came from; null when none.
Trace* current_trace();

// Starts and stops tracing in this thread.
void start_trace(std::shared_ptr<Trace> trace);
void stop_trace();
// Installs the fallback on our dispatch key, once; raises when someone else holds the key.
void install_interceptor();

}  // namespace nnprof

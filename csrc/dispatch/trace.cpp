#include "dispatch/trace.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>
#include <ATen/functorch/BatchedTensorImpl.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <cstring>
#include <mutex>
#include <set>

#include "core/errors.h"
#include "dispatch/elsewhere.h"
#include "dispatch/key.h"

namespace nnprof {
namespace {

void release_tag(void* context) {
  auto* tag = static_cast<StorageTag*>(context);
  if (!tag->is_shadow) tag->session->storage_freed(tag->id);
  delete tag;
}

// Shape-only memory: no data to read, and a clear error for who tries.
c10::Storage meta_storage(int64_t bytes, StorageTag* tag) {
  c10::Storage storage(c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), bytes,
      at::DataPtr(nullptr, tag, &release_tag, at::Device(at::kMeta)), c10::GetAllocator(at::kMeta),
      /*resizable=*/true));
  storage.unsafeGetStorageImpl()->set_throw_on_mutable_data_ptr();
  return storage;
}

// Below the dispatch keys that we, autograd and autocast use.
struct KernelGuard {
  c10::impl::ExcludeDispatchKeyGuard guard{keys_above_kernels()};
};

at::Tensor alias_on(const at::Tensor& tensor, const c10::Storage& storage,
                    c10::DispatchKeySet keys) {
  auto alias =
      at::detail::make_tensor<c10::TensorImpl>(c10::Storage(storage), keys, tensor.dtype());
  alias.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides(),
                                                     tensor.storage_offset());
  if (tensor.is_conj()) alias._set_conj(true);
  if (tensor.is_neg()) alias._set_neg(true);
  // A write to either is one to both.
  if (!tensor.is_inference() && !alias.is_inference()) {
    alias.unsafeGetTensorImpl()->set_version_counter(
        tensor.unsafeGetTensorImpl()->version_counter());
  }
  return alias;
}

c10::DispatchKeySet meta_keys() { return c10::DispatchKeySet(c10::DispatchKey::Meta); }

c10::DispatchKeySet cpu_keys() { return c10::DispatchKeySet(c10::DispatchKey::CPU); }

// What stands for the data of another tensor has none of its own to be changed.
bool stands_for_another(const at::Tensor& tensor) {
  return tensor.key_set().has_any(
      c10::DispatchKeySet({c10::DispatchKey::Python, c10::DispatchKey::FuncTorchBatched,
                           c10::DispatchKey::FuncTorchGradWrapper}));
}

bool integral(const at::Tensor& tensor) {
  return c10::isIntegralType(tensor.scalar_type(), /*includeBool=*/true);
}

}  // namespace

Trace::Trace(TraceOptions options) : session_(std::make_shared<Session>()), options_(options) {
  session_->recording = options.recording;
}

StorageTag* Trace::tag_of(const at::Tensor& tensor) const {
  const c10::DataPtr& pointer =
      tensor.storage().unsafeGetStorageImpl()->_mutable_data_ptr_no_checks();
  if (pointer.get_deleter() != &release_tag) return nullptr;
  auto* tag = static_cast<StorageTag*>(pointer.get_context());
  return tag->session == session_ ? tag : nullptr;
}

ExternalStorage& Trace::external(const at::Tensor& tensor) {
  c10::StorageImpl* storage = tensor.storage().unsafeGetStorageImpl();
  auto& entry = externals_[storage];
  if (!entry) {
    entry = std::make_unique<ExternalStorage>();
    entry->keep_alive = tensor.storage();
    const auto role = roles_.find(storage);
    if (role != roles_.end()) entry->role = role->second;
    entry->id = session_->new_storage(static_cast<int64_t>(storage->nbytes()), entry->role, place(),
                                      /*external=*/true);
  }
  return *entry;
}

void Trace::set_role(const at::Tensor& tensor, Role role) {
  if (tensor.has_storage()) roles_[tensor.storage().unsafeGetStorageImpl()] = role;
}

bool Trace::is_placed(const at::Tensor& tensor) const {
  if (!tensor.is_cpu() || !tensor.has_storage()) return true;
  const StorageTag* tag = tag_of(tensor);
  return tag != nullptr ? tag->placed : is_input(tensor);
}

void Trace::place_on_device(const at::Tensor& tensor) {
  if (!tensor.has_storage()) return;
  if (StorageTag* tag = tag_of(tensor)) tag->placed = true;
}

bool Trace::is_input(const at::Tensor& tensor) const {
  if (!tensor.has_storage()) return false;
  const auto role = roles_.find(tensor.storage().unsafeGetStorageImpl());
  return role != roles_.end() && role->second == Role::input;
}

std::optional<at::Device> Trace::device_of_externals() const {
  const ExternalStorage* first = nullptr;
  for (const auto& [impl, storage] : externals_) {
    const bool later = first != nullptr && first->id < storage->id;
    if (later || storage->keep_alive.device().is_meta()) continue;
    first = storage.get();
  }
  if (first != nullptr) return first->keep_alive.device();
  return externals_.empty() ? std::nullopt : std::optional(at::Device(at::kMeta));
}

int64_t Trace::number_of_external(const at::Tensor& tensor) const {
  if (!tensor.has_storage()) return -1;
  const auto found = externals_.find(tensor.storage().unsafeGetStorageImpl());
  return found == externals_.end() ? -1 : static_cast<int64_t>(found->second->id);
}

int64_t Trace::float_limit(Role role) const {
  if (role == Role::constant) return options_.float_limit;
  return role == Role::input ? options_.input_float_limit : options_.user_float_limit;
}

int64_t Trace::computed_floats() const {
  const bool graph = options_.backward && session_->phase() != Phase::optimizer;
  return graph ? options_.graph_float_limit : options_.float_limit;
}

Identity Trace::identify(const at::Tensor& tensor) {
  if (!tensor.has_storage() || is_wrapper(tensor)) {
    return {0, Role::constant, Values::unknown, false};
  }
  if (const StorageTag* tag = tag_of(tensor))
    return {tag->id, tag->role, tag->values, tag->guessed};
  const ExternalStorage& storage = external(tensor);
  Identity identity{storage.id, storage.role, Values::unknown, false};
  if (tensor.is_meta() || storage.values_lost) return identity;
  if (integral(tensor)) {
    identity.values = tensor.numel() <= options_.integer_limit ? Values::known : Values::over_limit;
  } else {
    const bool of_model = storage.role != Role::constant && storage.role != Role::input;
    if (tensor.numel() <= std::min(float_limit(storage.role), options_.float_limit)) {
      identity.values = Values::known;
    } else if (!of_model) {
      identity.values = Values::over_limit;
    }
  }
  return identity;
}

at::Tensor Trace::shadow(const at::Tensor& tensor) {
  if (tensor.is_meta() || is_wrapper(tensor)) return tensor;
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number())
    return wrapped_number(tensor.scalar_type());
  if (!tensor.has_storage()) {
    return at::Tensor(at::detail::empty_meta(tensor.sizes(), tensor.scalar_type()));
  }
  // The trace's own real tensors come and go: no entry is kept for them.
  if (const StorageTag* tag = tag_of(tensor)) return shadow_of_own(tensor, *tag);
  c10::StorageImpl* storage = tensor.storage().unsafeGetStorageImpl();
  const auto found = shadows_.find(tensor.unsafeGetTensorImpl());
  if (found != shadows_.end() && found->second.storage == storage &&
      found->second.meta.sizes() == tensor.sizes() &&
      found->second.meta.strides() == tensor.strides()) {
    if (options_.backward) graph_roots_.join(tensor, found->second.meta);
    return found->second.meta;
  }
  ExternalStorage& entry = external(tensor);
  const c10::InferenceMode normal(false);  // it may be used in a graph later
  if (!entry.shadow) {
    auto* tag = new StorageTag{session_, entry.id, entry.role, Values::unknown, {},
                               {},       true,     {},         false,           false};
    entry.shadow = meta_storage(static_cast<int64_t>(storage->nbytes()), tag);
  }
  at::Tensor meta = alias_on(tensor, entry.shadow, meta_keys());
  if (options_.backward) graph_roots_.join(tensor, meta);
  shadows_[tensor.unsafeGetTensorImpl()] = {tensor, storage, meta};
  return meta;
}

at::Tensor Trace::shadow_for_transform(const at::Tensor& tensor, bool integers) {
  if (integral(tensor) && !integers) return tensor;
  if (const auto* batched = at::functorch::maybeGetBatchedImpl(tensor)) {
    const at::Tensor value = shadow_for_transform(batched->value(), integers);
    if (value.is_same(batched->value())) return tensor;
    return at::functorch::makeBatched(value, batched->bdim(), batched->level());
  }
  return stands_for_another(tensor) ? tensor : shadow(tensor);
}

// What autograd saves of it keeps the real memory alive, as it would in a real run.
at::Tensor Trace::shadow_of_own(const at::Tensor& tensor, const StorageTag& tag) {
  if (!options_.backward) {
    return at::Tensor(
        at::detail::empty_strided_meta(tensor.sizes(), tensor.strides(), tensor.scalar_type()));
  }
  auto* shadow = new StorageTag{session_, tag.id, tag.role,         tag.values, {},
                                {},       true,   tensor.storage(), false,      tag.guessed};
  const auto bytes = static_cast<int64_t>(tensor.storage().nbytes());
  at::Tensor meta = alias_on(tensor, meta_storage(bytes, shadow), meta_keys());
  graph_roots_.join(tensor, meta);
  return meta;
}

at::Tensor Trace::shadow_of_fake(const at::Tensor& fake) {
  const auto found = shadows_.find(fake.unsafeGetTensorImpl());
  if (found != shadows_.end() && found->second.meta.sizes() == fake.sizes() &&
      found->second.meta.strides() == fake.strides()) {
    return found->second.meta;
  }
  at::Tensor meta(at::detail::empty_strided_meta(fake.sizes(), fake.strides(), fake.scalar_type()));
  const Role role = fake.requires_grad() ? Role::parameter : Role::constant;
  const auto bytes = static_cast<int64_t>(meta.storage().nbytes());
  adopt_storage(meta.storage(), session_->new_storage(bytes, role, place()), role, Values::unknown);
  shadows_[fake.unsafeGetTensorImpl()] = {fake, nullptr, meta};
  return meta;
}

at::Tensor Trace::wrapped_number(c10::ScalarType dtype) {
  at::Tensor& number = wrapped_numbers_[static_cast<int8_t>(dtype)];
  if (!number.defined()) {
    number = at::Tensor(at::detail::empty_meta({}, dtype));
    number.unsafeGetTensorImpl()->set_wrapped_number(true);
  }
  return number;
}

at::Tensor Trace::value(const at::Tensor& tensor) {
  // A number of the program's takes no memory of the device's.
  const bool number = tensor.unsafeGetTensorImpl()->is_wrapped_number();
  if (number || !tensor.has_storage()) return tensor;
  if (const StorageTag* tag = tag_of(tensor)) {
    return tag->original ? alias_on(tensor, tag->original, cpu_keys()) : tensor;
  }
  ExternalStorage& entry = external(tensor);
  if (entry.private_copy) return alias_on(tensor, entry.private_copy, cpu_keys());
  if (tensor.is_cpu()) return tensor;
  return writable_value(tensor);
}

at::Tensor Trace::writable_value(const at::Tensor& tensor) {
  if (!tensor.has_storage() || tag_of(tensor) != nullptr) return tensor;
  ExternalStorage& entry = external(tensor);
  if (!entry.private_copy) {
    const KernelGuard guard;
    const auto bytes = static_cast<int64_t>(tensor.storage().nbytes());
    at::Tensor copy = at::empty({bytes}, at::TensorOptions().dtype(at::kByte).device(at::kCPU));
    at::Tensor source =
        at::empty({0}, at::TensorOptions().dtype(at::kByte).device(tensor.device()));
    source.set_(tensor.storage(), 0, {bytes}, {1});
    copy.copy_(source);
    entry.private_copy = copy.storage();
    adopt_storage(entry.private_copy, entry.id, entry.role, Values::known);
  }
  return alias_on(tensor, entry.private_copy, cpu_keys());
}

void Trace::lose_values(const at::Tensor& tensor, Values values) {
  if (!tensor.has_storage() || is_wrapper(tensor)) return;
  if (StorageTag* tag = tag_of(tensor)) {
    if (tag->values == Values::known) tag->values = values;
    tag->reads.reset();
    return;
  }
  ExternalStorage& storage = external(tensor);
  storage.values_lost = true;
  storage.reads.reset();
}

void Trace::change_metadata(const at::Tensor& tensor, const at::Tensor& as) {
  remember_metadata(tensor);
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(as.sizes(), as.strides(),
                                                      as.storage_offset());
}

void Trace::assume_reads(const at::Tensor& tensor, std::optional<Reads> reads) {
  if (!tensor.has_storage()) return;
  if (StorageTag* tag = tag_of(tensor)) {
    tag->reads = reads;
    return;
  }
  const auto found = externals_.find(tensor.storage().unsafeGetStorageImpl());
  if (found != externals_.end()) found->second->reads = reads;
}

std::optional<Reads> Trace::assumed_reads(const at::Tensor& tensor) const {
  if (!tensor.has_storage()) return std::nullopt;
  if (const StorageTag* tag = tag_of(tensor)) return tag->reads;
  const auto found = externals_.find(tensor.storage().unsafeGetStorageImpl());
  return found == externals_.end() ? std::nullopt : found->second->reads;
}

void Trace::mark_guessed(const at::Tensor& tensor) {
  if (!tensor.has_storage()) return;
  if (StorageTag* tag = tag_of(tensor)) tag->guessed = true;
}

void Trace::bump_version(const at::Tensor& tensor) {
  if (tensor.is_inference()) return;
  keep_version(tensor);
  tensor.unsafeGetTensorImpl()->bump_version();
}

void Trace::keep_version(const at::Tensor& tensor) {
  if (is_own(tensor) || tensor.is_inference()) return;
  versions_.emplace(tensor.unsafeGetTensorImpl(), std::pair(tensor, tensor._version()));
}

void Trace::keep_metadata(const at::Tensor& tensor) {
  if (!tensor.is_meta() || !tensor.has_storage()) return;
  const bool again = !changed_metadata_.empty() && changed_metadata_.back().tensor.is_same(tensor);
  if (!again) remember_metadata(tensor);
}

void Trace::remember_metadata(const at::Tensor& tensor) {
  if (tag_of(tensor) != nullptr) return;
  changed_metadata_.push_back({tensor, c10::DimVector(tensor.sizes()),
                               c10::DimVector(tensor.strides()), tensor.storage_offset(),
                               tensor.storage(), tensor.storage().nbytes()});
}

void Trace::restore() {
  cast_cache_.clear();
  graph_roots_.restore();
  assigned_data_.restore();
  restore_metadata();
  for (const auto& [impl, kept] : versions_) {
    c10::VariableVersion version = impl->version_counter();  // shares the count
    version.set_version(kept.second);
  }
  versions_.clear();
}

void Trace::restore_metadata() {
  for (auto last = changed_metadata_.rbegin(); last != changed_metadata_.rend(); ++last) {
    c10::TensorImpl* tensor = last->tensor.unsafeGetTensorImpl();
    tensor->set_storage_keep_dtype(last->storage);
    if (last->storage.nbytes() != last->nbytes) last->storage.set_nbytes(last->nbytes);
    tensor->set_sizes_and_strides(last->sizes, last->strides, last->offset);
  }
  changed_metadata_.clear();
}

void Trace::adopt_storage(const c10::Storage& storage, uint32_t id, Role role, Values values) {
  c10::StorageImpl* impl = storage.unsafeGetStorageImpl();
  c10::DataPtr& pointer = impl->_mutable_data_ptr_no_checks();
  auto* tag =
      new StorageTag{session_, id, role, values, std::move(pointer), {}, false, {}, false, false};
  const at::Device device = tag->memory.device();
  impl->set_data_ptr_noswap(at::DataPtr(tag->memory.get(), tag, &release_tag, device));
  if (device.type() == at::kMeta) impl->set_throw_on_mutable_data_ptr();
}

void Trace::adopt(const at::Tensor& output, Values values) {
  if (!output.defined() || !output.has_storage() || is_wrapper(output)) return;
  if (tag_of(output) != nullptr) return;
  if (externals_.count(output.storage().unsafeGetStorageImpl()) != 0)
    return;  // a view of the user's
  const auto bytes = static_cast<int64_t>(output.storage().unsafeGetStorageImpl()->nbytes());
  adopt_storage(output.storage(), session_->new_storage(bytes, Role::activation, place()),
                Role::activation, values);
}

Place Trace::place() const {
  const bool grad_enabled = at::GradMode::is_enabled();
  if (!session_->in_backward()) return session_->place(-1, grad_enabled);
  const RunningNode node = running_node();
  int64_t scope = -1;
  if (node.leaf.defined()) {
    // Of a leaf whose gradient is accumulated: where it was used first.
    const int64_t storage = number_of_external(node.leaf);
    scope = storage < 0 ? 0 : session_->storages()[static_cast<size_t>(storage)].scope;
  } else if (node.number >= 0) {
    scope = session_->scope_of_sequence(static_cast<uint64_t>(node.number), node.thread);
  }
  return session_->place(scope, grad_enabled);
}

void Trace::note_gradient(const c10::IValue& output) {
  const at::Tensor leaf = running_node().leaf;
  if (!leaf.defined() || !output.isTensor() || is_wrapper(output.toTensor())) return;
  // What the trace has made itself goes with it.
  if (!is_own(leaf)) graph_roots_.remember_gradient(leaf);
  session_->mark_gradient(identify(output.toTensor()).storage);
}

void Trace::mark_cache(const at::Tensor& tensor) {
  if (!tensor.has_storage()) return;
  if (const StorageTag* tag = tag_of(tensor)) session_->mark_cache(tag->id);
}

bool Trace::assign_gradient(const at::Tensor& leaf, const at::Tensor& gradient) {
  if (!is_own(leaf)) graph_roots_.remember_gradient(leaf);
  if (!gradient.defined()) return false;
  if (is_wrapper(gradient)) {  // what is inside of it is shape-only
    if (leaf.device() == gradient.device()) return false;
    leaf.mutable_grad() = gradient;
    return true;
  }
  session_->mark_gradient(identify(gradient).storage);
  if (leaf.is_meta() == gradient.is_meta()) return false;
  TORCH_CHECK(gradient.sizes() == leaf.sizes(), "assigned grad has data of a different size");
  TORCH_CHECK(gradient.scalar_type() == leaf.scalar_type(),
              "assigned grad has data of a different type");
  leaf.mutable_grad() = leaf.is_meta() ? shadow(gradient) : gradient;
  return true;
}

bool Trace::assign_data(const at::Tensor& tensor, const at::Tensor& data) {
  if (!tensor.has_storage() || !data.has_storage()) return false;
  if (stands_for_another(tensor) || stands_for_another(data)) {
    return false;
  }
  if (!is_own(tensor)) {
    assigned_data_.remember(tensor);
    keep_version(tensor);
    if (tensor.is_leaf() && tensor.requires_grad()) graph_roots_.remember_gradient(tensor);
  }
  if (tensor.device() == data.device()) return false;
  AssignedData::assign(tensor, data);
  return true;
}

at::Generator& Trace::generator() {
  if (!generator_.defined()) generator_ = at::detail::createCPUGenerator(/*seed=*/0);
  return generator_;
}

namespace {
FakeTest fake_test = nullptr;
}

void set_fake_test(FakeTest test) { fake_test = test; }
bool is_fake_tensor(const at::Tensor& tensor) { return fake_test != nullptr && fake_test(tensor); }

void Trace::go_on_in(uint64_t thread) {
  if (thread == thread_) return;
  session_->go_on_in(thread);
  if (thread_ != 0) {
    waiting_[thread_] = {silent, silently_saved};
    const Silence own = waiting_[thread];
    silent = own.silent;
    silently_saved = own.saved;
  }
  thread_ = thread;
}

namespace {
std::mutex elsewhere_mutex;
std::set<const Session*> elsewhere;
}  // namespace

void note_elsewhere(const at::Tensor& tensor) {
  if (!tensor.has_storage()) return;
  const c10::DataPtr& pointer =
      tensor.storage().unsafeGetStorageImpl()->_mutable_data_ptr_no_checks();
  if (pointer.get_deleter() != &release_tag) return;
  const std::lock_guard<std::mutex> lock(elsewhere_mutex);
  elsewhere.insert(static_cast<StorageTag*>(pointer.get_context())->session.get());
}

bool was_elsewhere(const Session& session) {
  const std::lock_guard<std::mutex> lock(elsewhere_mutex);
  return elsewhere.erase(&session) != 0;
}

Trace* current_trace() {
  auto* trace = static_cast<Trace*>(c10::ThreadLocalDebugInfo::get(kTraceInfo));
  return trace == nullptr || trace->turns().ended() ? nullptr : trace;
}

void start_trace(std::shared_ptr<Trace> trace) {
  trace->go_on_in(this_thread());
  c10::ThreadLocalDebugInfo::_push(kTraceInfo, std::move(trace));
  c10::impl::tls_set_dispatch_key_included(kInterceptKey, true);
}

void stop_trace() {
  c10::impl::tls_set_dispatch_key_included(kInterceptKey, false);
  if (Trace* trace = current_trace()) {
    const Turn turn(*trace);
    if (trace->workers != 0) {
      trace->session()->assume(
          "a thread that the forward started had not ended with it: what it does later is not "
          "counted");
    }
    trace->turns().end();
    trace->restore();
  }
  c10::ThreadLocalDebugInfo::_pop(kTraceInfo);
  // A thread that works for another trace may have made one of its own.
  c10::impl::tls_set_dispatch_key_included(kInterceptKey, current_trace() != nullptr);
}

}  // namespace nnprof

#include "dispatch/trace.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>
#include <ATen/functorch/BatchedTensorImpl.h>
#include <ATen/native/SparseTensorUtils.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <set>
#include <utility>

#include "core/errors.h"
#include "dispatch/elsewhere.h"
#include "dispatch/key.h"
#include "dispatch/quantized_tensors.h"
#include "dispatch/world.h"

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
  if (tensor.is_quantized()) alias = quantized_like(alias, tensor);
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

// Real memory of `bytes` with `values` in it, laid out as a shape-only tensor. Theirs, where they
// are laid out alike and it is nobody else's.
c10::Storage laid_out_as(const at::Tensor& layout, size_t bytes, const at::Tensor& values) {
  const bool alike = values.storage().use_count() == 1 && values.storage().nbytes() >= bytes &&
                     values.strides() == layout.strides() &&
                     values.storage_offset() == layout.storage_offset() &&
                     values.is_conj() == layout.is_conj() && values.is_neg() == layout.is_neg();
  if (alike) return values.storage();
  const KernelGuard guard;
  const auto options = at::TensorOptions().dtype(at::kByte).device(at::kCPU);
  const c10::Storage room = at::zeros({static_cast<int64_t>(bytes)}, options).storage();
  alias_on(layout, room, cpu_keys()).copy_(values);
  return room;
}

}  // namespace

Trace::Trace(TraceOptions options) : session_(std::make_shared<Session>()), options_(options) {
  session_->recording = options.recording;
}

StorageTag* Trace::tag_of(const at::Tensor& tensor) const {
  return tag_of(*tensor.storage().unsafeGetStorageImpl());
}

StorageTag* Trace::tag_of(c10::StorageImpl& storage) const {
  const c10::DataPtr& pointer = storage._mutable_data_ptr_no_checks();
  if (pointer.get_deleter() != &release_tag) return nullptr;
  auto* tag = static_cast<StorageTag*>(pointer.get_context());
  return tag->session == session_ ? tag : nullptr;
}

ExternalStorage& Trace::external(const c10::Storage& storage) {
  c10::StorageImpl* impl = storage.unsafeGetStorageImpl();
  auto& entry = externals_[impl];
  if (!entry) {
    entry = std::make_unique<ExternalStorage>();
    entry->keep_alive = storage;
    const auto role = roles_.find(impl);
    if (role != roles_.end()) entry->role = role->second;
    entry->id = session_->new_storage(static_cast<int64_t>(impl->nbytes()), entry->role, place(),
                                      /*external=*/true);
    // A constant of the program's that it has left on the CPU.
    const bool on_cpu = storage.device_type() == at::kCPU;
    if (entry->role == Role::constant && on_cpu) session_->mark_host(entry->id);
  }
  return *entry;
}

void Trace::resize(const c10::Storage& storage, int64_t bytes) {
  c10::StorageImpl* impl = storage.unsafeGetStorageImpl();
  const StorageTag* tag = tag_of(*impl);
  if (tag == nullptr && !storage.device().is_meta()) {
    raise(
        ErrorKind::unsupported,
        "the forward resizes memory of the model's own, whose values would be lost: build a model "
        "that does so (FSDP) inside of nnprof.world()");
  }
  const ExternalStorage* before = tag == nullptr ? &external(storage) : tag->external;
  const uint32_t id = before != nullptr ? before->id : tag->id;
  impl->set_nbytes(static_cast<size_t>(bytes));
  if (before != nullptr && before->shadow) before->shadow.set_nbytes(static_cast<size_t>(bytes));
  session_->storage_resized(id, bytes);
}

void Trace::free_what_nobody_holds() {
  // What was changed of a tensor that is gone need not be put back.
  ska::flat_hash_map<c10::TensorImpl*, size_t> held_here;
  for (const Metadata& changed : changed_metadata_)
    ++held_here[changed.tensor.unsafeGetTensorImpl()];
  std::erase_if(changed_metadata_, [&](const Metadata& changed) {
    size_t& here = held_here[changed.tensor.unsafeGetTensorImpl()];
    if (changed.tensor.use_count() != here) return false;
    --here;
    return true;
  });
  for (const auto& [impl, storage] : externals_) {
    if (storage->is_freed || storage->keep_alive.use_count() != 1) continue;
    storage->is_freed = true;
    session_->storage_freed(storage->id);
  }
}

void Trace::set_role(const at::Tensor& tensor, Role role) {
  if (tensor.has_storage()) roles_[tensor.storage().unsafeGetStorageImpl()] = role;
}

bool Trace::is_placed(const at::Tensor& tensor) const {
  if (!tensor.is_cpu() || !tensor.has_storage()) return true;
  const StorageTag* tag = tag_of(tensor);
  return tag != nullptr ? tag->placed : is_input(tensor);
}

bool Trace::is_host(const at::Tensor& tensor) const {
  if (!tensor.has_storage()) return false;
  const StorageTag* tag = tag_of(tensor);
  if (tag != nullptr && tag->external == nullptr) return session_->storages()[tag->id].host;
  return !is_placed(tensor);
}

// What a call made has a number from `first_storage` on.
void Trace::mark_host(const at::Tensor& output, size_t first_storage) {
  if (!output.defined() || !output.has_storage()) return;
  const StorageTag* tag = tag_of(output);
  if (tag != nullptr && tag->id >= first_storage) session_->mark_host(tag->id);
}

void Trace::place_on_device(const at::Tensor& tensor) {
  if (!tensor.has_storage()) return;
  StorageTag* tag = tag_of(tensor);
  if (tag == nullptr) return;
  tag->placed = true;
  if (tag->external == nullptr) session_->mark_host(tag->id, false);
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
  const int64_t own =
      role == Role::parameter ? options_.parameter_limit : options_.input_float_limit;
  return std::min(own, options_.float_limit);
}

bool Trace::floats_may_be_real() const {
  // A step() runs without a graph; a closure of its own, in which the forward is, with one. The
  // engine wants nothing real.
  return !options_.backward || (session_->phase() == Phase::optimizer && !session_->in_backward() &&
                                !at::GradMode::is_enabled());
}

Identity Trace::identify(const at::Tensor& tensor) {
  if (!tensor.has_storage() || is_wrapper(tensor)) {
    return {0, Role::constant, Values::unknown, false};
  }
  if (const StorageTag* tag = tag_of(tensor)) {
    if (tag->external != nullptr) return identify_external(tensor, *tag->external);
    if (tag->uninitialised) {
      return {tag->id, tag->role, is_written(tensor) ? Values::known : Values::unknown, false};
    }
    return {tag->id, tag->role, tag->values, tag->guessed};
  }
  return identify_external(tensor, external(tensor.storage()));
}

// Also of a view of its shadow: what a part of it holds is known where the whole would be.
Identity Trace::identify_external(const at::Tensor& tensor, const ExternalStorage& storage) const {
  Identity identity{storage.id, storage.role, Values::unknown, false};
  if (storage.keep_alive.device_type() == at::kMeta) return identity;
  const bool integers = integral(tensor);
  const int64_t limit =
      integers ? options_.limit_of(tensor.scalar_type()) : float_limit(storage.role);
  if (tensor.numel() <= limit) {
    identity.values = Values::known;
  } else if (integers || storage.role != Role::parameter) {
    identity.values = Values::over_limit;
  }
  identity.values = std::max(identity.values, storage.written);
  return identity;
}

at::Tensor Trace::shadow(const at::Tensor& tensor) {
  if (tensor.is_meta() || is_wrapper(tensor)) return tensor;
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number())
    return wrapped_number(tensor.scalar_type());
  if (!tensor.has_storage()) {
    if (tensor.layout() != at::kStrided && tensor.layout() != at::kMkldnn) {
      session_->assume("a sparse tensor " + session_->describe_scope() +
                       " is taken as a dense one");
    }
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
  ExternalStorage& entry = external(tensor.storage());
  const c10::InferenceMode normal(false);  // it may be used in a graph later
  if (!entry.shadow) {
    auto* tag = new StorageTag{.session = session_,
                               .id = entry.id,
                               .role = entry.role,
                               .is_shadow = true,
                               .external = &entry};
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
    const at::Tensor meta(
        at::detail::empty_strided_meta(tensor.sizes(), tensor.strides(), tensor.scalar_type()));
    return tensor.is_quantized() ? quantized_like(meta, tensor) : meta;
  }
  auto* shadow = new StorageTag{.session = session_,
                                .id = tag.id,
                                .role = tag.role,
                                .values = tag.values,
                                .is_shadow = true,
                                .original = tensor.storage(),
                                .guessed = tag.guessed};
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

namespace {

// What stands for one tensor of a script object's state. The window of a convolution, which steers
// its sizes, is kept as it is. Weights of halves are shown widened.
PackedTensor packed_tensor(const at::Tensor& tensor, const std::string& type) {
  if (integral(tensor)) return {tensor.to(at::kLong), 0};
  const bool packs_halves = type.find("LinearPackedParams") != std::string::npos ||
                            type.find("CellParams") != std::string::npos;
  const bool halves = packs_halves && tensor.dim() == 2 && tensor.scalar_type() == at::kFloat;
  const c10::ScalarType dtype = halves ? at::kHalf : tensor.scalar_type();
  const auto bytes = static_cast<int64_t>(tensor.storage().nbytes()) / (halves ? 2 : 1);
  at::Tensor meta(at::detail::empty_strided_meta(tensor.sizes(), tensor.strides(), dtype));
  meta.storage().set_nbytes(static_cast<size_t>(bytes));
  if (!tensor.is_quantized()) return {meta, bytes};
  return {quantized_like(meta, tensor), bytes + bytes_of_scales(tensor)};
}

}  // namespace

const std::vector<PackedTensor>& Trace::packed(const c10::IValue& object) {
  PackedObject& entry = packed_[object.toObjectRef().getSlot(0).internalToPointer()];
  if (!entry.object.isNone()) return entry.tensors;
  const KernelGuard guard;
  const c10::InferenceMode normal(false);
  entry.object = object;
  const std::string type = object.type()->str();
  for (const at::Tensor& tensor : tensors_in_state(object)) {
    entry.tensors.push_back(packed_tensor(tensor, type));
    set_role(entry.tensors.back().meta, Role::parameter);
  }
  return entry.tensors;
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
  StorageTag* tag = tag_of(tensor);
  if (tag == nullptr) return value_of_external(tensor, external(tensor.storage()));
  if (tag->external != nullptr) return value_of_external(tensor, *tag->external);
  if (tag->original) return alias_on(tensor, tag->original, cpu_keys());
  if (const auto compute = std::exchange(tag->compute_later, nullptr)) tag->computed = (*compute)();
  return tag->computed ? alias_on(tensor, tag->computed, cpu_keys()) : tensor;
}

at::Tensor Trace::value_of_external(const at::Tensor& tensor, ExternalStorage& storage) {
  if (storage.private_copy) return alias_on(tensor, storage.private_copy, cpu_keys());
  if (tensor.is_cpu()) return tensor;
  if (storage.keep_alive.device_type() == at::kCPU) {
    return alias_on(tensor, storage.keep_alive, cpu_keys());
  }
  return private_copy(tensor, storage);
}

at::Tensor Trace::readable_value(const at::Tensor& tensor) {
  if (!tensor.has_storage()) return {};
  const StorageTag* tag = tag_of(tensor);
  if (tag == nullptr || tag->external != nullptr) {
    ExternalStorage& storage = tag == nullptr ? external(tensor.storage()) : *tag->external;
    const bool there =
        storage.keep_alive.device_type() != at::kMeta && storage.written == Values::known;
    return there ? value_of_external(tensor, storage) : at::Tensor();
  }
  return identify(tensor).values == Values::known ? value(tensor) : at::Tensor();
}

at::Tensor Trace::writable_value(const at::Tensor& tensor) {
  if (!tensor.has_storage()) return tensor;
  StorageTag* tag = tag_of(tensor);
  ExternalStorage* of_user = tag == nullptr ? &external(tensor.storage()) : tag->external;
  at::Tensor written = of_user != nullptr ? private_copy(tensor, *of_user) : value(tensor);
  masks_.forget(written);
  return written;
}

at::Tensor Trace::private_copy(const at::Tensor& tensor, ExternalStorage& storage) {
  if (!storage.private_copy) {
    const KernelGuard guard;
    const auto bytes = static_cast<int64_t>(storage.keep_alive.nbytes());
    at::Tensor copy = at::empty({bytes}, at::TensorOptions().dtype(at::kByte).device(at::kCPU));
    at::Tensor source =
        at::empty({0}, at::TensorOptions().dtype(at::kByte).device(storage.keep_alive.device()));
    source.set_(storage.keep_alive, 0, {bytes}, {1});
    copy.copy_(source);
    storage.private_copy = copy.storage();
    adopt_storage(storage.private_copy, storage.id, storage.role, Values::known);
  }
  return alias_on(tensor, storage.private_copy, cpu_keys());
}

void Trace::hang_values(const at::Tensor& tensor, const at::Tensor& values) {
  StorageTag* tag = tag_of(tensor);
  if (tag == nullptr || tag->is_shadow || tag->computed) return;
  tag->computed = laid_out_as(tensor, tensor.storage().nbytes(), values);
  tag->values = Values::known;
}

void Trace::hang_values_later(const at::Tensor& tensor, std::function<at::Tensor()> compute) {
  StorageTag* tag = tag_of(tensor);
  if (tag == nullptr || tag->is_shadow) return;
  // It may not hold the tensor, whose storage it hangs on.
  tag->compute_later = std::make_unique<std::function<c10::Storage()>>(
      [compute = std::move(compute), sizes = c10::DimVector(tensor.sizes()),
       strides = c10::DimVector(tensor.strides()), dtype = tensor.scalar_type(),
       bytes = tensor.storage().nbytes()] {
        const at::Tensor layout(at::detail::empty_strided_meta(sizes, strides, dtype));
        return laid_out_as(layout, bytes, compute());
      });
  tag->values = Values::known;
}

bool Trace::has_values_beside(const at::Tensor& tensor) const {
  if (!tensor.is_meta() || !tensor.has_storage()) return false;
  const StorageTag* tag = tag_of(tensor);
  if (tag == nullptr) return false;
  // Integers are real ones again where something is made of what stands for them.
  const bool stands_for_float = tag->original && !integral(tensor);
  return stands_for_float || tag->external != nullptr || tag->computed || tag->compute_later;
}

void Trace::mark_uninitialised(const at::Tensor& tensor) {
  constexpr int64_t kMostFollowed = 64 * 1024;  // elements are compared whenever one is read
  StorageTag* tag = tag_of(tensor);
  if (tag == nullptr || tag->values != Values::known) return;
  tag->uninitialised = tensor.numel() <= kMostFollowed;
  if (!tag->uninitialised) lose_values(tensor, Values::unknown);
}

bool Trace::is_uninitialised(const at::Tensor& tensor) const {
  const StorageTag* tag = tensor.has_storage() ? tag_of(tensor) : nullptr;
  return tag != nullptr && tag->uninitialised;
}

at::Tensor Trace::other_value(const at::Tensor& tensor) {
  StorageTag* tag = tag_of(tensor);
  if (!tag->other) {
    const KernelGuard guard;
    const auto options = at::TensorOptions().dtype(at::kByte).device(at::kCPU);
    const c10::Storage first = value(tensor).storage();
    const auto bytes = static_cast<int64_t>(first.nbytes());
    at::empty({0}, options).set_(first, 0, {bytes}, {1}).zero_();
    tag->other = at::ones({bytes}, options).storage();
  }
  return alias_on(tensor, tag->other, cpu_keys());
}

bool Trace::is_written(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return true;
  if (!tag_of(tensor)->other) return false;
  const KernelGuard guard;
  return value(tensor).equal(other_value(tensor));
}

void Trace::renew(const at::Tensor& tensor) {
  StorageTag* tag = tag_of(tensor);
  if (tag == nullptr || tag->external != nullptr) {
    ExternalStorage& storage = tag == nullptr ? external(tensor.storage()) : *tag->external;
    private_copy(tensor, storage);
    storage.written = Values::known;
    return;
  }
  if (tensor.is_meta() && !tag->computed) {
    tag->compute_later.reset();
    const KernelGuard guard;
    const auto options = at::TensorOptions().dtype(at::kByte).device(at::kCPU);
    tag->computed = at::zeros({static_cast<int64_t>(tensor.storage().nbytes())}, options).storage();
  }
  tag->uninitialised = false;
  tag->other = c10::Storage();
  tag->values = Values::known;
}

std::optional<MaskCount> Trace::mask_count(const at::Tensor& mask) {
  if (!mask.has_storage() || is_wrapper(mask)) return std::nullopt;
  const StorageTag* tag = tag_of(mask);
  if (tag != nullptr && tag->mask.has_value()) {
    const bool whole = unexpanded(mask).numel() == tag->mask->elements;
    return whole ? tag->mask : std::nullopt;
  }
  const Identity identity = identify(mask);
  if (identity.role == Role::parameter) return std::nullopt;
  // Of a tensor that is there no limit keeps anyone from reading it.
  const at::Tensor values = identity.values == Values::known ? value(mask) : readable_value(mask);
  if (!values.defined()) return std::nullopt;
  return masks_.of(values);
}

namespace {

// A number that hides, be it in a tensor: no other is looked at.
bool is_hiding(const c10::IValue& value, Trace& trace) {
  if (value.isDouble() || value.isInt()) return hides(value.toScalar().toDouble());
  if (!value.isTensor() || !value.toTensor().defined()) return false;
  const at::Tensor& tensor = value.toTensor();
  if (tensor.dim() != 0 || !tensor.is_floating_point()) return false;
  const std::optional<MaskCount> count = trace.mask_count(tensor);
  return count.has_value() && count->kept == 0;
}

}  // namespace

std::optional<MaskCount> mask_made(const c10::IValue* arguments, Trace& trace) {
  const bool fills = arguments[1].isTensor() && arguments[1].toTensor().defined() &&
                     arguments[1].toTensor().scalar_type() == at::kBool && arguments[2].isScalar();
  const at::Tensor& booleans = arguments[fills ? 1 : 0].toTensor();
  if (booleans.scalar_type() != at::kBool) return std::nullopt;
  const bool where_true = fills || is_hiding(arguments[1], trace);
  if (!is_hiding(arguments[2], trace) && (fills || !where_true)) return std::nullopt;
  // What hides something already hides more then, and nobody counts how much.
  const c10::IValue& others = arguments[fills ? 0 : where_true ? 2 : 1];
  if (others.isTensor()) {
    const std::optional<MaskCount> before = trace.mask_count(others.toTensor());
    if (before && before->kept < before->elements) return std::nullopt;
  }
  const std::optional<MaskCount> count = trace.mask_count(booleans);
  if (!count || !where_true) return count;
  return MaskCount{count->elements, count->elements - count->kept};
}

void Trace::masks_like(const at::Tensor& mask, const MaskCount& count) {
  StorageTag* tag = mask.has_storage() ? tag_of(mask) : nullptr;
  if (tag != nullptr) tag->mask = count;
}

void Trace::lose_values(const at::Tensor& tensor, Values values) {
  if (!tensor.has_storage() || is_wrapper(tensor)) return;
  StorageTag* tag = tag_of(tensor);
  ExternalStorage* of_user = tag == nullptr ? &external(tensor.storage()) : tag->external;
  Values& known = of_user == nullptr ? tag->values : of_user->written;
  known = std::max(known, values);
  if (of_user != nullptr) of_user->reads.reset();
  if (tag == nullptr) return;
  tag->reads.reset();
  tag->mask.reset();
  if (known == Values::known) return;
  tag->uninitialised = false;
  tag->computed = tag->other = c10::Storage();
  tag->compute_later.reset();
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
  versions_.emplace(tensor.unsafeGetTensorImpl(),
                    std::pair(WeakTensor(tensor.getIntrusivePtr()), tensor._version()));
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
  auto* tag = new StorageTag{
      .session = session_, .id = id, .role = role, .values = values, .memory = std::move(pointer)};
  const at::Device device = tag->memory.device();
  impl->set_data_ptr_noswap(at::DataPtr(tag->memory.get(), tag, &release_tag, device));
  if (device.type() == at::kMeta) impl->set_throw_on_mutable_data_ptr();
}

void Trace::adopt(const at::Tensor& output, Values values) {
  if (output.defined() && output.is_sparse() && output.is_meta()) {
    const auto* parts = at::sparse::get_sparse_impl(output);
    adopt(parts->indices(), values);
    return adopt(parts->values(), values);
  }
  if (!output.defined() || !output.has_storage() || is_wrapper(output)) return;
  if (tag_of(output) != nullptr) return;
  if (externals_.count(output.storage().unsafeGetStorageImpl()) != 0)
    return;  // a view of the user's
  const auto bytes = static_cast<int64_t>(output.storage().unsafeGetStorageImpl()->nbytes());
  adopt_storage(output.storage(), session_->new_storage(bytes, Role::activation, place()),
                Role::activation, values);
  note_base(output);
}

void Trace::note_base(const at::Tensor& output) {
  if (!session_->in_backward()) return;
  if (StorageTag* tag = tag_of(output)) tag->base.emplace(output.getIntrusivePtr());
}

void Trace::note_fresh_zeros(const at::Tensor& zeros) {
  if (!session_->in_backward()) return;
  if (const StorageTag* tag = tag_of(zeros)) fresh_zeros_ = tag->id;
}

bool Trace::is_fresh_zeros(const at::Tensor& tensor) const {
  return tensor.has_storage() && is_base(tensor) && tag_of(tensor)->id == fresh_zeros_;
}

bool Trace::is_base(const at::Tensor& tensor) const {
  const StorageTag* tag = tag_of(tensor);
  return tag != nullptr && tag->base &&
         tag->base->_unsafe_get_target() == tensor.unsafeGetTensorImpl();
}

Place Trace::place() const {
  const bool grad_enabled = at::GradMode::is_enabled();
  if (!session_->in_backward()) return session_->place(-1, grad_enabled);
  const RunningNode node = running_node();
  int64_t scope = -1;
  if (node.leaf != nullptr) {
    // Of a leaf whose gradient is accumulated: where it was used first.
    const int64_t storage = number_of_external(*node.leaf);
    scope = storage < 0 ? 0 : session_->storages()[static_cast<size_t>(storage)].scope;
  } else if (node.number >= 0) {
    scope = session_->scope_of_sequence(static_cast<uint64_t>(node.number), node.thread);
  }
  return session_->place(scope, grad_enabled);
}

void Trace::note_gradient(const c10::IValue& output) {
  const at::Tensor* leaf = running_node().leaf;
  if (leaf == nullptr || !output.isTensor() || is_wrapper(output.toTensor())) return;
  // What the trace has made itself goes with it.
  if (!is_own(*leaf)) graph_roots_.remember_gradient(*leaf);
  mark_gradient(output.toTensor());
}

// A sparse one is kept as its indices and its values.
void Trace::mark_gradient(const at::Tensor& gradient) {
  if (!gradient.is_sparse()) return session_->mark_gradient(identify(gradient).storage);
  const auto* parts = at::sparse::get_sparse_impl(gradient);
  // The indices may be the ids that were looked up, which the program holds.
  if (is_own(parts->indices())) session_->mark_gradient(identify(parts->indices()).storage);
  session_->mark_gradient(identify(parts->values()).storage);
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
  mark_gradient(gradient);
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
  c10::impl::tls_set_dispatch_key_included(kInterceptKey, current_trace() != nullptr || in_world());
}

}  // namespace nnprof

#include "replay/materialize.h"

#include <ATen/core/List.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <c10/core/QScheme.h>

#include <algorithm>

#include "replay/job.h"

namespace nnprof {
namespace {

constexpr int64_t kLargestStorage = int64_t{1} << 44;

// Bytes from the start of the recorded storage to the end of what the tensor can reach.
int64_t end_of(const TensorSpec& spec) {
  int64_t last = spec.offset;
  for (size_t d = 0; d < spec.sizes.size(); ++d) {
    if (spec.sizes[d] == 0) return spec.offset * spec.element_size();
    last += (spec.sizes[d] - 1) * spec.strides[d];
  }
  return (last + 1) * spec.element_size();
}

const c10::Type& without_optional(const c10::TypePtr& type) {
  const auto* optional = type->castRaw<c10::OptionalType>();
  return optional == nullptr ? *type : *optional->getElementType();
}

bool is_kind(const c10::Argument& argument, c10::TypeKind kind) {
  return without_optional(argument.real_type()).kind() == kind;
}

c10::TypePtr element_type(const c10::Argument& argument) {
  const auto* list = without_optional(argument.real_type()).castRaw<c10::ListType>();
  return list == nullptr ? nullptr : list->getElementType();
}

bool takes_scalars(const c10::Argument& schema) {
  const c10::TypePtr element = element_type(schema);
  return element != nullptr && element->kind() == c10::TypeKind::NumberType;
}

template <class Number>
c10::IValue list_of_scalars(const std::vector<Number>& numbers) {
  c10::impl::GenericList scalars(c10::NumberType::get());
  for (const Number number : numbers) scalars.push_back(number);
  return scalars;
}

c10::IValue list_of_floatings(const std::vector<double>& numbers, const c10::Argument& schema) {
  if (takes_scalars(schema)) return list_of_scalars(numbers);
  return c10::List<double>(numbers);
}

c10::IValue list_of_integers(const std::vector<int64_t>& integers, const c10::Argument& schema) {
  if (takes_scalars(schema)) return list_of_scalars(integers);
  const c10::TypePtr element = element_type(schema);
  if (element == nullptr || element->kind() != c10::TypeKind::BoolType) {
    return c10::List<int64_t>(integers);
  }
  c10::List<bool> booleans;
  for (int64_t integer : integers) booleans.push_back(integer != 0);
  return booleans;
}

c10::IValue list_of_tensors(const std::vector<at::Tensor>& tensors, const c10::Argument& schema) {
  const c10::TypePtr element = element_type(schema);
  if (element == nullptr || element->kind() != c10::TypeKind::OptionalType) {
    return c10::List<at::Tensor>(tensors);
  }
  c10::List<std::optional<at::Tensor>> optionals;
  for (const at::Tensor& tensor : tensors) {
    optionals.push_back(tensor.defined() ? std::optional(tensor) : std::nullopt);
  }
  return optionals;
}

// Recorded only as having been there, and known all the same: devices, lists without an element;
// and generators, which are as good as torch's own one.
bool is_made_up(const c10::Argument& schema) {
  const c10::TypePtr element = element_type(schema);
  return is_kind(schema, c10::TypeKind::DeviceObjType) ||
         is_kind(schema, c10::TypeKind::GeneratorType) ||
         (element != nullptr && element->kind() == c10::TypeKind::OptionalType);
}

c10::IValue made_up(const c10::Argument& schema, c10::Device device) {
  if (is_kind(schema, c10::TypeKind::DeviceObjType)) return device;
  if (const c10::TypePtr element = element_type(schema)) return c10::impl::GenericList(element);
  return {};
}

c10::IValue plain(const Argument& argument, const c10::Argument& schema, c10::Device device) {
  switch (argument.kind) {
    case Argument::Kind::boolean:
      return argument.integer != 0;
    case Argument::Kind::integer:
      return argument.integer;
    case Argument::Kind::floating:
      return argument.number.real();
    case Argument::Kind::complex:
      return c10::complex<double>(argument.number.real(), argument.number.imag());
    case Argument::Kind::string:
      return argument.string;
    case Argument::Kind::integers:
      return list_of_integers(argument.integers, schema);
    case Argument::Kind::floatings:
      return list_of_floatings(argument.floatings, schema);
    case Argument::Kind::opaque:
      return made_up(schema, device);
    default:
      return {};
  }
}

// One: it divides, multiplies and exponentiates without harm.
at::Tensor wrapped_number(c10::ScalarType dtype) {
  at::Tensor number = at::scalar_tensor(1, at::TensorOptions().dtype(dtype).device(at::kCPU));
  number.unsafeGetTensorImpl()->set_wrapped_number(true);
  return number;
}

bool is_cold(Role role) {
  return role == Role::parameter || role == Role::buffer || role == Role::input;
}

constexpr int64_t kMostPlaces = 64;

// Larger than any last cache that rows could stay in from one look-up to the next.
constexpr int64_t kLargeTable = int64_t{64} << 20;

// Of a look-up in a table: rows that are known are those of the model.
bool is_index(const Operator& op, const TensorSpec& spec) {
  return op.family->has(kLooksUp) && !spec.wrapped_number &&
         (spec.dtype == c10::ScalarType::Long || spec.dtype == c10::ScalarType::Int) &&
         spec.values.empty() && spec.role != Role::parameter && spec.role != Role::buffer;
}

}  // namespace

std::string why_not_materialized(const Operator& op, const OpSignature& signature) {
  // Their kernels write where the numbers say, without a check.
  if (op.handle.operator_name().name.find("::_convert_indices_from_") != std::string::npos) {
    return "its numbers have to be rows that are there";
  }
  const auto& schema = op.handle.schema().arguments();
  for (size_t i = 0; i < signature.arguments.size(); ++i) {
    for (const TensorSpec& spec : signature.arguments[i].tensors) {
      if (spec.defined && c10::isQIntType(spec.dtype)) return "a quantized tensor has a scale";
      if (spec.defined && end_of(spec) > kLargestStorage) return "a tensor that is not strided";
    }
    const bool object =
        std::find(op.objects.begin(), op.objects.end(), static_cast<int>(i)) != op.objects.end();
    if (object ||
        (signature.arguments[i].kind == Argument::Kind::opaque && !is_made_up(schema[i]))) {
      return "its argument " + schema[i].name() + " is of type " + schema[i].real_type()->str();
    }
  }
  return "";
}

ArgumentSets::ArgumentSets(const Operator& op, const OpSignature& signature, c10::Device device)
    : op_(op), signature_(signature), call_(op.handle.schema(), signature), device_(device) {
  for_each_spec([&](const TensorSpec& spec, size_t argument, size_t) { plan(spec, argument); });
  share_large_tables();
}

// Of a table that no cache holds, rows are cold wherever they were not looked up before: it need
// not be there twice.
void ArgumentSets::share_large_tables() {
  const auto is_drawn = [](const StoragePlan& plan) { return plan.drawn; };
  looks_up_ = std::any_of(plans_.begin(), plans_.end(), is_drawn);
  for (StoragePlan& plan : plans_) {
    if (looks_up_ && !plan.written && plan.bytes() > kLargeTable) plan.cold = false;
  }
}

template <class Visit>
void ArgumentSets::for_each_spec(Visit visit) const {
  for (size_t i = 0; i < signature_.arguments.size(); ++i) {
    const auto& tensors = signature_.arguments[i].tensors;
    for (size_t position = 0; position < tensors.size(); ++position) {
      if (tensors[position].defined) visit(tensors[position], i, position);
    }
  }
}

void ArgumentSets::plan(const TensorSpec& spec, size_t argument) {
  has_tensors_ = true;
  if (spec.wrapped_number) return;
  const auto number = static_cast<size_t>(spec.storage);
  if (plans_.size() <= number) plans_.resize(number + 1);
  StoragePlan& plan = plans_[number];
  const int64_t start = spec.offset * spec.element_size() / kAlignment * kAlignment;
  plan.first_byte = plan.used ? std::min(plan.first_byte, start) : start;
  plan.end_byte = std::max(plan.end_byte, end_of(spec));
  plan.used = true;
  plan.cold = plan.cold || is_cold(spec.role);
  plan.written = plan.written || op_.writes(argument);
  plan.drawn = plan.drawn || is_index(op_, spec);
  plan.on_cpu = plan.on_cpu || stays_on_cpu(call_, argument);
  writes_ = writes_ || plan.written;
}

Count ArgumentSets::bytes() const {
  Count sum;
  for (const StoragePlan& plan : plans_) sum += Count(plan.bytes()) * (plan.written ? 2 : 1);
  return sum;
}

int64_t ArgumentSets::bytes_of_further_set() const {
  int64_t sum = 0;
  for (const StoragePlan& plan : plans_) sum += plan.own() ? plan.bytes() : 0;
  return sum;
}

int64_t ArgumentSets::cold_bytes() const {
  int64_t sum = 0;
  for (const StoragePlan& plan : plans_) sum += plan.cold ? plan.bytes() : 0;
  return sum;
}

void ArgumentSets::spread(int64_t bytes) {
  Count shared = output_bytes(signature_);
  Count written;
  for (const StoragePlan& plan : plans_) {
    if (!plan.own()) shared += plan.bytes();
    if (plan.written && !plan.cold && !plan.drawn) written += plan.bytes();
  }
  const Count place = shared + written;
  if (place == 0 || place > bytes) return;
  places_ = std::min(bytes / static_cast<int64_t>(place), kMostPlaces);
  place_bytes_ = static_cast<int64_t>(shared);
}

at::Tensor ArgumentSets::new_storage(const StoragePlan& plan) const {
  const int64_t whole = (plan.bytes() + 15) / 16 * 16;  // of elements of any dtype
  const c10::Device device = plan.on_cpu ? c10::Device(at::kCPU) : device_;
  return at::empty({whole}, at::TensorOptions().dtype(at::kByte).device(device));
}

at::Tensor ArgumentSets::tensor(const TensorSpec& spec, const Set& set) const {
  if (!spec.defined) return {};
  if (spec.wrapped_number) return wrapped_number(spec.dtype);
  const auto number = static_cast<size_t>(spec.storage);
  const at::Tensor& storage = set.storages[number];
  const int64_t offset = spec.offset - plans_[number].first_byte / spec.element_size();
  at::Tensor made = at::empty({0}, storage.options().dtype(spec.dtype));
  return made.set_(storage.storage(), offset, spec.sizes, spec.strides);
}

Stack ArgumentSets::build(const Set& set) const {
  Stack stack;
  const auto& schema = op_.handle.schema().arguments();
  for (size_t i = 0; i < signature_.arguments.size(); ++i) {
    const Argument& argument = signature_.arguments[i];
    std::vector<at::Tensor> tensors;
    for (const TensorSpec& spec : argument.tensors) tensors.push_back(tensor(spec, set));
    if (argument.kind == Argument::Kind::tensor) {
      stack.emplace_back(tensors[0]);
    } else if (argument.kind == Argument::Kind::tensors) {
      stack.push_back(list_of_tensors(tensors, schema[i]));
    } else if (is_kind(schema[i], c10::TypeKind::DeviceObjType) && !has_tensors_) {
      stack.emplace_back(device_);
    } else {
      stack.push_back(plain(argument, schema[i], device_));
    }
  }
  return stack;
}

// Storages that are wanted, each as the first tensor on it says.
void ArgumentSets::fill(const Set& set, bool (*wanted)(const StoragePlan&),
                        RandomData& data) const {
  std::vector<bool> filled(plans_.size(), false);
  for_each_spec([&](const TensorSpec& spec, size_t argument, size_t position) {
    if (spec.wrapped_number) return;
    const auto number = static_cast<size_t>(spec.storage);
    if (!wanted(plans_[number])) return;
    const at::Tensor made = tensor(spec, set);
    if (!filled[number]) {
      const at::Tensor& bytes = set.storages[number];
      const int64_t count = bytes.numel() / spec.element_size();
      const at::Tensor elements = at::empty({0}, made.options());
      elements.set_(bytes.storage(), 0, {count}, {1});
      data.fill(elements, made, fill_of(call_, argument, position));
      filled[number] = true;
    }
    if (!spec.values.empty()) fill_with(made, spec.values);
  });
}

void ArgumentSets::make_first(RandomData& data) {
  Set set;
  for (const StoragePlan& plan : plans_) set.storages.push_back(new_storage(plan));
  fill(set, [](const StoragePlan&) { return true; }, data);
  set.arguments = build(set);
  sets_.push_back(std::move(set));
  CopyMemory none;
  for (size_t i = 0; i < plans_.size(); ++i) {
    pristine_.push_back(plans_[i].written ? none.copy_of(sets_[0].storages[i]) : at::Tensor());
  }
}

void ArgumentSets::add_set(RandomData& data, CopyMemory& copies, int64_t own) {
  Set set;
  for (size_t i = 0; i < plans_.size(); ++i) {
    const int64_t different = plans_[i].own() ? own : places_;
    const auto same = static_cast<size_t>(count() % different);
    set.storages.push_back(count() < different ? copies.copy_of(sets_[0].storages[i])
                                               : sets_[same].storages[i]);
  }
  if (count() < own) fill(set, [](const StoragePlan& plan) { return plan.drawn; }, data);
  set.arguments = build(set);
  sets_.push_back(std::move(set));
}

void ArgumentSets::share_weights() {
  sets_.resize(std::min(sets_.size(), static_cast<size_t>(places_)));
  for (Set& set : sets_) {
    for (size_t i = 0; i < plans_.size(); ++i) {
      if (plans_[i].cold || plans_[i].drawn) set.storages[i] = sets_[0].storages[i];
    }
    set.arguments = build(set);
  }
}

void ArgumentSets::refresh() {
  for (Set& set : sets_) {
    for (size_t i = 0; i < plans_.size(); ++i) {
      if (plans_[i].written) copy_bytes(set.storages[i], pristine_[i]);
    }
  }
}

}  // namespace nnprof

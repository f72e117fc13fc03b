#include "dispatch/provenance.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <sstream>

#include "core/signature.h"

namespace nnprof {
namespace {

// Of a chain of questions (all of greater than ...) so many are told.
constexpr int kDeepest = 4;

struct Made {
  const Operator* op = nullptr;
  OpSignature signature;
  c10::ArrayRef<uint32_t> storages;
  size_t record = 0;
};

c10::ArrayRef<uint32_t> storages_of(const Session& session, const OpRecord& record) {
  return {session.touched_storages().data() + record.first_storage, record.storage_count};
}

bool writes(const Made& made, uint32_t storage) {
  const auto is_it = [&](const TensorSpec& spec) {
    return spec.storage >= 0 && made.storages[static_cast<size_t>(spec.storage)] == storage;
  };
  if (std::any_of(made.signature.outputs.begin(), made.signature.outputs.end(), is_it)) return true;
  return std::any_of(made.op->written.begin(), made.op->written.end(), [&](int argument) {
    const auto& tensors = made.signature.arguments[static_cast<size_t>(argument)].tensors;
    return std::any_of(tensors.begin(), tensors.end(), is_it);
  });
}

// A view, or the tensor itself, where a copy was not needed.
bool hands_on(const Made& made) {
  if (!made.op->written.empty() || made.signature.outputs.empty()) return false;
  const int32_t output = made.signature.outputs[0].storage;
  for (const Argument& argument : made.signature.inputs()) {
    for (const TensorSpec& tensor : argument.tensors) {
      if (tensor.defined && tensor.storage == output) return true;
    }
  }
  return false;
}

// The last record before `before` that wrote to the storage; views apart.
bool find_maker(const Session& session, uint32_t storage, size_t before, Made& made) {
  for (size_t i = before; i-- > 0;) {
    const OpRecord& record = session.records()[i];
    const auto touched = storages_of(session, record);
    if (std::find(touched.begin(), touched.end(), storage) == touched.end()) continue;
    made.signature = OpSignature();
    made.op = &operator_numbered(
        decode_signature(session.signatures().words(record.signature), made.signature));
    made.storages = touched;
    made.record = i;
    if (!hands_on(made) && writes(made, storage)) return true;
  }
  return false;
}

std::string sizes_text(const TensorSpec& tensor) {
  std::ostringstream text;
  text << "(";
  for (size_t i = 0; i < tensor.sizes.size(); ++i) text << (i == 0 ? "" : ", ") << tensor.sizes[i];
  text << ")";
  return text.str();
}

const char* role_text(Role role) {
  switch (role) {
    case Role::parameter:
      return "a parameter ";
    case Role::buffer:
      return "a buffer ";
    case Role::input:
      return "an input ";
    case Role::constant:
      return "a constant ";
    case Role::activation:
      break;
  }
  return "an activation ";
}

const TensorSpec* first_tensor(const OpSignature& signature) {
  for (const Argument& argument : signature.inputs()) {
    for (const TensorSpec& tensor : argument.tensors) {
      if (tensor.defined) return &tensor;
    }
  }
  return nullptr;
}

std::string describe(const Session& session, const Made& made, int depth);

// The name of what lies in a storage, unless it was written to since it was given.
const std::string* name_of(const Session& session, uint32_t storage, const Made& maker) {
  const auto named = session.named_values.find(storage);
  const bool holds = named != session.named_values.end() && maker.record < named->second.records;
  return holds ? &named->second.text : nullptr;
}

// What is asked of one number or of truth values was made by a step of the question itself.
std::string describe_tensor(const Session& session, const Made& made, const TensorSpec& tensor,
                            int depth) {
  const bool step = tensor.numel() <= 1 || tensor.dtype == c10::ScalarType::Bool;
  Made maker;
  if (step && depth < kDeepest && tensor.role == Role::activation && tensor.storage >= 0) {
    const uint32_t storage = made.storages[static_cast<size_t>(tensor.storage)];
    if (find_maker(session, storage, made.record, maker)) {
      const std::string* name = name_of(session, storage, maker);
      return name != nullptr ? *name : describe(session, maker, depth + 1);
    }
  }
  return role_text(tensor.role) + sizes_text(tensor);
}

void add_number(std::ostringstream& text, const Argument& argument) {
  if (argument.kind == Argument::Kind::floating) text << " with " << argument.number.real();
  if (argument.kind == Argument::Kind::integer) text << " with " << argument.integer;
  if (argument.kind == Argument::Kind::boolean) {
    text << " with " << (argument.integer != 0 ? "True" : "False");
  }
}

std::string describe(const Session& session, const Made& made, int depth) {
  // A copy of an answer is that answer.
  const TensorSpec* first = first_tensor(made.signature);
  if (made.op->truth == Truth::same && first != nullptr && !made.op->writes(0) &&
      first->numel() == made.signature.output().numel()) {
    return describe_tensor(session, made, *first, depth);
  }
  std::ostringstream text;
  text << made.op->handle.operator_name().name;
  const char* between = " of ";
  const auto inputs = made.signature.inputs();
  for (size_t i = 0; i < inputs.size(); ++i) {
    size_t listed = 0;
    for (const TensorSpec& tensor : inputs[i].tensors) {
      if (!tensor.defined || tensor.wrapped_number) continue;
      if (++listed > 2) continue;
      text << between << describe_tensor(session, made, tensor, depth);
      between = " and ";
    }
    if (listed > 2) text << " and " << listed - 2 << " more";
    const auto& schema = made.op->handle.schema().arguments()[i];
    if (schema.real_type()->kind() == c10::TypeKind::NumberType && !schema.default_value()) {
      add_number(text, inputs[i]);
    }
  }
  return text.str();
}

Origin origin_of_made(const Session& session, const Made& made) {
  Origin origin{made.op->handle.operator_name().name, {}, describe(session, made, 0)};
  if (const TensorSpec* first = first_tensor(made.signature)) {
    origin.shape.assign(first->sizes.begin(), first->sizes.end());
  }
  return origin;
}

}  // namespace

Origin origin_of(const Session& session, uint32_t storage) {
  Made made;
  if (!find_maker(session, storage, session.records().size(), made)) return {};
  Origin origin = origin_of_made(session, made);
  if (const std::string* name = name_of(session, storage, made)) {
    origin.text = *name;
    origin.operation = name->substr(0, name->find(' '));
  }
  return origin;
}

Origin describe_call(const Session& session, const Operator& op, c10::ArrayRef<int64_t> words,
                     c10::ArrayRef<uint32_t> storages) {
  Made made;
  made.op = &op;
  decode_signature(words, made.signature);
  made.storages = storages;
  made.record = session.records().size();
  return origin_of_made(session, made);
}

bool made_of_inputs_alone(const Session& session, uint32_t storage) {
  std::set<uint32_t> wanted = {storage};
  bool any_input = false;
  for (size_t i = session.records().size(); i-- > 0;) {
    const OpRecord& record = session.records()[i];
    const auto touched = storages_of(session, record);
    if (std::none_of(touched.begin(), touched.end(),
                     [&](uint32_t one) { return wanted.count(one) != 0; })) {
      continue;
    }
    Made made;
    made.op = &operator_numbered(
        decode_signature(session.signatures().words(record.signature), made.signature));
    made.storages = touched;
    if (hands_on(made) || std::none_of(touched.begin(), touched.end(), [&](uint32_t one) {
          return wanted.count(one) != 0 && writes(made, one);
        })) {
      continue;
    }
    for (const Argument& argument : made.signature.inputs()) {
      for (const TensorSpec& tensor : argument.tensors) {
        if (!tensor.defined || tensor.storage < 0) continue;
        if (tensor.role == Role::parameter || tensor.role == Role::buffer) return false;
        any_input |= tensor.role == Role::input;
        wanted.insert(touched[static_cast<size_t>(tensor.storage)]);
      }
    }
  }
  const Role role = session.storages()[storage].role;
  return any_input || role == Role::input;
}

}  // namespace nnprof

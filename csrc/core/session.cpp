#include "core/session.h"

namespace nnprof {

std::vector<std::vector<int64_t>> unflatten(const FlatShapes& shapes) {
  std::vector<std::vector<int64_t>> lists;
  for (const int64_t* at = shapes.begin(); at != shapes.end();) {
    const int64_t dim = *at++;
    lists.emplace_back(at, at + dim);
    at += dim;
  }
  return lists;
}

Session::Session() : scopes_(1) { scopes_[0].calls = 1; }

uint32_t Session::enter_scope(int32_t module) {
  const uint64_t key =
      (static_cast<uint64_t>(current_scope_) << 32) | static_cast<uint32_t>(module);
  const auto [entry, made] = children_.emplace(key, static_cast<uint32_t>(scopes_.size()));
  if (made) scopes_.push_back({static_cast<int32_t>(current_scope_), module, 0, {}, {}});
  current_scope_ = entry->second;
  ++scopes_[current_scope_].calls;
  return current_scope_;
}

void Session::module_returned(uint32_t scope, const FlatShapes& output_shapes) {
  Scope& returned = scopes_[scope];
  if (returned.calls == 1) returned.output_shapes = output_shapes;
  if (returned.output_shapes == output_shapes) {
    module_calls_.push_back({scope, -1});
    return;
  }
  module_calls_.push_back({scope, static_cast<int32_t>(other_shapes_.size())});
  other_shapes_.push_back(output_shapes);
}

const FlatShapes& Session::output_shapes(const ModuleCall& call) const {
  return call.shapes < 0 ? scopes_[call.scope].output_shapes
                         : other_shapes_[static_cast<size_t>(call.shapes)];
}

std::string Session::module_path(int32_t module) const {
  std::string path;
  for (; module >= 0; module = modules[static_cast<size_t>(module)].parent) {
    const std::string& name = modules[static_cast<size_t>(module)].name;
    if (name.empty()) continue;
    path = path.empty() ? name : name + "." + path;
  }
  return path;
}

std::string Session::describe_scope() const {
  const int32_t module = scopes_[current_scope_].module;
  if (module < 0) return "outside any module";
  const ModuleDescriptor& descriptor = modules[static_cast<size_t>(module)];
  const std::string path = module_path(module);
  return "in module " + (path.empty() ? "the model itself" : "'" + path + "'") + " (" +
         descriptor.type + ")";
}

uint32_t Session::new_storage(int64_t bytes, Role role) {
  const std::lock_guard<std::mutex> lock(frees_mutex_);
  storages_.push_back({bytes, role});
  return static_cast<uint32_t>(storages_.size() - 1);
}

void Session::storage_freed(uint32_t storage) {
  const std::lock_guard<std::mutex> lock(frees_mutex_);
  frees_.push_back({storage, static_cast<uint32_t>(records_.size())});
}

void Session::record(c10::ArrayRef<int64_t> signature, c10::ArrayRef<uint32_t> touched_storages,
                     const CallState& state) {
  OpRecord record;
  record.signature = signatures_.intern(signature);
  record.scope = current_scope_;
  record.state = state;
  record.first_storage = static_cast<uint32_t>(touched_storages_.size());
  record.storage_count = static_cast<uint32_t>(touched_storages.size());
  touched_storages_.insert(touched_storages_.end(), touched_storages.begin(),
                           touched_storages.end());
  records_.push_back(record);
}

}  // namespace nnprof

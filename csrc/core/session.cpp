#include "core/session.h"

#include <algorithm>
#include <iterator>

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
  // What a checkpoint runs again in the backward pass is the call that it ran before.
  if (in_backward() && current_scope_ == stages_.back().scope) {
    for (uint32_t scope = 0; scope < scopes_.size(); ++scope) {
      if (scopes_[scope].module == module) return current_scope_ = scope;
    }
  }
  const uint64_t key =
      (static_cast<uint64_t>(current_scope_) << 32) | static_cast<uint32_t>(module);
  const auto [entry, made] = children_.emplace(key, static_cast<uint32_t>(scopes_.size()));
  if (made) scopes_.push_back({static_cast<int32_t>(current_scope_), module, 0, {}, {}});
  current_scope_ = entry->second;
  if (!in_backward()) ++scopes_[current_scope_].calls;
  return current_scope_;
}

bool Session::inside_forward() const {
  if (stages_.empty()) return current_scope_ != 0;
  const Stage& around = stages_.back();
  if (around.kind == Stage::engine) return around.phase == Phase::forward;
  return current_scope_ != around.scope;
}

// An autograd.grad() inside of a forward is part of that forward.
size_t Session::enter_backward(bool create_graph) {
  const Phase phase = inside_forward() ? Phase::forward : Phase::backward;
  stages_.push_back({Stage::engine, phase, current_scope_, create_graph});
  return stages_.size() - 1;
}

size_t Session::enter_optimizer() {
  const Phase phase = inside_forward() ? Phase::forward : Phase::optimizer;
  stages_.push_back({Stage::optimizer, phase, current_scope_, false});
  return stages_.size() - 1;
}

size_t Session::enter_closure() {
  stages_.push_back({Stage::closure, Phase::forward, current_scope_, false});
  return stages_.size() - 1;
}

void Session::leave_optimizer() {
  const auto last = std::find_if(stages_.rbegin(), stages_.rend(),
                                 [](const Stage& stage) { return stage.kind == Stage::optimizer; });
  if (last != stages_.rend()) leave_stage(static_cast<size_t>(stages_.rend() - last) - 1);
}

Place Session::place(int64_t node_scope, bool grad_enabled) const {
  if (stages_.empty()) return {Phase::forward, current_scope_, false};
  const Stage& stage = stages_.back();
  const bool in_module = current_scope_ != stage.scope;
  if (stage.kind != Stage::engine) {
    return {in_module ? Phase::forward : stage.phase, current_scope_, false};
  }
  const bool recomputed =
      stage.phase == Phase::backward && (in_module || (grad_enabled && !stage.create_graph));
  const bool of_node = !in_module && node_scope >= 0;
  return {stage.phase, of_node ? static_cast<uint32_t>(node_scope) : current_scope_, recomputed};
}

void Session::note_sequence(uint64_t next_number) {
  if (!sequences_.empty() && sequences_.back().scope == current_scope_) return;
  if (!sequences_.empty() && sequences_.back().number == next_number) {
    sequences_.back().scope = current_scope_;
    return;
  }
  sequences_.push_back({next_number, current_scope_});
}

// Each thread has numbers of its own.
uint32_t Session::scope_of_sequence(uint64_t number, uint64_t thread) {
  // A function makes several calls, and its scope is settled when it has its number.
  if (asked_.number == number && asked_.thread == thread) return asked_.scope;
  asked_ = {number, thread, find_scope_of_sequence(number, thread)};
  return asked_.scope;
}

uint32_t Session::find_scope_of_sequence(uint64_t number, uint64_t thread) const {
  const auto waiting = thread == thread_ ? waiting_.end() : waiting_.find(thread);
  const std::vector<SequenceStart>& starts =
      waiting == waiting_.end() ? sequences_ : waiting->second.sequences;
  const auto after = std::upper_bound(
      starts.begin(), starts.end(), number,
      [](uint64_t wanted, const SequenceStart& start) { return wanted < start.number; });
  return after == starts.begin() ? 0 : std::prev(after)->scope;
}

void Session::go_on_in(uint64_t thread) {
  if (thread == thread_) return;
  if (thread_ != 0) {
    waiting_[thread_] = {current_scope_, std::move(stages_), std::move(sequences_)};
    Waiting& own = waiting_[thread];
    current_scope_ = own.scope;
    stages_ = std::move(own.stages);
    sequences_ = std::move(own.sequences);
  }
  thread_ = thread;
}

Session::Whereabouts Session::whereabouts() const { return {current_scope_, stages_}; }

void Session::go_to(const Whereabouts& where) {
  current_scope_ = where.scope;
  stages_ = where.stages;
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

uint32_t Session::new_storage(int64_t bytes, Role role, const Place& place, bool external) {
  const std::lock_guard<std::mutex> lock(events_mutex_);
  const auto storage = static_cast<uint32_t>(storages_.size());
  storages_.push_back(
      {bytes, bytes, role, place.scope, external, place.phase, place.recomputed, false});
  events_.push_back({storage, static_cast<uint32_t>(records_.size()), bytes, recording});
  return storage;
}

void Session::storage_freed(uint32_t storage) {
  if (closed_) return;
  const std::lock_guard<std::mutex> lock(events_mutex_);
  events_.push_back({storage, record_count_.load(std::memory_order_relaxed), 0, recording});
}

void Session::storage_resized(uint32_t storage, int64_t bytes) {
  const std::lock_guard<std::mutex> lock(events_mutex_);
  storages_[storage].bytes = bytes;
  events_.push_back({storage, static_cast<uint32_t>(records_.size()), bytes, recording});
}

void Session::add_saved_bytes(size_t records, Count bytes) {
  if (records < records_.size()) records_.back().saved_bytes += bytes;
}

void Session::record(c10::ArrayRef<int64_t> signature, c10::ArrayRef<uint32_t> touched_storages,
                     const CallState& state, const Place& place, Count saved_bytes) {
  OpRecord record;
  record.signature = signatures_.intern(signature);
  record.scope = place.scope;
  record.phase = place.phase;
  record.recomputed = place.recomputed;
  record.state = state;
  record.saved_bytes = saved_bytes;
  record.first_storage = static_cast<uint32_t>(touched_storages_.size());
  record.storage_count = static_cast<uint32_t>(touched_storages.size());
  touched_storages_.insert(touched_storages_.end(), touched_storages.begin(),
                           touched_storages.end());
  records_.push_back(record);
  record_count_.store(static_cast<uint32_t>(records_.size()), std::memory_order_relaxed);
}

}  // namespace nnprof

// What one trace collects: records, signatures, module scopes, storages, guesses. No Python, no
// dispatcher: dispatch/ fills it, bindings/ and reports read it.
#pragma once

#include <c10/util/flat_hash_map.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "core/record.h"
#include "core/signature.h"

namespace nnprof {

struct ModuleDescriptor {
  std::string name;     // in its parent; of a root: the whole path. Empty adds nothing to the path
  int32_t parent = -1;  // where it was found first
  std::string type;
  std::vector<uint32_t> parameters;  // numbers of the unique parameters it owns itself
};

struct ParameterDescriptor {
  int64_t numel = 0;
  Count bytes;
  bool trainable = false;
};

// Sizes of several tensors in one vector: each time the number of dimensions, then the sizes.
using FlatShapes = c10::SmallVector<int64_t, 12>;
std::vector<std::vector<int64_t>> unflatten(const FlatShapes& shapes);

// One entry per call path: a module as called from one place.
struct Scope {
  int32_t parent = -1;
  int32_t module = -1;  // -1: the root, code outside any module
  uint32_t calls = 0;
  FlatShapes input_shapes;  // of the first call
  FlatShapes output_shapes;
};

// Storage `storage` came to hold `bytes` (0: it was freed) before record `before_record` was made.
struct StorageEvent {
  uint32_t storage;
  uint32_t before_record;
  int64_t bytes;
  bool recorded;  // no: what is held meanwhile is part of no call
};

struct StorageInfo {
  int64_t bytes = 0;        // now
  int64_t first_bytes = 0;  // when it was made, or first seen
  Role role = Role::activation;
  uint32_t scope = 0;  // in which it was made, or first seen
  bool external = false;
  Phase phase = Phase::forward;  // in which it was made, or first seen
  bool recomputed = false;
  bool gradient = false;  // some tensor's `.grad` was kept in it
  bool cache = false;     // of what a language model goes on with from call to call
  bool host = false;      // asked for on the CPU, or made of what is there
};

// Where a call belongs: which phase of a training step, which scope.
struct Place {
  Phase phase = Phase::forward;
  uint32_t scope = 0;
  bool recomputed = false;
};

// One finished call of a module.
struct ModuleCall {
  uint32_t scope;
  int32_t shapes;  // into Session::other_shapes; -1: the output shapes of the scope's first call
};

class Session {
 private:
  struct Stage {
    enum Kind : uint8_t { engine, optimizer, closure };
    Kind kind = engine;
    Phase phase = Phase::forward;
    uint32_t scope = 0;  // that it was started in
    bool create_graph = false;
  };

 public:
  Session();

  bool recording = true;

  uint32_t enter_scope(int32_t module);
  // Back to the scope that enter_scope() was called in, whatever was entered since.
  void return_to_scope(uint32_t scope) { current_scope_ = scope; }
  uint32_t current_scope() const { return current_scope_; }

  // Threads of the program take turns. What each is in the middle of is its own: goes on where
  // `thread` was when it was last in turn.
  void go_on_in(uint64_t thread);
  // Where the thread in turn is: for another one that works for it, to start from there.
  struct Whereabouts {
    uint32_t scope = 0;
    std::vector<Stage> stages;
  };
  Whereabouts whereabouts() const;
  void go_to(const Whereabouts& where);

  // What runs inside of what: a backward has optimizers step in its hooks, a step has a closure
  // that runs forward and backward again. Each returns how many there were around it, which
  // leave_stage() takes.
  //
  // While the autograd engine runs. In `create_graph` mode its own calls record a graph, too.
  size_t enter_backward(bool create_graph);
  size_t enter_optimizer();
  size_t enter_closure();
  size_t stage_depth() const { return stages_.size(); }
  void leave_stage(size_t around) { stages_.resize(std::min(around, stages_.size())); }
  // Of the optimizer that steps; whatever it left open goes with it.
  void leave_optimizer();
  bool in_backward() const { return !stages_.empty() && stages_.back().kind == Stage::engine; }
  Phase phase() const { return stages_.empty() ? Phase::forward : stages_.back().phase; }
  // Where a call belongs that is made now. `node_scope` is that of the gradient function that is
  // running, -1 when none is.
  Place place(int64_t node_scope, bool grad_enabled) const;
  // Autograd numbers its functions as they are made: notes in which scope the next ones are.
  void note_sequence(uint64_t next_number);
  uint32_t scope_of_sequence(uint64_t number, uint64_t thread);
  Scope& scope(uint32_t index) { return scopes_[index]; }
  const std::vector<Scope>& scopes() const { return scopes_; }
  void module_returned(uint32_t scope, const FlatShapes& output_shapes);
  const std::vector<ModuleCall>& module_calls() const { return module_calls_; }
  const FlatShapes& output_shapes(const ModuleCall& call) const;
  // "layer1.0.conv1 (Conv2d)", for messages.
  std::string describe_scope() const;

  // A storage of the trace's own, or one that was there before it (an external one).
  uint32_t new_storage(int64_t bytes, Role role, const Place& place, bool external = false);
  void storage_freed(uint32_t storage);
  void storage_resized(uint32_t storage, int64_t bytes);
  // The trace has ended: what is freed from here on is no part of it.
  void close() { closed_ = true; }
  void mark_gradient(uint32_t storage) { storages_[storage].gradient = true; }
  void mark_host(uint32_t storage, bool host = true) { storages_[storage].host = host; }
  // Of an accelerator's memory only: what is on the CPU beside it takes none.
  bool takes_memory(const StorageInfo& info) const { return !(host_is_apart && info.host); }
  bool host_is_apart = false;
  void mark_cache(uint32_t storage) { storages_[storage].cache = true; }
  const std::vector<StorageInfo>& storages() const { return storages_; }
  const std::vector<StorageEvent>& storage_events() const { return events_; }

  // The last call after the first `records` ones keeps so many bytes more for the backward.
  void add_saved_bytes(size_t records, Count bytes);
  void record(c10::ArrayRef<int64_t> signature, c10::ArrayRef<uint32_t> touched_storages,
              const CallState& state, const Place& place, Count saved_bytes);
  const std::vector<OpRecord>& records() const { return records_; }
  const std::vector<uint32_t>& touched_storages() const { return touched_storages_; }
  const SignatureTable& signatures() const { return signatures_; }

  // Every guess is listed once, with how often it was made.
  void assume(const std::string& text) { ++assumptions_[text]; }
  // A guess of indices: the values asked of them can be answered otherwise.
  void assume_indices(const std::string& text) {
    assume(text);
    guessing_modules.insert(module_path(scopes_[current_scope_].module));
  }
  std::set<std::string> guessing_modules;
  // What an answer is called that PyTorch works out in many operators (isfinite).
  struct NamedValue {
    std::string text;
    size_t records;  // so many there were: a later one may write to it
  };
  std::map<uint32_t, NamedValue> named_values;  // by storage
  // How many values that nobody knows were asked for, by module.
  std::map<std::string, int64_t> questions;
  const std::map<std::string, int64_t>& assumptions() const { return assumptions_; }

  std::vector<ModuleDescriptor> modules;
  std::string module_path(int32_t module) const;
  std::vector<ParameterDescriptor> parameters;

  // A value of an integer tensor above the limit was asked for: run again with a higher one.
  bool rerun_wanted = false;

 private:
  std::vector<Scope> scopes_;
  ska::flat_hash_map<uint64_t, uint32_t> children_;  // (parent, module) -> scope
  uint32_t current_scope_ = 0;
  std::vector<ModuleCall> module_calls_;
  std::vector<FlatShapes> other_shapes_;
  std::vector<OpRecord> records_;
  std::vector<uint32_t> touched_storages_;
  SignatureTable signatures_;
  std::vector<StorageInfo> storages_;
  std::vector<StorageEvent> events_;
  std::atomic<bool> closed_ = false;
  std::mutex events_mutex_;  // any thread may free a tensor
  std::atomic<uint32_t> record_count_ = 0;
  struct SequenceStart {
    uint64_t number;
    uint32_t scope;
  };
  // Of a thread that is not in turn.
  struct Waiting {
    uint32_t scope = 0;
    std::vector<Stage> stages;
    std::vector<SequenceStart> sequences;
  };
  uint64_t thread_ = 0;  // in turn
  std::map<uint64_t, Waiting> waiting_;
  // Is what starts now a part of a module's forward?
  bool inside_forward() const;
  std::vector<Stage> stages_;             // the innermost one last
  std::vector<SequenceStart> sequences_;  // by number
  uint32_t find_scope_of_sequence(uint64_t number, uint64_t thread) const;
  struct {
    uint64_t number = UINT64_MAX;  // none has it
    uint64_t thread = 0;
    uint32_t scope = 0;
  } asked_;  // last
  std::map<std::string, int64_t> assumptions_;
};

}  // namespace nnprof

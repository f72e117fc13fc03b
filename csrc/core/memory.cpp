#include "core/memory.h"

#include <algorithm>
#include <numeric>

#include "core/count.h"

namespace nnprof {
namespace {

constexpr uint32_t kNever = UINT32_MAX;

// When a storage was made and freed, in numbers of calls.
struct Life {
  uint32_t made = 0;
  uint32_t freed = kNever;
};

std::vector<Life> lives(const Session& session) {
  std::vector<Life> lives(session.storages().size());
  std::vector<bool> seen(lives.size(), false);
  for (const StorageEvent& event : session.storage_events()) {
    Life& life = lives[event.storage];
    if (!seen[event.storage]) life.made = event.before_record;
    seen[event.storage] = true;
    if (event.bytes == 0) life.freed = event.before_record;
  }
  return lives;
}

class Kinds {
 public:
  explicit Kinds(const Session& session) : session_(session), lives_(nnprof::lives(session)) {
    const auto& records = session.records();
    const auto count = static_cast<uint32_t>(records.size());
    // Per call: the first call of the next backward pass, and the end of the optimizer's step.
    next_backward_.assign(count + 1, kNever);
    step_end_.assign(count + 1, kNever);
    for (uint32_t i = count; i-- > 0;) {
      next_backward_[i] = records[i].phase == Phase::backward ? i : next_backward_[i + 1];
      const bool steps = records[i].phase == Phase::optimizer;
      step_end_[i] = !steps ? i : step_end_[i + 1] == kNever ? i + 1 : step_end_[i + 1];
    }
    trains_ = count != 0 && next_backward_[0] != kNever;
  }

  MemoryKind of(uint32_t storage) const {
    const StorageInfo& info = session_.storages()[storage];
    if (info.gradient) return MemoryKind::gradients;
    if (info.cache) return MemoryKind::kv_cache;
    if (info.external) return of_external(storage);
    const Life& life = lives_[storage];
    if (info.phase == Phase::optimizer) {
      return life.freed > step_end_[life.made] ? MemoryKind::optimizer : MemoryKind::temporaries;
    }
    if (info.phase == Phase::backward) {
      return info.recomputed ? MemoryKind::activations : MemoryKind::temporaries;
    }
    if (!trains_) return MemoryKind::activations;
    const uint32_t backward = next_backward_[life.made];
    const bool kept = backward != kNever && life.freed > backward;
    return kept ? MemoryKind::activations : MemoryKind::temporaries;
  }

 private:
  MemoryKind of_external(uint32_t storage) const {
    switch (session_.storages()[storage].role) {
      case Role::parameter:
        return MemoryKind::parameters;
      case Role::buffer:
        return MemoryKind::buffers;
      default:
        break;
    }
    // An optimizer's state from steps before.
    const bool in_step = session_.storages()[storage].phase == Phase::optimizer;
    return in_step ? MemoryKind::optimizer : MemoryKind::inputs;
  }

  const Session& session_;
  std::vector<Life> lives_;
  std::vector<uint32_t> next_backward_;
  std::vector<uint32_t> step_end_;
  bool trains_ = false;
};

std::vector<MemoryKind> kinds_of_storages(const Session& session) {
  const Kinds kinds(session);
  std::vector<MemoryKind> found(session.storages().size());
  for (uint32_t i = 0; i < found.size(); ++i) found[i] = kinds.of(i);
  return found;
}

class Ledger {
 public:
  Ledger(const Session& session, const std::vector<MemoryKind>& kinds,
         const ResidentBytes& resident, int64_t granule)
      : session_(session), kinds_(kinds), granule_(granule), held_(kinds.size(), 0) {
    by_kind_[index(MemoryKind::parameters)] = resident.parameters;
    by_kind_[index(MemoryKind::buffers)] = resident.buffers;
    // What was there before is there from the start.
    for (uint32_t i = 0; i < session.storages().size(); ++i) {
      const StorageInfo& info = session.storages()[i];
      const bool is_there = info.external && !is_of_model(info) && session.takes_memory(info);
      if (is_there) hold(i, rounded(info.first_bytes));
    }
    live_ = total(by_kind_);
  }

  void take(const StorageEvent& event) {
    const StorageInfo& info = session_.storages()[event.storage];
    if (is_of_model(info) || !session_.takes_memory(info)) return;
    hold(event.storage, rounded(event.bytes));
  }

  Count live() const { return live_; }
  const BytesByKind& by_kind() const { return by_kind_; }

  std::vector<BytesByKind> by_scope() const {
    std::vector<BytesByKind> scopes(session_.scopes().size());
    for (uint32_t i = 0; i < held_.size(); ++i) {
      if (held_[i] == 0) continue;
      scopes[session_.storages()[i].scope][index(kinds_[i])] += held_[i];
    }
    return scopes;
  }

 private:
  // It is counted by its tensors.
  static bool is_of_model(const StorageInfo& info) {
    return info.external && (info.role == Role::parameter || info.role == Role::buffer);
  }
  static size_t index(MemoryKind kind) { return static_cast<size_t>(kind); }
  Count rounded(int64_t bytes) const { return round_up<Count>(bytes, granule_); }

  void hold(uint32_t storage, Count bytes) {
    const Count more = bytes - held_[storage];
    held_[storage] = bytes;
    by_kind_[index(kinds_[storage])] += more;
    live_ += more;
  }

  const Session& session_;
  const std::vector<MemoryKind>& kinds_;
  const int64_t granule_;
  std::vector<Count> held_;
  BytesByKind by_kind_{};
  Count live_;
};

// Runs through the first `calls` calls in order. `settled(i)`: call i has ended and what it let go
// is freed; `ran(i, highest)`: call i has its outputs, `highest` is the most that was held on the
// way.
template <class Settled, class Ran>
void run_through(const Session& session, const std::vector<Count>& temporaries, size_t calls,
                 Ledger& ledger, Settled settled, Ran ran) {
  const auto& records = session.records();
  const auto& events = session.storage_events();
  size_t next = 0;
  const auto due = [&](size_t record) {
    return next < events.size() && events[next].before_record <= record;
  };
  for (uint32_t i = 0; i <= calls; ++i) {
    while (due(i) && events[next].bytes == 0) ledger.take(events[next++]);
    if (i != 0) settled(i - 1);
    if (i == calls) return;
    Count highest = ledger.live();
    for (; due(i); ++next) {
      ledger.take(events[next]);
      if (events[next].recorded) highest = std::max(highest, ledger.live());
    }
    const Count own = temporaries[records[i].signature];
    ran(i, std::max(highest, ledger.live() + own));
  }
}

}  // namespace

Count total(const BytesByKind& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), Count());
}

MemoryUse memory_use(const Session& session, const std::vector<Count>& temporaries,
                     const ResidentBytes& resident, int64_t granule) {
  MemoryUse use;
  const std::vector<MemoryKind> kinds = kinds_of_storages(session);
  Ledger ledger(session, kinds, resident, granule);
  use.peak = ledger.live();
  use.at_peak = ledger.by_kind();
  const auto& records = session.records();
  const auto phase_of = [&](uint32_t i) -> PhaseMemory& {
    return use.phases[static_cast<size_t>(records[i].phase)];
  };
  const auto settled = [&](uint32_t i) {
    use.live.push_back(ledger.live());
    phase_of(i).after = ledger.by_kind();
  };
  const auto ran = [&](uint32_t i, Count highest) {
    if (records[i].phase == Phase::backward && use.kept_by_scope.empty()) {
      for (const BytesByKind& bytes : ledger.by_scope()) {
        use.kept_by_scope.push_back(bytes[static_cast<size_t>(MemoryKind::activations)]);
      }
    }
    phase_of(i).met = true;
    phase_of(i).peak = std::max(phase_of(i).peak, highest);
    use.highest.push_back(highest);
    if (highest <= use.peak) return;
    use.peak = highest;
    use.peak_record = i;
    use.at_peak = ledger.by_kind();
    // The call's own temporaries, and what was freed before it ended.
    use.at_peak[static_cast<size_t>(MemoryKind::temporaries)] += highest - ledger.live();
  };
  run_through(session, temporaries, records.size(), ledger, settled, ran);
  if (use.peak_record < 0) return use;
  Ledger again(session, kinds, resident, granule);
  const auto until = static_cast<size_t>(use.peak_record) + 1;
  run_through(
      session, temporaries, until, again, [](uint32_t) {},
      [&](uint32_t i, Count) {
        if (i == use.peak_record) use.at_peak_by_scope = again.by_scope();
      });
  return use;
}

}  // namespace nnprof

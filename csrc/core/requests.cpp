#include "core/requests.h"

#include <utility>

namespace nnprof {
namespace {

class Requests {
 public:
  explicit Requests(const Session& session)
      : session_(session), block_of_(session.storages().size(), kNone) {
    requests_.reserve(session.storage_events().size());
  }

  void take(const StorageEvent& event, int32_t record) {
    const StorageInfo& info = session_.storages()[event.storage];
    if (info.external || !session_.takes_memory(info)) return;
    uint32_t& block = block_of_[event.storage];
    // A storage that is resized gets new memory before it lets go of the old.
    const uint32_t old = block;
    block = event.bytes == 0 ? kNone : allocate(event.bytes, record);
    if (old != kNone) requests_.push_back({old, record, 0});
  }

  void run(int32_t record, Phase phase, const Working& working) {
    if (working.uses_blas) ask_for_workspace(record, phase);
    const uint32_t first = blocks_;
    for (const int64_t bytes : working.bytes) allocate(bytes, record);
    for (uint32_t block = first; block < blocks_; ++block) requests_.push_back({block, record, 0});
  }

  std::vector<Request> take_all() { return std::move(requests_); }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  uint32_t allocate(int64_t bytes, int32_t record) {
    requests_.push_back({blocks_, record, bytes});
    return blocks_++;
  }

  // Each thread has a handle of its own: autograd's engine runs the backward in one of its own.
  void ask_for_workspace(int32_t record, Phase phase) {
    bool& has_one = phase == Phase::backward ? engine_has_workspace_ : program_has_workspace_;
    if (!has_one) allocate(kBlasWorkspace, record);
    has_one = true;
  }

  const Session& session_;
  std::vector<uint32_t> block_of_;
  std::vector<Request> requests_;
  uint32_t blocks_ = 0;
  bool program_has_workspace_ = false, engine_has_workspace_ = false;
};

}  // namespace

std::vector<Request> requests(const Session& session, const std::vector<Working>& working) {
  Requests all(session);
  const auto& records = session.records();
  const auto& events = session.storage_events();
  size_t next = 0;
  for (size_t i = 0; i <= records.size(); ++i) {
    for (; next < events.size() && events[next].before_record <= i; ++next) {
      const bool of_call_before = events[next].bytes == 0 || i == records.size();
      all.take(events[next], static_cast<int32_t>(of_call_before ? i - 1 : i));
    }
    if (i == records.size()) break;
    all.run(static_cast<int32_t>(i), records[i].phase, working[records[i].signature]);
  }
  return all.take_all();
}

}  // namespace nnprof

#include "core/device_use.h"

#include <algorithm>

namespace nnprof {
namespace {

struct InUse {
  CachingAllocator::Block* block;
  int64_t bytes;  // as they were asked for
};

class Simulation {
 public:
  using Action = AllocatorEvent::Action;

  Simulation(size_t blocks, size_t records, int64_t blas_workspace, const AllocatorOptions& options,
             DeviceHistory* history)
      : allocator_(options),
        blas_workspace_(blas_workspace),
        blocks_(blocks, {nullptr, 0}),
        history_(history) {
    use_.allocated.reserve(records);
    use_.reserved.reserve(records);
  }

  // False where the device has no more.
  bool allocate(int64_t bytes, int32_t record, InUse& made) {
    if (bytes <= 0) return true;  // an empty tensor asks for nothing
    made = {allocator_.allocate(bytes), bytes};
    if (history_ != nullptr) note_driver_calls(record);
    if (made.block == nullptr) {
      use_.out_of_memory = {record, bytes, allocator_.allocated(), allocator_.reserved()};
      return false;
    }
    if (history_ != nullptr) note(Action::alloc, record, made);
    if (allocator_.reserved() > use_.peak_reserved) {
      use_.peak_reserved = allocator_.reserved();
      use_.peak_record = record;
      use_.unused_at_peak = allocator_.reserved() - allocator_.allocated();
    }
    return true;
  }

  bool take(const Request& request) {
    note_until(request.record);
    InUse& held = blocks_[request.block];
    if (request.bytes != 0) {
      const bool of_library = request.bytes == kBlasWorkspace;
      return allocate(of_library ? blas_workspace_ : request.bytes, request.record, held);
    }
    if (held.block == nullptr) return true;
    if (history_ != nullptr) note(Action::free, request.record, held);
    allocator_.request_free(held.block);
    allocator_.complete_free(held.block);
    held = {nullptr, 0};
    return true;
  }

  // Calls before `record` have ended.
  void note_until(int64_t record) {
    while (static_cast<int64_t>(use_.reserved.size()) < record) {
      use_.allocated.push_back(allocator_.allocated());
      use_.reserved.push_back(allocator_.reserved());
    }
  }

  DeviceUse take_use() {
    use_.peak_allocated = allocator_.peak_allocated();
    use_.retries = allocator_.retries();
    if (history_ != nullptr) history_->layout = allocator_.layout();
    return std::move(use_);
  }

 private:
  void note(Action action, int32_t record, const InUse& held) {
    const int64_t address = CachingAllocator::address_of(held.block);
    history_->events.push_back({action, {}, record, address, held.bytes});
  }

  void note_driver_calls(int32_t record) {
    const auto& asked = allocator_.asked();
    for (; noted_ < asked.size(); ++noted_) {
      const auto& [call, size, address, stream] = asked[noted_];
      history_->events.push_back({Action::driver, call, record, address, size});
    }
  }

  CachingAllocator allocator_;
  const int64_t blas_workspace_;
  std::vector<InUse> blocks_;
  DeviceUse use_;
  DeviceHistory* const history_;
  size_t noted_ = 0;  // of what was asked of the driver
};

size_t count_blocks(const std::vector<Request>& requests) {
  size_t blocks = 0;
  for (const Request& request : requests) blocks = std::max<size_t>(blocks, request.block + 1);
  return blocks;
}

}  // namespace

DeviceUse device_use(const Program& program, const std::vector<int64_t>& beside,
                     int64_t blas_workspace, const AllocatorOptions& options,
                     DeviceHistory* history) {
  const auto& requests = program.requests;
  Simulation simulation(count_blocks(requests), program.calls, blas_workspace, options, history);
  const auto put = [&](int64_t bytes) {
    InUse stays = {nullptr, 0};
    return simulation.allocate(bytes, -1, stays);
  };
  const auto put_all = [&](const std::vector<int64_t>& bytes) {
    return std::all_of(bytes.begin(), bytes.end(), put);
  };
  const bool is_there = put_all(program.parameters) && put_all(beside) && put_all(program.others);
  const auto take = [&](const Request& request) { return simulation.take(request); };
  if (is_there && std::all_of(requests.begin(), requests.end(), take)) {
    simulation.note_until(static_cast<int64_t>(program.calls));
  }
  return simulation.take_use();
}

}  // namespace nnprof

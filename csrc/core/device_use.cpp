#include "core/device_use.h"

#include <algorithm>

namespace nnprof {
namespace {

class Simulation {
 public:
  Simulation(size_t blocks, size_t records, const AllocatorOptions& options)
      : allocator_(options), blocks_(blocks, nullptr) {
    use_.allocated.reserve(records);
    use_.reserved.reserve(records);
  }

  // False where the device has no more.
  bool allocate(int64_t bytes, int32_t record, CachingAllocator::Block*& block) {
    if (bytes <= 0) return true;  // an empty tensor asks for nothing
    block = allocator_.allocate(bytes);
    if (block == nullptr) {
      use_.out_of_memory = {record, bytes, allocator_.allocated(), allocator_.reserved()};
      return false;
    }
    if (allocator_.reserved() > use_.peak_reserved) {
      use_.peak_reserved = allocator_.reserved();
      use_.peak_record = record;
      use_.unused_at_peak = allocator_.reserved() - allocator_.allocated();
    }
    return true;
  }

  bool take(const Request& request) {
    note_until(request.record);
    CachingAllocator::Block*& block = blocks_[request.block];
    if (request.bytes != 0) return allocate(request.bytes, request.record, block);
    if (block == nullptr) return true;
    allocator_.request_free(block);
    allocator_.complete_free(block);
    block = nullptr;
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
    return std::move(use_);
  }

 private:
  CachingAllocator allocator_;
  std::vector<CachingAllocator::Block*> blocks_;
  DeviceUse use_;
};

size_t count_blocks(const std::vector<Request>& requests) {
  size_t blocks = 0;
  for (const Request& request : requests) blocks = std::max<size_t>(blocks, request.block + 1);
  return blocks;
}

}  // namespace

DeviceUse device_use(const std::vector<int64_t>& resident, const std::vector<Request>& requests,
                     size_t records, const AllocatorOptions& options) {
  Simulation simulation(count_blocks(requests), records, options);
  const auto put = [&](int64_t bytes) {
    CachingAllocator::Block* stays = nullptr;
    return simulation.allocate(bytes, -1, stays);
  };
  const bool is_there = std::all_of(resident.begin(), resident.end(), put);
  const auto take = [&](const Request& request) { return simulation.take(request); };
  if (is_there && std::all_of(requests.begin(), requests.end(), take)) {
    simulation.note_until(static_cast<int64_t>(records));
  }
  return simulation.take_use();
}

}  // namespace nnprof

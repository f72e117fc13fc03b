// PyTorch's caching allocator of CUDA memory, simulated: which cached block serves a request, what
// is asked of the driver, and what is given back.
//
// The rules are those of c10/cuda/CUDACachingAllocator.cpp (torch 2.1 to 2.14; its defaults did not
// change): requests are rounded to 512 bytes; up to 1 MiB they come out of segments of 2 MiB, up to
// 10 MiB out of such of 20 MiB, larger ones get a segment of their own in steps of 2 MiB; the
// smallest free block of the stream that is large enough is taken, the lowest of equal ones, and
// split; freed neighbours merge; where the driver has no more, cached segments that are wholly free
// go back to it. No memory is touched and no time passes: an allocation is a few set operations.
//
// Not simulated: private pools (CUDA graphs, MemPool), callbacks that free memory, the backend
// cudaMallocAsync.
#pragma once

#include <compare>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory_resource>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace nnprof {

// What PYTORCH_ALLOC_CONF (before torch 2.9 PYTORCH_CUDA_ALLOC_CONF) chooses. Sizes are bytes.
struct AllocatorOptions {
  static constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

  bool expandable_segments = false;
  // Blocks from this size on are not split, and serve no smaller request.
  int64_t max_split_size = kNoLimit;
  // By how much such a block may be larger than what is asked for.
  int64_t max_non_split_rounding = int64_t{20} << 20;
  // Into how many steps a power of two is divided, by the power that a size is below: sizes are
  // rounded up to such a step. Empty, or 0: to 512 bytes.
  std::vector<std::pair<int64_t, int64_t>> roundup_power2_divisions;
  // Above this share of the capacity, free segments are given back before a new one is asked for,
  // the longest unused first. 0: never.
  double garbage_collection_threshold = 0;
  // What the driver can give, and what torch may take of it (set_per_process_memory_fraction).
  int64_t capacity = kNoLimit;
  std::optional<int64_t> allowed = {};
};

class CachingAllocator {
 public:
  enum class DriverCall : uint8_t { segment_alloc, segment_free, segment_map, segment_unmap };
  struct Asked {
    DriverCall call;
    int64_t size;
    int64_t address;
    int64_t stream;
    bool operator==(const Asked&) const = default;
  };
  // The address of a new segment; with size 0, of a range of addresses for an expandable one.
  using AddressSource = std::function<int64_t(int64_t size, int64_t stream)>;
  struct Block;

  explicit CachingAllocator(AllocatorOptions options, AddressSource addresses = {});
  ~CachingAllocator();
  CachingAllocator(const CachingAllocator&) = delete;
  CachingAllocator& operator=(const CachingAllocator&) = delete;

  // Null where the driver has no more: nothing is changed but for what was released meanwhile.
  Block* allocate(int64_t size, int64_t stream = 0);
  // The program lets go; the block can be given to others from `complete_free` on, when the streams
  // that use it have come so far.
  void request_free(Block* block);
  void complete_free(Block* block);
  // torch.cuda.empty_cache(): true where something was given back.
  bool empty_cache();

  // What was there before: segments, and blocks in use in them. Free blocks always merge, so this
  // is all there is to know. To be called first, once.
  struct Segment {
    enum class Kind : uint8_t { plain, mapped_small, mapped_large };
    int64_t address;
    int64_t size;
    int64_t stream;
    Kind kind;
  };
  struct InUse {
    int64_t address;
    int64_t size;
  };
  // Returns the blocks in use, by their addresses.
  std::vector<Block*> seed(std::vector<Segment> segments, std::vector<InUse> in_use);

  int64_t reserved() const { return reserved_; }
  int64_t peak_reserved() const { return peak_reserved_; }
  int64_t allocated() const { return allocated_; }  // torch.cuda.memory_allocated()
  int64_t peak_allocated() const { return peak_allocated_; }
  // Free, and in a segment that something else is in: it cannot be given back.
  int64_t inactive_split() const;
  // How often an allocation had to have all cached segments given back first.
  int64_t retries() const { return retries_; }
  const std::vector<Asked>& asked() const { return asked_; }
  static int64_t address_of(const Block* block);
  // All blocks in mapped memory, by address: (address, size, in use).
  std::vector<std::pair<InUse, bool>> layout() const;

  int64_t rounded(int64_t size) const;

 private:
  // In the order in which they are looked at: of a stream, the smallest first.
  struct FreeBlock {
    int64_t stream;
    int64_t size;
    int64_t address;
    Block* block = nullptr;
    auto operator<=>(const FreeBlock&) const = default;
  };
  struct ByAddress {
    bool operator()(const Block* a, const Block* b) const;
  };
  struct Pool {
    bool small;
    using Free = std::pmr::set<FreeBlock>;
    using Unmapped = std::pmr::set<Block*, ByAddress>;
    Free free;
    Unmapped unmapped;
    int64_t searches = 0;  // the clock by which free blocks age
  };

  static FreeBlock as_free(Block* block);
  Pool& pool_of(int64_t size) { return size <= kSmallSize ? small_ : large_; }
  Block* find(int64_t size, int64_t stream, Pool& pool);
  Block* ask_driver(int64_t size, int64_t stream, Pool& pool);
  Block* new_segment(int64_t size, int64_t stream, Pool& pool);
  Block* extend(int64_t size, int64_t stream, Pool& pool);
  Block* range_with_room(int64_t size, int64_t stream, Pool& pool);
  Block* map(Block* block, int64_t size);
  void unmap(Block* block);
  bool fits(int64_t more) const;
  bool should_split(const Block* block, int64_t size) const;
  Block* split(Block* block, int64_t size);
  void absorb(Block* block, Block* other);
  void merge(Block* block);
  void insert_free(Block* block);
  void release(Block* block);
  bool release_oversized(int64_t size, int64_t stream, Pool& pool);
  void collect_garbage();
  bool give_back(Pool& pool);
  void grow(int64_t size);
  Block* new_block(int64_t address, int64_t size, int64_t stream, Pool& pool);
  void drop(Block* block);
  Block* take_gap(const Segment& segment, Pool& pool);
  void add_unmapped_rest(Block* last);

  static constexpr int64_t kSmallSize = int64_t{1} << 20;

  const AllocatorOptions options_;
  AddressSource addresses_;
  std::pmr::unsynchronized_pool_resource nodes_;  // a set's node comes and goes with each request
  Pool small_ = {true, Pool::Free(&nodes_), Pool::Unmapped(&nodes_)};
  Pool large_ = {false, Pool::Free(&nodes_), Pool::Unmapped(&nodes_)};
  std::deque<Block> blocks_;
  std::vector<Block*> unused_;  // of blocks_, to be used again
  std::vector<Asked> asked_;
  int64_t reserved_ = 0, peak_reserved_ = 0;
  int64_t allocated_ = 0, peak_allocated_ = 0;
  int64_t retries_ = 0;
};

// Addresses as Linux drivers give them: a range of 32 MiB or more below the last one, of which what
// is left over serves later segments. Only ties between free blocks of one size depend on it.
CachingAllocator::AddressSource addresses_downwards();

}  // namespace nnprof

#include "core/caching_allocator.h"

#include <algorithm>
#include <bit>

#include "core/count.h"

namespace nnprof {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kMinBlock = 512;
constexpr int64_t kSmallSegment = 2 * kMiB;
constexpr int64_t kLargeSegment = 20 * kMiB;
constexpr int64_t kOwnSegmentFrom = 10 * kMiB;
constexpr int64_t kOwnSegmentStep = 2 * kMiB;
// Of an expandable segment: PyTorch takes 9/8 of the device's memory, which is never used up.
constexpr int64_t kAddressRange = int64_t{1} << 40;

int64_t segment_size(int64_t size, bool small) {
  if (small) return kSmallSegment;
  return size < kOwnSegmentFrom ? kLargeSegment : round_up(size, kOwnSegmentStep);
}

int64_t page_of(bool small) { return small ? kSmallSegment : kLargeSegment; }

}  // namespace

struct CachingAllocator::Block {
  enum class State : uint8_t { free, in_use, waiting, unmapped };

  int64_t address = 0;
  int64_t size = 0;
  int64_t stream = 0;
  int64_t segment = 0;  // where it begins
  Pool* pool = nullptr;
  Block* before = nullptr;
  Block* after = nullptr;
  State state = State::free;
  bool expandable = false;
  int64_t freed_at = 0;  // on the clock of its pool

  bool is_split() const { return before != nullptr || after != nullptr; }
  int64_t end() const { return address + size; }
};

using State = CachingAllocator::Block::State;

CachingAllocator::FreeBlock CachingAllocator::as_free(Block* block) {
  return {block->stream, block->size, block->address, block};
}

bool CachingAllocator::ByAddress::operator()(const Block* a, const Block* b) const {
  return a->stream != b->stream ? a->stream < b->stream : a->address < b->address;
}

CachingAllocator::CachingAllocator(AllocatorOptions options, AddressSource addresses)
    : options_(std::move(options)),
      addresses_(addresses ? std::move(addresses) : addresses_downwards()) {}

CachingAllocator::~CachingAllocator() = default;

int64_t CachingAllocator::address_of(const Block* block) { return block->address; }

// Sizes ---------------------------------------------------------------------------------------

// roundup_power2_next_division and round_size
int64_t CachingAllocator::rounded(int64_t size) const {
  if (size < kMinBlock) return kMinBlock;
  int64_t divisions = 0;
  for (const auto& [below, into] : options_.roundup_power2_divisions) {
    divisions = into;
    if (size < below) break;
  }
  if (divisions <= 1 || size <= kMinBlock * divisions) return round_up(size, kMinBlock);
  if (std::has_single_bit(static_cast<uint64_t>(size))) return size;
  const auto power = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(size)));
  const int64_t step = power / divisions;
  return step == 0 ? power * 2 : round_up(size, step);
}

bool CachingAllocator::should_split(const Block* block, int64_t size) const {
  const int64_t rest = block->size - size;
  if (block->pool->small || options_.expandable_segments) return rest >= kMinBlock;
  return size < options_.max_split_size && rest > kSmallSize;
}

bool CachingAllocator::fits(int64_t more) const {
  const int64_t limit = std::min(options_.capacity, options_.allowed.value_or(options_.capacity));
  return reserved_ <= limit - more;
}

// Blocks --------------------------------------------------------------------------------------

CachingAllocator::Block* CachingAllocator::new_block(int64_t address, int64_t size, int64_t stream,
                                                     Pool& pool) {
  Block* block;
  if (unused_.empty()) {
    block = &blocks_.emplace_back();
  } else {
    block = unused_.back();
    unused_.pop_back();
  }
  *block = Block{.address = address, .size = size, .stream = stream, .segment = address};
  block->pool = &pool;
  return block;
}

void CachingAllocator::drop(Block* block) { unused_.push_back(block); }

// What is left of it after `size`; in no pool yet.
CachingAllocator::Block* CachingAllocator::split(Block* block, int64_t size) {
  Block* rest = new_block(block->address + size, block->size - size, block->stream, *block->pool);
  rest->segment = block->segment;
  rest->expandable = block->expandable;
  rest->before = block;
  rest->after = block->after;
  if (rest->after != nullptr) rest->after->before = rest;
  block->after = rest;
  block->size = size;
  return rest;
}

// `other`, in its pool, is a neighbour of `block`, which is in none.
void CachingAllocator::absorb(Block* block, Block* other) {
  if (other->state == State::unmapped) {
    other->pool->unmapped.erase(other);
  } else {
    other->pool->free.erase(as_free(other));
  }
  if (block->before == other) {
    block->address = other->address;
    block->before = other->before;
    if (block->before != nullptr) block->before->after = block;
  } else {
    block->after = other->after;
    if (block->after != nullptr) block->after->before = block;
  }
  block->size += other->size;
  drop(other);
}

// With neighbours of its own state.
void CachingAllocator::merge(Block* block) {
  for (Block* other : {block->before, block->after}) {
    if (other != nullptr && other->state == block->state) absorb(block, other);
  }
}

void CachingAllocator::insert_free(Block* block) {
  block->state = State::free;
  block->freed_at = block->pool->searches;
  block->pool->free.insert(as_free(block));
}

void CachingAllocator::grow(int64_t size) {
  reserved_ += size;
  peak_reserved_ = std::max(peak_reserved_, reserved_);
}

// Requests ------------------------------------------------------------------------------------

CachingAllocator::Block* CachingAllocator::allocate(int64_t size, int64_t stream) {
  size = rounded(size);
  Pool& pool = pool_of(size);
  Block* block = find(size, stream, pool);
  if (block == nullptr) {
    if (options_.allowed && options_.garbage_collection_threshold > 0) collect_garbage();
    block = ask_driver(size, stream, pool);
  }
  if (block == nullptr && release_oversized(size, stream, pool)) {
    block = ask_driver(size, stream, pool);
  }
  if (block == nullptr) {
    ++retries_;
    empty_cache();
    block = ask_driver(size, stream, pool);
  }
  if (block == nullptr) return nullptr;
  if (should_split(block, size)) insert_free(split(block, size));
  block->state = State::in_use;
  allocated_ += block->size;
  peak_allocated_ = std::max(peak_allocated_, allocated_);
  return block;
}

// get_free_block
CachingAllocator::Block* CachingAllocator::find(int64_t size, int64_t stream, Pool& pool) {
  ++pool.searches;
  auto at = pool.free.lower_bound({stream, size, std::numeric_limits<int64_t>::min()});
  const auto is_none = [&](auto place) {
    return place == pool.free.end() || place->stream != stream;
  };
  if (is_none(at)) return nullptr;
  if (options_.expandable_segments && at->block->expandable) {
    // Of those large enough, the one with the least room behind it.
    const auto room = [](const Block* block) {
      const Block* next = block->after;
      const bool extends = next != nullptr && next->state == State::unmapped;
      return block->size + (extends ? next->size : 0);
    };
    for (auto next = std::next(at);
         at->block->expandable && !is_none(next) && room(next->block) < room(at->block); ++next) {
      at = next;
    }
  }
  Block* block = at->block;
  const int64_t limit = options_.max_split_size;
  if (size < limit && block->size >= limit) return nullptr;
  if (size >= limit && block->size >= size + options_.max_non_split_rounding) return nullptr;
  pool.free.erase(at);
  return block;
}

void CachingAllocator::request_free(Block* block) {
  block->state = State::waiting;
  allocated_ -= block->size;
}

void CachingAllocator::complete_free(Block* block) {
  block->state = State::free;
  merge(block);
  insert_free(block);
}

// The driver ----------------------------------------------------------------------------------

CachingAllocator::Block* CachingAllocator::ask_driver(int64_t size, int64_t stream, Pool& pool) {
  return options_.expandable_segments ? extend(size, stream, pool)
                                      : new_segment(segment_size(size, pool.small), stream, pool);
}

CachingAllocator::Block* CachingAllocator::new_segment(int64_t size, int64_t stream, Pool& pool) {
  if (!fits(size)) return nullptr;
  Block* block = new_block(addresses_(size, stream), size, stream, pool);
  grow(size);
  asked_.push_back({DriverCall::segment_alloc, size, block->address, stream});
  return block;
}

// try_allocate_expandable_block
CachingAllocator::Block* CachingAllocator::extend(int64_t size, int64_t stream, Pool& pool) {
  Block* block = range_with_room(size, stream, pool);
  if (block->state == State::unmapped) {
    block = map(block, std::min(block->size, size));
    if (block == nullptr) return nullptr;
  }
  while (block->size < size) {
    block = map(block->after, std::min(size - block->size, block->after->size));
    if (block == nullptr) return nullptr;
  }
  pool.free.erase(as_free(block));
  return block;
}

// find_expandable_block: the lowest range of free and unmapped blocks that is long enough, else one
// in a new range of addresses.
CachingAllocator::Block* CachingAllocator::range_with_room(int64_t size, int64_t stream,
                                                           Pool& pool) {
  Block key{.address = std::numeric_limits<int64_t>::min(), .stream = stream};
  for (auto at = pool.unmapped.lower_bound(&key);
       at != pool.unmapped.end() && (*at)->stream == stream; ++at) {
    Block* first = *at;
    if (first->before != nullptr && first->before->state == State::free) first = first->before;
    int64_t room = 0;
    for (const Block* block = first;
         block != nullptr && room < size &&
         (block->state == State::free || block->state == State::unmapped);
         block = block->after) {
      room += block->size;
    }
    if (room >= size) return first;
  }
  const int64_t range = kAddressRange / page_of(pool.small) * page_of(pool.small);
  Block* block = new_block(addresses_(0, stream), range, stream, pool);
  block->expandable = true;
  block->state = State::unmapped;
  pool.unmapped.insert(block);
  return block;
}

// map_block: the free block that the mapped pages are then in; null where there is no memory.
CachingAllocator::Block* CachingAllocator::map(Block* block, int64_t size) {
  size = round_up(size, page_of(block->pool->small));
  if (!fits(size)) return nullptr;
  const int64_t address = block->address;
  block->pool->unmapped.erase(block);
  if (size < block->size) {
    Block* rest = split(block, size);
    rest->state = State::unmapped;
    rest->pool->unmapped.insert(rest);
  }
  block->state = State::free;
  merge(block);
  insert_free(block);
  grow(size);
  asked_.push_back({DriverCall::segment_map, size, address, block->stream});
  return block;
}

// Giving back ---------------------------------------------------------------------------------

void CachingAllocator::release(Block* block) {
  block->pool->free.erase(as_free(block));
  reserved_ -= block->size;
  asked_.push_back({DriverCall::segment_free, block->size, block->address, block->stream});
  drop(block);
}

// unmap_block: of a free block, its whole pages.
void CachingAllocator::unmap(Block* block) {
  const int64_t page = page_of(block->pool->small);
  const int64_t first = block->segment + round_up(block->address - block->segment, page);
  const int64_t last = block->segment + (block->end() - block->segment) / page * page;
  if (last <= first) return;
  block->pool->free.erase(as_free(block));
  if (first > block->address) {
    Block* rest = split(block, first - block->address);
    insert_free(block);
    block = rest;
  }
  if (block->end() > last) insert_free(split(block, last - block->address));
  block->state = State::unmapped;
  reserved_ -= block->size;
  asked_.push_back({DriverCall::segment_unmap, block->size, block->address, block->stream});
  merge(block);
  block->pool->unmapped.insert(block);
}

// release_blocks: whole segments, then whole pages of expandable ones.
bool CachingAllocator::give_back(Pool& pool) {
  const size_t before = asked_.size();
  std::vector<Block*> to_unmap;
  for (auto at = pool.free.begin(); at != pool.free.end();) {
    Block* block = (at++)->block;
    if (block->expandable) {
      to_unmap.push_back(block);
    } else if (!block->is_split()) {
      release(block);
    }
  }
  for (Block* block : to_unmap) unmap(block);
  return asked_.size() != before;
}

bool CachingAllocator::empty_cache() {
  const bool large = give_back(large_);
  return give_back(small_) || large;
}

// release_available_cached_blocks: of blocks that are not split, enough to make room.
bool CachingAllocator::release_oversized(int64_t size, int64_t stream, Pool& pool) {
  const bool unlimited = options_.max_split_size == AllocatorOptions::kNoLimit;
  if (unlimited || options_.expandable_segments) return false;
  const int64_t wanted = std::max(size, options_.max_split_size);
  auto at = pool.free.lower_bound({stream, wanted, std::numeric_limits<int64_t>::min()});
  if (at != pool.free.end() && at->stream == stream) {
    release(at->block);
    return true;
  }
  int64_t released = 0;
  while (at != pool.free.begin() && released < wanted) {
    const auto largest = std::prev(at);
    if (largest->stream != stream || largest->size < options_.max_split_size) break;
    released += largest->size;
    // What comes after it stays where it is.
    release(largest->block);
  }
  return released >= wanted;
}

// garbage_collect_cached_blocks
void CachingAllocator::collect_garbage() {
  const double threshold =
      options_.garbage_collection_threshold * static_cast<double>(*options_.allowed);
  if (static_cast<double>(reserved_) <= threshold) return;
  const int64_t wanted = reserved_ - static_cast<int64_t>(threshold);
  const auto age = [&](const Block* block) { return large_.searches - block->freed_at; };
  double ages = 0;
  int64_t count = 0, reclaimed = 0;
  for (const FreeBlock& free : large_.free) {
    if (free.block->is_split()) continue;
    ages += static_cast<double>(age(free.block));
    ++count;
  }
  bool released = true;
  while (reclaimed < wanted && released && count > 0) {
    const double old = ages / static_cast<double>(count);
    released = false;
    for (auto at = large_.free.begin(); at != large_.free.end();) {
      Block* block = (at++)->block;
      const auto own = static_cast<double>(age(block));
      if (block->is_split() || block->expandable || own < old) continue;
      released = true;
      reclaimed += block->size;
      ages -= own;
      --count;
      release(block);
    }
  }
}

// What was there before ---------------------------------------------------------------------

// Where the range of an expandable segment begins in one that is there: what lies before it, the
// gap shortened, or gone where there is none. Null where it begins a segment of its own.
CachingAllocator::Block* CachingAllocator::take_gap(const Segment& segment, Pool& pool) {
  Block key{.address = segment.address + 1, .stream = segment.stream};
  const auto after = pool.unmapped.lower_bound(&key);
  if (after == pool.unmapped.begin()) return nullptr;
  Block* gap = *std::prev(after);
  if (gap->stream != segment.stream || segment.address >= gap->end()) return nullptr;
  pool.unmapped.erase(gap);
  gap->size = segment.address - gap->address;
  if (gap->size > 0) {
    pool.unmapped.insert(gap);
    return gap;
  }
  Block* before = gap->before;
  drop(gap);
  return before;
}

void CachingAllocator::add_unmapped_rest(Block* last) {
  Block* rest = new_block(last->end(), kAddressRange, last->stream, *last->pool);
  rest->segment = last->segment;
  rest->expandable = true;
  rest->state = State::unmapped;
  rest->before = last;
  last->after = rest;
  rest->pool->unmapped.insert(rest);
}

std::vector<CachingAllocator::Block*> CachingAllocator::seed(std::vector<Segment> segments,
                                                             std::vector<InUse> in_use) {
  const auto by_address = [](const auto& a, const auto& b) { return a.address < b.address; };
  std::sort(segments.begin(), segments.end(), by_address);
  std::sort(in_use.begin(), in_use.end(), by_address);
  std::vector<Block*> made;
  for (const Segment& segment : segments) {
    const bool expandable = segment.kind != Segment::Kind::plain;
    const bool small =
        expandable ? segment.kind == Segment::Kind::mapped_small : segment.size == kSmallSegment;
    Pool& pool = small ? small_ : large_;
    Block* block = new_block(segment.address, segment.size, segment.stream, pool);
    block->expandable = expandable;
    if (Block* before = expandable ? take_gap(segment, pool) : nullptr) {
      block->segment = before->segment;
      block->before = before;
      before->after = block;
    }
    auto own =
        std::lower_bound(in_use.begin(), in_use.end(), InUse{segment.address, 0}, by_address);
    for (; own != in_use.end() && own->address < segment.address + segment.size; ++own) {
      if (own->address > block->address) {
        Block* rest = split(block, own->address - block->address);
        insert_free(block);
        block = rest;
      }
      Block* rest = own->size < block->size ? split(block, own->size) : nullptr;
      block->state = State::in_use;
      allocated_ += block->size;
      made.push_back(block);
      block = rest;
      if (block == nullptr) break;
    }
    if (block != nullptr) insert_free(block);
    if (expandable) add_unmapped_rest(block != nullptr ? block : made.back());
    reserved_ += segment.size;
  }
  peak_reserved_ = reserved_;
  peak_allocated_ = allocated_;
  return made;
}

// Looking at it -------------------------------------------------------------------------------

int64_t CachingAllocator::inactive_split() const {
  int64_t bytes = 0;
  for (const Pool* pool : {&small_, &large_}) {
    for (const FreeBlock& free : pool->free) bytes += free.block->is_split() ? free.size : 0;
  }
  return bytes;
}

std::vector<std::pair<CachingAllocator::InUse, bool>> CachingAllocator::layout() const {
  const std::set<const Block*> gone(unused_.begin(), unused_.end());
  std::vector<std::pair<InUse, bool>> found;
  for (const Block& block : blocks_) {
    if (block.state == State::unmapped || gone.count(&block) != 0) continue;
    found.push_back({{block.address, block.size}, block.state != State::free});
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.first.address < b.first.address; });
  return found;
}

CachingAllocator::AddressSource addresses_downwards() {
  struct Driver {
    int64_t lowest = int64_t{1} << 50;
    std::set<std::pair<int64_t, int64_t>> left_over = {};  // size, address
  };
  return [driver = Driver()](int64_t size, int64_t /*stream*/) mutable {
    constexpr int64_t kStep = 32 * kMiB;
    if (size == 0) return driver.lowest -= int64_t{1} << 42;
    const auto found = driver.left_over.lower_bound({size, 0});
    if (found != driver.left_over.end()) {
      const auto [room, address] = *found;
      driver.left_over.erase(found);
      if (room > size) driver.left_over.insert({room - size, address + size});
      return address;
    }
    const int64_t range = round_up(size, kStep);
    driver.lowest -= range;
    if (range > size) driver.left_over.insert({range - size, driver.lowest + size});
    return driver.lowest;
  };
}

}  // namespace nnprof

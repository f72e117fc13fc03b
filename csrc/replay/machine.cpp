#include "replay/machine.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

namespace nnprof {
namespace {

constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max();
constexpr int64_t kUsualCache = int64_t{32} << 20;

int64_t available_host_memory() {
  std::ifstream lines("/proc/meminfo");
  std::string name;
  int64_t kibibytes = 0;
  std::string unit;
  while (lines >> name >> kibibytes) {
    if (name == "MemAvailable:") return kibibytes * 1024;
    std::getline(lines, unit);
  }
  return kUnknown;
}

// Not every torch can say: then there is no such function.
template <class Allocator>
int64_t free_memory(Allocator* allocator, c10::DeviceIndex index) {
  if constexpr (requires { allocator->getMemoryInfo(index); }) {
    return static_cast<int64_t>(allocator->getMemoryInfo(index).first);
  } else {
    return kUnknown;
  }
}

int64_t available_device_memory(c10::Device device) {
  try {
    return free_memory(at::getDeviceAllocator(device.type()), device.index());
  } catch (const std::exception&) {  // a backend that has not written it
    return kUnknown;
  }
}

int64_t stolen_ticks() {
  std::ifstream lines("/proc/stat");
  std::string name;
  int64_t user = 0, nice = 0, system = 0, idle = 0, waiting = 0, hard = 0, soft = 0, stolen = 0;
  lines >> name >> user >> nice >> system >> idle >> waiting >> hard >> soft >> stolen;
  return stolen;
}

}  // namespace

int64_t available_memory(c10::Device device) {
  return device.is_cpu() ? available_host_memory() : available_device_memory(device);
}

void release_cached_memory(c10::Device device) {
  if (device.is_cpu()) return;
  try {
    at::getDeviceAllocator(device.type())->emptyCache();
  } catch (const std::exception&) {  // a backend without a caching allocator has nothing to release
  }
}

// The kernel is asked and not sysconf(): glibc's answer for a virtual machine is that of the host.
int64_t last_level_cache_bytes() {
  int64_t bytes = 0;
  for (int level = 2; level <= 4; ++level) {
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(level) +
                       "/size");
    int64_t size = 0;
    char unit = 'B';
    if (!(file >> size >> unit)) continue;
    bytes = std::max(bytes, size * (unit == 'M' ? 1 << 20 : unit == 'K' ? 1 << 10 : 1));
  }
  return bytes > 0 ? bytes : kUsualCache;
}

Disturbances Disturbances::now() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return {.involuntary_switches = usage.ru_nivcsw, .stolen_ticks = nnprof::stolen_ticks()};
}

}  // namespace nnprof

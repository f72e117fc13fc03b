// How long a block of calls takes on a device. One interface, two ways: the host's clock around it
// for the CPU, events in the device's own queue for everything else.
#pragma once

#include <c10/core/Device.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

namespace nnprof {

struct Sample {
  double seconds = 0;       // of one call
  double host_seconds = 0;  // of that, what the host takes to queue it; on the CPU 0
  bool disturbed = false;   // someone else had the processor meanwhile
};

struct Calls {
  std::function<void(size_t count)> prepare;  // their arguments, outside of what is timed
  std::function<void(size_t count)> make;
};

class Clock {
 public:
  virtual ~Clock() = default;
  // Nothing where the sample says nothing: the device had to wait for the host.
  virtual std::optional<Sample> sample(const Calls& calls, size_t count) = 0;
  // How many calls a sample takes if one takes `seconds`.
  virtual size_t calls_for(double seconds) const = 0;
  // Waits until all is done that was queued.
  virtual void finish() = 0;
  // Memory that it keeps on the device.
  virtual int64_t bytes() const = 0;
};

// `flush_bytes`: of the buffer whose filling empties the device's cache before each block, and
// keeps the device busy while the host queues the block.
std::unique_ptr<Clock> make_clock(c10::Device device, int64_t flush_bytes);

double host_seconds();

}  // namespace nnprof

#include "replay/clock.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "replay/machine.h"

namespace nnprof {
namespace {

class HostClock final : public Clock {
 public:
  std::optional<Sample> sample(const Calls& calls, size_t count) override {
    calls.prepare(count);
    const Disturbances before = Disturbances::now();
    const double start = host_seconds();
    calls.make(count);
    const double end = host_seconds();
    return Sample{.seconds = (end - start) / static_cast<double>(count),
                  .disturbed = before != Disturbances::now()};
  }

  size_t calls_for(double seconds) const override {
    return static_cast<size_t>(std::clamp(std::ceil(kShortest / seconds), 1.0, kMostCalls));
  }

  void finish() override {}
  int64_t bytes() const override { return 0; }

 private:
  static constexpr double kShortest = 50e-6;  // the clock itself takes 26 ns
  static constexpr double kMostCalls = 1000;
};

// The calls are queued behind a delay, so that the device runs them without a gap however slow the
// host is. Proof: when the last of them is queued, the device has not come to the first one.
class EventClock final : public Clock {
 public:
  EventClock(c10::Device device, int64_t flush_bytes)
      : guard_(device.type()),
        device_(device),
        start_(device.type(), c10::EventFlag::BACKEND_DEFAULT),  // the flag for timing
        end_(device.type(), c10::EventFlag::BACKEND_DEFAULT),
        flush_(at::empty({flush_bytes}, at::TensorOptions().dtype(at::kByte).device(device))) {
    fill_seconds_ = median_of_five([&] { return timed_fill(); });
    empty_seconds_ = median_of_five([&] { return empty_block(); });
  }

  std::optional<Sample> sample(const Calls& calls, size_t count) override {
    const std::optional<Block> one = block(calls, count);
    if (!one) return std::nullopt;
    // A long call drowns what the events cost; of short ones, the difference of two blocks is free
    // of it, and of the end of the delay and the first launch.
    if (count == 1)
      return Sample{std::max(one->device_seconds - empty_seconds_, 0.0), one->host_seconds};
    const std::optional<Block> two = block(calls, 2 * count);
    if (!two) return std::nullopt;
    const auto calls_made = static_cast<double>(count);
    return Sample{std::max(two->device_seconds - one->device_seconds, 0.0) / calls_made,
                  one->host_seconds / calls_made};
  }

  size_t calls_for(double seconds) const override {
    if (seconds > kLongCall) return 1;
    const double wanted = std::ceil(kShortest / std::max(seconds, 1e-9));
    return static_cast<size_t>(std::clamp(wanted, 2.0, most_calls_));
  }

  void finish() override { guard_.synchronizeStream(stream()); }
  int64_t bytes() const override { return flush_.numel(); }

 private:
  struct Block {
    double device_seconds;
    double host_seconds;
  };

  c10::Stream stream() const { return guard_.getStream(device_); }

  std::optional<Block> block(const Calls& calls, size_t count) {
    calls.prepare(count);
    delay(count);
    start_.record(stream());
    const double start = host_seconds();
    calls.make(count);
    const double host = host_seconds() - start;
    end_.record(stream());
    const bool device_lagged = !start_.query();
    end_.synchronize();
    host_seconds_a_call_ = host / static_cast<double>(count);
    if (!device_lagged) {
      lengthen_delay();
      return std::nullopt;
    }
    return Block{start_.elapsedTime(end_) / 1e3, host};
  }

  void delay(size_t count) {
    const double host = 1.5 * host_seconds_a_call_ * static_cast<double>(count) + kHostOverhead;
    const double fills = std::ceil(lengthening_ * host / std::max(fill_seconds_, 1e-9));
    const auto wanted = static_cast<int64_t>(std::clamp(fills, 1.0, kMostFills));
    for (int64_t i = 0; i < wanted; ++i) flush_.fill_(static_cast<int64_t>(i & 1));
  }

  // The queue holds some thousand launches. When it is full, the host waits for the device and no
  // delay is long enough: fewer calls are.
  void lengthen_delay() {
    lengthening_ = std::min(2 * lengthening_, kMostLengthening);
    if (lengthening_ == kMostLengthening) most_calls_ = std::max(most_calls_ / 2, 2.0);
  }

  double timed_fill() {
    start_.record(stream());
    flush_.fill_(0);
    end_.record(stream());
    end_.synchronize();
    return start_.elapsedTime(end_) / 1e3;
  }

  double empty_block() {
    const std::optional<Block> made = block({[](size_t) {}, [](size_t) {}}, 1);
    return made ? made->device_seconds : 0;
  }

  template <class Measure>
  static double median_of_five(Measure measure) {
    std::array<double, 5> seconds{};
    for (double& s : seconds) s = measure();
    std::sort(seconds.begin(), seconds.end());
    return seconds[2];
  }

  static constexpr double kShortest = 200e-6;  // events tell half a microsecond
  static constexpr double kLongCall = 1e-3;
  static constexpr double kHostOverhead = 20e-6;  // of the events around the calls
  static constexpr double kMostFills = 400;
  static constexpr double kMostLengthening = 64;

  c10::impl::VirtualGuardImpl guard_;
  c10::Device device_;
  c10::Event start_;
  c10::Event end_;
  at::Tensor flush_;
  double fill_seconds_ = 0;
  double empty_seconds_ = 0;
  double host_seconds_a_call_ = 0;
  double lengthening_ = 1;
  double most_calls_ = 256;
};

}  // namespace

double host_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::unique_ptr<Clock> make_clock(c10::Device device, int64_t flush_bytes) {
  if (device.is_cpu()) return std::make_unique<HostClock>();
  return std::make_unique<EventClock>(device, flush_bytes);
}

}  // namespace nnprof

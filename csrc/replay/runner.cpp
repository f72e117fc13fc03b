#include "replay/runner.h"

#include <c10/core/DeviceGuard.h>

#include <algorithm>

#include "replay/clock.h"
#include "replay/machine.h"
#include "replay/replayed_call.h"
#include "replay/split.h"
#include "replay/statistics.h"

namespace nnprof {
namespace {

constexpr size_t kFewSamples = 10;
constexpr size_t kMostSamples = 50;
constexpr double kFillRate = 0.5e9;  // bytes a second that a CPU fills with random numbers
constexpr double kOverdraft = 0.1;   // of the budget: what is begun may end so late
constexpr int64_t kMostSets = 1024;
constexpr int64_t kLookUps = 128;           // sets of indices into a table that no cache holds
constexpr double kPrecision = 0.01;         // of the median
constexpr double kSmallestInterval = 1e-7;  // seconds
constexpr double kQuickVisit = 5e-3;        // seconds that every operator may take
constexpr double kFirstPass = 0.4;          // of the time, so that each operator has a sample soon
constexpr double kLongestVisit = 0.5;
constexpr double kLongestRound = 2e-3;  // seconds: what takes longer does not feel new pages
constexpr int64_t kMostDiscarded = 20;
constexpr double kUsableMemory = 0.9;
constexpr int64_t kCopiedCaches = 3;  // contents of the last cache that copies may need
constexpr int64_t kCopiesShare = 8;   // and the part of the usable memory that they may take
constexpr const char* kTooLong = "it takes longer than what is left of the budget";
constexpr const char* kOtherSizes = "on random data its output is of another size than recorded";
constexpr const char* kNeverLagged =
    "the device never lagged behind the host: the operator waits for it, or takes the host too "
    "long";

bool is_tight(const std::vector<double>& samples) {
  const Summary summary = summarize(samples);
  if (!summary.low || !summary.high) return false;
  const double half = (*summary.high - *summary.low) / 2;
  return half <= std::max(kPrecision * summary.median, kSmallestInterval);
}

bool is_finished(const std::vector<double>& samples) {
  if (samples.size() >= kMostSamples) return true;
  return samples.size() >= kFewSamples && is_tight(samples);
}

class Replay {
 public:
  Replay(const std::vector<ReplayJob>& jobs, const ReplayOptions& options,
         const ReplayObserver& observer)
      : jobs_(jobs), options_(options), observer_(observer), started_(host_seconds()) {
    report_.measurements.resize(jobs.size());
  }

  ReplayReport run() {
    const c10::DeviceGuard device(options_.device);
    clock_ = make_clock(options_.device, options_.flush_bytes);
    const int64_t copied = kCopiedCaches * last_level_cache_bytes();
    if (options_.device.is_cpu() && copied < usable_memory() / kCopiesShare) {
      copies_ = CopyMemory(copied);
    }
    std::vector<size_t> pending = replayable();
    // Most expensive first, so that what time does not suffice for matters least. Then in the
    // model's order, so that heat and power are as in the model and not those of one kernel.
    std::stable_sort(pending.begin(), pending.end(),
                     [&](size_t a, size_t b) { return jobs_[a].weight > jobs_[b].weight; });
    visit_all(pending, kFewSamples, kFirstPass * time_left());
    std::erase_if(pending, [&](size_t job) { return is_done(report_.measurements[job]); });
    std::sort(pending.begin(), pending.end());
    visit_all(pending, kMostSamples, time_left());
    finish();
    return std::move(report_);
  }

 private:
  std::vector<size_t> replayable() {
    std::vector<size_t> pending;
    for (size_t i = 0; i < jobs_.size(); ++i) {
      const Obstacle obstacle = obstacle_of(jobs_[i], options_.device);
      report_.measurements[i].note = obstacle.note;
      if (obstacle.status == ReplayStatus::measured) {
        pending.push_back(i);
      } else {
        report_.measurements[i].status = obstacle.status;
      }
    }
    return pending;
  }

  static bool is_done(const ReplayMeasurement& measurement) {
    return measurement.seconds.empty() || is_finished(measurement.seconds);
  }

  // Each gets its share of `seconds`, by weight; what one leaves over is for those after it.
  void visit_all(const std::vector<size_t>& jobs, size_t samples, double seconds) {
    const double until = host_seconds() + seconds;
    double weight = 0;
    for (size_t job : jobs) weight += jobs_[job].weight;
    for (size_t i = 0; i < jobs.size() && going_on(); ++i) {
      const ReplayJob& job = jobs_[jobs[i]];
      const double share =
          weight > 0 ? job.weight / weight : 1 / static_cast<double>(jobs.size() - i);
      weight -= job.weight;
      const double now = host_seconds();
      visit_until_ = now + std::clamp(share * (until - now), kQuickVisit, kLongestVisit);
      visit(job, report_.measurements[jobs[i]], samples);
      if (observer_.progress) observer_.progress(i + 1, jobs.size(), job.signature.op);
    }
  }

  double time_left() const { return started_ + options_.time_budget - host_seconds(); }

  bool is_wanted() {
    if (!report_.interrupted && !observer_.keep_going()) report_.interrupted = true;
    return !report_.interrupted;
  }

  bool going_on() { return is_wanted() && time_left() > 0; }

  void visit(const ReplayJob& job, ReplayMeasurement& measurement, size_t samples) {
    try {
      measure(job, measurement, samples);
    } catch (const c10::OutOfMemoryError&) {
      set_status(measurement, ReplayStatus::no_memory,
                 "the allocator had no more, though it was free");
    } catch (const std::exception& error) {
      set_status(measurement, ReplayStatus::failed, observer_.describe(error));
    }
  }

  // Of what yields no samples. Samples of an earlier visit stay what they are.
  static void set_status(ReplayMeasurement& measurement, ReplayStatus status,
                         const std::string& note) {
    if (!measurement.seconds.empty()) return;
    measurement.status = status;
    measurement.note = note;
  }

  void measure(const ReplayJob& job, ReplayMeasurement& measurement, size_t samples) {
    const RecordedState state(job.state);
    int64_t usable = usable_memory();
    Part part = part_that_fits(job, options_.device, usable);
    if (part.parts != 1) {
      release_cached_memory(options_.device);
      usable = usable_memory();
      part = part_that_fits(job, options_.device, usable);
    }
    if (part.parts == 0) return set_status(measurement, ReplayStatus::no_memory, part.note);
    if (shortest_visit(job, part) > time_left() + kOverdraft * options_.time_budget) {
      return set_status(measurement, ReplayStatus::no_time, kTooLong);
    }
    copies_.reuse();
    ReplayedCall call(job, part.signature, options_.device,
                      std::min(spread_bytes(), usable - static_cast<int64_t>(part.bytes)));
    Visit visit{.call = call, .part = part, .usable = usable};
    call.make_arguments(data_);
    visit.seconds_a_call = call.timed(*clock_);
    if (!call.made_what_was_recorded()) {
      return set_status(measurement, ReplayStatus::not_replayable, kOtherSizes);
    }
    if (time_left() <= 0) return set_status(measurement, ReplayStatus::no_time, kTooLong);
    visit.seconds_a_call = call.timed(*clock_);
    set_count(visit);
    call.go_round(kLongestRound / visit.seconds_a_call);
    take_samples(visit, samples, measurement, measurement.seconds);
    if (measurement.seconds.empty()) return;
    measurement.status = part.parts > 1 ? ReplayStatus::scaled : ReplayStatus::measured;
    if (part.parts > 1) measurement.note = part.note;
    const bool differs =
        call.sets().count() > 1 && call.sets().bytes_of_further_set() > 0 && !call.sets().writes();
    if (!options_.warm || !job.memory_bound || !differs || !measurement.warm_seconds.empty()) {
      return;
    }
    call.sets().share_weights();
    ReplayMeasurement unused;
    take_samples(visit, kFewSamples, unused, measurement.warm_seconds);
  }

  // Filling its arguments, two calls to warm up and one that counts.
  double shortest_visit(const ReplayJob& job, const Part& part) const {
    const double fill =
        options_.device.is_cpu() ? static_cast<double>(part.bytes) / kFillRate : 0.0;
    const double call = job.weight / static_cast<double>(std::max<int64_t>(job.calls, 1));
    return fill + 3 * call / static_cast<double>(part.parts);
  }

  int64_t usable_memory() const {
    if (options_.memory_limit) return *options_.memory_limit - clock_->bytes() - copies_.bytes();
    const auto available = static_cast<double>(available_memory(options_.device));
    return static_cast<int64_t>(kUsableMemory * available);
  }

  // One materialized call while it is sampled.
  struct Visit {
    ReplayedCall& call;
    const Part& part;
    int64_t usable = 0;
    double seconds_a_call = 0;
    size_t count = 1;  // calls a sample
  };

  // As many calls a sample as the clock wants, and sets of arguments for them.
  void set_count(Visit& visit) {
    ArgumentSets& sets = visit.call.sets();
    visit.count = clock_->calls_for(visit.seconds_a_call);
    add_sets(visit);
    if (!sets.writes()) return;
    visit.count =
        std::clamp(sets.size() / 2, size_t{1}, visit.count);  // clocks take up to twice it
  }

  // So many that a weight has left the cache when its turn comes again, and that nothing that is
  // written is written twice before it is put back.
  void add_sets(const Visit& visit) {
    ArgumentSets& sets = visit.call.sets();
    const int64_t own = sets.bytes_of_further_set();
    const int64_t cold = sets.cold_bytes();
    int64_t wanted = 1;
    const int64_t passing =
        2 * cache_bytes() - spread_bytes();  // until a weight's turn comes again
    if (cold > 0 && cold < 2 * cache_bytes()) wanted = passing / cold + 2;
    if (sets.looks_up() && cold == 0) wanted = kLookUps;
    if (sets.writes()) {
      wanted = std::max({wanted, sets.places(), 2 * static_cast<int64_t>(visit.count)});
    }
    const auto first = static_cast<int64_t>(visit.part.bytes);  // fits, or there were no visit
    const int64_t spread = sets.bytes_of_further_places();
    const int64_t room = own > 0 ? (visit.usable - first - spread) / own : kMostSets;
    wanted = std::min({wanted, room + 1, kMostSets});
    // What is written is no other set's.
    const int64_t all = sets.writes() ? wanted : std::max(wanted, sets.places());
    while (sets.count() < all && (sets.count() < 2 || host_seconds() < visit_until_)) {
      sets.add_set(data_, copies_, wanted);
    }
    const int64_t copied =
        std::max((std::min(sets.count(), wanted) - 1) * own + spread, copies_.bytes());
    const int64_t bytes = first + copied + clock_->bytes();
    report_.peak_bytes = std::max(report_.peak_bytes, bytes);
  }

  // A device's cache is one for all that it computes: what was just written is there.
  int64_t spread_bytes() const {
    if (!options_.device.is_cpu()) return 0;
    return last_level_cache_bytes() / 2;
  }

  int64_t cache_bytes() const {
    return options_.device.is_cpu() ? last_level_cache_bytes() : options_.flush_bytes / 2;
  }

  void take_samples(Visit& visit, size_t most, ReplayMeasurement& measurement,
                    std::vector<double>& seconds) {
    ReplayedCall& call = visit.call;
    const Calls calls{[&](size_t n) { call.prepare(n); }, [&](size_t n) { call.call(n); }};
    const auto parts = static_cast<double>(visit.part.parts);
    const size_t before = seconds.size();
    int64_t discarded = 0;
    while (seconds.size() < most && !is_finished(seconds) && is_wanted()) {
      // Of its share of the time, the first sample may take more; of the budget nothing does.
      if (time_left() <= 0) return;
      const bool late = host_seconds() > visit_until_;
      if (seconds.size() > before && late) return;
      const std::optional<Sample> sample = clock_->sample(calls, visit.count);
      if (sample) visit.seconds_a_call = sample->seconds;
      if (!sample || (sample->disturbed && !late && discarded < kMostDiscarded)) {
        ++measurement.discarded;
        if (++discarded >= kMostDiscarded && !sample) {
          return set_status(measurement, ReplayStatus::not_replayable, kNeverLagged);
        }
        if (!sample) set_count(visit);
        continue;
      }
      if (is_too_short(visit)) continue;
      measurement.disturbed += sample->disturbed;
      seconds.push_back(sample->seconds * parts);
      measurement.host_seconds.push_back(sample->host_seconds * parts);
    }
  }

  // The first guess of how long a call takes has the host's time in it: take more of them.
  bool is_too_short(Visit& visit) {
    const size_t before = visit.count;
    if (clock_->calls_for(visit.seconds_a_call) <= 2 * before) return false;
    set_count(visit);
    return visit.count > before;
  }

  void finish() {
    report_.took_s = host_seconds() - started_;
    if (!report_.interrupted) return;
    for (ReplayMeasurement& measurement : report_.measurements) {
      if (measurement.status == ReplayStatus::no_time)
        measurement.status = ReplayStatus::interrupted;
    }
  }

  const std::vector<ReplayJob>& jobs_;
  const ReplayOptions& options_;
  const ReplayObserver& observer_;
  double started_;
  double visit_until_ = 0;
  std::unique_ptr<Clock> clock_;
  RandomData data_;
  CopyMemory copies_;
  ReplayReport report_;
};

}  // namespace

ReplayReport replay(const std::vector<ReplayJob>& jobs, const ReplayOptions& options,
                    const ReplayObserver& observer) {
  return Replay(jobs, options, observer).run();
}

}  // namespace nnprof

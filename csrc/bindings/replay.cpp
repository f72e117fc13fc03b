// Replays the calls of a trace. See csrc/replay/.
#include <pybind11/functional.h>
#include <pybind11/stl.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>

#include <algorithm>
#include <chrono>

#include "bindings/bindings.h"
#include "bindings/trace_result.h"
#include "dispatch/operators.h"
#include "replay/replayed_call.h"
#include "replay/runner.h"
#include "replay/statistics.h"

namespace py = pybind11;

namespace nnprof {
namespace {

constexpr double kMemoryBoundFlopsPerByte = 16;
constexpr double kSecondsBetweenSignalChecks = 0.02;

// Without the state of its calls.
ReplayJob job_of(const TraceResult& result, size_t number) {
  const PricedSignature& priced = result.aggregate().signatures[number];
  const auto words = result.session().signatures().words(static_cast<uint32_t>(number));
  const auto bytes = static_cast<double>(priced.cost.bytes_read + priced.cost.bytes_written);
  const auto flops = static_cast<double>(priced.cost.flops());
  ReplayJob job;
  job.op = &operator_numbered(static_cast<uint32_t>(words[0]));
  job.signature = priced.signature;
  job.memory_bound = flops < kMemoryBoundFlopsPerByte * bytes;
  return job;
}

// The state is that of the first call that was recorded.
std::vector<ReplayJob> jobs_of(const TraceResult& result) {
  std::vector<ReplayJob> jobs;
  for (size_t i = 0; i < result.aggregate().signatures.size(); ++i) {
    jobs.push_back(job_of(result, i));
    jobs.back().temporary_bytes = result.aggregate().signatures[i].cost.temporary_bytes;
  }
  const auto& records = result.session().records();
  for (auto record = records.rbegin(); record != records.rend(); ++record) {
    jobs[record->signature].state = record->state;
    ++jobs[record->signature].calls;
  }
  return jobs;
}

py::dict described(c10::IntArrayRef sizes, c10::IntArrayRef strides, c10::ScalarType dtype) {
  py::dict tensor;
  tensor["shape"] = std::vector<int64_t>(sizes.begin(), sizes.end());
  tensor["strides"] = std::vector<int64_t>(strides.begin(), strides.end());
  tensor["dtype"] = std::string(c10::getDtypeNames(dtype).first);
  return tensor;
}

py::dict described(const at::Tensor& tensor) {
  return described(tensor.sizes(), tensor.strides(), tensor.scalar_type());
}

const PricedSignature& signature_of(const TraceResult& result, size_t number) {
  const auto& signatures = result.aggregate().signatures;
  if (number >= signatures.size()) throw py::index_error("no such signature");
  return signatures[number];
}

py::list recorded_outputs(const TraceResult& result, size_t number) {
  py::list outputs;
  const PricedSignature& recorded = signature_of(result, number);
  if (job_of(result, number).op->returns == 0) return outputs;  // it has those that it writes
  for (const TensorSpec& output : recorded.signature.outputs) {
    if (output.defined) outputs.append(described(output.sizes, output.strides, output.dtype));
  }
  return outputs;
}

py::list replayed_outputs(const TraceResult& result, size_t number, const std::string& device) {
  signature_of(result, number);
  const ReplayJob job = job_of(result, number);
  std::vector<c10::IValue> made;
  {
    const py::gil_scoped_release release;
    made = call_once(job, c10::Device(device));
  }
  py::list outputs;
  for (const c10::IValue& value : made) {
    if (value.isTensor() && value.toTensor().defined()) outputs.append(described(value.toTensor()));
    if (!value.isTensorList()) continue;
    for (const at::Tensor& tensor : value.toTensorVector()) outputs.append(described(tensor));
  }
  return outputs;
}

// Per signature (status, note).
py::list obstacles(const TraceResult& result, const std::string& device) {
  py::list all;
  for (size_t i = 0; i < result.aggregate().signatures.size(); ++i) {
    const Obstacle obstacle = obstacle_of(job_of(result, i), c10::Device(device));
    all.append(
        py::make_tuple(kReplayStatusNames[static_cast<size_t>(obstacle.status)], obstacle.note));
  }
  return all;
}

// Lets Ctrl-C and a progress display through while the GIL is released.
class PythonObserver {
 public:
  explicit PythonObserver(py::object progress) : progress_(std::move(progress)) {}

  ReplayObserver callbacks() {
    ReplayObserver observer;
    observer.keep_going = [this] { return keep_going(); };
    observer.progress = [this](size_t done, size_t of, const std::string& op) {
      tell(done, of, op);
    };
    observer.describe = [this](const std::exception& error) { return describe(error); };
    return observer;
  }

  // What a callback raised, KeyboardInterrupt aside: that is what stopping is for.
  void raise_pending() {
    if (error_) throw py::error_already_set(std::move(*error_));
  }

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  bool keep_going() {
    if (stopped_) return false;
    const TimePoint now = std::chrono::steady_clock::now();
    if (std::chrono::duration<double>(now - checked_).count() < kSecondsBetweenSignalChecks) {
      return true;
    }
    checked_ = now;
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) stop(py::error_already_set());
    return !stopped_;
  }

  void tell(size_t done, size_t of, const std::string& op) {
    if (stopped_) return;
    const py::gil_scoped_acquire acquire;
    if (progress_.is_none()) return;
    try {
      progress_(done, of, op);
    } catch (py::error_already_set& error) {
      stop(std::move(error));
    }
  }

  // With the GIL.
  void stop(py::error_already_set&& error) {
    stopped_ = true;
    if (!error.matches(PyExc_KeyboardInterrupt)) error_.emplace(std::move(error));
  }

  // An operator may be written in Python.
  std::string describe(const std::exception& error) {
    const py::gil_scoped_acquire acquire;
    if (const auto* torch_error = dynamic_cast<const c10::Error*>(&error)) {
      return torch_error->what_without_backtrace();
    }
    if (auto* python = dynamic_cast<const python_error*>(&error)) {
      python_error copy(*python);
      copy.restore();
      return describe_python(py::error_already_set());
    }
    if (auto* python = dynamic_cast<const py::error_already_set*>(&error)) {
      return describe_python(py::error_already_set(*python));
    }
    return error.what();
  }

  std::string describe_python(py::error_already_set error) {
    const std::string text = py::str(error.value());
    if (error.matches(PyExc_KeyboardInterrupt)) stop(std::move(error));
    return text;
  }

  py::object progress_;
  TimePoint checked_;
  bool stopped_ = false;
  std::optional<py::error_already_set> error_;
};

py::object median(const std::vector<double>& samples) {
  return samples.empty() ? py::object(py::none()) : py::cast(summarize(samples).median);
}

py::dict columns_of(const ReplayReport& report) {
  py::list seconds, low, high, fastest, warm, host, samples, discarded, disturbed, status, note;
  for (const ReplayMeasurement& m : report.measurements) {
    const bool any = !m.seconds.empty();
    const Summary summary = any ? summarize(m.seconds) : Summary{};
    seconds.append(any ? py::cast(summary.median) : py::none());
    low.append(py::cast(summary.low));
    high.append(py::cast(summary.high));
    fastest.append(any ? py::cast(summary.fastest) : py::none());
    warm.append(median(m.warm_seconds));
    host.append(median(m.host_seconds));
    samples.append(m.seconds.size());
    discarded.append(m.discarded);
    disturbed.append(m.disturbed);
    status.append(kReplayStatusNames[static_cast<size_t>(m.status)]);
    note.append(m.note);
  }
  py::dict columns;
  columns["seconds"] = seconds;
  columns["low_s"] = low;
  columns["high_s"] = high;
  columns["fastest_s"] = fastest;
  columns["warm_s"] = warm;
  columns["host_s"] = host;
  columns["samples"] = samples;
  columns["discarded"] = discarded;
  columns["disturbed"] = disturbed;
  columns["status"] = status;
  columns["notes"] = note;
  columns["interrupted"] = report.interrupted;
  columns["took_s"] = report.took_s;
  columns["peak_bytes"] = report.peak_bytes;
  return columns;
}

py::dict replayed(const TraceResult& result, const std::string& device,
                  const std::vector<double>& weights, double time_budget,
                  std::optional<int64_t> memory_limit, bool warm,
                  std::optional<int64_t> flush_bytes, py::object progress) {
  std::vector<ReplayJob> jobs = jobs_of(result);
  if (weights.size() != jobs.size()) throw py::value_error("one weight a signature");
  for (size_t i = 0; i < jobs.size(); ++i) jobs[i].weight = weights[i];
  ReplayOptions options{.device = c10::Device(device),
                        .time_budget = time_budget,
                        .memory_limit = memory_limit,
                        .warm = warm};
  if (flush_bytes) options.flush_bytes = *flush_bytes;
  PythonObserver observer(std::move(progress));
  ReplayReport report;
  {
    const py::gil_scoped_release release;
    report = replay(jobs, options, observer.callbacks());
  }
  observer.raise_pending();
  return columns_of(report);
}

py::tuple summarized(std::vector<double> samples) {
  if (samples.empty()) throw py::value_error("no samples");
  const Summary summary = summarize(std::move(samples));
  return py::make_tuple(summary.median, summary.low, summary.high, summary.fastest);
}

}  // namespace

void bind_replay(py::module_& m) {
  m.def("replay", &replayed, py::arg("result"), py::arg("device"), py::kw_only(),
        py::arg("weights"), py::arg("time_budget"), py::arg("memory_limit"), py::arg("warm"),
        py::arg("flush_bytes"), py::arg("progress"));
  m.def("replay_obstacles", &obstacles);
  m.def("replayed_outputs", &replayed_outputs);
  m.def("recorded_outputs", &recorded_outputs);
  m.def("signature_count",
        [](const TraceResult& result) { return result.aggregate().signatures.size(); });
  m.def("summarize_samples", &summarized);
}

}  // namespace nnprof

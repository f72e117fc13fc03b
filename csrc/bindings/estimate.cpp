// Devices, and how long a finished trace would take on one.
#include "cost/estimate.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "bindings/trace_result.h"

namespace py = pybind11;

namespace nnprof {
namespace {

using Peaks = std::unordered_map<std::string, double>;

std::array<double, kPrecisions> by_precision(const Peaks& peaks) {
  std::array<double, kPrecisions> made{};
  for (size_t i = 0; i < kPrecisions; ++i) {
    const auto found = peaks.find(kPrecisionNames[i]);
    if (found != peaks.end()) made[i] = found->second;
  }
  return made;
}

Hardware make_hardware(const std::string& architecture, bool cpu, double compute_units,
                       double cache_bytes, double bandwidth, const Peaks& flops,
                       const Peaks& vector_flops, const Constants& constants) {
  return Hardware({architecture, cpu, compute_units, cache_bytes, bandwidth, by_precision(flops),
                   by_precision(vector_flops)},
                  constants);
}

template <class Get>
py::array_t<double> column(const std::vector<Estimate>& estimates, Get get) {
  py::array_t<double> made(static_cast<py::ssize_t>(estimates.size()));
  double* to = made.mutable_data();
  for (const Estimate& one : estimates) *to++ = get(one);
  return made;
}

py::dict estimate_trace(const TraceResult& result, const Hardware& hardware, bool matmul_tf32,
                        bool convolution_tf32, const std::string& attention) {
  const std::vector<Estimate> made =
      estimate(result.session(), result.aggregate(), hardware,
               EstimateOptions{matmul_tf32, convolution_tf32, attention});
  py::list op_class, bound;
  for (const Estimate& one : made) {
    op_class.append(traits_of(one.op_class).name);
    bound.append(kBoundNames[static_cast<size_t>(one.bound)]);
  }
  py::dict columns;
  columns["op_class"] = op_class;
  columns["bound"] = bound;
  columns["seconds"] = column(made, [](const Estimate& one) { return one.seconds; });
  columns["compute_s"] = column(made, [](const Estimate& one) { return one.compute; });
  columns["memory_s"] = column(made, [](const Estimate& one) { return one.memory; });
  columns["host_s"] = column(made, [](const Estimate& one) { return one.host; });
  columns["flops"] = column(made, [](const Estimate& one) { return one.flops; });
  columns["bytes"] = column(made, [](const Estimate& one) { return one.bytes; });
  columns["peak"] = column(made, [](const Estimate& one) { return one.peak; });
  columns["error"] = column(made, [](const Estimate& one) { return one.error; });
  return columns;
}

py::tuple timeline_of(const TraceResult& result, const std::vector<double>& seconds,
                      const std::vector<double>& host, double launch_latency, bool synchronous) {
  const Timeline line = timeline(result.session(), seconds, host, launch_latency, synchronous);
  return py::make_tuple(line.device, line.host, line.wall);
}

}  // namespace

void bind_estimate(py::module_& m) {
  py::class_<Hardware>(m, "Hardware")
      .def(py::init(&make_hardware), py::kw_only(), py::arg("architecture"), py::arg("cpu"),
           py::arg("compute_units"), py::arg("cache_bytes"), py::arg("bandwidth"), py::arg("flops"),
           py::arg("vector_flops"), py::arg("constants"));
  m.def("estimate", &estimate_trace, py::arg("result"), py::arg("hardware"), py::kw_only(),
        py::arg("matmul_tf32"), py::arg("convolution_tf32"), py::arg("attention"));
  m.def("timeline", &timeline_of, py::arg("result"), py::arg("seconds"), py::arg("host_s"),
        py::arg("launch_latency_s"), py::arg("synchronous"));
}

}  // namespace nnprof

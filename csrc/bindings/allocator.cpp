// The simulated caching allocator, by addresses.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <string>
#include <unordered_map>

#include "bindings/bindings.h"
#include "bindings/trace_result.h"
#include "core/caching_allocator.h"
#include "core/device_use.h"
#include "core/requests.h"
#include "rules/gpu_temporaries.h"

namespace py = pybind11;

namespace nnprof {
namespace {

using Kind = CachingAllocator::Segment::Kind;
// address, size, stream, kind ("plain", "mapped_small", "mapped_large"); address, size
using SegmentTuple = std::tuple<int64_t, int64_t, int64_t, std::string>;
using InUseTuple = std::pair<int64_t, int64_t>;

const char* name_of(CachingAllocator::DriverCall call) {
  constexpr const char* kNames[] = {"segment_alloc", "segment_free", "segment_map",
                                    "segment_unmap"};
  return kNames[static_cast<size_t>(call)];
}

Kind kind_of(const std::string& name) {
  if (name == "plain") return Kind::plain;
  return name == "mapped_small" ? Kind::mapped_small : Kind::mapped_large;
}

class AllocatorByAddress {
 public:
  AllocatorByAddress(const AllocatorOptions& options, CachingAllocator::AddressSource addresses)
      : allocator_(options, std::move(addresses)) {}

  void seed(const std::vector<SegmentTuple>& segments, const std::vector<InUseTuple>& in_use) {
    std::vector<CachingAllocator::Segment> all;
    for (const auto& [address, size, stream, kind] : segments) {
      all.push_back({address, size, stream, kind_of(kind)});
    }
    std::vector<CachingAllocator::InUse> used;
    for (const auto& [address, size] : in_use) used.push_back({address, size});
    for (CachingAllocator::Block* block : allocator_.seed(std::move(all), std::move(used))) {
      blocks_[CachingAllocator::address_of(block)] = block;
    }
  }

  std::optional<int64_t> allocate(int64_t size, int64_t stream) {
    CachingAllocator::Block* block = allocator_.allocate(size, stream);
    if (block == nullptr) return std::nullopt;
    const int64_t address = CachingAllocator::address_of(block);
    blocks_[address] = block;
    return address;
  }

  void request_free(int64_t address) { allocator_.request_free(blocks_.at(address)); }

  void complete_free(int64_t address) {
    allocator_.complete_free(blocks_.at(address));
    blocks_.erase(address);
  }

  void free(int64_t address) {
    request_free(address);
    complete_free(address);
  }

  py::list asked(size_t from) const {
    py::list calls;
    const auto& asked = allocator_.asked();
    for (size_t i = from; i < asked.size(); ++i) {
      const auto& [call, size, address, stream] = asked[i];
      calls.append(py::make_tuple(name_of(call), size, address, stream));
    }
    return calls;
  }

  py::list layout() const {
    py::list blocks;
    for (const auto& [block, used] : allocator_.layout()) {
      blocks.append(py::make_tuple(block.address, block.size, used));
    }
    return blocks;
  }

  CachingAllocator& allocator() { return allocator_; }
  const CachingAllocator& allocator() const { return allocator_; }

 private:
  CachingAllocator allocator_;
  std::unordered_map<int64_t, CachingAllocator::Block*> blocks_;  // in use or waiting
};

CachingAllocator::AddressSource source_of(const py::object& addresses) {
  if (addresses.is_none()) return {};
  return [function = py::function(addresses)](int64_t size, int64_t stream) {
    return function(size, stream).cast<int64_t>();
  };
}

AllocatorOptions make_options(bool expandable_segments, std::optional<int64_t> max_split_size,
                              int64_t max_non_split_rounding,
                              std::vector<std::pair<int64_t, int64_t>> roundup_power2_divisions,
                              double garbage_collection_threshold, std::optional<int64_t> capacity,
                              std::optional<int64_t> allowed) {
  AllocatorOptions options;
  options.expandable_segments = expandable_segments;
  options.max_split_size = max_split_size.value_or(AllocatorOptions::kNoLimit);
  options.max_non_split_rounding = max_non_split_rounding;
  options.roundup_power2_divisions = std::move(roundup_power2_divisions);
  options.garbage_collection_threshold = garbage_collection_threshold;
  options.capacity = capacity.value_or(AllocatorOptions::kNoLimit);
  options.allowed = allowed;
  return options;
}

std::unique_ptr<AllocatorByAddress> make_allocator(const AllocatorOptions& options,
                                                   const py::object& addresses) {
  return std::make_unique<AllocatorByAddress>(options, source_of(addresses));
}

std::vector<Request> requests_of(const TraceResult& result) {
  std::vector<Working> working;
  for (const PricedSignature& priced : result.aggregate().signatures) {
    working.push_back(gpu_working(priced.signature, priced.cost));
  }
  return requests(result.session(), working);
}

template <class Get>
auto column(const std::vector<Request>& requests, Get get) {
  py::array_t<decltype(get(requests[0]))> made(static_cast<py::ssize_t>(requests.size()));
  std::transform(requests.begin(), requests.end(), made.mutable_data(), get);
  return made;
}

py::dict as_columns(const Program& program) {
  const std::vector<Request>& all = program.requests;
  py::dict columns;
  columns["parameters"] = program.parameters;
  columns["others"] = program.others;
  columns["calls"] = program.calls;
  columns["block"] = column(all, [](const Request& request) { return request.block; });
  columns["call"] = column(all, [](const Request& request) { return request.record; });
  columns["bytes"] = column(all, [](const Request& request) { return request.bytes; });
  return columns;
}

Program from_columns(std::vector<int64_t> parameters, std::vector<int64_t> others, size_t calls,
                     const std::vector<uint32_t>& block, const std::vector<int32_t>& call,
                     const std::vector<int64_t>& bytes) {
  if (block.size() != call.size() || block.size() != bytes.size()) {
    throw py::value_error("columns of requests of unequal lengths");
  }
  Program program{std::move(parameters), std::move(others), {}, calls};
  for (size_t i = 0; i < block.size(); ++i) {
    program.requests.push_back({block[i], call[i], bytes[i]});
  }
  return program;
}

py::object as_dict(const std::optional<DeviceUse::OutOfMemory>& out) {
  if (!out) return py::none();
  py::dict made;
  made["call"] = out->record;
  made["bytes"] = out->bytes;
  made["allocated"] = out->allocated;
  made["reserved"] = out->reserved;
  return made;
}

py::dict simulate(const Program& program, const AllocatorOptions& options,
                  const std::vector<int64_t>& beside, int64_t blas_workspace) {
  const DeviceUse use = device_use(program, beside, blas_workspace, options);
  py::dict made;
  made["peak_allocated"] = use.peak_allocated;
  made["peak_reserved"] = use.peak_reserved;
  made["peak_call"] = use.peak_record;
  made["unused_at_peak"] = use.unused_at_peak;
  made["retries"] = use.retries;
  made["out_of_memory"] = as_dict(use.out_of_memory);
  made["allocated"] = py::array_t<int64_t>(use.allocated.size(), use.allocated.data());
  made["reserved"] = py::array_t<int64_t>(use.reserved.size(), use.reserved.data());
  return made;
}

const char* name_of(const AllocatorEvent& event) {
  using Action = AllocatorEvent::Action;
  if (event.action == Action::driver) return name_of(event.call);
  return event.action == Action::alloc ? "alloc" : "free";
}

py::tuple history_of(const Program& program, const AllocatorOptions& options,
                     const std::vector<int64_t>& beside, int64_t blas_workspace) {
  DeviceHistory history;
  device_use(program, beside, blas_workspace, options, &history);
  py::list events, layout;
  for (const AllocatorEvent& event : history.events) {
    events.append(py::make_tuple(name_of(event), event.record, event.address, event.size));
  }
  for (const auto& [block, used] : history.layout) {
    layout.append(py::make_tuple(block.address, block.size, used));
  }
  return py::make_tuple(events, layout);
}

}  // namespace

std::optional<Program> program_of(const TraceResult& result) {
  if (!result.accelerator()) return std::nullopt;
  Program program;
  program.parameters = result.parameter_storage_bytes();
  program.others = result.buffer_storage_bytes();
  for (const StorageInfo& info : result.session().storages()) {
    const bool of_model = info.role == Role::parameter || info.role == Role::buffer;
    const bool is_there = info.external && !of_model && result.session().takes_memory(info);
    if (is_there) program.others.push_back(info.bytes);
  }
  program.requests = requests_of(result);
  program.calls = result.session().records().size();
  return program;
}

void bind_allocator(py::module_& m) {
  const auto of = [](auto get) {
    return [get](const AllocatorByAddress& self) { return (self.allocator().*get)(); };
  };
  py::class_<Program>(m, "Requests")
      .def(py::init(&from_columns), py::kw_only(), py::arg("parameters"), py::arg("others"),
           py::arg("calls"), py::arg("block"), py::arg("call"), py::arg("bytes"))
      .def("columns", &as_columns);
  m.def("device_use", &simulate, py::arg("requests"), py::arg("options"), py::kw_only(),
        py::arg("beside") = py::list(), py::arg("blas_workspace") = 0);
  m.def("device_history", &history_of, py::arg("requests"), py::arg("options"), py::kw_only(),
        py::arg("beside") = py::list(), py::arg("blas_workspace") = 0);
  py::class_<AllocatorOptions>(m, "AllocatorOptions")
      .def(py::init(&make_options), py::kw_only(), py::arg("expandable_segments") = false,
           py::arg("max_split_size") = py::none(),
           py::arg("max_non_split_rounding") = AllocatorOptions().max_non_split_rounding,
           py::arg("roundup_power2_divisions") = py::list(),
           py::arg("garbage_collection_threshold") = 0.0, py::arg("capacity") = py::none(),
           py::arg("allowed") = py::none());
  py::class_<AllocatorByAddress>(m, "CachingAllocator")
      .def(py::init(&make_allocator), py::arg("options") = AllocatorOptions(), py::kw_only(),
           py::arg("addresses") = py::none())
      .def("seed", &AllocatorByAddress::seed)
      .def("allocate", &AllocatorByAddress::allocate, py::arg("size"), py::arg("stream") = 0)
      .def("request_free", &AllocatorByAddress::request_free)
      .def("complete_free", &AllocatorByAddress::complete_free)
      .def("free", &AllocatorByAddress::free)
      .def("empty_cache", [](AllocatorByAddress& self) { return self.allocator().empty_cache(); })
      .def("asked", &AllocatorByAddress::asked, py::arg("start") = 0)
      .def("layout", &AllocatorByAddress::layout)
      .def_property_readonly("reserved", of(&CachingAllocator::reserved))
      .def_property_readonly("peak_reserved", of(&CachingAllocator::peak_reserved))
      .def_property_readonly("allocated", of(&CachingAllocator::allocated))
      .def_property_readonly("peak_allocated", of(&CachingAllocator::peak_allocated))
      .def_property_readonly("inactive_split", of(&CachingAllocator::inactive_split))
      .def_property_readonly("retries", of(&CachingAllocator::retries));
}

}  // namespace nnprof

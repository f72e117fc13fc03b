// A finished trace as Python reads it: sums at once, layers and calls when asked for.
#include <c10/util/typeid.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>

#include "bindings/bindings.h"
#include "bindings/count_caster.h"
#include "bindings/trace_result.h"
#include "core/collectives.h"
#include "core/count.h"
#include "core/layers.h"
#include "core/memory.h"
#include "dispatch/pricing.h"
#include "rules/cpu_temporaries.h"
#include "rules/price.h"

namespace py = pybind11;

namespace nnprof {
namespace {

constexpr std::array<const char*, 3> kPhaseNames = {"forward", "backward", "optimizer"};

using Shapes = std::vector<std::vector<int64_t>>;

void add_shapes(const std::vector<TensorSpec>& tensors, Shapes& shapes) {
  for (const TensorSpec& t : tensors) {
    if (t.defined) shapes.emplace_back(t.sizes.begin(), t.sizes.end());
  }
}

Count rounded_sum(const std::vector<int64_t>& sizes, int64_t granule) {
  Count sum;
  for (const Count bytes : sizes) sum += round_up(bytes, granule);
  return sum;
}

// A dict for each module of a large model: their keys are made once.
py::dict by_kind(const BytesByKind& bytes) {
  static const auto* names = [] {
    auto* made = new std::array<PyObject*, kMemoryKinds>;  // kept for the life of the process
    std::transform(std::begin(kMemoryKindNames), std::end(kMemoryKindNames), made->begin(),
                   &PyUnicode_InternFromString);
    return made;
  }();
  py::dict kinds;
  for (size_t kind = 0; kind < kMemoryKinds; ++kind) {
    PyDict_SetItem(kinds.ptr(), (*names)[kind], py::cast(bytes[kind]).ptr());
  }
  return kinds;
}

using Counts = std::vector<Count>;

// As int64, or as Python ints where one does not fit.
py::object as_array(const Counts& counts) {
  if (!std::all_of(counts.begin(), counts.end(), [](Count count) { return count.fits(); })) {
    py::list numbers;
    for (const Count count : counts) numbers.append(count);
    return py::module_::import("numpy").attr("array")(numbers, py::arg("dtype") = "object");
  }
  py::array_t<int64_t> array(static_cast<py::ssize_t>(counts.size()));
  int64_t* to = array.mutable_data();
  for (const Count count : counts) *to++ = static_cast<int64_t>(count);
  return array;
}

py::tuple as_tuple(c10::IntArrayRef sizes) {
  py::tuple made(sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) made[i] = sizes[i];
  return made;
}

std::string dtype_name(const OpSignature& signature) {
  for (const TensorSpec& output : signature.outputs) {
    if (output.defined) return std::string(c10::getDtypeNames(output.dtype).first);
  }
  return "";
}

}  // namespace

TraceResult::TraceResult(Tracer& tracer)
    : session_(tracer.trace().session()),
      children_(tracer.modules().take_children()),
      parameter_storages_(tracer.modules().parameter_storages()),
      parameter_storage_bytes_(tracer.modules().parameter_storage_bytes()),
      buffer_storage_bytes_(tracer.modules().buffer_storage_bytes()),
      type_modules_(tracer.modules().type_modules()),
      aggregate_(nnprof::aggregate(*session_, &price_signature)),
      accelerator_(tracer.trace().options().accelerator) {
  session_->host_is_apart = tracer.trace().host_is_apart();
}

py::dict TraceResult::totals(const std::optional<std::string>& phase) const {
  const auto [cost, calls] = sum(phase);
  py::dict totals = cost_dict(cost);
  totals["flops_executed"] = cost.flops_executed();
  totals["int_ops"] = cost[FlopKind::int_ops];
  totals["calls"] = calls;
  return totals;
}

py::dict TraceResult::flops_by_kind(const std::optional<std::string>& phase) const {
  const Cost cost = sum(phase).cost;
  py::dict kinds;
  for (size_t kind = 0; kind < kFlopKinds; ++kind) {
    kinds[kFlopKindNames[kind]] = cost.flops_by_kind[kind];
  }
  return kinds;
}

py::list TraceResult::layers() const {
  py::list rows;
  const LayerOrder order(*session_);
  const std::vector<ScopeTotals> totals = scope_totals(*session_, aggregate_);
  for (const uint32_t index : order.scopes) rows.append(layer(index, totals[index], order.row_of));
  return rows;
}

py::dict TraceResult::ops() const {
  const auto& records = session_->records();
  const auto count = static_cast<py::ssize_t>(records.size());
  const std::vector<int32_t> row_of = LayerOrder(*session_).row_of;
  const py::list details = signature_details();
  py::array_t<int64_t> scope(count), signature(count);
  Counts macs, flops, executed, needed, read, written, saved;
  py::array_t<bool> recomputed(count);
  py::list op, phase, inputs, outputs, dtype, ruled;
  for (py::ssize_t i = 0; i < count; ++i) {
    const OpRecord& record = records[static_cast<size_t>(i)];
    const Cost& cost = aggregate_.signatures[record.signature].cost;
    const py::tuple detail = details[record.signature];
    scope.mutable_at(i) = row_of[record.scope];
    signature.mutable_at(i) = record.signature;
    macs.push_back(cost.macs);
    flops.push_back(cost.flops());
    executed.push_back(cost.flops_executed());
    needed.push_back(record.recomputed ? Count() : cost.flops_needed());
    read.push_back(cost.bytes_read);
    written.push_back(cost.bytes_written);
    saved.push_back(record.saved_bytes);
    recomputed.mutable_at(i) = record.recomputed;
    op.append(detail[0]);
    inputs.append(detail[1]);
    outputs.append(detail[2]);
    dtype.append(detail[3]);
    ruled.append(detail[4]);
    phase.append(kPhaseNames[static_cast<size_t>(record.phase)]);
  }
  py::dict columns;
  columns["op"] = op;
  columns["scope"] = scope;
  columns["phase"] = phase;
  columns["signature"] = signature;
  columns["macs"] = as_array(macs);
  columns["flops"] = as_array(flops);
  columns["flops_executed"] = as_array(executed);
  columns["flops_needed"] = as_array(needed);
  columns["bytes_read"] = as_array(read);
  columns["bytes_written"] = as_array(written);
  columns["saved_bytes"] = as_array(saved);
  columns["recomputed"] = recomputed;
  columns["input_shapes"] = inputs;
  columns["output_shapes"] = outputs;
  columns["dtype"] = dtype;
  columns["ruled"] = ruled;
  return columns;
}

py::dict TraceResult::call_index() const {
  const auto& records = session_->records();
  const auto count = static_cast<py::ssize_t>(records.size());
  const std::vector<int32_t> row_of = LayerOrder(*session_).row_of;
  py::array_t<int64_t> scope(count), signature(count), phase(count);
  for (py::ssize_t i = 0; i < count; ++i) {
    const OpRecord& record = records[static_cast<size_t>(i)];
    scope.mutable_at(i) = row_of[record.scope];
    signature.mutable_at(i) = record.signature;
    phase.mutable_at(i) = static_cast<int64_t>(record.phase);
  }
  py::dict columns;
  columns["scope"] = scope;
  columns["signature"] = signature;
  columns["phase"] = phase;
  return columns;
}

py::dict TraceResult::signatures() const {
  py::list op, inputs, outputs, dtype, contraction, executed, model, needed;
  for (const py::handle detail : signature_details()) {
    op.append(detail[py::int_(0)]);
    inputs.append(detail[py::int_(1)]);
    outputs.append(detail[py::int_(2)]);
    dtype.append(detail[py::int_(3)]);
  }
  for (const PricedSignature& priced : aggregate_.signatures) {
    const Count flops = priced.cost[FlopKind::contraction];
    contraction.append(flops);
    executed.append(flops - priced.cost.flops_skipped);
    model.append(flops - priced.cost.flops_remade);
    needed.append(flops - priced.cost.flops_unneeded);
  }
  py::dict columns;
  columns["op"] = op;
  columns["input_shapes"] = inputs;
  columns["output_shapes"] = outputs;
  columns["dtype"] = dtype;
  columns["contraction_flops"] = contraction;
  columns["contraction_flops_executed"] = executed;
  columns["contraction_flops_model"] = model;
  columns["contraction_flops_needed"] = needed;
  return columns;
}

py::list TraceResult::calls_of(const py::args& operators) const {
  std::vector<bool> wanted;
  for (const PricedSignature& priced : aggregate_.signatures) {
    const std::string_view name = priced.signature.op;
    wanted.push_back(std::any_of(operators.begin(), operators.end(), [&](py::handle op) {
      return op.cast<std::string_view>() == name;
    }));
  }
  py::list calls;
  for (const OpRecord& record : session_->records()) {
    if (!wanted[record.signature]) continue;
    const OpSignature& signature = aggregate_.signatures[record.signature].signature;
    const Scope& scope = session_->scopes()[record.scope];
    calls.append(py::make_tuple(scope.module < 0 ? "" : session_->module_path(scope.module),
                                scope.calls, signature.op, as_tuple(signature.tensor(0).sizes),
                                as_tuple(signature.output().sizes)));
  }
  return calls;
}

py::dict TraceResult::collectives() const {
  const std::vector<int32_t> row_of = LayerOrder(*session_).row_of;
  std::vector<bool> talks;
  for (const PricedSignature& priced : aggregate_.signatures) {
    talks.push_back(is_collective(priced.signature.op));
  }
  py::list call, op, group, layer, phase, dtype, inputs, outputs;
  for (size_t i = 0; i < session_->records().size(); ++i) {
    const OpRecord& record = session_->records()[i];
    if (!talks[record.signature]) continue;
    const OpSignature& signature = aggregate_.signatures[record.signature].signature;
    call.append(i);
    op.append(signature.op);
    group.append(group_of(signature));
    layer.append(row_of[record.scope]);
    phase.append(kPhaseNames[static_cast<size_t>(record.phase)]);
    py::list each;
    c10::ScalarType type = c10::ScalarType::Undefined;
    for (const Argument& argument : signature.arguments) {
      for (const TensorSpec& tensor : argument.tensors) {
        if (!tensor.defined) continue;
        each.append(tensor.distinct_bytes());
        if (type == c10::ScalarType::Undefined) type = tensor.dtype;
      }
    }
    inputs.append(each);
    Count made;
    for (const TensorSpec& output : signature.outputs) made += output.distinct_bytes();
    outputs.append(made);
    dtype.append(std::string(c10::getDtypeNames(type).first));
  }
  py::dict columns;
  columns["call"] = call;
  columns["op"] = op;
  columns["group"] = group;
  columns["layer"] = layer;
  columns["phase"] = phase;
  columns["dtype"] = dtype;
  columns["argument_bytes"] = inputs;
  columns["output_bytes"] = outputs;
  return columns;
}

py::dict TraceResult::module_calls() const {
  const std::vector<int32_t> row_of = LayerOrder(*session_).row_of;
  py::list layer, shapes;
  for (const ModuleCall& call : session_->module_calls()) {
    layer.append(row_of[call.scope]);
    shapes.append(unflatten(session_->output_shapes(call)));
  }
  py::dict columns;
  columns["layer"] = layer;
  columns["output_shapes"] = shapes;
  return columns;
}

py::dict TraceResult::coverage() const {
  std::map<std::string, int64_t> ruled, generic;
  for (const PricedSignature& priced : aggregate_.signatures) {
    (priced.ruled ? ruled : generic)[priced.signature.op] += priced.calls;
  }
  py::dict coverage;
  coverage["ruled"] = ruled;
  coverage["generic"] = generic;
  return coverage;
}

py::dict TraceResult::memory() const {
  // The CUDA caching allocator rounds up; the CPU's takes what is asked for.
  const int64_t granule = accelerator_ ? 512 : 1;
  std::vector<Count> temporaries;
  for (const PricedSignature& priced : aggregate_.signatures) {
    temporaries.push_back(accelerator_ ? priced.cost.temporary_bytes
                                       : cpu_temporary_bytes(priced.signature));
  }
  const ResidentBytes resident = {rounded_sum(parameter_storage_bytes_, granule),
                                  rounded_sum(buffer_storage_bytes_, granule)};
  const MemoryUse use = memory_use(*session_, temporaries, resident, granule);
  py::dict memory;
  memory["peak"] = use.peak;
  memory["peak_call"] = use.peak_record;
  memory["at_peak"] = by_kind(use.at_peak);
  py::dict phases;
  for (size_t i = 0; i < use.phases.size(); ++i) {
    if (!use.phases[i].met) continue;
    py::dict phase;
    phase["peak"] = use.phases[i].peak;
    phase["after"] = by_kind(use.phases[i].after);
    phases[kPhaseNames[i]] = phase;
  }
  memory["phases"] = phases;
  const std::vector<int32_t> row_of = LayerOrder(*session_).row_of;
  py::list rows;
  for (size_t scope = 0; scope < use.at_peak_by_scope.size(); ++scope) {
    const BytesByKind& bytes = use.at_peak_by_scope[scope];
    if (total(bytes) != 0) rows.append(py::make_tuple(row_of[scope], by_kind(bytes)));
  }
  memory["at_peak_by_layer"] = rows;
  py::list kept;
  for (size_t scope = 0; scope < use.kept_by_scope.size(); ++scope) {
    const Count bytes = use.kept_by_scope[scope];
    if (bytes != 0) kept.append(py::make_tuple(row_of[scope], bytes));
  }
  if (!use.kept_by_scope.empty()) memory["kept_by_layer"] = kept;
  memory["live"] = as_array(use.live);
  memory["highest"] = as_array(use.highest);
  return memory;
}

std::vector<std::string> TraceResult::assumptions() const {
  std::vector<std::string> lines;
  for (const auto& [text, count] : session_->assumptions()) {
    lines.push_back(count == 1 ? text : text + " (" + std::to_string(count) + " times)");
  }
  return lines;
}

py::dict TraceResult::cost_dict(const Cost& cost) {
  py::dict row;
  row["macs"] = cost.macs;
  row["flops"] = cost.flops();
  row["flops_needed"] = cost.flops_needed();
  row["bytes_read"] = cost.bytes_read;
  row["bytes_written"] = cost.bytes_written;
  return row;
}

PhaseTotals TraceResult::sum(const std::optional<std::string>& phase) const {
  if (!phase) return {aggregate_.total, static_cast<int64_t>(session_->records().size())};
  const auto name = std::find(kPhaseNames.begin(), kPhaseNames.end(), *phase);
  if (name == kPhaseNames.end()) throw py::value_error("no such phase: " + *phase);
  return phase_totals(*session_, aggregate_, static_cast<Phase>(name - kPhaseNames.begin()));
}

std::vector<std::string> TraceResult::never_called() const {
  return nnprof::never_called(*session_, children_, parameter_storages_);
}

py::dict TraceResult::layer(uint32_t index, const ScopeTotals& totals,
                            const std::vector<int32_t>& row_of) const {
  const Scope& scope = session_->scopes()[index];
  py::dict row = cost_dict(totals.inclusive);
  row["own_macs"] = totals.own.macs;
  row["own_flops"] = totals.own.flops();
  row["own_flops_needed"] = totals.own.flops_needed();
  row["own_bytes_read"] = totals.own.bytes_read;
  row["own_bytes_written"] = totals.own.bytes_written;
  row["calls"] = scope.calls;
  row["parent"] = scope.parent < 0 ? -1 : row_of[static_cast<size_t>(scope.parent)];
  row["depth"] = depth_of(*session_, index);
  row["input_shapes"] = unflatten(scope.input_shapes);
  row["output_shapes"] = unflatten(scope.output_shapes);
  const bool of_module = scope.module >= 0;
  row["params"] = of_module ? parameter_elements(*session_, children_, scope.module)
                            : all_parameter_elements(*session_);
  row["own_params"] = of_module ? own_parameter_elements(*session_, scope.module) : Count();
  row["path"] = of_module ? session_->module_path(scope.module) : "";
  row["type"] = of_module ? session_->modules[static_cast<size_t>(scope.module)].type : "";
  row["type_module"] = of_module ? type_module(scope.module) : "";
  return row;
}

const std::string& TraceResult::type_module(int32_t module) const {
  return type_modules_.names[type_modules_.of_module[static_cast<size_t>(module)]];
}

py::list TraceResult::signature_details() const {
  py::list details;
  for (const PricedSignature& priced : aggregate_.signatures) {
    Shapes inputs, outputs;
    for (const Argument& argument : priced.signature.arguments)
      add_shapes(argument.tensors, inputs);
    add_shapes(priced.signature.outputs, outputs);
    details.append(py::make_tuple(priced.signature.op, inputs, outputs,
                                  dtype_name(priced.signature), priced.ruled));
  }
  return details;
}

void bind_results(py::module_& m) {
  py::class_<TraceResult>(m, "TraceResult")
      .def(py::init<Tracer&>())
      .def("totals", &TraceResult::totals, py::arg("phase") = py::none())
      .def("flops_by_kind", &TraceResult::flops_by_kind, py::arg("phase") = py::none())
      .def("layers", &TraceResult::layers)
      .def("ops", &TraceResult::ops)
      .def("call_index", &TraceResult::call_index)
      .def("signatures", &TraceResult::signatures)
      .def("calls_of", &TraceResult::calls_of)
      .def("collectives", &TraceResult::collectives)
      .def("module_calls", &TraceResult::module_calls)
      .def("coverage", &TraceResult::coverage)
      .def("memory", &TraceResult::memory)
      .def("requests", &program_of)
      .def("assumptions", &TraceResult::assumptions)
      .def("never_called", &TraceResult::never_called);
}

}  // namespace nnprof

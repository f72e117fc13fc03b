// A finished trace as Python reads it: sums at once, layers and calls when asked for.
#include <c10/util/typeid.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <set>

#include "bindings/bindings.h"
#include "bindings/count_caster.h"
#include "bindings/trace_result.h"
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
  for (const Count bytes : sizes) sum += (bytes + granule - 1) / granule * granule;
  return sum;
}

py::dict by_kind(const BytesByKind& bytes) {
  py::dict kinds;
  for (size_t kind = 0; kind < kMemoryKinds; ++kind) kinds[kMemoryKindNames[kind]] = bytes[kind];
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

// The row of each scope, where `order` has the scopes by row.
std::vector<int32_t> rows_of(const std::vector<uint32_t>& order) {
  std::vector<int32_t> row_of(order.size());
  for (size_t row = 0; row < order.size(); ++row) row_of[order[row]] = static_cast<int32_t>(row);
  return row_of;
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
      accelerator_(tracer.trace().options().accelerator) {}

py::dict TraceResult::totals(const std::optional<std::string>& phase) const {
  const auto [cost, calls] = sum(phase);
  py::dict totals = cost_dict(cost);
  totals["flops_executed"] = cost.flops_executed();
  totals["int_ops"] = cost[FlopKind::int_ops];
  totals["calls"] = calls;
  return totals;
}

py::dict TraceResult::flops_by_kind(const std::optional<std::string>& phase) const {
  const Cost cost = sum(phase).first;
  py::dict kinds;
  for (size_t kind = 0; kind < kFlopKinds; ++kind) {
    kinds[kFlopKindNames[kind]] = cost.flops_by_kind[kind];
  }
  return kinds;
}

py::list TraceResult::layers() const {
  py::list rows;
  const std::vector<uint32_t> order = preorder();
  const std::vector<int32_t> row_of = rows_of(order);
  const std::vector<ScopeTotals> totals = scope_totals(*session_, aggregate_);
  for (const uint32_t index : order) rows.append(layer(index, totals[index], row_of));
  return rows;
}

py::dict TraceResult::ops() const {
  const auto& records = session_->records();
  const auto count = static_cast<py::ssize_t>(records.size());
  const std::vector<int32_t> row_of = rows_of(preorder());
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
  const std::vector<int32_t> row_of = rows_of(preorder());
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

py::dict TraceResult::module_calls() const {
  const std::vector<int32_t> row_of = rows_of(preorder());
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
  const std::vector<int32_t> row_of = rows_of(preorder());
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

std::vector<std::string> TraceResult::never_called() const {
  std::vector<bool> alive(session_->modules.size(), false);
  for (const Scope& scope : session_->scopes()) {
    if (scope.module >= 0) alive[static_cast<size_t>(scope.module)] = true;
  }
  std::vector<bool> used(session_->storages().size(), false);
  for (uint32_t storage : session_->touched_storages()) used[storage] = true;
  for (size_t i = 0; i < alive.size(); ++i) {
    for (uint32_t parameter : session_->modules[i].parameters) {
      const int64_t storage = parameter_storages_[parameter];
      if (storage >= 0 && used[static_cast<size_t>(storage)]) alive[i] = true;
    }
  }
  // Children are numbered after their parents, shared ones aside, which are alive through either.
  for (size_t i = alive.size(); i-- > 0;) {
    for (int32_t child : children_[i]) alive[i] = alive[i] || alive[static_cast<size_t>(child)];
  }
  std::vector<std::string> paths;
  std::vector<bool> listed(alive.size(), false);
  for (size_t i = 0; i < alive.size(); ++i) {
    if (alive[i]) continue;
    if (!listed[i]) paths.push_back(session_->module_path(static_cast<int32_t>(i)));
    for (int32_t child : children_[i]) listed[static_cast<size_t>(child)] = true;
  }
  return paths;
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

std::pair<Cost, int64_t> TraceResult::sum(const std::optional<std::string>& phase) const {
  if (!phase) return {aggregate_.total, static_cast<int64_t>(session_->records().size())};
  const auto name = std::find(kPhaseNames.begin(), kPhaseNames.end(), *phase);
  if (name == kPhaseNames.end()) throw py::value_error("no such phase: " + *phase);
  const auto wanted = static_cast<Phase>(name - kPhaseNames.begin());
  Cost cost;
  int64_t calls = 0;
  for (const OpRecord& record : session_->records()) {
    if (record.phase != wanted) continue;
    const Cost& one = aggregate_.signatures[record.signature].cost;
    cost += record.recomputed ? one.again() : one;
    ++calls;
  }
  return {cost, calls};
}

std::vector<uint32_t> TraceResult::preorder() const {
  const auto& scopes = session_->scopes();
  std::vector<std::vector<uint32_t>> children(scopes.size());
  for (uint32_t i = 1; i < scopes.size(); ++i) {
    children[static_cast<size_t>(scopes[i].parent)].push_back(i);
  }
  std::vector<uint32_t> order, pending = {0};
  while (!pending.empty()) {
    const uint32_t next = pending.back();
    pending.pop_back();
    order.push_back(next);
    pending.insert(pending.end(), children[next].rbegin(), children[next].rend());
  }
  return order;
}

void TraceResult::collect_parameters(int32_t module, std::set<uint32_t>& parameters) const {
  const auto index = static_cast<size_t>(module);
  const auto& own = session_->modules[index].parameters;
  parameters.insert(own.begin(), own.end());
  for (int32_t child : children_[index]) collect_parameters(child, parameters);
}

Count TraceResult::elements(const std::set<uint32_t>& parameters) const {
  Count count;
  for (uint32_t parameter : parameters) count += session_->parameters[parameter].numel;
  return count;
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
  int64_t depth = 0;
  for (int32_t up = scope.parent; up >= 0; up = session_->scopes()[static_cast<size_t>(up)].parent)
    ++depth;
  row["depth"] = depth;
  row["input_shapes"] = unflatten(scope.input_shapes);
  row["output_shapes"] = unflatten(scope.output_shapes);
  std::set<uint32_t> own, all;
  if (scope.module >= 0) {
    const ModuleDescriptor& module = session_->modules[static_cast<size_t>(scope.module)];
    own.insert(module.parameters.begin(), module.parameters.end());
    collect_parameters(scope.module, all);
    row["path"] = session_->module_path(scope.module);
    row["type"] = module.type;
    row["type_module"] =
        type_modules_.names[type_modules_.of_module[static_cast<size_t>(scope.module)]];
  } else {
    for (uint32_t i = 0; i < session_->parameters.size(); ++i) all.insert(i);
    row["path"] = "";
    row["type"] = "";
    row["type_module"] = "";
  }
  row["params"] = elements(all);
  row["own_params"] = elements(own);
  return row;
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
      .def("module_calls", &TraceResult::module_calls)
      .def("coverage", &TraceResult::coverage)
      .def("memory", &TraceResult::memory)
      .def("assumptions", &TraceResult::assumptions)
      .def("never_called", &TraceResult::never_called);
}

}  // namespace nnprof

// A finished trace as Python reads it: sums at once, layers and calls when asked for.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/tracer.h"
#include "core/aggregate.h"
#include "core/requests.h"

namespace nnprof {

class TraceResult {
 public:
  explicit TraceResult(Tracer& tracer);

  const Session& session() const { return *session_; }
  const Aggregate& aggregate() const { return aggregate_; }
  bool accelerator() const { return accelerator_; }
  // Of each storage, in the order of the modules.
  const std::vector<int64_t>& parameter_storage_bytes() const { return parameter_storage_bytes_; }
  const std::vector<int64_t>& buffer_storage_bytes() const { return buffer_storage_bytes_; }
  pybind11::dict totals(const std::optional<std::string>& phase) const;
  pybind11::dict flops_by_kind(const std::optional<std::string>& phase) const;
  pybind11::list layers() const;
  pybind11::dict ops() const;
  // The columns of `ops` that are numbers alone: scope, signature, phase.
  pybind11::dict call_index() const;
  // Columns by signature number: op, input_shapes, output_shapes, dtype, contraction_flops, and
  // those of them that kernels execute.
  pybind11::dict signatures() const;

  // The calls of some operators, one tuple each: path and number of calls of the module, operator,
  // sizes of its first input and of its first output.
  pybind11::list calls_of(const pybind11::args& operators) const;
  pybind11::dict collectives() const;
  pybind11::dict module_calls() const;
  pybind11::dict coverage() const;
  // See nnprof.results.records.TraceData.
  pybind11::dict memory() const;
  std::vector<std::string> assumptions() const;

  // Modules that no call entered, whose parameters no operator used and that hold no called module:
  // the topmost of each such branch.
  std::vector<std::string> never_called() const;

 private:
  static pybind11::dict cost_dict(const Cost& cost);
  PhaseTotals sum(const std::optional<std::string>& phase) const;
  const std::string& type_module(int32_t module) const;
  pybind11::dict layer(uint32_t index, const ScopeTotals& totals,
                       const std::vector<int32_t>& row_of) const;
  pybind11::list signature_details() const;

  std::shared_ptr<Session> session_;
  std::vector<std::vector<int32_t>> children_;
  std::vector<int64_t> parameter_storages_;  // -1: no operator saw it
  std::vector<int64_t> parameter_storage_bytes_;
  std::vector<int64_t> buffer_storage_bytes_;
  TypeModules type_modules_;
  Aggregate aggregate_;
  bool accelerator_;
};

// What it asks of its device's allocator; nothing where the device is a CPU.
std::optional<Program> program_of(const TraceResult& result);

}  // namespace nnprof

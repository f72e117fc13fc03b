// The rules of this torch, and rules whose costs are counted in Python.
#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "bindings/count_caster.h"
#include "dispatch/operators.h"
#include "dispatch/pricing.h"

namespace py = pybind11;

namespace nnprof {
namespace {

py::dict describe(const TensorSpec& tensor) {
  py::dict row;
  row["shape"] = std::vector<int64_t>(tensor.sizes.begin(), tensor.sizes.end());
  row["strides"] = std::vector<int64_t>(tensor.strides.begin(), tensor.strides.end());
  row["dtype"] = c10::toString(tensor.dtype);
  row["bytes"] = tensor.distinct_bytes();
  return row;
}

py::list describe(const std::vector<TensorSpec>& tensors) {
  py::list rows;
  for (const TensorSpec& tensor : tensors) {
    if (tensor.defined) {
      rows.append(describe(tensor));
    } else {
      rows.append(py::none());
    }
  }
  return rows;
}

py::object describe(const Argument& argument) {
  switch (argument.kind) {
    case Argument::Kind::boolean:
      return py::bool_(argument.integer != 0);
    case Argument::Kind::integer:
      return py::int_(argument.integer);
    case Argument::Kind::floating:
      return py::float_(argument.number.real());
    case Argument::Kind::complex:
      return py::cast(argument.number);
    case Argument::Kind::string:
      return py::str(argument.string);
    case Argument::Kind::integers:
      return py::cast(argument.integers);
    case Argument::Kind::floatings:
      return py::cast(argument.floatings);
    case Argument::Kind::tensor:
      return argument.tensors.front().defined ? py::object(describe(argument.tensors.front()))
                                              : py::object(py::none());
    case Argument::Kind::tensors:
      return describe(argument.tensors);
    case Argument::Kind::none:
    case Argument::Kind::opaque:
      break;
  }
  return py::none();
}

py::dict describe(const OpSignature& op) {
  py::list arguments;
  for (const Argument& argument : op.arguments) arguments.append(describe(argument));
  py::dict row;
  row["op"] = op.op;
  row["arguments"] = arguments;
  row["outputs"] = describe(op.outputs);
  return row;
}

Count count(const py::dict& counted, const char* name, Count otherwise) {
  if (!counted.contains(name)) return otherwise;
  const auto value = counted[name].cast<Count>();
  if (value < 0) {
    throw py::value_error("a rule counted " + std::string(py::str(counted[name])) + " " + name);
  }
  return value;
}

void count_in_python(const py::object& function, const OpSignature& signature, Cost& cost) {
  const auto counted = function(describe(signature)).cast<py::dict>();
  cost.add_macs(count(counted, "macs", 0));
  cost[FlopKind::add] += count(counted, "flops", 0);
  cost.bytes_read = count(counted, "bytes_read", cost.bytes_read);
  cost.bytes_written = count(counted, "bytes_written", cost.bytes_written);
}

void register_python_cost(const std::string& op, const py::function& function) {
  // Held for the life of the process, and only touched under the GIL.
  auto held = std::shared_ptr<py::function>(new py::function(function), [](py::function*) {});
  register_custom_cost(op, [held](const OpSignature& signature, Cost& cost) {
    const py::gil_scoped_acquire gil;
    count_in_python(*held, signature, cost);
  });
}

// Never freed: Python may end before the last trace does.
py::object* formula_finder = nullptr;

// Pricing holds the GIL: it is done for a result that Python asks for.
CustomCost find_python_formula(const std::string& op) {
  py::object formula = (*formula_finder)(op);
  if (formula.is_none()) return nullptr;
  return [formula = std::move(formula)](const OpSignature& signature, Cost& cost) {
    count_in_python(formula, signature, cost);
  };
}

void set_python_formula_finder(const py::function& finder) {
  delete formula_finder;
  formula_finder = new py::object(finder);
  set_formula_finder(&find_python_formula);
}

py::list rules() {
  py::list rows;
  for (const RuleStatus& status : rule_statuses()) {
    py::dict row;
    row["op"] = status.op;
    row["schema"] = status.schema;
    row["family"] = status.family;
    row["status"] = status.reason.empty() ? "ruled" : "left out";
    row["reason"] = status.reason;
    row["derived"] = status.derived;
    rows.append(row);
  }
  return rows;
}

}  // namespace

void bind_rules(py::module_& m) {
  m.def("rules", &rules);
  m.def("register_custom_cost", &register_python_cost);
  m.def("set_formula_finder", &set_python_formula_finder);
}

}  // namespace nnprof

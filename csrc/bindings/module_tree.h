// The user's modules: walked once for descriptors, remembered so that they can be put back.
#pragma once

#include <ATen/core/Tensor.h>
#include <pybind11/pybind11.h>

#include <unordered_map>
#include <vector>

#include "dispatch/trace.h"

namespace nnprof {

class ModuleTree {
 public:
  explicit ModuleTree(std::shared_ptr<Trace> trace) : trace_(std::move(trace)) {}

  // Adds `root` and all below it under `path`; returns the root's number. Raises for a lazy module.
  int32_t add(pybind11::handle root, const std::string& path);
  // The number of a module, or -1.
  int32_t number_of(PyObject* module) const;
  // Marks all modules as being traced; false, and nothing marked, when another trace has one.
  bool claim();
  void release();
  // Names of the types in the tree that are, or derive from, one of `bases`.
  std::vector<std::string> types_derived_from(const pybind11::args& bases) const;
  // Puts back what the forward changed in modules and parameters.
  void restore();

  int64_t parameter_elements() const { return totals_.parameters; }
  int64_t trainable_elements() const { return totals_.trainable; }
  int64_t buffer_elements() const { return totals_.buffers; }
  int64_t parameter_bytes() const { return totals_.parameter_bytes; }
  int64_t buffer_bytes() const { return totals_.buffer_bytes; }
  const std::vector<std::vector<int32_t>>& children() const { return children_; }
  const std::vector<uint32_t>& parameter_storages() const { return parameter_storages_; }

 private:
  struct Container {
    pybind11::object object;
    pybind11::object copy;  // empty handle: it was empty
  };
  struct ModuleState {
    pybind11::object module;
    pybind11::object dict;
    pybind11::object copy;
    std::vector<Container> containers;
  };
  struct ParameterState {
    at::Tensor tensor;
    at::Tensor grad;
    at::Tensor data;  // an alias with the storage it had
    bool requires_grad;
  };
  struct Totals {
    int64_t parameters = 0, trainable = 0, buffers = 0, parameter_bytes = 0, buffer_bytes = 0;
  };

  void remember(pybind11::handle module, pybind11::handle dict);
  void add_parameters(pybind11::handle parameters, int32_t module);
  void add_buffers(pybind11::handle buffers);
  uint32_t parameter_number(const at::Tensor& parameter);

  std::shared_ptr<Trace> trace_;
  std::unordered_map<PyObject*, int32_t> numbers_;
  std::unordered_map<c10::TensorImpl*, uint32_t> parameter_numbers_;
  std::unordered_map<c10::TensorImpl*, bool> buffers_seen_;
  std::vector<std::vector<int32_t>> children_;
  std::vector<uint32_t> parameter_storages_;
  std::vector<ModuleState> states_;
  std::vector<ParameterState> parameters_;
  Totals totals_;
  bool claimed_ = false;
};

}  // namespace nnprof

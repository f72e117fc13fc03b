// The user's modules: walked once for descriptors.
#pragma once

#include <ATen/core/Tensor.h>
#include <pybind11/pybind11.h>

#include <vector>

#include "bindings/snapshot.h"
#include "bindings/stored_forms.h"
#include "dispatch/trace.h"

namespace nnprof {

// Where the classes of modules are defined: each name once, and per module which of them.
struct TypeModules {
  std::vector<std::string> names;
  std::vector<uint32_t> of_module;
};

class ModuleTree {
 public:
  ModuleTree(std::shared_ptr<Trace> trace, Snapshot& snapshot)
      : trace_(std::move(trace)), snapshot_(snapshot) {}

  // Adds `root` and all below it under `path`; returns the root's number. Raises for a lazy module.
  int32_t add(pybind11::handle root, const std::string& path);
  // The number of a module, or -1.
  int32_t number_of(PyObject* module) const;
  // Nothing in a module's __dict__ says how to call it, as far as is known without looking at each:
  // no hooks, no `forward` of its own.
  bool is_called_as_known(int32_t number, PyObject* attributes) const;
  // Marks all modules that are remembered as being traced; false, and nothing marked, when another
  // trace has one.
  bool claim();
  void release();
  // Each type in the tree, once.
  std::vector<PyTypeObject*> types() const;
  // Names of the types in the tree that are, or derive from, one of `bases`.
  std::vector<std::string> types_derived_from(const pybind11::args& bases) const;

  Count parameter_elements() const { return totals_.parameters; }
  // Of the whole model, where ranks share its tensors out.
  Count global_parameter_elements() const { return totals_.global_parameters; }
  Count trainable_elements() const { return totals_.trainable; }
  Count buffer_elements() const { return totals_.buffers; }
  Count parameter_bytes() const { return totals_.parameter_bytes; }
  Count buffer_bytes() const { return totals_.buffer_bytes; }
  // Sizes of the storages that parameters and buffers lie in, each once.
  const std::vector<int64_t>& parameter_storage_bytes() const { return parameter_storage_bytes_; }
  const std::vector<int64_t>& buffer_storage_bytes() const { return buffer_storage_bytes_; }
  // Per module: the numbers of its children. To be taken once, when the trace has ended.
  std::vector<std::vector<int32_t>> take_children() { return std::move(children_); }
  // The Python module that defines each module's class, "torch.nn.modules.conv".
  TypeModules type_modules() const;
  // Where the parameters are, or else the buffers: the first that is not on meta. None without any
  // that the trace did not make.
  std::optional<at::Device> device() const;
  // Per parameter: the number of its storage, or -1 when no operator saw it.
  std::vector<int64_t> parameter_storages() const;

 private:
  struct Totals {
    Count parameters, global_parameters, trainable, buffers, parameter_bytes, buffer_bytes;
  };

  int32_t add(pybind11::handle root, std::string_view name, int32_t parent);
  void add_parameters(pybind11::handle parameters, int32_t module);
  void add_buffers(pybind11::handle buffers);
  // The weights that a module holds packed in a script object.
  void add_packed(const Snapshot::Parts& parts, int32_t module);
  uint32_t parameter_number(PyObject* parameter, PyObject* module);
  // The number of a parameter; of a new one with the size that `stored(number)` tells.
  template <class Stored>
  uint32_t enter_parameter(const at::Tensor& parameter, Stored stored);
  // Takes the storages of a parameter or buffer for what `role` says; returns their bytes. A
  // wrapper has none itself: those of the tensors in it.
  Count note_storages(PyObject* tensor, Role role, std::vector<int64_t>& bytes);
  // True where it was not met before.
  bool note_storage(const at::Tensor& tensor, std::vector<int64_t>& bytes);

  // What in a module's attributes decides how it is called, while they are of that version.
  struct CallState {
    PyObject* attributes;
    uint64_t version;
    std::array<PyObject*, 4> hooks;
  };

  std::shared_ptr<Trace> trace_;
  Snapshot& snapshot_;
  ska::flat_hash_map<PyObject*, int32_t> numbers_;
  ska::flat_hash_map<c10::TensorImpl*, uint32_t> parameter_numbers_;
  ska::flat_hash_set<c10::TensorImpl*> buffers_seen_;
  std::vector<std::vector<int32_t>> children_;
  std::vector<PyObject*> modules_;  // by number; the snapshot owns them
  std::vector<CallState> calls_;    // by number
  std::vector<PyObject*> claimed_;
  std::vector<at::Tensor> parameters_;
  ska::flat_hash_map<size_t, std::vector<at::Tensor>> held_by_;  // parameters that are wrappers
  Totals totals_;
  ska::flat_hash_set<c10::StorageImpl*> storages_seen_;
  std::vector<int64_t> parameter_storage_bytes_;
  std::vector<int64_t> buffer_storage_bytes_;
  std::optional<at::Device> buffer_device_;
};

}  // namespace nnprof

// What Python holds of a trace.
#pragma once

#include "bindings/function_caches.h"
#include "bindings/module_tree.h"
#include "bindings/quick_attributes.h"
#include "dispatch/trace.h"

namespace nnprof {

class Tracer {
 public:
  explicit Tracer(TraceOptions options);

  // Of this thread's trace; null when none.
  static Tracer* current();

  Trace& trace() { return *trace_; }
  const Trace& trace() const { return *trace_; }
  ModuleTree& modules() { return modules_; }
  const ModuleTree& modules() const { return modules_; }
  Snapshot& snapshot() { return snapshot_; }
  FunctionCaches function_caches;

  void start();
  void stop();

  // The number of a module, which joins the tree if it was not in it.
  int32_t module_number(PyObject* module);
  // Remembers the innermost scope that the pending Python exception left.
  void note_failure();
  const std::string& failed_scope() const { return failed_scope_; }
  // The device that tensors of the trace show to Python: the model's; that of the inputs where the
  // model has none or is on meta. Of a program that was given neither: that of the first tensor it
  // uses, else the first that it asks for.
  at::Device shown_device();
  // The same, as far as it is decided by tensors that the trace did not make.
  std::optional<at::Device> given_device();
  // The program's inputs: `made` ones were made for the model, where that is.
  void mark_input(const at::Tensor& input, bool made);

 private:
  std::shared_ptr<Trace> trace_;
  Snapshot snapshot_;
  ModuleTree modules_;
  QuickAttributes quick_attributes_;
  const void* failed_exception_ = nullptr;
  std::string failed_scope_;
  std::optional<at::Device> given_device_;
  std::optional<at::Device> input_device_;
  bool has_inputs_ = false;
};

}  // namespace nnprof

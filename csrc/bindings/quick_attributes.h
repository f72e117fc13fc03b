// Reading an attribute of a module, `self.conv1`, faster than nn.Module.__getattr__ does it.
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

namespace nnprof {

// Parameters, buffers and submodules are found by __getattr__, which Python asks after it has made
// an AttributeError: half a microsecond each, some 30 % of the time that a ResNet takes.
// While a trace runs, the types of its modules look into the same places in C.
class QuickAttributes {
 public:
  QuickAttributes() = default;
  QuickAttributes(const QuickAttributes&) = delete;
  QuickAttributes& operator=(const QuickAttributes&) = delete;
  ~QuickAttributes() { switch_off(); }

  // For the types that leave attributes to nn.Module. Several traces may hold a type at once.
  void switch_on(const std::vector<PyTypeObject*>& types);
  void switch_off();

 private:
  std::vector<PyTypeObject*> types_;  // owned
};

}  // namespace nnprof

// How C++ raises nnprof's own Python exceptions without knowing Python.
#pragma once

#include <cstdint>
#include <string>

namespace nnprof {

enum class ErrorKind : uint8_t {
  shape,           // PyTorch rejects the arguments (RuntimeError)
  out_of_range,    // ... as IndexError
  bad_value,       // ... as ValueError
  bad_type,        // ... as TypeError
  unsupported,     // ... or nobody knows how to do it without data (NotImplementedError)
  data_dependent,  // a value that only a real run would know
  lazy_module,     // a parameter has no shape yet
  internal,        // our bug
};

[[noreturn]] void raise(ErrorKind kind, const std::string& message);

// The bindings install the function that throws the Python type.
using RaiseFunction = void (*)(ErrorKind, const std::string&);
void set_raise_function(RaiseFunction function);

}  // namespace nnprof

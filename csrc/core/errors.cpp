#include "core/errors.h"

#include <stdexcept>

namespace nnprof {
namespace {
RaiseFunction raise_function = nullptr;
}

void set_raise_function(RaiseFunction function) { raise_function = function; }

void raise(ErrorKind kind, const std::string& message) {
  if (raise_function != nullptr) raise_function(kind, message);
  throw std::runtime_error(message);
}

}  // namespace nnprof

// Tensors of a trace in a thread that works for none, such as one that was started before it and
// waits at a queue: what is called on them there passes unseen.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/session.h"

namespace nnprof {

// Notes it for the trace that the tensor is of, where it is of one.
void note_elsewhere(const at::Tensor& tensor);
// Was it noted? Forgets it.
bool was_elsewhere(const Session& session);

}  // namespace nnprof

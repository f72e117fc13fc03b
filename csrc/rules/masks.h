// Masks decide how large an output is: by their values where those are known, else by a guess.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace nnprof {

// How many elements of `mask` are not zero: counted in a real tensor; all of them in a meta tensor.
int64_t count_true(const at::Tensor& mask);

// Whether count_true() has guessed in this thread since it was last asked.
bool take_guess();

}  // namespace nnprof

// What output functions ask of integer tensors that are real, and guess of those that are not.
//
// A rule with the flag kKnownIntegers gets the integer and bool tensors after the first as real CPU
// tensors where their values are known, and as meta tensors where they are not.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace nnprof {

// How many elements of `mask` are not zero. Where that is not known, all of them: a guess.
int64_t count_true(const at::Tensor& mask);

// Makes note that an output's size is a guess.
void note_guess();
// Whether a guess was noted in this thread since it was last asked.
bool take_guess();

// Raise where a known index is outside of [0, size), or of [-size, size) if it may count from the
// end: IndexError, or RuntimeError as gather and scatter do.
void check_index(const at::Tensor& index, int64_t size, int64_t dim, bool from_end = false);
void check_gathered(const at::Tensor& index, int64_t size, int64_t dim, bool from_end = false);

// `index` without its values.
at::Tensor without_values(const at::Tensor& index);

}  // namespace nnprof

// Tensor subclasses that hold other tensors: what memory there is, is theirs.
#pragma once

#include <ATen/core/Tensor.h>
#include <pybind11/pybind11.h>

#include <vector>

namespace nnprof {

// Does it hold others? A FakeTensor stands for itself.
bool holds_others(const at::Tensor& tensor);

// The tensors inside of a wrapper, of wrappers in it, too, each once and none of them a wrapper; of
// a tensor that holds none, itself.
std::vector<at::Tensor> held_tensors(pybind11::handle tensor);

// How many elements of it are here: of a DTensor this rank's, of any other tensor all.
int64_t elements_here(pybind11::handle tensor);

}  // namespace nnprof

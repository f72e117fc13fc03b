// Shadows that were put on the stack in place of the program's own tensors, and the way back.
#pragma once

#include "dispatch/stack_walk.h"
#include "dispatch/trace.h"

namespace nnprof {

class Shadows {
 public:
  // `stand_in`, which takes the place of `tensor`.
  at::Tensor put(const at::Tensor& tensor, at::Tensor stand_in) {
    if (!stand_in.is_same(tensor)) pairs_.emplace_back(stand_in, tensor);
    return stand_in;
  }

  // The program's own tensor, where a value is the shadow of one.
  void give_back(c10::IValue& value) const {
    if (pairs_.empty()) return;
    map_tensors(value, [&](const at::Tensor& tensor) {
      for (const auto& [shadow, original] : pairs_) {
        if (tensor.is_same(shadow)) return original;
      }
      return tensor;
    });
  }

 private:
  c10::SmallVector<std::pair<at::Tensor, at::Tensor>, 4> pairs_;
};

}  // namespace nnprof

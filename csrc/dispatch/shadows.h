// Shadows that were put on the stack in place of the program's own tensors, and the way back.
//
// NOTE [Shadows]
// A parameter on a GPU, one on the CPU and one on the meta device cost the same, and a rule sees
// the last of them whatever the program holds: `Trace::shadow` gives a meta tensor of the same
// sizes, strides and offset for any real one.
//  - One of the user's has one shadow, made when it is first needed and kept to the end. Views of
//    one storage have shadows on one meta storage (`ExternalStorage::shadow`), so that what shares
//    memory still does. Its tag names the user's storage: who identifies a shadow, or a view of it,
//    finds the number, the role and the values of what it stands for. It is no memory of its own
//    (`StorageTag::is_shadow`), and it throws when somebody asks for its data.
//  - Real tensors of the trace's own (known integers, numbers computed from them) come and go, and
//    get another shadow each time. In a graph that shadow keeps the real memory alive, as what
//    autograd saves of the real tensor would.
//  - In a graph a shadow's gradient goes on to the leaf that it stands for
//    (`GraphRoots::join`).
//  - The program never sees one: a rule may hand an argument back, and then the program gets its
//    own tensor (`Shadows::give_back`). What it writes to in place is its own tensor, too; the
//    writes are told to the trace (`Trace::lose_values`, `writable_value`).
//  - FakeTensors have shadows of their metadata (`shadow_of_fake`), packed weights of the tensors
//    inside (`Trace::packed`), numbers of Python one for each dtype (`wrapped_number`); tensors of
//    vmap's are looked into (`shadow_for_transform`).
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

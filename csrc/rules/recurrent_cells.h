// What the cells of recurrent networks compute, forwards and backwards.
#pragma once

#include <cstdint>

#include "core/cost.h"
#include "rules/elementwise.h"

namespace nnprof {

struct CellKind {
  int64_t gates;  // rows of weights per hidden element
  FlopMix mix;    // per hidden element and step, biases and products aside
};

constexpr FlopMix plus(const FlopMix& a, const FlopMix& b, int64_t times = 1) {
  return {.add = a.add + times * b.add,
          .multiply = a.multiply + times * b.multiply,
          .division = a.division + times * b.division,
          .exp = a.exp + times * b.exp,
          .tanh = a.tanh + times * b.tanh,
          .compare = a.compare + times * b.compare};
}

// Each gate is a sum of what comes from the input and from the state.
//   RNN   h' = tanh(gate)  or  max(gate, 0)
//   LSTM  c' = s(f) * c + s(i) * tanh(g);  h' = s(o) * tanh(c')
//   GRU   n = tanh(n_input + s(r) * n_state);  h' = (h - n) * s(z) + n
inline constexpr CellKind kTanh = {1, {.add = 1, .tanh = 1}};
inline constexpr CellKind kRelu = {1, {.add = 1, .compare = 1}};
inline constexpr CellKind kLstm = {4, plus({.add = 4 + 1, .multiply = 3, .tanh = 2}, kSigmoid, 3)};
inline constexpr CellKind kGru = {3, plus({.add = 3 + 2, .multiply = 2, .tanh = 1}, kSigmoid, 2)};

// The gradient of the gates from that of the state, per hidden element and step: what comes from
// the next step and from the output are added, and of what a cell keeps
//   RNN   dgate = dh * (1 - h'^2)  or  dh where h' > 0
//   LSTM  dc += dh * s(o) * (1 - tanh(c')^2), and of each gate a product and its slope,
//         s * (1 - s) or 1 - tanh^2; dc goes on times s(f)
//   GRU   dz = dh * (h - n), dn = dh * (1 - z), and their slopes; dr = dn * n_state,
//         dn_state = dn * r; dh goes on times z
inline constexpr FlopMix kTanhBackward = {.add = 2, .multiply = 2};
inline constexpr FlopMix kReluBackward = {.add = 1, .compare = 1};
inline constexpr FlopMix kLstmBackward = {.add = 1 + 2 + 4, .multiply = 8 + 8, .tanh = 1};
inline constexpr FlopMix kGruBackward = {.add = 1 + 2 + 3, .multiply = 5 + 6};

}  // namespace nnprof

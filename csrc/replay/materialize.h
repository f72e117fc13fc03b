// From a recorded signature to real arguments on a device: sizes, strides, offsets and aliasing as
// recorded, data as replay/fills.h says.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/stack.h>

#include <cstdint>
#include <vector>

#include "core/record.h"
#include "dispatch/operators.h"
#include "replay/copies.h"
#include "replay/random_data.h"

namespace nnprof {

using Stack = torch::jit::Stack;

// The arguments of one call, and further sets of them that have their own of what the model would
// not find in the cache (weights), and of what is written. What it would find there (activations)
// they have in a few places by turns: in a model, the operator before has written it, and the
// caches of single cores hold only its end.
class ArgumentSets {
 public:
  ArgumentSets(const Operator& op, const OpSignature& signature, c10::Device device);

  // Bytes of the first set, with what it keeps to refresh it; of what a further set has of its own;
  // of what of that the model would not find in the cache.
  Count bytes() const;
  int64_t bytes_of_further_set() const;
  int64_t cold_bytes() const;
  bool writes() const { return writes_; }

  // Before the first set: so many places that activations and outputs take `bytes` at most in all.
  void spread(int64_t bytes);
  int64_t places() const { return places_; }
  int64_t bytes_of_further_places() const { return (places_ - 1) * place_bytes_; }

  void make_first(RandomData& data);
  // The first so many sets, `own`, have weights and what is written of their own; later ones share
  // theirs by turns.
  void add_set(RandomData& data, CopyMemory& copies, int64_t own);
  // From now on all sets have the weights of the first one, and are as many as places.
  void share_weights();
  // Does each set look up other rows?
  bool looks_up() const { return looks_up_; }
  size_t size() const { return sets_.size(); }
  int64_t count() const { return static_cast<int64_t>(sets_.size()); }
  // The arguments, to be copied: a call takes them off its stack.
  const Stack& arguments(size_t set) const { return sets_[set].arguments; }
  // What calls wrote in place is put back: over and over, a product would run to zero or infinity.
  void refresh();

 private:
  struct StoragePlan {
    int64_t first_byte = 0;  // of the recorded storage that is there: a multiple of 256
    int64_t end_byte = 0;
    bool used = false;
    bool cold = false;
    bool written = false;
    bool drawn = false;  // indices: each set has its own, so that it finds other rows
    bool on_cpu = false;
    int64_t bytes() const { return end_byte - first_byte; }
    bool own() const { return cold || written || drawn; }
  };
  struct Set {
    std::vector<at::Tensor> storages;  // as bytes
    Stack arguments;
  };

  template <class Visit>
  void for_each_spec(Visit visit) const;
  void plan(const TensorSpec& spec, size_t argument);
  void share_large_tables();
  void fill(const Set& set, bool (*wanted)(const StoragePlan&), RandomData& data) const;
  at::Tensor new_storage(const StoragePlan& plan) const;
  at::Tensor tensor(const TensorSpec& spec, const Set& set) const;
  Stack build(const Set& set) const;

  const Operator& op_;
  const OpSignature& signature_;
  NamedCall call_;
  c10::Device device_;
  bool has_tensors_ = false;
  bool writes_ = false;
  bool looks_up_ = false;
  int64_t places_ = 1;
  int64_t place_bytes_ = 0;         // of what sets share by turns, and outputs
  std::vector<StoragePlan> plans_;  // by the storage's number
  std::vector<Set> sets_;
  std::vector<at::Tensor> pristine_;  // of written storages, by number
};

// Empty: it can be called again. Else why not.
std::string why_not_materialized(const Operator& op, const OpSignature& signature);

}  // namespace nnprof

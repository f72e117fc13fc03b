// The contract between the rooms: what one recorded operator call looks like.
//
// A call is split in two. Its *signature* holds everything that decides what the call costs and how
// to call it again (operator, arguments, per tensor: sizes, strides, offset, dtype, role, aliasing,
// values of small real integers). Equal signatures are stored once. Its *record* holds what differs
// from call to call: scope, phase, state and which storages it touched. Neither holds a tensor.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/DimVector.h>

#include <complex>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/count.h"
#include "core/op_class.h"

namespace nnprof {

struct Rule;

enum class Role : uint8_t { activation, parameter, buffer, input, constant };
enum class Phase : uint8_t { forward, backward, optimizer };

struct TensorSpec {
  bool defined = false;
  bool wrapped_number = false;  // a Python number: decides no dtype, costs no bytes
  Role role = Role::activation;
  c10::ScalarType dtype = c10::ScalarType::Undefined;
  int32_t storage = -1;  // number of the storage within this call: equal numbers alias
  int64_t offset = 0;    // elements
  c10::DimVector sizes;
  c10::DimVector strides;
  std::vector<int64_t> values;  // of small real integers whose values decide what is touched
  int64_t kept = -1;  // of a mask whose values are known: the distinct elements that hide nothing

  int64_t dim() const { return static_cast<int64_t>(sizes.size()); }
  Count size(int64_t d) const { return sizes[d < 0 ? d + dim() : d]; }
  Count numel() const;
  // Elements that exist in memory: a dimension of stride 0 counts once.
  Count distinct_numel() const;
  bool is_contiguous() const;  // row-major, strides of dimensions of one element aside
  int64_t element_size() const { return static_cast<int64_t>(c10::elementSize(dtype)); }
  Count distinct_bytes() const { return distinct_numel() * element_size(); }
  bool is_floating() const { return c10::isFloatingType(dtype); }
  bool is_complex() const { return c10::isComplexType(dtype); }
};

struct Argument {
  enum class Kind : uint8_t {
    none,
    boolean,
    integer,
    floating,
    complex,
    string,
    integers,
    floatings,
    tensor,
    tensors,
    opaque,  // a generator, a stream, a script object: only that it was there
  };
  Kind kind = Kind::none;
  int64_t integer = 0;  // also boolean, dtype, layout, memory format
  std::complex<double> number;
  std::string string;
  std::vector<int64_t> integers;  // also lists of booleans
  std::vector<double> floatings;
  std::vector<TensorSpec> tensors;  // one for Kind::tensor

  bool is_none() const { return kind == Kind::none; }
};

// One unique call: decoded, so that costs, estimates and replay can read it.
struct OpSignature {
  std::string op;                     // "aten::add.Tensor"
  const Rule* rule = nullptr;         // null: priced generically
  OpClass op_class = OpClass::other;  // of the rule's family
  std::vector<Argument> arguments;
  size_t outs = 0;  // the last so many arguments are out=: written, never read
  std::vector<TensorSpec> outputs;

  // The arguments that are not out=.
  std::span<const Argument> inputs() const { return {arguments.data(), arguments.size() - outs}; }
  // The tensor in argument `index`; an undefined TensorSpec when it is None.
  const TensorSpec& tensor(size_t index) const;
  const std::vector<TensorSpec>& tensors(size_t index) const;
  bool has_tensor(size_t index) const { return tensor(index).defined; }
  int64_t integer(size_t index, int64_t if_none = 0) const;
  bool boolean(size_t index) const { return integer(index) != 0; }
  double floating(size_t index, double if_none = 0) const;
  const std::vector<int64_t>& integers(size_t index) const;
  const std::string& string(size_t index) const;
  bool is_none(size_t index) const { return arguments[index].is_none(); }
  const TensorSpec& output(size_t index = 0) const;
};

struct CallState {
  bool grad_enabled = false;
  bool inference_mode = false;
  bool autocast = false;
  bool deterministic = false;
};

struct OpRecord {
  uint32_t signature = 0;
  uint32_t scope = 0;
  Phase phase = Phase::forward;
  bool recomputed = false;  // by activation checkpointing, in the backward phase
  CallState state;
  uint32_t first_storage = 0;  // into Session::touched_storages; as many as the signature names
  uint32_t storage_count = 0;
  Count saved_bytes;  // of the tensors that autograd keeps for this call's backward
};

}  // namespace nnprof

// Signatures as words: written while an operator runs, hashed, stored once, decoded when asked for.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/ArrayRef.h>
#include <c10/util/SmallVector.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/record.h"

namespace nnprof {

using Words = c10::SmallVector<int64_t, 96>;

// Appends arguments to a signature. The reader below is its mirror.
class SignatureWriter {
 public:
  explicit SignatureWriter(Words& words) : words_(words) {}

  void begin(uint32_t op, size_t argument_count) {
    words_.clear();
    words_.push_back(static_cast<int64_t>(op));
    words_.push_back(static_cast<int64_t>(argument_count));
  }
  void none() { head(Argument::Kind::none); }
  void opaque() { head(Argument::Kind::opaque); }
  void boolean(bool value) { head(Argument::Kind::boolean, value); }
  void integer(int64_t value) {
    head(Argument::Kind::integer);
    words_.push_back(value);
  }
  void floating(double value);
  void complex(std::complex<double> value);
  void string(std::string_view value);
  void integers(c10::ArrayRef<int64_t> values) {
    head(Argument::Kind::integers, values.size());
    words_.append(values.begin(), values.end());
  }
  void floatings(c10::ArrayRef<double> values);
  void tensor_argument() { head(Argument::Kind::tensor, 1); }
  void tensors_argument(size_t count) { head(Argument::Kind::tensors, count); }
  void output_count(size_t count) { words_.push_back(static_cast<int64_t>(count)); }
  // One tensor of a tensor argument or one output.
  void undefined_tensor() { words_.push_back(0); }
  void tensor(c10::ScalarType dtype, Role role, bool wrapped_number, int32_t storage,
              int64_t offset, c10::IntArrayRef sizes, c10::IntArrayRef strides) {
    words_.push_back(1 | (static_cast<int64_t>(wrapped_number) << 1) |
                     (static_cast<int64_t>(dtype) << 8) | (static_cast<int64_t>(role) << 16) |
                     (static_cast<int64_t>(sizes.size()) << 24) |
                     (static_cast<int64_t>(storage + 1) << 32));
    words_.push_back(offset);
    words_.append(sizes.begin(), sizes.end());
    words_.append(strides.begin(), strides.end());
  }
  // Must follow `tensor`: zero values when they are not known or do not matter.
  void values(c10::ArrayRef<int64_t> values) {
    words_.push_back(static_cast<int64_t>(values.size()));
    words_.append(values.begin(), values.end());
  }
  // Instead of them, of a mask: how many elements hide nothing.
  void kept(int64_t elements) { words_.push_back(-1 - elements); }

 private:
  void head(Argument::Kind kind, int64_t payload = 0) {
    words_.push_back(static_cast<int64_t>(kind) | (payload << 8));
  }

  Words& words_;
};

// The op number and the decoded rest; `op` and `rule` are left to who knows the numbers.
uint32_t decode_signature(c10::ArrayRef<int64_t> words, OpSignature& signature);

class SignatureTable {
 public:
  SignatureTable();
  uint32_t intern(c10::ArrayRef<int64_t> words);
  size_t size() const { return starts_.size(); }
  c10::ArrayRef<int64_t> words(uint32_t signature) const;

 private:
  void grow();
  std::vector<int64_t> arena_;
  std::vector<size_t> starts_;
  std::vector<uint64_t> hashes_;
  std::vector<uint32_t> slots_;  // open addressing; signature + 1, 0 is free
};

}  // namespace nnprof

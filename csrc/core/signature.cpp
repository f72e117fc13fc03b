#include "core/signature.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace nnprof {
namespace {

uint64_t hash_words(c10::ArrayRef<int64_t> words) {
  uint64_t hash = 0x9e3779b97f4a7c15ULL ^ words.size();
  for (int64_t word : words) {
    const auto product =
        static_cast<unsigned __int128>(hash ^ static_cast<uint64_t>(word)) * 0xd6e8feb86659fd93ULL;
    hash = static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }
  return hash ^ (hash >> 29);
}

class SignatureReader {
 public:
  explicit SignatureReader(c10::ArrayRef<int64_t> words) : words_(words) {}

  int64_t next() { return words_[position_++]; }

  c10::ArrayRef<int64_t> words(size_t count) {
    position_ += count;
    return words_.slice(position_ - count, count);
  }

  std::vector<int64_t> list(size_t count) { return words(count).vec(); }

  void tensor(TensorSpec& spec) {
    const int64_t head = next();
    if (head == 0) return;
    spec.defined = true;
    spec.wrapped_number = (head >> 1) & 1;
    spec.dtype = static_cast<c10::ScalarType>((head >> 8) & 0xff);
    spec.role = static_cast<Role>((head >> 16) & 0xff);
    const size_t dim = (head >> 24) & 0xff;
    spec.storage = static_cast<int32_t>(head >> 32) - 1;
    spec.offset = next();
    const auto sizes = words(dim);
    spec.sizes.assign(sizes.begin(), sizes.end());
    const auto strides = words(dim);
    spec.strides.assign(strides.begin(), strides.end());
    const int64_t count = next();
    if (count < 0) {
      spec.kept = -1 - count;
      return;
    }
    const auto values = words(static_cast<size_t>(count));
    spec.values.assign(values.begin(), values.end());
  }

  void argument(Argument& argument) {
    const int64_t head = next();
    argument.kind = static_cast<Argument::Kind>(head & 0xff);
    const auto payload = static_cast<size_t>(head >> 8);
    switch (argument.kind) {
      case Argument::Kind::none:
      case Argument::Kind::opaque:
        break;
      case Argument::Kind::boolean:
        argument.integer = static_cast<int64_t>(payload);
        break;
      case Argument::Kind::integer:
        argument.integer = next();
        break;
      case Argument::Kind::floating:
        argument.number = std::bit_cast<double>(next());
        break;
      case Argument::Kind::complex: {
        const auto real = std::bit_cast<double>(next());
        argument.number = {real, std::bit_cast<double>(next())};
        break;
      }
      case Argument::Kind::string: {
        const auto packed = list((payload + 7) / 8);
        argument.string.resize(payload);
        std::memcpy(argument.string.data(), packed.data(), payload);
        break;
      }
      case Argument::Kind::integers:
        argument.integers = list(payload);
        break;
      case Argument::Kind::floatings:
        for (int64_t word : list(payload))
          argument.floatings.push_back(std::bit_cast<double>(word));
        break;
      case Argument::Kind::tensor:
      case Argument::Kind::tensors:
        argument.tensors.resize(payload);
        for (TensorSpec& spec : argument.tensors) tensor(spec);
        break;
    }
  }

 private:
  c10::ArrayRef<int64_t> words_;
  size_t position_ = 0;
};

}  // namespace

void SignatureWriter::floating(double value) {
  head(Argument::Kind::floating);
  words_.push_back(std::bit_cast<int64_t>(value));
}

void SignatureWriter::complex(std::complex<double> value) {
  head(Argument::Kind::complex);
  words_.push_back(std::bit_cast<int64_t>(value.real()));
  words_.push_back(std::bit_cast<int64_t>(value.imag()));
}

void SignatureWriter::string(std::string_view value) {
  head(Argument::Kind::string, static_cast<int64_t>(value.size()));
  const size_t start = words_.size();
  words_.resize(start + (value.size() + 7) / 8, 0);
  std::memcpy(words_.data() + start, value.data(), value.size());
}

void SignatureWriter::floatings(c10::ArrayRef<double> values) {
  head(Argument::Kind::floatings, static_cast<int64_t>(values.size()));
  for (double value : values) words_.push_back(std::bit_cast<int64_t>(value));
}

uint32_t decode_signature(c10::ArrayRef<int64_t> words, OpSignature& signature) {
  SignatureReader reader(words);
  const auto op = static_cast<uint32_t>(reader.next());
  const auto arguments = static_cast<size_t>(reader.next());
  signature.arguments.resize(arguments);
  for (Argument& argument : signature.arguments) reader.argument(argument);
  signature.outputs.resize(static_cast<size_t>(reader.next()));
  for (TensorSpec& output : signature.outputs) reader.tensor(output);
  return op;
}

SignatureTable::SignatureTable() : slots_(256, 0) {}

c10::ArrayRef<int64_t> SignatureTable::words(uint32_t signature) const {
  const size_t end = signature + 1 < starts_.size() ? starts_[signature + 1] : arena_.size();
  return {arena_.data() + starts_[signature], end - starts_[signature]};
}

uint32_t SignatureTable::intern(c10::ArrayRef<int64_t> words) {
  const uint64_t hash = hash_words(words);
  const size_t mask = slots_.size() - 1;
  size_t slot = hash & mask;
  for (; slots_[slot] != 0; slot = (slot + 1) & mask) {
    const uint32_t candidate = slots_[slot] - 1;
    if (hashes_[candidate] == hash && this->words(candidate) == words) return candidate;
  }
  const auto signature = static_cast<uint32_t>(starts_.size());
  starts_.push_back(arena_.size());
  arena_.insert(arena_.end(), words.begin(), words.end());
  hashes_.push_back(hash);
  slots_[slot] = signature + 1;
  if (starts_.size() * 2 > slots_.size()) grow();
  return signature;
}

void SignatureTable::grow() {
  slots_.assign(slots_.size() * 2, 0);
  const size_t mask = slots_.size() - 1;
  for (size_t signature = 0; signature < hashes_.size(); ++signature) {
    size_t slot = hashes_[signature] & mask;
    while (slots_[slot] != 0) slot = (slot + 1) & mask;
    slots_[slot] = static_cast<uint32_t>(signature) + 1;
  }
}

}  // namespace nnprof

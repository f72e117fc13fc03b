#include "replay/random_data.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstring>

namespace nnprof {
namespace {

// A prime: no row or column of a tensor repeats at once.
constexpr int64_t kPoolElements = 1'048'573;

at::Tensor places(int64_t count, c10::Device device) {
  return at::arange(count, at::TensorOptions().dtype(at::kLong).device(device));
}

// Element i of a tensor as a function of i.
at::Tensor by_place(const Fill& fill, const at::Tensor& tensor) {
  const at::Tensor place = places(tensor.numel(), tensor.device());
  const int64_t row = tensor.dim() == 0 ? 1 : std::max<int64_t>(tensor.size(-1), 1);
  const int64_t range = fill.high - fill.low;
  switch (fill.data) {
    case Data::ascending:
      return (place.remainder(row) * range)
          .floor_divide(std::max<int64_t>(row - 1, 1))
          .add(fill.low);
    case Data::ends:
      return ((place.remainder(row) + 1) * range).floor_divide(row).add(fill.low);
    case Data::cycle:
      return place.remainder(std::max<int64_t>(range, 1)).add(fill.low);
    case Data::packed: {
      // Each step takes one row at least; as many as can be are full, and the next takes the rest.
      const int64_t spare = std::max<int64_t>(fill.high - tensor.numel(), 0);
      const int64_t above_one = std::max<int64_t>(fill.low - 1, 1);
      return place.mul(-above_one).add(spare).clamp(0, fill.low - 1).add(1);
    }
    case Data::first_true:
      return place.lt(fill.high);
    case Data::boxes: {
      const at::Tensor left = places(tensor.numel() / 4, tensor.device()) * 2;
      const at::Tensor zero = left * 0;
      return at::stack({left, zero, left + 1, zero + 1}, 1);
    }
    case Data::regions: {
      const at::Tensor region = places(tensor.numel() / 5, tensor.device());
      const at::Tensor start = region.remainder(7).to(at::kDouble) * (fill.scale / 14);
      const at::Tensor side = region.remainder(5).to(at::kDouble) * (fill.scale / 20);
      const at::Tensor end = start + side + fill.scale / 4;
      const at::Tensor image = region.remainder(std::max<int64_t>(fill.high, 1));
      return at::stack({image.to(at::kDouble), start, start, end, end}, 1);
    }
    default:
      return (place * 0).add(fill.low);
  }
}

// Each element of memory once: a dimension that is expanded is of one element.
at::Tensor without_expansion(const at::Tensor& tensor) {
  at::Tensor result = tensor;
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    if (tensor.stride(d) == 0 && tensor.size(d) > 1) result = result.narrow(d, 0, 1);
  }
  return result;
}

// `pattern` over and over: each copy doubles what there is.
void tile(const at::Tensor& elements, const at::Tensor& pattern) {
  const int64_t count = elements.numel();
  int64_t filled = std::min(count, pattern.numel());
  copy_bytes(elements.narrow(0, 0, filled), pattern.narrow(0, 0, filled));
  while (filled < count) {
    const int64_t more = std::min(filled, count - filled);
    copy_bytes(elements.narrow(0, filled, more), elements.narrow(0, 0, more));
    filled += more;
  }
}

bool is_drawn(Data data) { return data <= Data::coins || data == Data::well_posed; }

}  // namespace

at::Tensor RandomData::drawn(const Fill& fill, c10::ScalarType dtype, c10::Device device,
                             int64_t count) {
  const auto type = c10::isComplexType(dtype) ? at::kComplexFloat : at::kFloat;
  at::Tensor pool = at::empty({count}, at::TensorOptions().dtype(type).device(device));
  switch (fill.data) {
    case Data::positive:
      return pool.uniform_(0.5, 1.5).to(dtype);
    case Data::unit:
      return pool.uniform_(0, 1).to(dtype);
    case Data::coins:
      return pool.bernoulli_(0.5).to(dtype);
    case Data::integers:
      return pool.to(at::kLong).random_(fill.low, fill.high).to(dtype);
    default:
      return pool.normal_().to(dtype);
  }
}

void RandomData::fill(const at::Tensor& elements, const at::Tensor& tensor, const Fill& fill) {
  if (elements.numel() == 0) return;
  if (!is_drawn(fill.data)) {
    const at::Tensor target = without_expansion(tensor);
    if (target.numel() == 0) return;
    target.copy_(by_place(fill, target).reshape(target.sizes()));
    return;
  }
  const auto dtype = elements.scalar_type();
  if (fill.data == Data::integers) {  // their range is that of the argument: none are kept
    const int64_t count = std::min(kPoolElements, elements.numel());
    return tile(elements, drawn(fill, dtype, elements.device(), count));
  }
  at::Tensor& kept = pools_[{fill.data, dtype}];
  if (!kept.defined() || kept.device() != elements.device()) {
    kept = drawn(fill, dtype, elements.device(), kPoolElements);
  }
  at::Tensor pool = kept;
  // Small tensors get different numbers each.
  const int64_t room = std::max<int64_t>(kPoolElements - elements.numel(), 1);
  position_ = (position_ + 7919) % room;
  pool = pool.narrow(0, position_ % room, std::min(elements.numel(), kPoolElements - position_));
  if (fill.scale != 1) pool = pool.to(at::kFloat).mul(fill.scale).to(dtype);
  tile(elements, pool);
  if (fill.data == Data::well_posed && tensor.dim() >= 2) {
    tensor.diagonal(0, -2, -1).add_(tensor.size(-1));
  }
}

void copy_bytes(const at::Tensor& to, const at::Tensor& from) {
  if (!to.is_cpu() || !from.is_cpu()) {
    to.copy_(from);
    return;
  }
  std::memcpy(to.mutable_data_ptr(), from.const_data_ptr(), static_cast<size_t>(to.nbytes()));
}

void fill_with(const at::Tensor& tensor, const std::vector<int64_t>& values) {
  const at::Tensor known = at::tensor(values, at::TensorOptions().dtype(at::kLong));
  const at::Tensor target = without_expansion(tensor);
  if (target.numel() == known.numel()) target.copy_(known.reshape(target.sizes()));
}

}  // namespace nnprof

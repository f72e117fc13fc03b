#include "dispatch/quantized_tensors.h"

#include <ATen/core/class_type.h>
#include <ATen/core/function.h>
#include <ATen/core/ivalue_inl.h>
#include <ATen/core/jit_type.h>
#include <ATen/quantized/QTensorImpl.h>
#include <ATen/quantized/Quantizer.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>

#include "dispatch/key.h"

namespace nnprof {
namespace {

at::Tensor with_quantizer(const at::Tensor& plain, at::QuantizerPtr quantizer) {
  const auto key =
      plain.is_meta() ? c10::DispatchKey::QuantizedMeta : c10::DispatchKey::QuantizedCPU;
  auto made = at::detail::make_tensor<at::QTensorImpl>(
      c10::Storage(plain.storage()), c10::DispatchKeySet(key), plain.dtype(), std::move(quantizer));
  made.unsafeGetTensorImpl()->set_sizes_and_strides(plain.sizes(), plain.strides(),
                                                    plain.storage_offset());
  return made;
}

c10::IValue state_of(const c10::IValue& object) {
  torch::jit::Function* get_state = object.toObjectRef().type()->findMethod("__getstate__");
  if (get_state == nullptr) return {};
  std::vector<c10::IValue> stack = {object};
  get_state->run(stack);
  return stack.back();
}

void collect(const c10::IValue& value, std::vector<at::Tensor>& found) {
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    const bool again = std::any_of(found.begin(), found.end(), [&](const at::Tensor& other) {
      return tensor.defined() && other.has_storage() && tensor.has_storage() &&
             other.storage().is_alias_of(tensor.storage());
    });
    if (tensor.defined() && !again) found.push_back(tensor);
  } else if (value.isTuple()) {
    for (const c10::IValue& item : value.toTupleRef().elements()) collect(item, found);
  } else if (value.isList()) {
    for (const c10::IValue& item : value.toListRef()) collect(item, found);
  } else if (value.isObject()) {
    collect(state_of(value), found);
  }
}

}  // namespace

at::Tensor quantized(const at::Tensor& plain, const AskedScale& asked, const at::Tensor& like) {
  const c10::ScalarType dtype = plain.scalar_type();
  if (asked.of_channels) {
    return with_quantizer(
        plain, c10::make_intrusive<at::PerChannelAffineQuantizer>(
                   dtype, asked.of_channels->first, asked.of_channels->second, asked.axis));
  }
  if (!asked.one && like.defined()) {
    at::QuantizerPtr quantizer = at::get_qtensorimpl(like)->quantizer();
    if (quantizer->scalar_type() == dtype) return with_quantizer(plain, std::move(quantizer));
  }
  const auto [scale, zero_point] = asked.one.value_or(std::pair(1.0, int64_t{0}));
  return with_quantizer(plain, at::make_per_tensor_affine_quantizer(scale, zero_point, dtype));
}

at::Tensor quantized_like(const at::Tensor& plain, const at::Tensor& like) {
  return quantized(plain, {}, like);
}

int64_t bytes_of_scales(const at::Tensor& quantized) {
  const at::QuantizerPtr quantizer = at::get_qtensorimpl(quantized)->quantizer();
  if (quantizer->qscheme() == at::kPerTensorAffine) return 0;
  const auto* each = dynamic_cast<at::PerChannelAffineQuantizer*>(quantizer.get());
  if (each == nullptr) return 0;
  return static_cast<int64_t>(each->scales().nbytes() + each->zero_points().nbytes());
}

std::vector<at::Tensor> tensors_in_state(const c10::IValue& object) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  std::vector<at::Tensor> found;
  collect(object, found);
  return found;
}

}  // namespace nnprof

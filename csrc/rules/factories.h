// What factories of fixed and of random values share.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "core/cost.h"
#include "core/record.h"

namespace nnprof {

// The optional arguments of a factory, in the order of every schema. The device is not heeded.
using DtypeOption = std::optional<c10::ScalarType>;
using LayoutOption = std::optional<c10::Layout>;
using DeviceOption = std::optional<c10::Device>;
using PinOption = std::optional<bool>;
using FormatOption = std::optional<c10::MemoryFormat>;

c10::ScalarType default_dtype();

at::Tensor new_tensor(at::IntArrayRef sizes, c10::ScalarType dtype, LayoutOption layout,
                      FormatOption format = {});
at::Tensor new_tensor_like(const at::Tensor& self, DtypeOption dtype, LayoutOption layout,
                           FormatOption format);

// `mix` per output element; inputs only lend their sizes.
void writes_output(const OpSignature& op, Cost& cost);

}  // namespace nnprof

#include "core/collectives.h"

#include <algorithm>
#include <array>

namespace nnprof {
namespace {

constexpr std::array<std::string_view, 5> kNamespaces = {
    "c10d::", "_c10d_functional::", "_c10d_functional_autograd::", "c10d_functional::",
    "symm_mem::"};
constexpr std::array<std::string_view, 2> kWithin = {"::wait_tensor", "::_wrap_tensor_autograd"};

}  // namespace

bool is_collective(std::string_view op) {
  const bool talks = std::any_of(kNamespaces.begin(), kNamespaces.end(),
                                 [&](std::string_view name) { return op.starts_with(name); });
  return talks && std::none_of(kWithin.begin(), kWithin.end(),
                               [&](std::string_view name) { return op.ends_with(name); });
}

// It is the last of the strings, the one before says how to reduce.
const std::string& group_of(const OpSignature& signature) {
  static const std::string none;
  const auto last = std::find_if(
      signature.arguments.rbegin(), signature.arguments.rend(),
      [](const Argument& argument) { return argument.kind == Argument::Kind::string; });
  return last == signature.arguments.rend() ? none : last->string;
}

}  // namespace nnprof

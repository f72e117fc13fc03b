#include <string_view>

#include "bindings/bindings.h"
#include "dispatch/trace.h"

namespace {
// nnprof/_build.py finds this in the file before it dares to load it.
constexpr std::string_view kBuiltAgainstMark = "nnprof-built-against-torch:";
[[gnu::used]] const char kBuiltAgainst[] = "nnprof-built-against-torch:" NNPROF_TORCH_VERSION;
}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "nnprof's compiled core. Use the nnprof package; nothing here is public.";
  m.attr("version") = NNPROF_VERSION;
  m.attr("torch_version") = &kBuiltAgainst[kBuiltAgainstMark.size()];
  nnprof::bind_errors(m);
  nnprof::bind_allocator(m);
  nnprof::bind_estimate(m);
  nnprof::bind_replay(m);
  nnprof::bind_results(m);
  nnprof::bind_rules(m);
  nnprof::bind_scopes(m);
  nnprof::bind_shown_devices(m);
  nnprof::bind_function_caches(m);
  nnprof::bind_function_codes(m);
  nnprof::bind_tensor_slots(m);
  nnprof::bind_stored_forms(m);
  nnprof::bind_trace(m);
  nnprof::install_interceptor();
}

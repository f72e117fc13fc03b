// The scopes of a session told as layers, and what their modules hold.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/session.h"

namespace nnprof {

// Scopes as a reader wants them, parents first; and the place of each scope in that order.
struct LayerOrder {
  explicit LayerOrder(const Session& session);

  std::vector<uint32_t> scopes;
  std::vector<int32_t> row_of;
};

// How many scopes stand around one.
int64_t depth_of(const Session& session, uint32_t scope);

// The modules of a session as a tree: the numbers of each one's children. Shared ones stand at
// several places.
using ModuleChildren = std::vector<std::vector<int32_t>>;

// Parameter elements of a module alone, and of all in it: each parameter once.
Count own_parameter_elements(const Session& session, int32_t module);
Count parameter_elements(const Session& session, const ModuleChildren& children, int32_t module);
Count all_parameter_elements(const Session& session);

// Paths of the modules that no call entered, whose parameters no operator used and that hold no
// called module: the topmost of each such branch. `parameter_storages`: of each parameter, -1 where
// no operator saw it.
std::vector<std::string> never_called(const Session& session, const ModuleChildren& children,
                                      const std::vector<int64_t>& parameter_storages);

}  // namespace nnprof

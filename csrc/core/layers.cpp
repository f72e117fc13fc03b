#include "core/layers.h"

#include <set>

namespace nnprof {
namespace {

void collect_parameters(const Session& session, const ModuleChildren& children, int32_t module,
                        std::set<uint32_t>& parameters) {
  const auto index = static_cast<size_t>(module);
  const auto& own = session.modules[index].parameters;
  parameters.insert(own.begin(), own.end());
  for (int32_t child : children[index]) collect_parameters(session, children, child, parameters);
}

Count elements(const Session& session, const std::set<uint32_t>& parameters) {
  Count count;
  for (uint32_t parameter : parameters) count += session.parameters[parameter].numel;
  return count;
}

}  // namespace

LayerOrder::LayerOrder(const Session& session) : row_of(session.scopes().size()) {
  std::vector<std::vector<uint32_t>> children(row_of.size());
  for (uint32_t i = 1; i < row_of.size(); ++i) {
    children[static_cast<size_t>(session.scopes()[i].parent)].push_back(i);
  }
  std::vector<uint32_t> pending = {0};
  while (!pending.empty()) {
    const uint32_t next = pending.back();
    pending.pop_back();
    row_of[next] = static_cast<int32_t>(scopes.size());
    scopes.push_back(next);
    pending.insert(pending.end(), children[next].rbegin(), children[next].rend());
  }
}

int64_t depth_of(const Session& session, uint32_t scope) {
  int64_t depth = 0;
  int32_t up = session.scopes()[scope].parent;
  for (; up >= 0; up = session.scopes()[static_cast<size_t>(up)].parent) ++depth;
  return depth;
}

Count own_parameter_elements(const Session& session, int32_t module) {
  const auto& own = session.modules[static_cast<size_t>(module)].parameters;
  return elements(session, {own.begin(), own.end()});
}

Count parameter_elements(const Session& session, const ModuleChildren& children, int32_t module) {
  std::set<uint32_t> all;
  collect_parameters(session, children, module, all);
  return elements(session, all);
}

Count all_parameter_elements(const Session& session) {
  Count count;
  for (const auto& parameter : session.parameters) count += parameter.numel;
  return count;
}

std::vector<std::string> never_called(const Session& session, const ModuleChildren& children,
                                      const std::vector<int64_t>& parameter_storages) {
  std::vector<bool> alive(session.modules.size(), false);
  for (const Scope& scope : session.scopes()) {
    if (scope.module >= 0) alive[static_cast<size_t>(scope.module)] = true;
  }
  std::vector<bool> used(session.storages().size(), false);
  for (uint32_t storage : session.touched_storages()) used[storage] = true;
  for (size_t i = 0; i < alive.size(); ++i) {
    for (uint32_t parameter : session.modules[i].parameters) {
      const int64_t storage = parameter_storages[parameter];
      if (storage >= 0 && used[static_cast<size_t>(storage)]) alive[i] = true;
    }
  }
  // Children are numbered after their parents, shared ones aside, which are alive through either.
  for (size_t i = alive.size(); i-- > 0;) {
    for (int32_t child : children[i]) alive[i] = alive[i] || alive[static_cast<size_t>(child)];
  }
  std::vector<std::string> paths;
  std::vector<bool> listed(alive.size(), false);
  for (size_t i = 0; i < alive.size(); ++i) {
    if (alive[i]) continue;
    if (!listed[i]) paths.push_back(session.module_path(static_cast<int32_t>(i)));
    for (int32_t child : children[i]) listed[static_cast<size_t>(child)] = true;
  }
  return paths;
}

}  // namespace nnprof

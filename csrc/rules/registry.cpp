#include "rules/registry.h"

#include <c10/util/Exception.h>

#include <set>
#include <string>
#include <unordered_map>

#include "rules/families.h"

namespace nnprof {
namespace {

using Index = std::unordered_multimap<std::string_view, RuleEntry>;

std::string_view function_name(std::string_view op) { return op.substr(0, op.find('.')); }

Index build_index(std::string_view (*key)(const Rule&)) {
  Index index;
  std::set<std::string_view> schemas;
  for (const RuleFamily& family : rule_families()) {
    for (const Rule& rule : family.rules) {
      TORCH_INTERNAL_ASSERT(schemas.insert(rule.schema).second, "two rules for ", rule.schema);
      index.emplace(key(rule), RuleEntry{&rule, &family});
    }
  }
  return index;
}

std::vector<RuleEntry> entries(const Index& index, std::string_view key) {
  std::vector<RuleEntry> found;
  const auto [begin, end] = index.equal_range(key);
  for (auto it = begin; it != end; ++it) found.push_back(it->second);
  return found;
}

}  // namespace

std::string_view operator_name(const Rule& rule) {
  const std::string_view schema = rule.schema;
  return schema.substr(0, schema.find('('));
}

std::vector<RuleEntry> rules_named(std::string_view op) {
  static const Index index = build_index(&operator_name);
  return entries(index, op);
}

std::vector<RuleEntry> rules_of_function(std::string_view function) {
  static const Index index =
      build_index([](const Rule& rule) { return function_name(operator_name(rule)); });
  return entries(index, function);
}

}  // namespace nnprof

#include "rules/price.h"

#include <c10/util/SmallVector.h>

#include <algorithm>
#include <mutex>
#include <numeric>
#include <unordered_map>

#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

std::mutex custom_costs_mutex;

std::unordered_map<std::string, CustomCost>& custom_costs() {
  static std::unordered_map<std::string, CustomCost> costs;
  return costs;
}

CustomCost custom_cost(const std::string& op) {
  const std::lock_guard<std::mutex> lock(custom_costs_mutex);
  const auto found = custom_costs().find(op);
  return found == custom_costs().end() ? CustomCost() : found->second;
}

bool same_region(const TensorSpec& a, const TensorSpec& b) {
  return a.storage == b.storage && a.offset == b.offset && a.sizes == b.sizes &&
         a.strides == b.strides && a.dtype == b.dtype;
}

bool moves(const TensorSpec& t) { return t.defined && !t.wrapped_number; }

size_t count_tensors(const OpSignature& op) {
  return std::accumulate(
      op.arguments.begin(), op.arguments.end(), op.outputs.size(),
      [](size_t sum, const Argument& argument) { return sum + argument.tensors.size(); });
}

}  // namespace

void add_traffic(const OpSignature& op, Cost& cost) {
  std::vector<c10::SmallVector<const TensorSpec*, 1>> read_of;  // by storage
  read_of.reserve(count_tensors(op));
  const bool writes_only = op.rule != nullptr && op.rule->has(kWritesOnly);
  for (const Argument& argument : op.inputs().subspan(writes_only ? 1 : 0)) {
    for (const TensorSpec& input : argument.tensors) {
      if (!moves(input)) continue;
      const auto storage = static_cast<size_t>(input.storage + 1);
      if (read_of.size() <= storage) read_of.resize(storage + 1);
      auto& read = read_of[storage];
      const bool again = std::any_of(read.begin(), read.end(), [&](const TensorSpec* other) {
        return same_region(*other, input);
      });
      if (again) continue;
      read.push_back(&input);
      cost.bytes_read += input.distinct_bytes();
    }
  }
  for (const TensorSpec& output : op.outputs) {
    if (moves(output)) cost.bytes_written += output.distinct_bytes();
  }
}

namespace {

bool aliases_input(const OpSignature& op, const TensorSpec& output) {
  for (const Argument& argument : op.arguments) {
    for (const TensorSpec& input : argument.tensors) {
      if (input.defined && same_region(input, output)) return true;
    }
  }
  return false;
}

void price_generic(const OpSignature& op, GenericClass generic, Cost& cost) {
  if (generic == GenericClass::pointwise && !op.outputs.empty()) {
    add_elementwise(op, cost, {.add = 1}, op.output().numel());
  }
  if (generic == GenericClass::reduction && !op.arguments.empty()) {
    add_elementwise(op, cost, {.add = 1}, op.tensor(0).numel());
  }
}

}  // namespace

Cost price(const OpSignature& op, GenericClass generic, const CustomCost& formula) {
  Cost cost;
  if (const CustomCost custom = custom_cost(op.op)) {
    add_traffic(op, cost);
    custom(op, cost);
    return cost;
  }
  if (op.rule == nullptr) {
    if (generic == GenericClass::view) return cost;
    add_traffic(op, cost);
    if (formula) {
      formula(op, cost);
    } else {
      price_generic(op, generic, cost);
    }
    return cost;
  }
  if (op.rule->has(kView)) return cost;
  const bool untouched = op.rule->has(kReturnsInput) && !op.outputs.empty() &&
                         std::all_of(op.outputs.begin(), op.outputs.end(),
                                     [&](const TensorSpec& o) { return aliases_input(op, o); });
  if (untouched) return cost;
  add_traffic(op, cost);
  if (op.rule->cost != nullptr) op.rule->cost(op, cost);
  return cost;
}

void register_custom_cost(const std::string& op, CustomCost cost) {
  const std::lock_guard<std::mutex> lock(custom_costs_mutex);
  if (cost) {
    custom_costs()[op] = std::move(cost);
  } else {
    custom_costs().erase(op);
  }
}

bool has_custom_cost(const std::string& op) {
  const std::lock_guard<std::mutex> lock(custom_costs_mutex);
  return custom_costs().count(op) != 0;
}

}  // namespace nnprof

#include "dispatch/backward_task.h"

#include <ATen/EmptyTensor.h>
#include <ATen/record_function.h>
#include <c10/core/AutogradState.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/flat_hash_map.h>
#include <torch/csrc/autograd/anomaly_mode.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/input_buffer.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <queue>
#include <string_view>
#include <typeinfo>

#include "dispatch/meta_detours.h"
#include "dispatch/node_compat.h"

namespace nnprof {
namespace {

using torch::autograd::Edge;
using torch::autograd::edge_list;
using torch::autograd::InputBuffer;
using torch::autograd::Node;
using torch::autograd::variable_list;
using NodePointer = decltype(Edge::function);

constexpr c10::DispatchKeySet kWrapped({c10::DispatchKey::Python, c10::DispatchKey::Functionalize,
                                        c10::DispatchKey::FuncTorchBatched,
                                        c10::DispatchKey::FuncTorchGradWrapper});

// A function and the gradients that have reached it.
struct Task {
  NodePointer node;
  variable_list gradients;
};

// As the engine's queue: what was made last comes first, and leaves before all else.
struct ComesLater {
  bool operator()(const Task& a, const Task& b) const {
    return a.node->sequence_nr() < b.node->sequence_nr();
  }
};

// What a function still waits for.
struct Waiting {
  uint32_t edges = 0;
  variable_list gradients = {};
};
using Graph = ska::flat_hash_map<Node*, Waiting>;

bool has_hooks(Node& node) {
  return !node.tensor_pre_hooks().empty() || !node.retains_grad_hooks().empty() ||
         !node.pre_hooks().empty() || !node.post_hooks().empty() ||
         node.tensor_post_acc_grad_hooks() != nullptr;
}

// torch::autograd::PyNode, whose type libtorch_python does not export.
bool is_written_in_python(const Node& node) {
  static const std::string_view name = "N5torch8autograd6PyNodeE";
  return typeid(node).name() == name;
}

// Functions of other devices run in threads of theirs.
bool can_be_inside(Node& node) {
  const c10::Device device = node.device();
  return (device.is_cpu() || device.is_meta()) && !has_hooks(node) && !is_written_in_python(node);
}

// Every function that the roots lead to, with how many edges lead to it; none where the engine
// itself has to run one of them.
std::optional<Graph> graph_of(const edge_list& roots) {
  Graph graph;
  std::vector<Node*> found;
  const auto follow = [&](const edge_list& edges) {
    for (const Edge& edge : edges) {
      if (edge.is_valid() && ++graph[edge.function.get()].edges == 1) {
        found.push_back(edge.function.get());
      }
    }
  };
  follow(roots);
  while (!found.empty()) {
    Node* node = found.back();
    found.pop_back();
    if (!can_be_inside(*node)) return std::nullopt;
    follow(node->next_edges());
  }
  return graph;
}

// What a function may leave otherwise in its thread.
class ThreadState {
 public:
  void put_back() const {
    c10::AutogradState::set_tls_state(autograd_);
    c10::impl::_force_tls_local_dispatch_key_set(keys_);
  }

 private:
  const c10::AutogradState autograd_ = c10::AutogradState::get_tls_state();
  const c10::impl::LocalDispatchKeySet keys_ = c10::impl::tls_local_dispatch_key_set();
};

struct BackwardTask final : Node {
  BackwardTask() : Node(/*sequence_nr=*/UINT64_MAX) {}  // it takes no number of the program's

  variable_list apply(variable_list&& /*gradients*/) override;
  std::string name() const override { return "BackwardTask"; }

  edge_list roots;
  variable_list root_gradients;
  Graph graph;
  bool keep_graph = false;
  const Node* running = nullptr;

 private:
  void run(Task& task);
  void hand_on(const Edge& edge, at::Tensor&& gradient);

  std::priority_queue<Task, std::vector<Task>, ComesLater> ready_;
};

variable_list BackwardTask::apply(variable_list&& /*gradients*/) {
  torch::autograd::validate_outputs(roots, root_gradients,
                                    [](const std::string& message) { return message; });
  for (size_t i = 0; i < roots.size(); ++i) hand_on(roots[i], std::move(root_gradients[i]));
  const ThreadState state;
  while (!ready_.empty()) {
    // The queue orders what is left of it after this.
    Task task = std::move(const_cast<Task&>(ready_.top()));
    ready_.pop();
    running = task.node.get();
    run(task);
    state.put_back();
  }
  running = nullptr;
  return {};
}

// torch/csrc/autograd/engine.cpp, call_function.
variable_list outputs_of(Node& node, variable_list inputs) {
  variable_list outputs = node(std::move(inputs));
  torch::autograd::validate_outputs(node.next_edges(), outputs, [&](const std::string& message) {
    return "Function " + node.name() + " returned an " + message;
  });
  return outputs;
}

// The same, Engine::evaluate_function.
void BackwardTask::run(Task& task) {
  Node& node = *task.node;
  if (!keep_graph) node.will_release_variables();
  variable_list outputs = outputs_of(node, std::move(task.gradients));
  if (!keep_graph) node.release_variables();
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (node.next_edge(i).is_valid()) hand_on(node.next_edge(i), std::move(outputs[i]));
  }
}

at::Tensor sum_of(at::Tensor&& sum, at::Tensor&& gradient, Node& node) {
  if (adds_in_place(sum, gradient)) {
    sum.add_(gradient);
    return std::move(sum);
  }
  InputBuffer buffer(variable_list(1));
  buffer.buffer[0] = std::move(sum);
  buffer.add(0, std::move(gradient), /*opt_producer_stream=*/std::nullopt,
             /*opt_consumer_stream=*/std::nullopt, &node);
  return std::move(buffer.buffer[0]);
}

void BackwardTask::hand_on(const Edge& edge, at::Tensor&& gradient) {
  Waiting& waiting = graph.find(edge.function.get())->second;
  variable_list& gradients = waiting.gradients;
  if (gradients.empty()) gradients.resize(edge.function->num_inputs());
  at::Tensor& sum = gradients[edge.input_nr];
  if (!sum.defined()) {
    sum = std::move(gradient);
  } else if (gradient.defined()) {
    sum = sum_of(std::move(sum), std::move(gradient), *edge.function);
  }
  if (--waiting.edges == 0) ready_.push({edge.function, std::move(gradients)});
}

bool is_plain(const at::Tensor& tensor) {
  return tensor.defined() && tensor.is_meta() && !tensor.key_set().has_any(kWrapped);
}

}  // namespace

std::optional<std::pair<at::Tensor, at::Tensor>> as_one_task(
    const std::vector<at::Tensor>& roots, const std::vector<at::Tensor>& gradients,
    bool keep_graph) {
  if (torch::autograd::AnomalyMode::is_enabled() || at::hasCallbacks()) return std::nullopt;
  edge_list edges;
  for (size_t i = 0; i < roots.size(); ++i) {
    if (!is_plain(roots[i]) || !is_plain(gradients[i]) || !roots[i].requires_grad()) {
      return std::nullopt;
    }
    edges.push_back(torch::autograd::impl::gradient_edge(roots[i]));
  }
  std::optional<Graph> graph = graph_of(edges);
  if (!graph) return std::nullopt;
  auto task = make_node<BackwardTask>();
  task->roots = std::move(edges);
  task->root_gradients = gradients;
  task->graph = std::move(*graph);
  task->keep_graph = keep_graph;
  at::Tensor root(at::detail::empty_meta({}, at::kFloat));
  torch::autograd::set_history(root, task);
  return std::pair(root, at::Tensor(at::detail::empty_meta({}, at::kFloat)));
}

const Node* running_inside(const Node& node) {
  return typeid(node) == typeid(BackwardTask) ? static_cast<const BackwardTask&>(node).running
                                              : nullptr;
}

}  // namespace nnprof

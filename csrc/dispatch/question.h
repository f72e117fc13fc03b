// What the program asks of values that nobody knows, and who answers.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace nnprof {

struct Question {
  std::string path;            // of the module that asks
  int64_t number = 1;          // among the questions of that module
  std::string operation;       // that made what is asked for: "aten::gt"; empty where nobody knows
  std::vector<int64_t> shape;  // of what it was made from
  std::string dtype;           // of what is asked for
  std::string text;            // "aten::gt of an activation (4, 8) with 3"
};

struct CallersAnswer {
  std::optional<double> value;  // nothing: the caller does not say
  std::string place;            // where the program asks: "model.py:12"; empty where nobody knows
};

// The caller of the trace is asked first. The bindings say how.
using AskCaller = std::function<CallersAnswer(const Question&)>;

}  // namespace nnprof

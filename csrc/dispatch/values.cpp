#include "dispatch/values.h"

#include <ATen/EmptyTensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/full.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <atomic>
#include <sstream>

#include "core/errors.h"
#include "dispatch/key.h"
#include "dispatch/provenance.h"
#include "dispatch/stack_walk.h"

// Of the OpenMP that PyTorch is linked with, if it is. For the calling thread alone, unlike
// at::set_num_threads.
extern "C" {
__attribute__((weak)) int omp_get_max_threads();
__attribute__((weak)) void omp_set_num_threads(int threads);
}

namespace nnprof {
namespace {

// A kernel on a few thousand numbers takes less time than its threads do to meet at its end.
class OneThread {
 public:
  OneThread() {
    if (omp_get_max_threads == nullptr || omp_set_num_threads == nullptr) return;
    before_ = omp_get_max_threads();
    if (before_ > 1) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ > 1) omp_set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_ = 1;
};

c10::IValue* arguments_of(const Operator& op, Stack& stack) {
  return stack.data() + (stack.size() - op.arguments);
}

// Are the inputs, and so most likely the outputs, worth no second thread?
bool is_small(const Operator& op, Stack& stack) {
  constexpr int64_t kSmall = 64 * 1024;
  int64_t elements = 0;
  const c10::IValue* arguments = arguments_of(op, stack);
  for (size_t i = 0; i < op.arguments; ++i) {
    for_each_tensor(arguments[i], [&](const at::Tensor& tensor) { elements += tensor.numel(); });
  }
  return elements <= kSmall;
}

void call_on_cpu(const Operator& op, Stack& stack) {
  const std::optional<OneThread> one_thread =
      is_small(op, stack) ? std::optional<OneThread>(std::in_place) : std::nullopt;
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  op.handle.callBoxed(stack);
}

// Some kernels exist for floats only (histc on integers): compute in float64 and cast back.
bool retry_in_double(const Operator& op, Stack& stack) {
  if (!op.written.empty()) return false;
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  std::optional<c10::ScalarType> dtype;
  c10::IValue* arguments = arguments_of(op, stack);
  for (size_t i = 0; i < op.arguments; ++i) {
    map_tensors(arguments[i], [&](const at::Tensor& tensor) {
      if (!integral(tensor) || tensor.scalar_type() == at::kBool) return tensor;
      dtype = tensor.scalar_type();
      return tensor.to(at::kDouble);
    });
  }
  if (!dtype) return false;
  call_on_cpu(op, stack);
  if (dtype == at::kLong) std::atomic_ref(op.takes_no_integers) = true;
  for (size_t i = stack.size() - op.returns; i < stack.size(); ++i) {
    map_tensors(stack[i], [&](const at::Tensor& tensor) {
      return tensor.is_floating_point() ? tensor.to(*dtype) : tensor;
    });
  }
  return true;
}

}  // namespace

void compute(const Operator& op, Stack& stack, Trace& trace) {
  c10::IValue* arguments = arguments_of(op, stack);
  const bool like = op.has(kSizesOnly);  // a tensor that may be on meta
  for (int device : op.devices) {
    if (!arguments[device].isNone() || like) arguments[device] = c10::IValue(c10::Device(at::kCPU));
  }
  for (int generator : op.generators) arguments[generator] = c10::IValue(trace.generator());
  if (std::atomic_ref(op.takes_no_integers) && retry_in_double(op, stack)) return;
  const Stack saved(stack.end() - static_cast<std::ptrdiff_t>(op.arguments), stack.end());
  const size_t below = stack.size() - op.arguments;
  try {
    call_on_cpu(op, stack);
  } catch (const c10::Error& error) {
    // Without the backtrace, whose symbols take milliseconds to look up.
    const std::string_view message = error.what_without_backtrace();
    if (message.find("not implemented for") == std::string_view::npos) throw;
    stack.resize(below);
    stack.insert(stack.end(), saved.begin(), saved.end());
    if (!retry_in_double(op, stack)) throw;
  }
}

bool worth_computing(c10::ArrayRef<c10::IValue> outputs, const Trace& trace, bool beside) {
  const bool floats = beside || trace.floats_may_be_real();
  bool worth = true;
  for (const c10::IValue& output : outputs) {
    for_each_tensor(output, [&](const at::Tensor& tensor) {
      worth &= integral(tensor) || floats;
      worth &= tensor.numel() <= trace.options().limit_of(tensor.scalar_type());
    });
  }
  return worth;
}

at::Tensor balanced_choices(const at::Tensor& indices, int64_t choices) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  const int64_t count = indices.numel();
  const at::Tensor numbers = at::arange(count, at::TensorOptions().dtype(at::kLong));
  auto* number = numbers.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < count; ++i) {
    number[i] = count > choices ? i % std::max<int64_t>(choices, 1)
                                : static_cast<int64_t>((2 * i + 1) * choices / (2 * count));
  }
  at::Tensor values = at::empty_strided(indices.sizes(), indices.strides(),
                                        at::TensorOptions().dtype(indices.scalar_type()));
  values.copy_(numbers.view(indices.sizes()));
  return values;
}

at::Tensor real_copy(const at::Tensor& tensor) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  return tensor.clone();
}

void copy_real(const at::Tensor& to, const at::Tensor& from) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  to.copy_(from);
}

at::Tensor real_truth(bool truth, at::IntArrayRef sizes) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  return at::full(sizes, truth, at::TensorOptions().dtype(at::kBool));
}

at::Tensor real_of_sizes(const at::Tensor& tensor) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  const c10::DimVector strides(static_cast<size_t>(tensor.dim()), 0);
  return at::empty_strided(tensor.sizes(), strides,
                           at::TensorOptions().dtype(tensor.scalar_type()));
}

at::Tensor every_index(const at::Tensor& indices, at::IntArrayRef sizes) {
  const c10::impl::ExcludeDispatchKeyGuard guard(keys_above_kernels());
  const auto longs = at::TensorOptions().dtype(at::kLong);
  if (indices.dim() == 1) return at::arange(indices.size(0), longs);
  at::Tensor values = at::empty_strided(indices.sizes(), indices.strides(), longs);
  auto rows = values.accessor<int64_t, 2>();
  for (int64_t row = 0; row < values.size(0); ++row) {
    int64_t number = row;
    for (int64_t dim = values.size(1) - 1; dim >= 0; --dim) {
      const int64_t size = sizes[static_cast<size_t>(dim)];
      rows[row][dim] = number % size;
      number /= size;
    }
  }
  return values;
}

namespace {

c10::IValue scalar_of(c10::ScalarType dtype, double value) {
  if (dtype == at::kBool) return c10::IValue(c10::Scalar(value != 0));
  if (c10::isIntegralType(dtype, /*includeBool=*/false)) {
    return c10::IValue(c10::Scalar(static_cast<int64_t>(value)));
  }
  return c10::IValue(c10::Scalar(value));
}

// 1, 0.5, True: as Python writes it.
std::string value_text(c10::ScalarType dtype, double value) {
  if (dtype == at::kBool) return value != 0 ? "True" : "False";
  std::ostringstream text;
  text << value;
  return text.str();
}

// `place` is "model.py:12", or empty.
std::string advice(const Question& question, c10::ScalarType dtype, const std::string& place) {
  const char* value = dtype == at::kBool ? "True or False" : "VALUE";
  const std::string number = std::to_string(question.number);
  const std::string here =
      place.empty() ? "q.n == " + number : "q.line == " + place.substr(place.rfind(':') + 1);
  return "Pass assume={\"" + question.path + "\": " + value +
         "} to say what it reads, and with it all that this module asks. A list [first, second, "
         "...] answers one question after the other (this is number " +
         number + "), a function such as lambda q: ANSWER if " + here +
         " else None those alone that are asked here: the next one is then told in its turn. "
         "assume=VALUE answers all modules.";
}

}  // namespace

Question question_about(const at::Tensor& tensor, Trace& trace) {
  Session& session = *trace.session();
  const Origin origin = origin_of(session, trace.identify(tensor).storage);
  Question question;
  question.path = session.module_path(session.scopes()[session.current_scope()].module);
  question.number = ++session.questions[question.path];
  question.operation = origin.operation;
  question.shape = origin.shape;
  question.dtype = c10::getDtypeNames(tensor.scalar_type()).first;
  question.text = origin.text.empty() ? "the value of a tensor" : origin.text;
  return question;
}

std::optional<c10::IValue> callers_answer(const Question& question, const at::Tensor& tensor,
                                          Trace& trace, std::string& place) {
  if (!trace.ask_caller) return std::nullopt;
  const CallersAnswer answer = trace.ask_caller(question);
  place = answer.place;
  if (!answer.value) return std::nullopt;
  const c10::ScalarType dtype = tensor.scalar_type();
  trace.session()->assume(question.text + ", asked " + trace.session()->describe_scope() +
                          ", reads " + value_text(dtype, *answer.value) + ", as the caller said");
  return scalar_of(dtype, *answer.value);
}

c10::IValue assumed_scalar(const Question& question, const at::Tensor& tensor, Trace& trace,
                           std::optional<Reads> reads) {
  Session& session = *trace.session();
  std::string place;
  if (const auto answer = callers_answer(question, tensor, trace, place)) return *answer;
  const c10::ScalarType dtype = tensor.scalar_type();
  if (in_training_loop(trace) || (reads && reads->finite)) {
    const double value = reads.value_or(Reads{}).low;
    session.assume(question.text + ", asked " + session.describe_scope() + ", is taken to be " +
                   value_text(dtype, value));
    return scalar_of(dtype, value);
  }
  const bool by_inputs = made_of_inputs_alone(session, trace.identify(tensor).storage);
  raise(ErrorKind::data_dependent,
        "the model asks for a value that nothing was computed for: " + question.text + ", asked " +
            session.describe_scope() + (place.empty() ? "" : ", at " + place) + ". " +
            (by_inputs ? "It is made of the inputs alone: inputs= with real ones instead of shape= "
                         "tells it. "
                       : "") +
            advice(question, dtype, place));
}

bool in_training_loop(const Trace& trace) {
  return trace.options().backward && trace.session()->current_scope() == 0;
}

void check_rows(const at::Tensor& table, const at::Tensor& indices) {
  if (indices.scalar_type() != at::kLong || !indices.is_contiguous() || table.dim() != 2) return;
  const int64_t* index = indices.const_data_ptr<int64_t>();
  const int64_t rows = table.size(0);
  for (int64_t i = 0; i < indices.numel(); ++i) {
    TORCH_CHECK_INDEX(index[i] >= 0 && index[i] < rows, "index out of range: row ", index[i],
                      " is asked of a table of ", rows, " rows");
  }
}

void want_rerun(const std::string& what, Trace& trace) {
  const std::string value = "a value is needed (" + what + " " + trace.session()->describe_scope() +
                            ") that was not computed, for a tensor that it is made of has more "
                            "elements than this trace computes: ";
  const TraceOptions& options = trace.options();
  if (!options.may_rerun) {
    raise(ErrorKind::data_dependent,
          value + std::to_string(options.integer_limit) + " integers, " +
              std::to_string(std::min(options.float_limit, options.input_float_limit)) +
              " floats of the inputs. Take smaller inputs, or call the model inside of "
              "nnprof.trace(model, integer_limit=, float_limit=, input_float_limit=) with "
              "higher limits");
  }
  trace.session()->rerun_wanted = true;
  raise(ErrorKind::data_dependent, value + "it is traced again");
}

at::Tensor known_values(const at::Tensor& tensor, bool to_be_written, Trace& trace) {
  if (!tensor.has_storage() || tensor.key_set().has(c10::DispatchKey::Python)) return {};
  if (to_be_written && trace.is_uninitialised(tensor)) trace.renew(tensor);
  const Values known = trace.identify(tensor).values;
  if (trace.readable_value(tensor).defined()) {
    return to_be_written ? trace.writable_value(tensor) : trace.value(tensor);
  }
  if (known == Values::over_limit && trace.options().may_rerun)
    want_rerun("tolist or numpy", trace);
  if (tensor.is_meta()) return {};
  raise(
      ErrorKind::data_dependent,
      "the model asks for the values of a tensor that nothing was computed for (tolist or numpy " +
          trace.session()->describe_scope() + ")");
}

}  // namespace nnprof

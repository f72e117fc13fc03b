#include "dispatch/equality.h"

#include "dispatch/provenance.h"
#include "dispatch/values.h"

namespace nnprof {

bool are_the_same(const at::Tensor& self, const at::Tensor& other, Trace& trace) {
  return self.has_storage() && other.has_storage() &&
         trace.identify(self).storage == trace.identify(other).storage &&
         self.sizes() == other.sizes() && self.strides() == other.strides() &&
         self.storage_offset() == other.storage_offset() && self.dtype() == other.dtype();
}

bool assumed_equal(const Operator& op, const CallWalk& walk, const at::Tensor& self,
                   const at::Tensor& other, Trace& trace) {
  const bool known = trace.identify(self).values == Values::known;
  const at::Tensor& unknown = known ? other : self;
  Question question = question_about(unknown, trace);
  const Origin asked = describe_call(*trace.session(), op, walk.without_outputs(), walk.storages());
  question.operation = asked.operation;
  question.shape = asked.shape;
  question.text = "whether tensors are equal (" + asked.text + ")";
  const double equal = reads_equal(self, other, trace) ? 1 : 0;
  const c10::IValue answer = assumed_scalar(question, real_truth(), trace, Reads{equal, equal});
  return answer.toScalar().toDouble() != 0;
}

}  // namespace nnprof

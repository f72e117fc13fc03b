// Operators of ours: one call in place of what PyTorch has as a higher-order operator. They have a
// rule and no kernel, and are called only while a trace runs. See
// nnprof/tracing/patches/flex_attention.py.
#include <torch/library.h>

TORCH_LIBRARY(nnprof, library) {
  library.def(
      "flex_attention(Tensor query, Tensor key, Tensor value, int computed, int needed) -> "
      "(Tensor out, Tensor logsumexp, Tensor max_scores)");
  library.def(
      "flex_attention_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, Tensor "
      "out, "
      "Tensor logsumexp, int computed, int needed) -> (Tensor, Tensor, Tensor)");
}

// The CPU's operator lists: aten/src/ATen/autocast_mode.cpp, TORCH_LIBRARY_IMPL(aten, AutocastCPU).
// No public header carries them.
#include <unordered_map>

#include "dispatch/autocast.h"

namespace nnprof {
namespace {

struct CpuPolicy {
  CastPolicy policy;
  std::initializer_list<std::string_view> operators;
};

const CpuPolicy kCpuPolicies[] = {
    {CastPolicy::lower_precision,
     {"conv1d",
      "conv1d.padding",
      "conv2d",
      "conv2d.padding",
      "conv3d",
      "conv3d.padding",
      "bmm",
      "mm",
      "linalg_vecdot",
      "baddbmm",
      "addmm",
      "_addmm_activation",
      "addbmm",
      "linear",
      "_convolution.deprecated",
      "matmul",
      "conv_tbc",
      "mkldnn_rnn_layer",
      "conv_transpose1d",
      "conv_transpose2d.input",
      "conv_transpose3d.input",
      "prelu",
      "scaled_dot_product_attention",
      "_native_multi_head_attention"}},
    // The products that these are made of are cast. A GRU, a packed LSTM and the other cells carry
    // their state in float32 from step to step, and so give float32.
    {CastPolicy::lower_precision,
     {"lstm.input", "rnn_tanh.input", "rnn_tanh.data", "rnn_tanh_cell", "rnn_relu.input",
      "rnn_relu.data", "rnn_relu_cell"}},
    {CastPolicy::fp32,
     {"avg_pool3d",
      "binary_cross_entropy",
      "grid_sampler",
      "polar",
      "prod",
      "prod.dim_int",
      "quantile",
      "quantile.scalar",
      "nanquantile",
      "nanquantile.scalar",
      "stft",
      "stft.center",
      "cdist",
      "grid_sampler_2d",
      "_grid_sampler_2d_cpu_fallback",
      "grid_sampler_3d",
      "trace",
      "view_as_complex",
      "cholesky",
      "cholesky_inverse",
      "cholesky_solve",
      "inverse",
      "lu_solve",
      "orgqr",
      "ormqr",
      "pinverse",
      "max_pool3d",
      "max_unpool2d",
      "max_unpool3d",
      "adaptive_avg_pool3d",
      "reflection_pad1d",
      "reflection_pad2d",
      "replication_pad1d",
      "replication_pad2d",
      "replication_pad3d",
      "mse_loss",
      "cosine_embedding_loss",
      "nll_loss",
      "nll_loss2d",
      "hinge_embedding_loss",
      "poisson_nll_loss",
      "smooth_l1_loss",
      "cross_entropy_loss",
      "l1_loss",
      "huber_loss",
      "margin_ranking_loss",
      "soft_margin_loss",
      "triplet_margin_loss",
      "multi_margin_loss",
      "ctc_loss.IntList",
      "ctc_loss.Tensor",
      "kl_div",
      "multilabel_margin_loss",
      "binary_cross_entropy_with_logits",
      "fft_fft",
      "fft_ifft",
      "fft_fft2",
      "fft_ifft2",
      "fft_fftn",
      "fft_ifftn",
      "fft_rfft",
      "fft_irfft",
      "fft_rfft2",
      "fft_irfft2",
      "fft_rfftn",
      "fft_irfftn",
      "fft_hfft",
      "fft_ihfft",
      "linalg_cond",
      "linalg_cond.p_str",
      "linalg_matrix_rank",
      "linalg_matrix_rank.tol_tensor",
      "linalg_matrix_rank.atol_rtol_tensor",
      "linalg_matrix_rank.atol_rtol_float",
      "linalg_solve",
      "linalg_cholesky",
      "linalg_svdvals",
      "linalg_eigvals",
      "linalg_eigvalsh",
      "linalg_inv",
      "linalg_householder_product",
      "linalg_tensorinv",
      "linalg_tensorsolve",
      "fake_quantize_per_tensor_affine",
      "geqrf",
      "_lu_with_info",
      "qr",
      "svd",
      "triangular_solve",
      "fractional_max_pool2d",
      "fractional_max_pool3d",
      "adaptive_max_pool3d",
      "multilabel_margin_loss_forward",
      "linalg_qr",
      "linalg_cholesky_ex",
      "linalg_svd",
      "linalg_eig",
      "linalg_eigh",
      "linalg_lstsq",
      "linalg_inv_ex"}},
    {CastPolicy::promote, {"stack", "cat", "index_copy"}},
};

}  // namespace

CastPolicy cpu_cast_policy(std::string_view op) {
  static const auto policies = [] {
    std::unordered_map<std::string_view, CastPolicy> found;
    for (const CpuPolicy& entry : kCpuPolicies) {
      for (const std::string_view name : entry.operators) found.emplace(name, entry.policy);
    }
    return found;
  }();
  constexpr std::string_view kPrefix = "aten::";
  if (op.substr(0, kPrefix.size()) != kPrefix) return CastPolicy::none;
  const auto found = policies.find(op.substr(kPrefix.size()));
  return found == policies.end() ? CastPolicy::none : found->second;
}

}  // namespace nnprof

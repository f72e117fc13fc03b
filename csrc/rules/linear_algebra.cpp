// Factorisations of matrices, and what is solved with them.
//
// Counts are the leading terms that are usual for LAPACK's and EISPACK's algorithms, for an m x n
// matrix: Golub and Van Loan, "Matrix Computations" (4th edition), chapters 3 to 8, and LAPACK
// Working Note 41, appendix C. Iterations of eigenvalue and singular value algorithms are counted
// as many as those books take. No multiply-accumulates: a factorisation is no contraction.
#include <ATen/native/LinearAlgebraUtils.h>
#include <ATen/ops/_linalg_det_meta_dispatch.h>
#include <ATen/ops/_linalg_eigh_meta_dispatch.h>
#include <ATen/ops/_linalg_slogdet_meta_dispatch.h>
#include <ATen/ops/_linalg_solve_ex_meta_dispatch.h>
#include <ATen/ops/_linalg_svd_meta_dispatch.h>
#include <ATen/ops/linalg_cholesky_ex_meta_dispatch.h>
#include <ATen/ops/linalg_cross_meta_dispatch.h>
#include <ATen/ops/linalg_inv_ex_meta_dispatch.h>
#include <ATen/ops/linalg_ldl_factor_ex_meta_dispatch.h>
#include <ATen/ops/linalg_ldl_solve_meta_dispatch.h>
#include <ATen/ops/linalg_lu_factor_ex_meta_dispatch.h>
#include <ATen/ops/linalg_lu_meta_dispatch.h>
#include <ATen/ops/linalg_lu_solve_meta_dispatch.h>
#include <ATen/ops/linalg_qr_meta_dispatch.h>
#include <ATen/ops/lu_unpack_meta_dispatch.h>
#include <ATen/ops/triangular_solve_meta_dispatch.h>

#include <algorithm>
#include <string_view>

#include "rules/dtype_checks.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using at::IntArrayRef;
using at::Tensor;
using c10::DimVector;
using TwoTensors = std::tuple<Tensor, Tensor>;

// Outputs that PyTorch has no meta function for ---------------------------------------------------

// Matrices one after the other, each by columns: what LAPACK writes.
Tensor by_columns(IntArrayRef sizes, c10::ScalarType dtype) {
  const auto strides = at::native::batched_matrix_contiguous_strides(sizes, /*f_contig=*/true);
  return empty_strided_of(sizes, strides, dtype);
}

Tensor by_columns_like(const Tensor& tensor) {
  return by_columns(tensor.sizes(), tensor.scalar_type());
}

// LAPACK has no half precision.
bool has_lapack(c10::ScalarType dtype) {
  return c10::toRealValueType(dtype) == at::kFloat || c10::toRealValueType(dtype) == at::kDouble;
}
template <auto Function>
inline constexpr auto lapack = &detail::OnlyFor<&has_lapack, Function>::call;

void check_inexact(const Tensor& tensor, const char* function) {
  at::native::checkFloatingOrComplex(tensor, function, /*allow_low_precision_dtypes=*/false);
}

Tensor cholesky(const Tensor& self, bool /*upper*/) {
  at::native::squareCheckInputs(self, "cholesky");
  if (self.numel() == 0) return empty_of(self.sizes(), self.scalar_type());
  check_inexact(self, "cholesky");
  return by_columns_like(self);
}

Tensor cholesky_inverse(const Tensor& self, bool /*upper*/) {
  at::native::squareCheckInputs(self, "cholesky_inverse");
  return by_columns_like(self);
}

Tensor cholesky_solve(const Tensor& self, const Tensor& factor, bool /*upper*/) {
  TORCH_CHECK(self.dim() >= 2, "b should have at least 2 dimensions, but has ", self.dim(),
              " dimensions instead");
  TORCH_CHECK(factor.dim() >= 2, "u should have at least 2 dimensions, but has ", factor.dim(),
              " dimensions instead");
  const auto [b, u] = at::native::_linalg_broadcast_batch_dims(self, factor, "cholesky_solve");
  return by_columns_like(b);
}

// One value a column, or row, whichever are fewer.
DimVector one_a_reflector(const Tensor& self) {
  DimVector sizes(self.sizes().slice(0, static_cast<size_t>(self.dim() - 2)));
  sizes.push_back(std::min(self.size(-2), self.size(-1)));
  return sizes;
}

TwoTensors geqrf(const Tensor& self) {
  TORCH_CHECK(self.dim() >= 2, "torch.geqrf: input must have at least 2 dimensions.");
  return {by_columns_like(self), empty_like_dtype(one_a_reflector(self), self)};
}

void check_reflectors(const Tensor& input, const Tensor& tau, const char* function) {
  TORCH_CHECK(input.dim() >= 2, function, ": input must have at least 2 dimensions.");
  TORCH_CHECK(input.size(-2) >= tau.size(-1), function,
              ": input.shape[-2] must be greater than or equal to tau.shape[-1]");
  TORCH_CHECK(input.dim() - tau.dim() == 1, function,
              ": Expected tau to have one dimension less than input, but got tau.ndim equal to ",
              tau.dim(), " and input.ndim is equal to ", input.dim());
  const size_t batch = static_cast<size_t>(input.dim() - 2);
  TORCH_CHECK(input.sizes().slice(0, batch) == tau.sizes().slice(0, batch), function,
              ": Expected batch dimensions of tau to be equal to input.shape[:-2], but got ",
              tau.sizes());
  TORCH_CHECK(tau.scalar_type() == input.scalar_type(), function, ": tau dtype ", tau.scalar_type(),
              " does not match input dtype ", input.scalar_type());
}

Tensor householder_product(const Tensor& input, const Tensor& tau) {
  check_reflectors(input, tau, "torch.linalg.householder_product");
  TORCH_CHECK(input.size(-2) >= input.size(-1),
              "torch.linalg.householder_product: input.shape[-2] must be greater than or equal to "
              "input.shape[-1]");
  TORCH_CHECK(input.size(-1) >= tau.size(-1),
              "torch.linalg.householder_product: input.shape[-1] must be greater than or equal to "
              "tau.shape[-1]");
  return by_columns_like(input);
}

Tensor ormqr(const Tensor& input, const Tensor& tau, const Tensor& other, bool left, bool) {
  TORCH_CHECK(input.dim() >= 2, "torch.ormqr: input must have at least 2 dimensions.");
  TORCH_CHECK(other.dim() >= 2, "torch.ormqr: other must have at least 2 dimensions.");
  const int64_t side = left ? -2 : -1;
  TORCH_CHECK(other.size(side) >= tau.size(-1), "torch.ormqr: other.shape[", side,
              "] must be greater than or equal to tau.shape[-1]");
  TORCH_CHECK(other.size(side) == input.size(-2), "torch.ormqr: other.shape[", side,
              "] must be equal to input.shape[-2]");
  TORCH_CHECK(tau.size(-1) <= input.size(-1),
              "torch.ormqr: tau.shape[-1] must be less than or equal to input.shape[-1]");
  check_reflectors(input, tau, "torch.ormqr");
  TORCH_CHECK(input.dim() == other.dim(),
              "torch.ormqr: Expected other to have the same number of "
              "dimensions as input, but got other.ndim equal to ",
              other.dim(), " and input.ndim is equal to ", input.dim());
  const size_t batch = static_cast<size_t>(input.dim() - 2);
  TORCH_CHECK(other.sizes().slice(0, batch) == input.sizes().slice(0, batch),
              "torch.ormqr: Expected batch dimensions of other to be equal to input.shape[:-2], "
              "but got ",
              other.sizes());
  TORCH_CHECK(other.scalar_type() == input.scalar_type(),
              "torch.ormqr: Expected input and other "
              "to have the same dtype, but got ",
              input.scalar_type(), " and ", other.scalar_type());
  return by_columns_like(other);
}

Tensor eigenvalues_of(const Tensor& self) {
  const auto batch_and_rows = self.sizes().slice(0, static_cast<size_t>(self.dim() - 1));
  return empty_of(batch_and_rows, c10::toComplexType(self.scalar_type()));
}

TwoTensors eig(const Tensor& self) {
  at::native::squareCheckInputs(self, "linalg.eig");
  check_kernel(!c10::isReducedFloatingType(self.scalar_type()), self);
  check_inexact(self, "linalg.eig");
  return {eigenvalues_of(self), by_columns(self.sizes(), c10::toComplexType(self.scalar_type()))};
}

Tensor eigvals(const Tensor& self) {
  at::native::squareCheckInputs(self, "linalg.eigvals");
  check_kernel(!c10::isReducedFloatingType(self.scalar_type()), self);
  check_inexact(self, "linalg.eigvals");
  return eigenvalues_of(self);
}

// From the right, what is solved is the conjugate transpose: the result is marked as conjugate.
Tensor lu_solve(const Tensor& factors, const Tensor& pivots, const Tensor& b, bool left,
                bool adjoint) {
  Tensor solution = at::meta::linalg_lu_solve(factors, pivots, b, left, adjoint);
  if (!left && solution.is_complex() && solution.numel() != 0) solution._set_conj(true);
  return solution;
}

// PyTorch's own functions compute vectors too where a gradient may be wanted, and for every tensor
// on meta.
Tensor eigvalsh(const Tensor& self, std::string_view uplo) {
  return std::get<0>(at::meta::_linalg_eigh(self, uplo, /*compute_v=*/false));
}

Tensor svdvals(const Tensor& self, std::optional<std::string_view> driver) {
  return std::get<1>(at::meta::_linalg_svd(self, false, /*compute_uv=*/false, driver));
}

Tensor solve_triangular(const Tensor& self, const Tensor& b, bool /*upper*/, bool left,
                        bool /*unitriangular*/) {
  at::native::checkInputsSolver(self, b, left, "linalg.solve_triangular");
  const auto [b_, a_] = at::native::_linalg_broadcast_batch_dims(b, self, nullptr);
  TORCH_CHECK(self.scalar_type() == b.scalar_type(),
              "linalg.solve_triangular: A and B must have the same dtype, got ", self.scalar_type(),
              " and ", b.scalar_type());
  if (a_.transpose(-2, -1).is_contiguous() && a_.is_conj()) {
    return empty_like_dtype(b_.sizes(), self);
  }
  return by_columns(b_.sizes(), self.scalar_type());
}

Tensor matrix_exp(const Tensor& self) {
  at::native::squareCheckInputs(self, "linalg.matrix_exp");
  at::native::checkFloatingOrComplex(self, "linalg.matrix_exp");
  return empty_like_dtype(self.sizes(), self);
}

void check_nothing(const Tensor& /*info*/, std::string_view /*function*/, bool /*is_matrix*/) {}

// Costs -------------------------------------------------------------------------------------------

// So many FLOPs in the arithmetic of the input, half of them additions, half multiplications: of
// complex numbers 2 and 6 real ones.
void add_flops(const OpSignature& op, Cost& cost, Count flops) {
  const FlopMix real = {.add = 1, .multiply = 1};
  const FlopMix complex = {.add = 4, .multiply = 4};
  cost.add(op.tensor(0).is_complex() ? complex : real, flops / 2);
}

struct Matrices {
  Count count;
  Count rows;
  Count columns;

  Count least() const { return std::min(rows, columns); }
  Count most() const { return std::max(rows, columns); }
};

Matrices matrices(const TensorSpec& tensor) {
  const Count elements = tensor.size(-2) * tensor.size(-1);
  return {elements == 0 ? 0 : tensor.numel() / elements, tensor.size(-2), tensor.size(-1)};
}

Count cube(Count n) { return n * n * n; }

// m = n: 2/3 n^3 (LAWN 41, getrf)
Count lu_flops(const Matrices& a) {
  const Count k = a.least();
  return 2 * a.rows * a.columns * k - (a.rows + a.columns) * k * k + 2 * cube(k) / 3;
}

// m = n: 4/3 n^3 (geqrf; Golub and Van Loan, 5.2.2)
Count qr_flops(const Matrices& a) {
  const Count k = a.least();
  return 2 * a.most() * k * k - 2 * cube(k) / 3;
}

// The first `columns` columns of Q, from k reflectors of m elements (orgqr).
Count q_flops(Count m, Count columns, Count k) {
  return 4 * m * columns * k - 2 * (m + columns) * k * k + 4 * cube(k) / 3;
}

template <Count (*flops)(const Matrices&)>
void factorisation_cost(const OpSignature& op, Cost& cost) {
  const Matrices a = matrices(op.tensor(0));
  add_flops(op, cost, a.count * flops(a));
}

// potrf, sytrf
Count third_flops(const Matrices& a) { return cube(a.rows) / 3; }
// potri
Count two_thirds_flops(const Matrices& a) { return 2 * cube(a.rows) / 3; }
// Factored, and solved for every column of the identity.
Count inverse_flops(const Matrices& a) { return lu_flops(a) + 2 * cube(a.rows); }
// The product of the diagonal too.
Count determinant_flops(const Matrices& a) { return lu_flops(a) + a.rows; }
// Hessenberg reduction and QR iterations (Golub and Van Loan, 7.5.6)
Count eigenvalue_flops(const Matrices& a) { return 10 * cube(a.rows); }
Count eigenvector_flops(const Matrices& a) { return 25 * cube(a.rows); }

// Tridiagonal reduction, and with vectors the iterations (Golub and Van Loan, 8.3.5)
Count eigvalsh_flops(const Matrices& a) { return 4 * cube(a.rows) / 3; }

void eigh_cost(const OpSignature& op, Cost& cost) {
  const Matrices a = matrices(op.tensor(0));
  add_flops(op, cost, a.count * (op.boolean(2) ? 9 * cube(a.rows) : eigvalsh_flops(a)));
}

// Golub-Reinsch (Golub and Van Loan, 8.6.4), of the matrix or its transpose, m >= n.
Count svd_flops(const Matrices& a, bool vectors, bool full) {
  const Count m = a.most(), n = a.least();
  if (!vectors) return 4 * m * n * n - 4 * cube(n) / 3;
  if (!full) return 14 * m * n * n + 8 * cube(n);
  return 4 * m * m * n + 8 * m * n * n + 9 * cube(n);
}

Count svdvals_flops(const Matrices& a) { return svd_flops(a, false, false); }

void svd_cost(const OpSignature& op, Cost& cost) {
  const Matrices a = matrices(op.tensor(0));
  add_flops(op, cost, a.count * svd_flops(a, op.boolean(2), op.boolean(1)));
}

void qr_cost(const OpSignature& op, Cost& cost) {
  const Matrices a = matrices(op.tensor(0));
  const TensorSpec& q = op.output();
  add_flops(op, cost, a.count * qr_flops(a));
  if (q.dim() >= 2) add_flops(op, cost, a.count * q_flops(a.rows, q.size(-1), a.least()));
}

void householder_cost(const OpSignature& op, Cost& cost) {
  const Matrices a = matrices(op.tensor(0));
  add_flops(op, cost, a.count * q_flops(a.rows, a.columns, op.tensor(1).size(-1)));
}

// k reflectors applied to m x n: 4 m n k - 2 n k^2 from the left, - 2 m k^2 from the right.
void ormqr_cost(const OpSignature& op, Cost& cost) {
  const Matrices c = matrices(op.tensor(2));
  const Count k = op.tensor(1).size(-1);
  const Count other = op.boolean(3) ? c.columns : c.rows;
  add_flops(op, cost, c.count * (4 * c.rows * c.columns * k - 2 * other * k * k));
}

// 2 n^2 a right-hand side: both triangles, argument `matrix` factored before.
template <size_t matrix, int64_t per_element>
void substitution_cost(const OpSignature& op, Cost& cost) {
  add_flops(op, cost, per_element * op.tensor(matrix).size(-1) * op.output().numel());
}

void solve_cost(const OpSignature& op, Cost& cost) {
  factorisation_cost<&lu_flops>(op, cost);
  substitution_cost<0, 2>(op, cost);
}

// A polynomial of degree 18 in five products (Bader, Blanes and Casas 2019); the norm, which is
// unknown, may ask for fewer, or for squarings.
void matrix_exp_cost(const OpSignature& op, Cost& cost) {
  const Matrices a = matrices(op.tensor(0));
  cost.add_macs(5 * a.count * cube(a.rows), op.output().is_complex());
}

void no_cost(const OpSignature&, Cost& cost) { cost = Cost(); }

const Rule kLinearAlgebraTable[] = {
    {"aten::_linalg_det(Tensor A) -> (Tensor result, Tensor LU, Tensor pivots)",
     boxed<&at::meta::_linalg_det>, factorisation_cost<&determinant_flops>},
    {"aten::_linalg_slogdet(Tensor A) -> (Tensor sign, Tensor logabsdet, Tensor LU, Tensor pivots)",
     boxed<&at::meta::_linalg_slogdet>, factorisation_cost<&determinant_flops>},
    {"aten::linalg_lu_factor_ex(Tensor A, *, bool pivot=True, bool check_errors=False) -> (Tensor "
     "LU, Tensor pivots, Tensor info)",
     boxed<lapack<&at::meta::linalg_lu_factor_ex>>, factorisation_cost<&lu_flops>},
    {"aten::linalg_lu(Tensor A, *, bool pivot=True) -> (Tensor P, Tensor L, Tensor U)",
     boxed<lapack<&at::meta::linalg_lu>>, factorisation_cost<&lu_flops>},
    {"aten::lu_unpack(Tensor LU_data, Tensor LU_pivots, bool unpack_data=True, bool "
     "unpack_pivots=True) -> (Tensor P, Tensor L, Tensor U)",
     boxed<&at::meta::lu_unpack>},
    {"aten::linalg_lu_solve(Tensor LU, Tensor pivots, Tensor B, *, bool left=True, bool "
     "adjoint=False) -> Tensor",
     boxed<lapack<&lu_solve>>, substitution_cost<0, 2>},
    {"aten::_linalg_solve_ex(Tensor A, Tensor B, *, bool left=True, bool check_errors=False) -> "
     "(Tensor result, Tensor LU, Tensor pivots, Tensor info)",
     boxed<&at::meta::_linalg_solve_ex>, solve_cost},
    {"aten::linalg_inv_ex(Tensor A, *, bool check_errors=False) -> (Tensor inverse, Tensor info)",
     boxed<&at::meta::linalg_inv_ex>, factorisation_cost<&inverse_flops>},

    {"aten::linalg_cholesky_ex(Tensor self, *, bool upper=False, bool check_errors=False) -> "
     "(Tensor L, Tensor info)",
     boxed<&at::meta::linalg_cholesky_ex>, factorisation_cost<&third_flops>},
    {"aten::cholesky(Tensor self, bool upper=False) -> Tensor", boxed<&cholesky>,
     factorisation_cost<&third_flops>},
    {"aten::cholesky_inverse(Tensor self, bool upper=False) -> Tensor",
     boxed<lapack<&cholesky_inverse>>, factorisation_cost<&two_thirds_flops>},
    {"aten::cholesky_solve(Tensor self, Tensor input2, bool upper=False) -> Tensor",
     boxed<&cholesky_solve>, substitution_cost<1, 2>},
    {"aten::linalg_ldl_factor_ex(Tensor self, *, bool hermitian=False, bool check_errors=False) -> "
     "(Tensor LD, Tensor pivots, Tensor info)",
     boxed<lapack<&at::meta::linalg_ldl_factor_ex>>, factorisation_cost<&third_flops>},
    {"aten::linalg_ldl_solve(Tensor LD, Tensor pivots, Tensor B, *, bool hermitian=False) -> "
     "Tensor",
     boxed<lapack<&at::meta::linalg_ldl_solve>>, substitution_cost<0, 2>},

    {"aten::linalg_solve_triangular(Tensor self, Tensor B, *, bool upper, bool left=True, bool "
     "unitriangular=False) -> Tensor",
     boxed<lapack<&solve_triangular>>, substitution_cost<0, 1>},
    {"aten::triangular_solve(Tensor self, Tensor A, bool upper=True, bool transpose=False, bool "
     "unitriangular=False) -> (Tensor solution, Tensor cloned_coefficient)",
     boxed<lapack<&at::meta::triangular_solve>>, substitution_cost<1, 1>},

    {"aten::linalg_qr(Tensor A, str mode=\"reduced\") -> (Tensor Q, Tensor R)",
     boxed<lapack<&at::meta::linalg_qr>>, qr_cost},
    {"aten::geqrf(Tensor self) -> (Tensor a, Tensor tau)", boxed<lapack<&geqrf>>,
     factorisation_cost<&qr_flops>},
    {"aten::linalg_householder_product(Tensor input, Tensor tau) -> Tensor",
     boxed<lapack<&householder_product>>, householder_cost},
    {"aten::ormqr(Tensor self, Tensor input2, Tensor input3, bool left=True, bool "
     "transpose=False) -> Tensor",
     boxed<lapack<&ormqr>>, ormqr_cost},

    {"aten::_linalg_eigh(Tensor A, str UPLO=\"L\", bool compute_v=True) -> (Tensor eigenvalues, "
     "Tensor eigenvectors)",
     boxed<&at::meta::_linalg_eigh>, eigh_cost},
    {"aten::linalg_eig(Tensor self) -> (Tensor eigenvalues, Tensor eigenvectors)", boxed<&eig>,
     factorisation_cost<&eigenvector_flops>},
    {"aten::_linalg_eigvals(Tensor self) -> Tensor", boxed<&eigvals>,
     factorisation_cost<&eigenvalue_flops>},
    {"aten::linalg_eigvals(Tensor self) -> Tensor", boxed<&eigvals>,
     factorisation_cost<&eigenvalue_flops>},
    {"aten::linalg_eigvalsh(Tensor self, str UPLO=\"L\") -> Tensor", boxed<&eigvalsh>,
     factorisation_cost<&eigvalsh_flops>},
    {"aten::linalg_svdvals(Tensor A, *, str? driver=None) -> Tensor", boxed<&svdvals>,
     factorisation_cost<&svdvals_flops>},
    {"aten::_linalg_svd(Tensor A, bool full_matrices=False, bool compute_uv=True, *, str? "
     "driver=None) -> (Tensor U, Tensor S, Tensor Vh)",
     boxed<&at::meta::_linalg_svd>, svd_cost},

    {"aten::linalg_matrix_exp(Tensor self) -> Tensor", boxed<&matrix_exp>, matrix_exp_cost},
    {"aten::linalg_cross(Tensor self, Tensor other, *, int dim=-1) -> Tensor",
     boxed<&at::meta::linalg_cross>,
     pointwise,
     {.add = 1, .multiply = 2}},
    {"aten::_linalg_check_errors(Tensor info, str api_name, *, bool is_matrix) -> ()",
     boxed<&check_nothing>, no_cost},
};

}  // namespace

const RuleFamily kLinearAlgebraRules("linear_algebra", kLinearAlgebraTable, OpClass::other,
                                     kNothingSpecial);

}  // namespace nnprof

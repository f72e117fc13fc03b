// Random numbers. Drawing the bits counts no FLOPs; giving them their distribution
// does.
#include <ATen/ExpandUtils.h>

#include "rules/elementwise.h"
#include "rules/factories.h"
#include "rules/families.h"
#include "rules/outputs.h"
#include "rules/rule.h"
#include "rules/shape_classes.h"

namespace nnprof {
namespace {

using at::IntArrayRef;
using at::Tensor;
using GeneratorOption = std::optional<at::Generator>;

// Factories ---------------------------------------------------------------------------------------

void check_not_integer(c10::ScalarType dtype) {
  check_has_kernel(!c10::isIntegralType(dtype, /*includeBool=*/true), dtype);
}
void check_floating(c10::ScalarType dtype) { check_has_kernel(c10::isFloatingType(dtype), dtype); }

void check_range(int64_t low, int64_t high) {
  TORCH_CHECK(low < high, "random_ expects 'from' to be less than 'to', but got from=", low,
              " >= to=", high);
}

Tensor random_reals(IntArrayRef sizes, const GeneratorOption&, DtypeOption dtype,
                    LayoutOption layout, DeviceOption, PinOption) {
  const c10::ScalarType type = dtype.value_or(default_dtype());
  check_not_integer(type);
  return new_tensor(sizes, type, layout);
}
Tensor rand(IntArrayRef sizes, DtypeOption dtype, LayoutOption layout, DeviceOption device,
            PinOption pin) {
  return random_reals(sizes, {}, dtype, layout, device, pin);
}
Tensor random_reals_like(const Tensor& self, const GeneratorOption&, DtypeOption dtype,
                         LayoutOption layout, DeviceOption, PinOption, FormatOption format) {
  check_not_integer(dtype.value_or(self.scalar_type()));
  return new_tensor_like(self, dtype, layout, format);
}
Tensor rand_like(const Tensor& self, DtypeOption dtype, LayoutOption layout, DeviceOption device,
                 PinOption pin, FormatOption format) {
  return random_reals_like(self, {}, dtype, layout, device, pin, format);
}

Tensor random_integers(int64_t low, int64_t high, IntArrayRef sizes, const GeneratorOption&,
                       DtypeOption dtype, LayoutOption layout, DeviceOption, PinOption) {
  check_range(low, high);
  return new_tensor(sizes, dtype.value_or(at::kLong), layout);
}
Tensor randint(int64_t high, IntArrayRef sizes, DtypeOption dtype, LayoutOption layout,
               DeviceOption device, PinOption pin) {
  return random_integers(0, high, sizes, {}, dtype, layout, device, pin);
}
Tensor randint_generator(int64_t high, IntArrayRef sizes, const GeneratorOption& generator,
                         DtypeOption dtype, LayoutOption layout, DeviceOption device,
                         PinOption pin) {
  return random_integers(0, high, sizes, generator, dtype, layout, device, pin);
}
Tensor randint_low(int64_t low, int64_t high, IntArrayRef sizes, DtypeOption dtype,
                   LayoutOption layout, DeviceOption device, PinOption pin) {
  return random_integers(low, high, sizes, {}, dtype, layout, device, pin);
}

Tensor random_integers_like(const Tensor& self, int64_t low, int64_t high, DtypeOption dtype,
                            LayoutOption layout, DeviceOption, PinOption, FormatOption format) {
  check_range(low, high);
  return new_tensor_like(self, dtype, layout, format);
}
Tensor randint_like(const Tensor& self, int64_t high, DtypeOption dtype, LayoutOption layout,
                    DeviceOption device, PinOption pin, FormatOption format) {
  return random_integers_like(self, 0, high, dtype, layout, device, pin, format);
}
Tensor randint_like_tensor(const Tensor& self, const Tensor& high, DtypeOption dtype,
                           LayoutOption layout, DeviceOption, PinOption, FormatOption format) {
  TORCH_CHECK(high.numel() == 1 && high.dim() == 0, "high must be a scalar tensor");
  return new_tensor_like(self, dtype, layout, format);
}

Tensor random_permutation(int64_t n, const GeneratorOption&, DtypeOption dtype, LayoutOption,
                          DeviceOption, PinOption) {
  TORCH_CHECK(n >= 0, "n must be non-negative, got", n);
  return empty_of({n}, dtype.value_or(at::kLong));
}
Tensor randperm(int64_t n, DtypeOption dtype, LayoutOption layout, DeviceOption device,
                PinOption pin) {
  return random_permutation(n, {}, dtype, layout, device, pin);
}

// Draws from tensors of parameters ----------------------------------------------------------------

void check_deviation(double deviation) {
  TORCH_CHECK(deviation >= 0, "normal expects std >= 0.0, but found std ", deviation);
}
void check_deviation(const Tensor& deviation) {
  TORCH_CHECK(!deviation.is_complex(), "normal expects standard deviation to be non-complex");
}

Tensor normal_of_sizes(double, double deviation, IntArrayRef sizes, const GeneratorOption&,
                       DtypeOption dtype, LayoutOption layout, DeviceOption, PinOption) {
  check_deviation(deviation);
  return new_tensor(sizes, dtype.value_or(default_dtype()), layout);
}
Tensor normal_of_means(const Tensor& mean, double deviation, const GeneratorOption&) {
  check_deviation(deviation);
  return empty_like_dtype(mean.sizes(), mean);
}
Tensor normal_of_deviations(double, const Tensor& deviation, const GeneratorOption&) {
  check_deviation(deviation);
  return empty_like_dtype(deviation.sizes(), deviation);
}
Tensor normal_of_both(const Tensor& mean, const Tensor& deviation, const GeneratorOption&) {
  check_deviation(deviation);
  return empty_like_dtype(at::infer_size(mean.sizes(), deviation.sizes()), mean);
}

void check_probability(double p) {
  TORCH_CHECK(p >= 0 && p <= 1, "bernoulli_ expects p to be in [0, 1], but got p=", p);
}
Tensor bernoulli(const Tensor& self, const GeneratorOption&) {
  return empty_like_dtype(self.sizes(), self);
}
Tensor bernoulli_p(const Tensor& self, double p, const GeneratorOption&) {
  check_probability(p);
  return empty_like_dtype(self.sizes(), self);
}

Tensor draw_categories(const Tensor& self, int64_t samples, bool replacement,
                       const GeneratorOption&) {
  TORCH_CHECK(self.dim() == 1 || self.dim() == 2, "prob_dist must be 1 or 2 dim");
  TORCH_CHECK(
      c10::isFloatingType(self.scalar_type()),
      "multinomial only supports floating-point dtypes for input, got: ", self.scalar_type());
  TORCH_CHECK(samples > 0, "cannot sample n_sample <= 0 samples");
  TORCH_CHECK(replacement || samples <= self.size(-1),
              "cannot sample n_sample > prob_dist.size(-1) samples without replacement");
  constexpr int64_t kMostCategories = 1 << 24;
  TORCH_CHECK(self.size(-1) <= kMostCategories, "number of categories cannot exceed 2^24");
  if (self.dim() == 1) return empty_of({samples}, at::kLong);
  return empty_of({self.size(0), samples}, at::kLong);
}

Tensor draw_categories_out(const Tensor& self, int64_t samples, bool replacement,
                           const GeneratorOption& generator, const Tensor& out) {
  TORCH_CHECK(out.scalar_type() == at::kLong,
              "multinomial expects Long tensor out, got: ", out.scalar_type());
  const Tensor made = draw_categories(self, samples, replacement, generator);
  if (out.sizes() != made.sizes()) out.unsafeGetTensorImpl()->set_sizes_contiguous(made.sizes());
  return out;
}

// How a draw follows its parameters: one function of them and the draw, an element each.
constexpr FlopMix kDrawGradient = {.special = 1};

Tensor gamma_gradient(const Tensor& self, const Tensor& /*output*/) {
  return empty_like_dtype(self.sizes(), self);
}

Tensor dirichlet_gradient(const Tensor& x, const Tensor& /*alpha*/, const Tensor& /*total*/) {
  return empty_like_dtype(x.sizes(), x);
}

// poisson, binomial and gamma: contiguous, of the size of what they are given.
Tensor draw_of(const Tensor& self, const GeneratorOption&) {
  return empty_like_dtype(self.sizes(), self);
}
Tensor binomial(const Tensor& count, const Tensor&, const GeneratorOption& generator) {
  return draw_of(count, generator);
}

// In place ----------------------------------------------------------------------------------------

Tensor uniform_in_place(const Tensor& self, double from, double to, const GeneratorOption&) {
  check_not_integer(self.scalar_type());
  TORCH_CHECK(from <= to, "uniform_ expects to return a [from, to) range, but found from=", from,
              " > to=", to);
  return self;
}
Tensor normal_in_place(const Tensor& self, double, double deviation, const GeneratorOption&) {
  check_deviation(deviation);
  check_not_integer(self.scalar_type());
  return self;
}
Tensor log_normal_in_place(const Tensor& self, double, double deviation, const GeneratorOption&) {
  TORCH_CHECK(deviation > 0, "log_normal_ expects std > 0.0, but found std=", deviation);
  check_floating(self.scalar_type());
  return self;
}
Tensor exponential_in_place(const Tensor& self, double rate, const GeneratorOption&) {
  TORCH_CHECK(rate > 0, "exponential_ expects lambda > 0.0, but found lambda=", rate);
  check_floating(self.scalar_type());
  return self;
}
Tensor cauchy_in_place(const Tensor& self, double, double scale, const GeneratorOption&) {
  TORCH_CHECK(scale > 0, "cauchy_ expects sigma > 0.0, but found sigma=", scale);
  check_floating(self.scalar_type());
  return self;
}
Tensor geometric_in_place(const Tensor& self, double p, const GeneratorOption&) {
  TORCH_CHECK(0 < p && p < 1, "geometric_ expects p to be in (0, 1), but got p=", p);
  check_has_kernel(!self.is_complex() && self.scalar_type() != at::kBool, self.scalar_type());
  return self;
}
Tensor random_in_place(const Tensor& self, const GeneratorOption&) { return self; }
Tensor random_to_in_place(const Tensor& self, int64_t to, const GeneratorOption&) {
  check_range(0, to);
  return self;
}
Tensor random_from_in_place(const Tensor& self, int64_t from, std::optional<int64_t> to,
                            const GeneratorOption&) {
  if (to) check_range(from, *to);
  return self;
}
Tensor bernoulli_in_place(const Tensor& self, double p, const GeneratorOption&) {
  check_probability(p);
  return self;
}
Tensor bernoulli_tensor_in_place(const Tensor& self, const Tensor& p, const GeneratorOption&) {
  const auto sizes = at::infer_size(self.sizes(), p.sizes());
  TORCH_CHECK(sizes == self.sizes(), "output with shape ", self.sizes(),
              " doesn't match the broadcast shape ", sizes);
  return self;
}

// Costs -------------------------------------------------------------------------------------------

// With replacement: the running sum, then a binary search for each sample. Without: exponential
// noise divides the weights, and the largest of each row are taken.
void multinomial_cost(const OpSignature& op, Cost& cost) {
  const TensorSpec& weights = op.tensor(0);
  const int64_t comparisons = log2_ceil(weights.size(-1));
  if (op.boolean(2)) {
    cost.add({.add = 1, .division = 1}, weights.numel());
    cost.add({.compare = comparisons}, op.output().numel());
  } else {
    cost.add({.division = 1, .exp = 1, .compare = op.integer(1) == 1 ? 1 : comparisons},
             weights.numel());
  }
}

// Table -------------------------------------------------------------------------------------------

#define OPTIONS \
  "ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None"
#define LONG_OPTIONS \
  "ScalarType? dtype=4, Layout? layout=None, Device? device=None, bool? pin_memory=None"
#define FORMAT "MemoryFormat? memory_format=None"
#define GENERATOR "Generator? generator"
#define DEFAULT_GENERATOR "Generator? generator=None"

constexpr FlopMix kUniform = kUniformDraw;
// Box-Muller: sqrt(-2 log u) cos(2 pi v), scaled and moved.
constexpr FlopMix kNormal = {.add = 1, .multiply = 4, .sqrt = 1, .exp = 1, .trigonometric = 1};
constexpr FlopMix kLogNormal = {.add = 1, .multiply = 4, .sqrt = 1, .exp = 2, .trigonometric = 1};
constexpr FlopMix kExponential = {.division = 1, .exp = 1};
constexpr FlopMix kCauchy = {.add = 2, .multiply = 2, .trigonometric = 1};
constexpr FlopMix kGeometric = {.add = 1, .division = 1, .exp = 1};
constexpr FlopMix kDraw = {.compare = 1};
constexpr FlopMix kInteger = {.add = 1};
constexpr uint32_t kInPlace = kRandom | kWritesOnly;

const Rule kRandomTable[] = {
    {"aten::rand(SymInt[] size, *, " OPTIONS ") -> Tensor", boxed<&rand>, pointwise, kUniform,
     kRandom},
    {"aten::rand.generator(SymInt[] size, *, " GENERATOR ", " OPTIONS ") -> Tensor",
     boxed<&random_reals>, pointwise, kUniform, kRandom},
    {"aten::rand_like(Tensor self, *, " OPTIONS ", " FORMAT ") -> Tensor", boxed<&rand_like>,
     writes_output, kUniform, kRandom},
    {"aten::rand_like.generator(Tensor self, *, " GENERATOR ", " OPTIONS ", " FORMAT ") -> Tensor",
     boxed<&random_reals_like>, writes_output, kUniform, kRandom},
    {"aten::randn(SymInt[] size, *, " OPTIONS ") -> Tensor", boxed<&rand>, pointwise, kNormal,
     kRandom},
    {"aten::randn.generator(SymInt[] size, *, " GENERATOR ", " OPTIONS ") -> Tensor",
     boxed<&random_reals>, pointwise, kNormal, kRandom},
    {"aten::randn_like(Tensor self, *, " OPTIONS ", " FORMAT ") -> Tensor", boxed<&rand_like>,
     writes_output, kNormal, kRandom},
    {"aten::randn_like.generator(Tensor self, *, " GENERATOR ", " OPTIONS ", " FORMAT ") -> Tensor",
     boxed<&random_reals_like>, writes_output, kNormal, kRandom},
    {"aten::normal.float_float(float mean, float std, SymInt[] size, *, " DEFAULT_GENERATOR
     ", " OPTIONS ") -> Tensor",
     boxed<&normal_of_sizes>, pointwise, kNormal, kRandom},
    {"aten::normal.Tensor_float(Tensor mean, float std=1., *, " DEFAULT_GENERATOR ") -> Tensor",
     boxed<&normal_of_means>, pointwise, kNormal, kRandom},
    {"aten::normal.float_Tensor(float mean, Tensor std, *, " DEFAULT_GENERATOR ") -> Tensor",
     boxed<&normal_of_deviations>, pointwise, kNormal, kRandom},
    {"aten::normal.Tensor_Tensor(Tensor mean, Tensor std, *, " DEFAULT_GENERATOR ") -> Tensor",
     boxed<&normal_of_both>, pointwise, kNormal, kRandom},

    {"aten::randint(SymInt high, SymInt[] size, *, " LONG_OPTIONS ") -> Tensor", boxed<&randint>,
     pointwise, kInteger, kRandom},
    {"aten::randint.generator(SymInt high, SymInt[] size, *, " GENERATOR ", " LONG_OPTIONS
     ") -> Tensor",
     boxed<&randint_generator>, pointwise, kInteger, kRandom},
    {"aten::randint.low(SymInt low, SymInt high, SymInt[] size, *, " LONG_OPTIONS ") -> Tensor",
     boxed<&randint_low>, pointwise, kInteger, kRandom},
    {"aten::randint.low_generator(SymInt low, SymInt high, SymInt[] size, *, " GENERATOR
     ", " LONG_OPTIONS ") -> Tensor",
     boxed<&random_integers>, pointwise, kInteger, kRandom},
    {"aten::randint_like(Tensor self, SymInt high, *, " OPTIONS ", " FORMAT ") -> Tensor",
     boxed<&randint_like>, writes_output, kInteger, kRandom},
    {"aten::randint_like.low_dtype(Tensor self, SymInt low, SymInt high, *, " OPTIONS ", " FORMAT
     ") -> Tensor",
     boxed<&random_integers_like>, writes_output, kInteger, kRandom},
    {"aten::randint_like.Tensor(Tensor self, Tensor high, *, " OPTIONS ", " FORMAT ") -> Tensor",
     boxed<&randint_like_tensor>, writes_output, kInteger, kRandom},
    {"aten::randperm(SymInt n, *, " LONG_OPTIONS ") -> Tensor", boxed<&randperm>, pointwise,
     kInteger, kRandom},
    {"aten::randperm.generator(SymInt n, *, " GENERATOR ", " LONG_OPTIONS ") -> Tensor",
     boxed<&random_permutation>, pointwise, kInteger, kRandom},

    {"aten::bernoulli(Tensor self, *, " DEFAULT_GENERATOR ") -> Tensor", boxed<&bernoulli>,
     pointwise, kDraw, kRandom},
    {"aten::bernoulli.p(Tensor self, float p, *, " DEFAULT_GENERATOR ") -> Tensor",
     boxed<&bernoulli_p>, writes_output, kDraw, kRandom},
    {"aten::multinomial(Tensor self, SymInt num_samples, bool replacement=False, "
     "*, " DEFAULT_GENERATOR ") -> Tensor",
     boxed<&draw_categories>,
     multinomial_cost,
     {},
     kRandom | kChoices},
    {"aten::multinomial.out(Tensor self, SymInt num_samples, bool replacement=False, "
     "*, " DEFAULT_GENERATOR ", Tensor(a!) out) -> Tensor(a!)",
     boxed<&draw_categories_out>,
     multinomial_cost,
     {},
     kRandom},
    {"aten::poisson(Tensor self, " DEFAULT_GENERATOR ") -> Tensor",
     boxed<&draw_of>,
     pointwise,
     {.special = 1},
     kRandom},
    {"aten::binomial(Tensor count, Tensor prob, " DEFAULT_GENERATOR ") -> Tensor",
     boxed<&binomial>,
     pointwise,
     {.special = 1},
     kRandom},
    {"aten::_standard_gamma(Tensor self, " DEFAULT_GENERATOR ") -> Tensor",
     boxed<&draw_of>,
     pointwise,
     {.special = 1},
     kRandom},
    {"aten::_standard_gamma_grad(Tensor self, Tensor output) -> Tensor", boxed<&gamma_gradient>,
     pointwise, kDrawGradient},
    {"aten::_dirichlet_grad(Tensor x, Tensor alpha, Tensor total) -> Tensor",
     boxed<&dirichlet_gradient>, pointwise, kDrawGradient},
    {"aten::_sample_dirichlet(Tensor self, " DEFAULT_GENERATOR ") -> Tensor",
     boxed<&draw_of>,
     pointwise,
     {.add = 1, .division = 1, .special = 1},
     kRandom},

    {"aten::uniform_(Tensor(a!) self, float from=0., float to=1., *, " DEFAULT_GENERATOR
     ") -> Tensor(a!)",
     boxed<&uniform_in_place>, pointwise, kUniform, kInPlace},
    {"aten::normal_(Tensor(a!) self, float mean=0., float std=1., *, " DEFAULT_GENERATOR
     ") -> Tensor(a!)",
     boxed<&normal_in_place>, pointwise, kNormal, kInPlace},
    {"aten::log_normal_(Tensor(a!) self, float mean=1., float std=2., *, " DEFAULT_GENERATOR
     ") -> Tensor(a!)",
     boxed<&log_normal_in_place>, pointwise, kLogNormal, kInPlace},
    {"aten::exponential_(Tensor(a!) self, float lambd=1., *, " DEFAULT_GENERATOR ") -> Tensor(a!)",
     boxed<&exponential_in_place>, pointwise, kExponential, kInPlace},
    {"aten::cauchy_(Tensor(a!) self, float median=0., float sigma=1., *, " DEFAULT_GENERATOR
     ") -> Tensor(a!)",
     boxed<&cauchy_in_place>, pointwise, kCauchy, kInPlace},
    {"aten::geometric_(Tensor(a!) self, float p, *, " DEFAULT_GENERATOR ") -> Tensor(a!)",
     boxed<&geometric_in_place>, pointwise, kGeometric, kInPlace},
    {"aten::random_(Tensor(a!) self, *, " DEFAULT_GENERATOR ") -> Tensor(a!)",
     boxed<&random_in_place>, pointwise, kInteger, kInPlace},
    {"aten::random_.to(Tensor(a!) self, int to, *, " DEFAULT_GENERATOR ") -> Tensor(a!)",
     boxed<&random_to_in_place>, pointwise, kInteger, kInPlace},
    {"aten::random_.from(Tensor(a!) self, int from, int? to, *, " DEFAULT_GENERATOR
     ") -> Tensor(a!)",
     boxed<&random_from_in_place>, pointwise, kInteger, kInPlace},
    {"aten::bernoulli_.float(Tensor(a!) self, float p=0.5, *, " DEFAULT_GENERATOR ") -> Tensor(a!)",
     boxed<&bernoulli_in_place>, pointwise, kDraw, kInPlace},
    {"aten::bernoulli_.Tensor(Tensor(a!) self, Tensor p, *, " DEFAULT_GENERATOR ") -> Tensor(a!)",
     boxed<&bernoulli_tensor_in_place>, pointwise, kDraw, kInPlace},
};

#undef OPTIONS
#undef LONG_OPTIONS
#undef FORMAT
#undef GENERATOR
#undef DEFAULT_GENERATOR

}  // namespace

const RuleFamily kRandomRules("random", kRandomTable, OpClass::elementwise, kNothingSpecial);

}  // namespace nnprof

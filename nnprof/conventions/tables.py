"""Each tool's convention as data: which operators it counts, how much for each, and its slips.

Read from the tools' sources: torch 2.13 (`utils/flop_counter.py`), fvcore 0.1.5
(`nn/flop_count.py`, `nn/jit_handles.py`), ptflops 0.7.5 (`pytorch_ops.py`, `aten_ops.py`), thop
0.1.1 (`profile.py`, `vision/basic_hooks.py`, `rnn_hooks.py`), deepspeed 0.19
(`profiling/flops_profiler/profiler.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnprof.base.units import Unit
from nnprof.conventions import calls
from nnprof.conventions.calls import (
    bias,
    inputs,
    macs,
    norm,
    of_matrices,
    outputs,
    plus,
    recurrent,
    scores,
    times,
    twice_macs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nnprof.conventions.calls import Call

__all__ = ["CONVENTIONS", "Convention", "Quirk", "Rule"]


@dataclass(frozen=True)
class Rule:
    """What a tool counts of each call of some operators.

    With `modules`, only of calls that a module of one of these very classes makes, with `outside`
    only of others; with `inside`, only where a module of these stands around that one. Of several
    rules for one call the first holds.
    """

    ops: frozenset[str]
    count: Callable[[Call], int]
    modules: frozenset[str] = frozenset()
    inside: frozenset[str] = frozenset()
    outside: frozenset[str] = frozenset()

    def holds(self, call: Call) -> bool:
        """Whether the rule is about this call."""
        return (
            call.op in self.ops
            and (not self.modules or call.module in self.modules)
            and call.module not in self.outside
            and (not self.inside or not self.inside.isdisjoint(call.parents))
        )


@dataclass(frozen=True)
class Quirk:
    """Why the tool may print something else than its convention stands for, and by how much.

    What the rules count is what is printed on top; it is negative where the tool misses something.
    """

    reason: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Convention:
    """What one tool's number stands for."""

    name: str  #: as `Profile.flops_as` takes it
    package: str  #: what to install for it
    unit: Unit  #: whether a multiply-add is one (MACS) or two (FLOPS)
    counts: str  #: what it counts, in a sentence
    rules: tuple[Rule, ...]
    quirks: tuple[Quirk, ...] = ()
    #: Why else it may print another number, where no record tells by how much.
    notes: tuple[str, ...] = ()


def _rule(
    ops: Iterable[str],
    count: Callable[[Call], int],
    modules: Iterable[str] = (),
    outside: Iterable[str] = (),
) -> Rule:
    return Rule(frozenset(ops), count, frozenset(modules), outside=frozenset(outside))


def _nn(*names: str) -> tuple[str, ...]:
    return tuple(f"nn.{name}" for name in names)


def _each_dimension(name: str) -> tuple[str, ...]:
    return tuple(f"{name}{dimensions}d" for dimensions in (1, 2, 3))


# Operators, as they are recorded.

CONVOLUTION = (
    *_each_dimension("conv"),
    *_each_dimension("conv_transpose"),
    "convolution",
    "_convolution",
)
LINEAR = ("linear",)
# torch.matmul and the operator @ are the same call.
MATMUL = ("matmul",)
PRODUCT = ("mm", "bmm")
ADDED_PRODUCT = ("addmm", "baddbmm")
ATTENTION = (
    "scaled_dot_product_attention",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
)
SOFTMAX = ("softmax", "_softmax")
AVG_POOL = _each_dimension("avg_pool")
ADAPTIVE_AVG_POOL = _each_dimension("adaptive_avg_pool")
POOL = (
    *AVG_POOL,
    *ADAPTIVE_AVG_POOL,
    *_each_dimension("max_pool"),
    *(f"{name}_with_indices" for name in _each_dimension("max_pool")),
    *_each_dimension("adaptive_max_pool"),
)
NORM = ("layer_norm", "group_norm", "instance_norm")
UPSAMPLE = (
    *(f"upsample_nearest{d}d" for d in (1, 2, 3)),
    *(f"_upsample_nearest_exact{d}d" for d in (1, 2, 3)),
    "upsample_linear1d",
    "upsample_bilinear2d",
    "_upsample_bilinear2d_aa",
    "upsample_trilinear3d",
    "upsample_bicubic2d",
    "_upsample_bicubic2d_aa",
)
RNN = ("rnn_tanh", "rnn_relu")
RNN_CELL = ("rnn_tanh_cell", "rnn_relu_cell")
CELLS = (*RNN_CELL, "gru_cell", "lstm_cell")

# Modules.

CONV_MODULES = _nn(*_each_dimension("Conv"))
TRANSPOSED_MODULES = _nn(*_each_dimension("ConvTranspose"))
BATCH_NORM_MODULES = _nn(*_each_dimension("BatchNorm"))
INSTANCE_NORM_MODULES = _nn(*_each_dimension("InstanceNorm"))
POOL_MODULES = _nn(
    *_each_dimension("MaxPool"),
    *_each_dimension("AvgPool"),
    *_each_dimension("AdaptiveMaxPool"),
    *_each_dimension("AdaptiveAvgPool"),
)
ACTIVATION_MODULES = _nn("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "GELU", "SiLU", "Hardtanh")
RNN_MODULES = _nn("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")


# torch and torchvision: what FlopCounterMode has a formula for.


def _formulas(count: Callable[[Call], int]) -> tuple[Rule, ...]:
    return (
        _rule((*CONVOLUTION, *LINEAR, *PRODUCT, *ADDED_PRODUCT, *ATTENTION, *CELLS), count),
        _rule(("_scaled_mm",), count),
        _rule(MATMUL, of_matrices(count)),
    )


TORCH = Convention(
    name="torch",
    package="torch",
    unit=Unit.FLOPS,
    counts="2 x MACs of convolutions, matrix products and attention",
    rules=_formulas(twice_macs),
    quirks=(
        Quirk(
            "on the CPU it has no formula for the kernel of scaled_dot_product_attention",
            (_rule(ATTENTION, times(-2, macs)),),
        ),
        Quirk(
            "where there is no fused kernel, as on the CPU, it sees the products of RNN and GRU",
            (_rule((*RNN, "gru"), twice_macs),),
        ),
        Quirk(
            "where there is no fused kernel, as on the meta device, it sees the products of LSTM",
            (_rule(("lstm",), twice_macs),),
        ),
    ),
)

TORCHVISION = Convention(
    name="torchvision",
    package="torchvision",
    unit=Unit.MACS,
    counts=(
        "MACs of convolutions, matrix products and attention, published as GFLOPS for one image of "
        "the size that the weights were tested with"
    ),
    rules=_formulas(macs),
)


# fvcore: handles for the operators of a jit trace.

_NORM_IN_FVCORE = norm(affine=5, plain=4)

FVCORE = Convention(
    name="fvcore",
    package="fvcore",
    unit=Unit.MACS,
    counts=(
        "MACs of convolutions and matrix products, 2 an element for batch norm, 5 for other norms, "
        "1 for adaptive average pooling, 4 for bilinear sampling"
    ),
    rules=(
        _rule((*CONVOLUTION, *LINEAR, *PRODUCT, "addmm", *CELLS), macs),
        _rule(MATMUL, of_matrices(macs)),
        _rule(("batch_norm",), calls.batch_norm(affine=2, plain=1, training=_NORM_IN_FVCORE)),
        _rule(NORM, _NORM_IN_FVCORE),
        _rule(("adaptive_avg_pool2d",), inputs),
        _rule(("upsample_nearest2d",), outputs),
        _rule(("upsample_bilinear2d", "grid_sampler"), times(4, outputs)),
    ),
    quirks=(
        Quirk(
            "it takes the rows of a matmul from its first operand, also where that is broadcast",
            (_rule(MATMUL, of_matrices(calls.not_broadcast)),),
        ),
    ),
    notes=("it reads einsum off NumPy's estimate, of four digits, and fails on matrix x vector",),
)


# thop: hooks on modules of the very classes in its table, and nothing besides.

_NORM_IN_THOP = norm(affine=4, plain=2)

THOP = Convention(
    name="thop",
    package="thop",
    unit=Unit.MACS,
    counts=(
        "MACs of nn.Conv*, nn.Linear and recurrent modules, 4 an element for nn.BatchNorm*, "
        "nn.LayerNorm and nn.InstanceNorm*; no function and no subclass is seen"
    ),
    rules=(
        _rule(CONVOLUTION, macs, (*CONV_MODULES, *TRANSPOSED_MODULES)),
        _rule(LINEAR, macs, _nn("Linear")),
        _rule(
            ("batch_norm", "layer_norm", "instance_norm"),
            _NORM_IN_THOP,
            (*BATCH_NORM_MODULES, *INSTANCE_NORM_MODULES, *_nn("LayerNorm", "SyncBatchNorm")),
        ),
        _rule(("prelu",), inputs, _nn("PReLU")),
        _rule(SOFTMAX, calls.softmax_by_rows, _nn("Softmax")),
        _rule(AVG_POOL, outputs, _nn(*_each_dimension("AvgPool"))),
        _rule(ADAPTIVE_AVG_POOL, plus(inputs, outputs), _nn(*_each_dimension("AdaptiveAvgPool"))),
        *(
            _rule(
                (op,),
                times(factor, outputs),
                _nn("Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"),
            )
            for op, factor in (
                *((f"upsample_nearest{d}d", 1) for d in (1, 2, 3)),
                ("upsample_linear1d", 5),
                ("upsample_bilinear2d", 11),
                ("upsample_bicubic2d", 259),
            )
        ),
        _rule((*RNN, *RNN_CELL), plus(macs, recurrent(1, 1, 2, 0)), RNN_MODULES),
        _rule(("gru", "gru_cell"), plus(macs, recurrent(3, 1, 2, 4)), RNN_MODULES),
        _rule(("lstm", "lstm_cell"), plus(macs, recurrent(4, 1, 2, 4)), RNN_MODULES),
    ),
    quirks=(
        Quirk(
            "it takes a transposed convolution at every position of the output, not of the input",
            (_rule(CONVOLUTION, calls.at_output_size, TRANSPOSED_MODULES),),
        ),
    ),
    notes=("a module that stands at two places of the tree counts in full at both",),
)


# ptflops, "pytorch": hooks on modules, and functions replaced by ones that count.

_MULTIHEAD = _nn("MultiheadAttention")
_TIMM_ATTENTION = (
    "timm.layers.attention.Attention",
    "timm.models.vision_transformer.Attention",  # where older versions have it
)

_UPSAMPLE_MODULE = _rule(UPSAMPLE, outputs, _nn("Upsample"))
_BY_NAME = Quirk(
    "sums and products count where they are written as torch.add(x, y) or x.mul(y), not as x + y",
    (_rule(("add", "mul"), outputs, outside=(*_MULTIHEAD, *_TIMM_ATTENTION)),),
)
_PTFLOPS_MODULES = (
    _rule(CONVOLUTION, plus(macs, bias), (*CONV_MODULES, *TRANSPOSED_MODULES)),
    _rule(LINEAR, plus(macs, bias), (*_nn("Linear"), *_MULTIHEAD)),
    _rule(ATTENTION, plus(macs, scores, inputs), (*_MULTIHEAD, *_TIMM_ATTENTION)),
    _rule(PRODUCT, macs, _MULTIHEAD),
    _rule(MATMUL, macs, _TIMM_ATTENTION),
    _rule(SOFTMAX, inputs, (*_MULTIHEAD, *_TIMM_ATTENTION)),
    _rule(("mul",), outputs, (*_MULTIHEAD, *_TIMM_ATTENTION)),
    _rule(
        ("relu", "prelu", "elu", "gelu", "leaky_relu", "hardtanh"),
        outputs,
        _nn("ReLU", "PReLU", "ELU", "GELU", "LeakyReLU", "ReLU6"),
    ),
    _rule(("hardtanh",), calls.nothing, _nn("Hardtanh")),
    _rule(POOL, inputs, POOL_MODULES),
    _rule(
        ("batch_norm", "instance_norm", "group_norm"),
        norm(affine=2, plain=1),
        (*BATCH_NORM_MODULES, *INSTANCE_NORM_MODULES, *_nn("GroupNorm")),
    ),
    _rule(("layer_norm",), inputs, _nn("LayerNorm")),
    _UPSAMPLE_MODULE,
    _rule((*RNN, *RNN_CELL), plus(macs, recurrent(1, 0, 2, 1)), RNN_MODULES),
    _rule(("gru", "gru_cell"), plus(macs, recurrent(3, 0, 2, 7)), RNN_MODULES),
    _rule(("lstm", "lstm_cell"), plus(macs, recurrent(4, 0, 2, 10)), RNN_MODULES),
)
# F.relu6 is recorded as the hardtanh that it calls.
_PTFLOPS_ACTIVATIONS = ("relu", "prelu", "elu", "gelu", "silu", "hardtanh")
_PTFLOPS_FUNCTIONS = (
    _rule((*MATMUL, *PRODUCT), macs),
    _rule(ADDED_PRODUCT, plus(macs, inputs)),
    _rule((*_PTFLOPS_ACTIVATIONS, *POOL, *SOFTMAX), inputs),
    _rule(UPSAMPLE, outputs),
)


def _hidden(rule: Rule, count: Callable[[Call], int]) -> Rule:
    return Rule(rule.ops, count, rule.modules, inside=frozenset(_TIMM_ATTENTION))


def _not_counted(rule: Rule) -> Rule:
    return _hidden(rule, lambda call: -rule.count(call))


def _share_of_batch(rule: Rule, power: int = 1) -> Rule:
    def missing(call: Call) -> int:
        whole = rule.count(call)
        return whole // int(call.batch**power) - whole

    return Rule(rule.ops, missing, rule.modules)


PTFLOPS = Convention(
    name="ptflops",
    package="ptflops",
    unit=Unit.MACS,
    counts=(
        "MACs and biases of convolutions, nn.Linear, torch.matmul and its kin; 2 an element for "
        "batch norm, 1 for layer norm, pooling and common activations; F.linear, attention as a "
        "function, and what is written as an operator (x + y, x * y) are not seen"
    ),
    rules=(*_PTFLOPS_MODULES, *_PTFLOPS_FUNCTIONS),
    quirks=(
        Quirk(
            "it divides what modules count, but not functions, by the batch",
            (
                *(_hidden(rule, calls.nothing) for rule in _PTFLOPS_MODULES),
                _share_of_batch(_UPSAMPLE_MODULE, power=2),  # which looks at one sample already
                *(_share_of_batch(rule) for rule in _PTFLOPS_MODULES),
            ),
        ),
        Quirk(
            "a module that it counts as a whole, timm's Attention, hides the modules inside",
            tuple(_not_counted(rule) for rule in _PTFLOPS_MODULES),
        ),
        Quirk(
            "activation and pooling modules count twice: as modules and as the functions they call",
            (
                _rule(
                    ("relu", "prelu", "elu", "gelu"), inputs, _nn("ReLU", "PReLU", "ELU", "GELU")
                ),
                _rule(POOL, inputs, POOL_MODULES),
                _UPSAMPLE_MODULE,
            ),
        ),
        Quirk(
            "the products inside of nn.MultiheadAttention count twice, as module and as functions",
            (
                _rule(PRODUCT, macs, _MULTIHEAD),
                _rule(SOFTMAX, inputs, _MULTIHEAD),
            ),
        ),
        _BY_NAME,
        Quirk(
            "it does not see a matmul that is written as x @ y",
            (_rule(MATMUL, times(-1, macs), outside=_TIMM_ATTENTION),),
        ),
        Quirk(
            "it does not see the products inside of an einsum",
            (_rule(PRODUCT, times(-1, macs), outside=_MULTIHEAD),),
        ),
        Quirk(
            "it takes the rows of a matmul from its first operand, and a vector for a matrix",
            (_rule(MATMUL, calls.not_broadcast, outside=_TIMM_ATTENTION),),
        ),
        Quirk(
            "it does not see softmax as a method of a tensor, or torch.softmax",
            (_rule(SOFTMAX, times(-1, inputs), outside=_TIMM_ATTENTION),),
        ),
        Quirk(
            "it does not see an activation that is called by another name than F.relu and so on",
            (_rule(_PTFLOPS_ACTIVATIONS, times(-1, inputs), outside=ACTIVATION_MODULES),),
        ),
    ),
)

PTFLOPS_ATEN = Convention(
    name="ptflops-aten",
    package="ptflops",
    unit=Unit.MACS,
    counts="MACs and biases of convolutions, linear layers and matrix products",
    rules=(
        _rule((*CONVOLUTION, *LINEAR), plus(macs, bias)),
        _rule(PRODUCT, macs),
        _rule(("addmm",), plus(macs, outputs)),
        _rule(MATMUL, of_matrices(macs)),
        _rule(RNN_CELL, plus(macs, recurrent(1, 0, 2, 0))),
        _rule(("gru_cell",), plus(macs, recurrent(3, 0, 2, 0))),
        _rule(("lstm_cell",), plus(macs, recurrent(4, 0, 2, 0))),
    ),
    quirks=(
        Quirk(
            "it does not see the bias that nn.MultiheadAttention adds to a permuted input",
            (_rule(LINEAR, lambda call: -bias(call) * (len(call.inputs[0]) > 2), _MULTIHEAD),),
        ),
        Quirk(
            "where there is no fused kernel, as on the CPU, it sees the products of RNN and GRU",
            (
                _rule(RNN, plus(macs, recurrent(1, 0, 2, 0))),
                _rule(("gru",), plus(macs, recurrent(3, 0, 2, 0))),
            ),
        ),
        Quirk(
            "where no attention kernel applies it sees the two products inside",
            (_rule(ATTENTION, macs),),
        ),
    ),
    notes=(
        "it does not see the bias of a linear layer whose input is permuted: torch adds it apart",
    ),
)


# deepspeed: functions replaced by ones that count, and hooks on recurrent modules.

_NORM_IN_DEEPSPEED = norm(affine=5, plain=4)
_DEEPSPEED_ACTIVATIONS = (*_PTFLOPS_ACTIVATIONS, "leaky_relu")

DEEPSPEED = Convention(
    name="deepspeed",
    package="deepspeed",
    unit=Unit.FLOPS,
    counts=(
        "2 x MACs of convolutions, matrix products and attention, biases of convolutions; 2 an "
        "element for batch norm, 5 for other norms, 1 for pooling, softmax and common activations"
    ),
    rules=(
        _rule(CONVOLUTION, plus(twice_macs, bias)),
        _rule((*LINEAR, *MATMUL, *PRODUCT, *ATTENTION), twice_macs),
        _rule(ADDED_PRODUCT, plus(twice_macs, inputs)),
        _rule(("batch_norm",), calls.batch_norm(affine=2, plain=1, training=_NORM_IN_DEEPSPEED)),
        _rule(NORM, _NORM_IN_DEEPSPEED),
        _rule(("hardtanh",), calls.nothing, _nn("Hardtanh", "ReLU6")),
        _rule((*_DEEPSPEED_ACTIVATIONS, *POOL, *SOFTMAX), inputs),
        _rule(UPSAMPLE, outputs),
        _rule((*RNN, *RNN_CELL), plus(twice_macs, recurrent(1, -2, 2, 1)), RNN_MODULES),
        _rule(("gru", "gru_cell"), plus(twice_macs, recurrent(3, -2, 2, 7)), RNN_MODULES),
        _rule(("lstm", "lstm_cell"), plus(twice_macs, recurrent(4, -2, 2, 10)), RNN_MODULES),
    ),
    quirks=(
        _BY_NAME,
        Quirk(
            "it takes the rows of a matmul from its first operand, and a vector for a matrix",
            (_rule(MATMUL, times(2, calls.not_broadcast)),),
        ),
        Quirk(
            "it does not see softmax as a method of a tensor, or torch.softmax",
            (_rule(SOFTMAX, times(-1, inputs)),),
        ),
        Quirk(
            "it does not see an activation that is called by another name than F.relu and so on",
            (_rule(_DEEPSPEED_ACTIVATIONS, times(-1, inputs), outside=ACTIVATION_MODULES),),
        ),
    ),
    notes=("it reads einsum off NumPy's estimate, of four digits",),
)

#: Every tool, in the order they are printed.
CONVENTIONS = (TORCH, TORCHVISION, FVCORE, PTFLOPS, PTFLOPS_ATEN, THOP, DEEPSPEED)

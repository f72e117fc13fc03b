"""Each tool's convention as data: which operators it counts, how much for each, and its slips.

Read from the tools' sources: torch 2.13 (`utils/flop_counter.py`), fvcore 0.1.5
(`nn/flop_count.py`, `nn/jit_handles.py`), ptflops 0.7.5 (`pytorch_ops.py`, `aten_ops.py`), thop
0.1.1 (`profile.py`, `vision/basic_hooks.py`, `rnn_hooks.py`), deepspeed 0.19
(`profiling/flops_profiler/profiler.py`).
"""

from __future__ import annotations

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
from nnprof.conventions.vocabulary import (
    ACTIVATION_MODULES,
    ADAPTIVE_AVG_POOL,
    ADDED_PRODUCT,
    ATTENTION,
    AVG_POOL,
    BATCH_NORM_MODULES,
    CELLS,
    CONV_MODULES,
    CONVOLUTION,
    INSTANCE_NORM_MODULES,
    LINEAR,
    MATMUL,
    NORM,
    POOL,
    POOL_MODULES,
    PRODUCT,
    RNN,
    RNN_CELL,
    RNN_MODULES,
    SOFTMAX,
    TRANSPOSED_MODULES,
    UPSAMPLE,
    Convention,
    Quirk,
    Rule,
    each_dimension,
    nn,
    rule,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnprof.conventions.calls import Call

__all__ = ["CONVENTIONS"]


# torch and torchvision: what FlopCounterMode has a formula for.


def _formulas(count: Callable[[Call], int]) -> tuple[Rule, ...]:
    return (
        rule((*CONVOLUTION, *LINEAR, *PRODUCT, *ADDED_PRODUCT, *ATTENTION, *CELLS), count),
        rule(("_scaled_mm",), count),
        rule(MATMUL, of_matrices(count)),
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
            (rule(ATTENTION, times(-2, macs)),),
        ),
        Quirk(
            "where there is no fused kernel, as on the CPU, it sees the products of RNN and GRU",
            (rule((*RNN, "gru"), twice_macs),),
        ),
        Quirk(
            "where there is no fused kernel, as on the meta device, it sees the products of LSTM",
            (rule(("lstm",), twice_macs),),
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
        rule((*CONVOLUTION, *LINEAR, *PRODUCT, "addmm", *CELLS), macs),
        rule(MATMUL, of_matrices(macs)),
        rule(("batch_norm",), calls.batch_norm(affine=2, plain=1, training=_NORM_IN_FVCORE)),
        rule(NORM, _NORM_IN_FVCORE),
        rule(("adaptive_avg_pool2d",), inputs),
        rule(("upsample_nearest2d",), outputs),
        rule(("upsample_bilinear2d", "grid_sampler"), times(4, outputs)),
    ),
    quirks=(
        Quirk(
            "it takes the rows of a matmul from its first operand, also where that is broadcast",
            (rule(MATMUL, of_matrices(calls.not_broadcast)),),
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
        rule(CONVOLUTION, macs, (*CONV_MODULES, *TRANSPOSED_MODULES)),
        rule(LINEAR, macs, nn("Linear")),
        rule(
            ("batch_norm", "layer_norm", "instance_norm"),
            _NORM_IN_THOP,
            (
                *BATCH_NORM_MODULES,
                *INSTANCE_NORM_MODULES,
                *nn("LayerNorm", "SyncBatchNorm"),
            ),
        ),
        rule(("prelu",), inputs, nn("PReLU")),
        rule(SOFTMAX, calls.softmax_by_rows, nn("Softmax")),
        rule(AVG_POOL, outputs, nn(*each_dimension("AvgPool"))),
        rule(ADAPTIVE_AVG_POOL, plus(inputs, outputs), nn(*each_dimension("AdaptiveAvgPool"))),
        *(
            rule(
                (op,),
                times(factor, outputs),
                nn("Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"),
            )
            for op, factor in (
                *((f"upsample_nearest{d}d", 1) for d in (1, 2, 3)),
                ("upsample_linear1d", 5),
                ("upsample_bilinear2d", 11),
                ("upsample_bicubic2d", 259),
            )
        ),
        rule((*RNN, *RNN_CELL), plus(macs, recurrent(1, 1, 2, 0)), RNN_MODULES),
        rule(("gru", "gru_cell"), plus(macs, recurrent(3, 1, 2, 4)), RNN_MODULES),
        rule(("lstm", "lstm_cell"), plus(macs, recurrent(4, 1, 2, 4)), RNN_MODULES),
    ),
    quirks=(
        Quirk(
            "it takes a transposed convolution at every position of the output, not of the input",
            (rule(CONVOLUTION, calls.at_output_size, TRANSPOSED_MODULES),),
        ),
    ),
    notes=("a module that stands at two places of the tree counts in full at both",),
)


# ptflops, "pytorch": hooks on modules, and functions replaced by ones that count.

_MULTIHEAD = nn("MultiheadAttention")
_TIMM_ATTENTION = (
    "timm.layers.attention.Attention",
    "timm.models.vision_transformer.Attention",  # where older versions have it
)

_UPSAMPLE_MODULE = rule(UPSAMPLE, outputs, nn("Upsample"))
_BY_NAME = Quirk(
    "sums and products count where they are written as torch.add(x, y) or x.mul(y), not as x + y",
    (rule(("add", "mul"), outputs, outside=(*_MULTIHEAD, *_TIMM_ATTENTION)),),
)
_PTFLOPS_MODULES = (
    rule(CONVOLUTION, plus(macs, bias), (*CONV_MODULES, *TRANSPOSED_MODULES)),
    rule(LINEAR, plus(macs, bias), (*nn("Linear"), *_MULTIHEAD)),
    rule(ATTENTION, plus(macs, scores, inputs), (*_MULTIHEAD, *_TIMM_ATTENTION)),
    rule(PRODUCT, macs, _MULTIHEAD),
    rule(MATMUL, macs, _TIMM_ATTENTION),
    rule(SOFTMAX, inputs, (*_MULTIHEAD, *_TIMM_ATTENTION)),
    rule(("mul",), outputs, (*_MULTIHEAD, *_TIMM_ATTENTION)),
    rule(
        ("relu", "prelu", "elu", "gelu", "leaky_relu", "hardtanh"),
        outputs,
        nn("ReLU", "PReLU", "ELU", "GELU", "LeakyReLU", "ReLU6"),
    ),
    rule(("hardtanh",), calls.nothing, nn("Hardtanh")),
    rule(POOL, inputs, POOL_MODULES),
    rule(
        ("batch_norm", "instance_norm", "group_norm"),
        norm(affine=2, plain=1),
        (*BATCH_NORM_MODULES, *INSTANCE_NORM_MODULES, *nn("GroupNorm")),
    ),
    rule(("layer_norm",), inputs, nn("LayerNorm")),
    _UPSAMPLE_MODULE,
    rule((*RNN, *RNN_CELL), plus(macs, recurrent(1, 0, 2, 1)), RNN_MODULES),
    rule(("gru", "gru_cell"), plus(macs, recurrent(3, 0, 2, 7)), RNN_MODULES),
    rule(("lstm", "lstm_cell"), plus(macs, recurrent(4, 0, 2, 10)), RNN_MODULES),
)
# F.relu6 is recorded as the hardtanh that it calls.
_PTFLOPS_ACTIVATIONS = ("relu", "prelu", "elu", "gelu", "silu", "hardtanh")
_PTFLOPS_FUNCTIONS = (
    rule((*MATMUL, *PRODUCT), macs),
    rule(ADDED_PRODUCT, plus(macs, inputs)),
    rule((*_PTFLOPS_ACTIVATIONS, *POOL, *SOFTMAX), inputs),
    rule(UPSAMPLE, outputs),
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
                rule(
                    ("relu", "prelu", "elu", "gelu"),
                    inputs,
                    nn("ReLU", "PReLU", "ELU", "GELU"),
                ),
                rule(POOL, inputs, POOL_MODULES),
                _UPSAMPLE_MODULE,
            ),
        ),
        Quirk(
            "the products inside of nn.MultiheadAttention count twice, as module and as functions",
            (
                rule(PRODUCT, macs, _MULTIHEAD),
                rule(SOFTMAX, inputs, _MULTIHEAD),
            ),
        ),
        _BY_NAME,
        Quirk(
            "it does not see a matmul that is written as x @ y",
            (rule(MATMUL, times(-1, macs), outside=_TIMM_ATTENTION),),
        ),
        Quirk(
            "it does not see the products inside of an einsum",
            (rule(PRODUCT, times(-1, macs), outside=_MULTIHEAD),),
        ),
        Quirk(
            "it takes the rows of a matmul from its first operand, and a vector for a matrix",
            (rule(MATMUL, calls.not_broadcast, outside=_TIMM_ATTENTION),),
        ),
        Quirk(
            "it does not see softmax as a method of a tensor, or torch.softmax",
            (rule(SOFTMAX, times(-1, inputs), outside=_TIMM_ATTENTION),),
        ),
        Quirk(
            "it does not see an activation that is called by another name than F.relu and so on",
            (rule(_PTFLOPS_ACTIVATIONS, times(-1, inputs), outside=ACTIVATION_MODULES),),
        ),
    ),
)

PTFLOPS_ATEN = Convention(
    name="ptflops-aten",
    package="ptflops",
    unit=Unit.MACS,
    counts="MACs and biases of convolutions, linear layers and matrix products",
    rules=(
        rule((*CONVOLUTION, *LINEAR), plus(macs, bias)),
        rule(PRODUCT, macs),
        rule(("addmm",), plus(macs, outputs)),
        rule(MATMUL, of_matrices(macs)),
        rule(RNN_CELL, plus(macs, recurrent(1, 0, 2, 0))),
        rule(("gru_cell",), plus(macs, recurrent(3, 0, 2, 0))),
        rule(("lstm_cell",), plus(macs, recurrent(4, 0, 2, 0))),
    ),
    quirks=(
        Quirk(
            "it does not see the bias that nn.MultiheadAttention adds to a permuted input",
            (rule(LINEAR, lambda call: -bias(call) * (len(call.inputs[0]) > 2), _MULTIHEAD),),
        ),
        Quirk(
            "where there is no fused kernel, as on the CPU, it sees the products of RNN and GRU",
            (
                rule(RNN, plus(macs, recurrent(1, 0, 2, 0))),
                rule(("gru",), plus(macs, recurrent(3, 0, 2, 0))),
            ),
        ),
        Quirk(
            "where no attention kernel applies it sees the two products inside",
            (rule(ATTENTION, macs),),
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
        rule(CONVOLUTION, plus(twice_macs, bias)),
        rule((*LINEAR, *MATMUL, *PRODUCT, *ATTENTION), twice_macs),
        rule(ADDED_PRODUCT, plus(twice_macs, inputs)),
        rule(("batch_norm",), calls.batch_norm(affine=2, plain=1, training=_NORM_IN_DEEPSPEED)),
        rule(NORM, _NORM_IN_DEEPSPEED),
        rule(("hardtanh",), calls.nothing, nn("Hardtanh", "ReLU6")),
        rule((*_DEEPSPEED_ACTIVATIONS, *POOL, *SOFTMAX), inputs),
        rule(UPSAMPLE, outputs),
        rule((*RNN, *RNN_CELL), plus(twice_macs, recurrent(1, -2, 2, 1)), RNN_MODULES),
        rule(("gru", "gru_cell"), plus(twice_macs, recurrent(3, -2, 2, 7)), RNN_MODULES),
        rule(("lstm", "lstm_cell"), plus(twice_macs, recurrent(4, -2, 2, 10)), RNN_MODULES),
    ),
    quirks=(
        _BY_NAME,
        Quirk(
            "it takes the rows of a matmul from its first operand, and a vector for a matrix",
            (rule(MATMUL, times(2, calls.not_broadcast)),),
        ),
        Quirk(
            "it does not see softmax as a method of a tensor, or torch.softmax",
            (rule(SOFTMAX, times(-1, inputs)),),
        ),
        Quirk(
            "it does not see an activation that is called by another name than F.relu and so on",
            (rule(_DEEPSPEED_ACTIVATIONS, times(-1, inputs), outside=ACTIVATION_MODULES),),
        ),
    ),
    notes=("it reads einsum off NumPy's estimate, of four digits",),
)

#: Every tool, in the order they are printed.
CONVENTIONS = (TORCH, TORCHVISION, FVCORE, PTFLOPS, PTFLOPS_ATEN, THOP, DEEPSPEED)

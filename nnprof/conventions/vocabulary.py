"""What the tables are written in: rules, slips and tools; operators and modules by their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nnprof.base.units import Unit
    from nnprof.conventions.calls import Call


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


def rule(
    ops: Iterable[str],
    count: Callable[[Call], int],
    modules: Iterable[str] = (),
    outside: Iterable[str] = (),
) -> Rule:
    return Rule(frozenset(ops), count, frozenset(modules), outside=frozenset(outside))


def nn(*names: str) -> tuple[str, ...]:
    return tuple(f"nn.{name}" for name in names)


def each_dimension(name: str) -> tuple[str, ...]:
    return tuple(f"{name}{dimensions}d" for dimensions in (1, 2, 3))


# Operators, as they are recorded.

CONVOLUTION = (
    *each_dimension("conv"),
    *each_dimension("conv_transpose"),
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
AVG_POOL = each_dimension("avg_pool")
ADAPTIVE_AVG_POOL = each_dimension("adaptive_avg_pool")
POOL = (
    *AVG_POOL,
    *ADAPTIVE_AVG_POOL,
    *each_dimension("max_pool"),
    *(f"{name}_with_indices" for name in each_dimension("max_pool")),
    *each_dimension("adaptive_max_pool"),
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

CONV_MODULES = nn(*each_dimension("Conv"))
TRANSPOSED_MODULES = nn(*each_dimension("ConvTranspose"))
BATCH_NORM_MODULES = nn(*each_dimension("BatchNorm"))
INSTANCE_NORM_MODULES = nn(*each_dimension("InstanceNorm"))
POOL_MODULES = nn(
    *each_dimension("MaxPool"),
    *each_dimension("AvgPool"),
    *each_dimension("AdaptiveMaxPool"),
    *each_dimension("AdaptiveAvgPool"),
)
ACTIVATION_MODULES = nn("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "GELU", "SiLU", "Hardtanh")
RNN_MODULES = nn("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")

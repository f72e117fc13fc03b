"""What the zoo is compared with: FlopCounterMode, and by hand the operators that it takes for free.

`corrected` in a `Counted` tells what the formulas below added to FlopCounterMode's own count.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.zoo_models import Case

__all__ = ["Counted", "count", "materialized"]

Sizes = tuple[int, ...]
aten = torch.ops.aten

#: A real copy is made of models of at most so many parameter and buffer elements.
LARGEST_COPY = 300_000_000


@dataclass
class Counted:
    """What the oracle says of one call."""

    flops: int
    seconds: float
    corrected: dict[str, int] = field(default_factory=dict)


# Two FLOPs for each multiplication whose product is added to others; by the definition of the
# operator, from the sizes alone.


def _matrix_vector(matrix: Sizes, vector: Sizes, **_: Any) -> int:
    return 2 * math.prod(matrix)


def _added_matrix_vector(added: Sizes, matrix: Sizes, vector: Sizes, **_: Any) -> int:
    return 2 * math.prod(matrix)


def _dot(left: Sizes, right: Sizes, **_: Any) -> int:
    return 2 * math.prod(left)


def _grouped_matmul(rows: Sizes, matrices: Sizes, *_args: Any, **_: Any) -> int:
    # (tokens, k) by (experts, k, n): every token meets one expert. The other forms have the
    # groups in a dimension of both (a batch) or share out the summed dimension among them.
    batch = rows[0] if len(rows) == len(matrices) == 3 else 1
    return 2 * batch * rows[-2] * rows[-1] * matrices[-1]


def _attention(query: Sizes, key: Sizes, value: Sizes, *_args: Any, **_: Any) -> int:
    *batch, queries, channels = query
    return 2 * math.prod(batch) * queries * key[-2] * (channels + value[-1])


def _distance(left: Sizes, right: Sizes, *_args: Any, out_shape: Any = None, **_: Any) -> int:
    return 2 * math.prod(out_shape) * left[-1]


def _mkldnn_lstm(
    steps: Sizes, inputs: Sizes, recurrent: Sizes, *_args: Any, out_shape: Any = None, **_: Any
) -> int:
    return 2 * steps[0] * steps[1] * (math.prod(inputs) + math.prod(recurrent))


#: What FlopCounterMode 2.13 counts as nothing.
_BY_HAND: dict[Any, Callable[..., int]] = {
    aten.mv: _matrix_vector,
    aten.addmv: _added_matrix_vector,
    aten.dot: _dot,
    aten.vdot: _dot,
    aten._grouped_mm: _grouped_matmul,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._cdist_forward: _distance,
    aten._euclidean_dist: _distance,
    aten.mkldnn_rnn_layer: _mkldnn_lstm,
}


class _OuterProducts(TorchFunctionMode):
    """Counts `torch.outer`, which runs as a plain multiplication: each product is one MAC."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in (torch.outer, torch.ger, torch.Tensor.outer, torch.Tensor.ger):
            self.flops += 2 * made.numel()
        return made


def count(case: Case, runs: int = 3) -> Counted:
    """Counts one call of ``case``; the seconds are those of the fastest of `runs`.

    The count is that of the first: later ones may find in caches what it computed.

    The model's parameters lose their `requires_grad`: with it, FlopCounterMode's tracker of modules
    fails under no_grad where a module is given a parameter.
    """
    case.model.requires_grad_(False)
    times, counters = [], []
    for _ in range(runs):
        counter = FlopCounterMode(display=False, custom_mapping=dict(_BY_HAND))
        outers = _OuterProducts()
        start = time.perf_counter()
        with counter, outers:
            case.model(*case.args, **case.kwargs)
        times.append(time.perf_counter() - start)
        counters.append((counter, outers))
    counter, outers = counters[0]
    by_op = counter.get_flop_counts()["Global"]
    corrected = {str(op): int(flops) for op, flops in by_op.items() if op in _BY_HAND and flops}
    if outers.flops:
        corrected["outer"] = outers.flops
    return Counted(int(counter.get_total_flops()) + outers.flops, min(times), corrected)


def materialized(case: Case) -> Case | None:
    """The case with real tensors: random weights, buffers and indices of zeros.

    A model that has its tensors keeps them, for its forward may branch on its buffers. None where
    the model is too big.
    """
    from copy import deepcopy
    from dataclasses import replace

    tensors = [*case.model.parameters(), *case.model.buffers()]
    if sum(tensor.numel() for tensor in tensors) > LARGEST_COPY:
        return None
    model = deepcopy(case.model)
    generator = torch.Generator().manual_seed(0)
    if any(tensor.is_meta for tensor in tensors):
        _fill_all(model.to_empty(device="cpu"), generator)
    args, kwargs = _pytree.tree_map_only(
        torch.Tensor, lambda tensor: _real(tensor, generator), (case.args, case.kwargs)
    )
    return replace(case, model=model, args=args, kwargs=kwargs)


@torch.no_grad()
def _fill_all(model: torch.nn.Module, generator: torch.Generator) -> None:
    for parameter in model.parameters():
        _fill(parameter, generator)
    for buffer in model.buffers():
        buffer.zero_()


def _real(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if not tensor.is_meta:
        return tensor
    made = torch.zeros_like(tensor, device="cpu")
    _fill(made, generator)
    return made


def _fill(tensor: torch.Tensor, generator: torch.Generator) -> None:
    if tensor.is_floating_point() or tensor.is_complex():
        tensor.normal_(std=0.02, generator=generator)
    else:
        tensor.zero_()

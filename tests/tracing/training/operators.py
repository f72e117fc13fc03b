"""One call and its gradients, really and in a trace: what is kept between, what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

import nnprof
from tests.helpers.errors import agrees
from tests.rules.differential import Arguments, copy_arguments
from tests.tracing.training.real import saved_by_autograd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: What can differ, as the table of exceptions names it.
KINDS = ("raises", "accepts", "error", "saved", "gradients")

Gradient = tuple[torch.dtype, tuple[int, ...], tuple[int, ...]] | None


@dataclass(frozen=True)
class Step:
    """What is compared of a call and its backward pass."""

    saved: int | None
    gradients: list[Gradient]
    error: Exception | None = None


def differentiable(arguments: Arguments) -> list[int]:
    """Which of the arguments, flattened, want a gradient."""
    leaves = tree_flatten(arguments)[0]
    return [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]


def copied(arguments: Arguments, wanted: list[int]) -> tuple[Arguments, list[Tensor]]:
    """The arguments as new leaves, and those of them that are to get a gradient."""
    copies = copy_arguments(arguments, lambda tensor: False)
    leaves = [tree_flatten(copies)[0][i] for i in wanted]
    return copies, [leaf.requires_grad_() for leaf in leaves]


def loss_of(outputs: Any) -> Tensor | None:
    """The sum of all that has a gradient."""
    found = [
        out for out in tree_flatten(outputs)[0] if isinstance(out, Tensor) and out.requires_grad
    ]
    sums = [(torch.view_as_real(out) if out.is_complex() else out).sum() for out in found]
    return sum(sums[1:], sums[0]) if sums else None


def gradients_of(outputs: Any, leaves: list[Tensor]) -> list[Gradient]:
    loss = loss_of(outputs)
    if loss is None or not leaves:
        return []
    found: Sequence[Tensor | None] = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [None if g is None else (g.dtype, tuple(g.shape), significant(g)) for g in found]


def significant(tensor: Tensor) -> tuple[int, ...]:
    """The strides that say where elements are: not those of dimensions of one element."""
    if tensor.numel() == 0 or tensor.layout is not torch.strided:
        return ()
    return tuple(
        stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1
    )


def run_really(function: Callable[..., Any], arguments: Arguments, wanted: list[int]) -> Step:
    (args, kwargs), leaves = copied(arguments, wanted)
    saved: int | None = None
    try:
        with saved_by_autograd() as kept:
            outputs = function(*args, **kwargs)
        saved = sum(kept)
        return Step(saved, gradients_of(outputs, leaves))
    except Exception as error:  # whatever PyTorch raises is the expectation
        return Step(saved, [], error)


def run_traced(function: Callable[..., Any], arguments: Arguments, wanted: list[int]) -> Step:
    (args, kwargs), leaves = copied(arguments, wanted)
    try:
        with nnprof.trace(backward=True, target="cpu") as running:
            outputs = function(*args, **kwargs)
            gradients = gradients_of(outputs, leaves)
    except Exception as error:  # is compared with what the real run raises
        return Step(None, [], error)
    ops = running.result.ops()
    return Step(int(ops["saved_bytes"].sum()), gradients)


def differences(real: Step, traced: Step) -> dict[str, str]:
    """By kind."""
    if traced.error is not None:
        if real.error is None:
            return {"raises": f"{type(traced.error).__name__}: {str(traced.error)[:300]}"}
        if not agrees(traced.error, real.error):
            return {"error": f"expected {real.error!r}, got {traced.error!r}"}
        return {}
    if real.error is not None:
        return {"accepts": f"PyTorch raises {type(real.error).__name__}: {str(real.error)[:200]}"}
    found = {}
    if real.saved != traced.saved:
        found["saved"] = f"expected {real.saved} bytes, got {traced.saved}"
    if real.gradients != traced.gradients:
        found["gradients"] = f"expected {real.gradients}, got {traced.gradients}"
    return found

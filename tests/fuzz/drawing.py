"""What a network is, and how its steps are drawn: each is tried on real tensors at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import hypothesis.strategies as st
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tests.rules.differential import Copier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


T = TypeVar("T")

#: Tensors with more elements or dimensions are not kept: counts are made with loops.
MOST_ELEMENTS, MOST_DIMS = 600, 5
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
MODES: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "grad": torch.enable_grad,
    "inference": torch.inference_mode,
}


class Inapplicable(Exception):  # noqa: N818  an outcome, no error
    """No tensor in the pool that the step could take."""


@dataclass
class Step:
    text: str
    inputs: tuple[int, ...]
    function: Callable[..., Any]
    #: Of the inputs, the one that is written in place.
    writes: int | None = None
    #: How PyTorch lays out the result is its kernel's affair: a plain layout goes on.
    any_layout: bool = False
    outputs: int = 0

    def run(self, pool: list[Tensor]) -> list[Tensor]:
        out = self.function(*(pool[i] for i in self.inputs))
        tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        return [t.contiguous() for t in tensors] if self.any_layout else tensors

    def __str__(self) -> str:
        return f"{self.text} of {', '.join(f't{i}' for i in self.inputs)}"


@dataclass(frozen=True)
class Description:
    """What must not differ. Strides of dimensions of one element say nothing."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    strides: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Description:
        pairs = zip(tensor.shape, tensor.stride(), strict=True)
        strides = [stride for size, stride in pairs if size > 1 and tensor.numel()]
        return cls(tuple(tensor.shape), tensor.dtype, tuple(strides))


@dataclass
class Observed:
    """What a run showed: after each step its outputs; at the end all tensors, and known values."""

    steps: list[list[Description]] = field(default_factory=list)
    end: list[Description] = field(default_factory=list)
    values: dict[int, list[Any]] = field(default_factory=dict)

    def clear(self) -> None:
        self.steps.clear()
        self.end.clear()
        self.values.clear()


class Network(nn.Module):
    """Runs its steps; `observed` is outside of what a trace puts back."""

    def __init__(
        self, steps: list[Step], layers: list[nn.Module], observe: Callable[[], Observed]
    ) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(1))  # says that the model is on the CPU
        self.layers = nn.ModuleList(layers)
        self._steps = steps
        self._observe = observe
        self.known: list[int] = []

    def forward(self, *inputs: Tensor) -> Tensor:
        pool = list(inputs)
        observed = self._observe()
        observed.clear()  # a measure runs the forward again where a value is asked for
        for step in self._steps:
            outputs = step.run(pool)
            observed.steps.append([Description.of(out) for out in outputs])
            pool += outputs
        observed.end += [Description.of(tensor) for tensor in pool]
        observed.values |= {i: pool[i].clone().tolist() for i in self.known}
        return pool[-1]


@dataclass
class Case:
    """A network with its inputs, how it is to be run, and the error that it is to end with."""

    inputs: list[Tensor]
    steps: list[Step]
    layers: list[nn.Module]
    known: list[int]
    mode: str
    training: bool
    autocast: torch.dtype | None
    on_meta: bool
    error: Exception | None = None

    def __repr__(self) -> str:
        lines = [f"{self.mode}, training={self.training}, autocast={self.autocast}:"]
        number = 0
        for tensor in self.inputs:
            lines.append(f"t{number} = input {_described(tensor)}")
            number += 1
        for step in self.steps:
            lines.append(f"t{number} = {step}")
            number += step.outputs
        return "\n  ".join([*lines, f"raises {self.error!r}" if self.error else "and ends"])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # as hypothesis prints it
        printer.text(repr(self))

    def network(self, observed: Observed) -> Network:
        network = Network(self.steps, self.layers, lambda: observed).train(self.training)
        network.known = [] if self.error else self.known
        return network

    def copied_inputs(self, *, on_meta: bool) -> tuple[Tensor, ...]:
        """Apart from the case's own, sharing storages as they do."""
        copy = Copier(lambda tensor: on_meta and tensor.is_floating_point())
        return tuple(copy(tensor) for tensor in self.inputs)


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype}{list(tensor.shape)}/{list(tensor.stride())}"


# Drawing ------------------------------------------------------------------------------------------


class Drawing:
    """A network on its way: the tensors that are alive, and what may be asked of chance."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self.pool: list[Tensor] = []
        #: Integers that follow from integers only: their values are the same in a trace.
        self.known: list[bool] = []
        self.steps: list[Step] = []
        self.layers: list[nn.Module] = []

    def choice(self, options: Sequence[T]) -> T:
        return self._draw(st.sampled_from(options))

    def size(self, low: int = 1, high: int = 4) -> int:
        return self._draw(st.integers(low, high))

    def flag(self) -> bool:
        return self._draw(st.booleans())

    def dim(self, tensor: Tensor) -> int:
        if tensor.dim() == 0:
            raise Inapplicable
        return self._draw(st.integers(-tensor.dim(), tensor.dim() - 1))

    def dims(self, tensor: Tensor) -> list[int]:
        if tensor.dim() == 0:
            return []
        dims = st.integers(0, tensor.dim() - 1)
        return self._draw(st.lists(dims, min_size=1, max_size=tensor.dim(), unique=True))

    def order(self, tensor: Tensor) -> list[int]:
        return list(self._draw(st.permutations(range(tensor.dim()))))

    def pick(self, *wanted: Callable[[Tensor], bool]) -> int:
        """A tensor of which all that is wanted holds; the last ones are the simplest choice."""
        fitting = [
            i for i in reversed(range(len(self.pool))) if all(w(self.pool[i]) for w in wanted)
        ]
        if not fitting:
            raise Inapplicable
        return self.choice(fitting)

    def pick_known(self, *wanted: Callable[[Tensor], bool]) -> int:
        known = {id(t) for t, k in zip(self.pool, self.known, strict=True) if k}
        return self.pick(lambda tensor: id(tensor) in known, *wanted)

    def layer(self, make: Callable[[], nn.Module]) -> nn.Module:
        """A new layer, or an earlier one of the kind once more."""
        with torch.inference_mode(False):
            made = make()  # no inference tensors: its buffers are to be written in other modes too
        same = [old for old in self.layers if repr(old) == repr(made)]
        if same and self.flag():
            return same[-1]
        self.layers.append(made)
        return made

    def add(self, step: Step) -> None:
        """Runs it; raises what PyTorch raises."""
        layers = len(self.layers)
        outputs = step.run(self.pool)
        if any(t.numel() > MOST_ELEMENTS or t.dim() > MOST_DIMS for t in outputs):
            del self.layers[layers:]
            raise Inapplicable
        step.outputs = len(outputs)
        known = all(self.known[i] for i in step.inputs)
        if step.writes is not None and not known:
            self._forget(self.pool[step.writes])
        self.steps.append(step)
        self.pool += outputs
        self.known += [known and not t.is_floating_point() and not t.is_complex() for t in outputs]

    def _forget(self, written: Tensor) -> None:
        storage = written.untyped_storage()._cdata
        for i, tensor in enumerate(self.pool):
            if tensor.untyped_storage()._cdata == storage:
                self.known[i] = False


# What is wanted of a tensor.


def floating(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


def integer(tensor: Tensor) -> bool:
    return tensor.dtype in (torch.int64, torch.int32)


def boolean(tensor: Tensor) -> bool:
    return tensor.dtype == torch.bool


def computable(tensor: Tensor) -> bool:
    """Of a dtype that every CPU kernel takes."""
    return tensor.dtype in (torch.float32, torch.float64)


def filled(tensor: Tensor) -> bool:
    return tensor.numel() > 0


def of_rank(*ranks: int) -> Callable[[Tensor], bool]:
    return lambda tensor: tensor.dim() in ranks


def at_least(rank: int) -> Callable[[Tensor], bool]:
    return lambda tensor: tensor.dim() >= rank


def writable(tensor: Tensor) -> bool:
    """No element twice, and no parameter."""
    return all(s != 0 or n == 1 for n, s in zip(tensor.shape, tensor.stride(), strict=True))


def set_item(x: Tensor, index: Any, value: Any) -> Tensor:
    x[index] = value
    return x

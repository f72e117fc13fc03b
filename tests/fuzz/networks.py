"""Small networks drawn at random: what is drawn next is tried on real tensors as it is drawn.

A network is a list of steps on a pool of tensors that are alive, so that it is any graph:
residuals, views of views, writes into views. A step that PyTorch refuses is left out, or ends a
network that is to be refused. The table of steps is at the bottom.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import hypothesis.strategies as st
import torch
import torch.nn.functional as F
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


@st.composite
def inputs(draw: st.DrawFn, *, floats: Sequence[torch.dtype]) -> Tensor:
    """Floats laid out in any way; integers or booleans."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    dtype = draw(st.sampled_from([*floats, torch.int64, torch.bool]))
    layout = draw(st.sampled_from(["plain", "plain", "transposed", "expanded", "part", "last"]))
    if not dtype.is_floating_point:
        # The first values count up, so that shrinking makes them simple.
        return (torch.arange(torch.Size(shape).numel()) % 3).to(dtype).reshape(shape)
    made = torch.randn(shape).to(dtype)
    if layout == "transposed":
        return made.transpose(0, -1)
    if layout == "expanded":
        return made[:1].expand(shape)
    if layout == "part":
        return torch.randn([2 * size for size in shape]).to(dtype)[
            tuple(slice(1, 1 + s) for s in shape)
        ]
    if layout == "last" and len(shape) == 4:
        return made.to(memory_format=torch.channels_last)
    return made


@st.composite
def cases(draw: st.DrawFn, *, steps: int = 12) -> Case:
    drawing = Drawing(draw)
    floats = draw(st.sampled_from([(torch.float32,), (torch.float32,), FLOATS]))
    drawing.pool = draw(st.lists(inputs(floats=floats), min_size=1, max_size=3))
    first = torch.randn(2, 3, 4)
    drawing.pool.append(first)
    drawing.known = [not tensor.is_floating_point() for tensor in drawing.pool]
    case = Case(
        list(drawing.pool),
        drawing.steps,
        drawing.layers,
        known=[],
        mode=draw(st.sampled_from(sorted(MODES, reverse=True))),
        training=draw(st.booleans()),
        autocast=draw(st.sampled_from([None, None, None, None, torch.bfloat16])),
        on_meta=draw(st.booleans()),
    )
    drawing.pool = list(case.copied_inputs(on_meta=False))
    with MODES[case.mode](), autocast(case.autocast), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pytest would raise them, the first time each
        for _ in range(draw(st.integers(1, steps))):
            _try_step(drawing, case.training)
        if draw(st.sampled_from([False, False, False, True])):
            _end_refused(drawing, case)
    case.known = [i for i, known in enumerate(drawing.known) if known]
    return case


def autocast(dtype: torch.dtype | None) -> Any:
    return torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None)


def _try_step(drawing: Drawing, training: bool) -> tuple[Step, Exception] | None:
    """Adds a step; returns one that PyTorch refuses, with its reason, instead of adding it."""
    make = drawing.choice(STEPS)
    layers = len(drawing.layers)
    try:
        step = make(drawing)
    except Inapplicable:
        return None
    for layer in drawing.layers[layers:]:
        layer.train(training)
    try:
        drawing.add(step)
    except Inapplicable:
        return None
    except Exception as error:  # whatever PyTorch raises is the expectation
        return step, error
    return None


def _end_refused(drawing: Drawing, case: Case) -> None:
    """Ends with a step that PyTorch refuses, if one is soon found."""
    for _ in range(10):
        refused = _try_step(drawing, case.training)
        if refused is not None:
            step, case.error = refused
            drawing.steps.append(step)
            return


# Steps: elementwise -------------------------------------------------------------------------------

UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "abs": torch.abs,
    "neg": torch.neg,
    "x * 2": lambda x: x * 2,
    "1 - x": lambda x: 1 - x,
    "x / 3": lambda x: x / 3,
    "x ** 2": lambda x: x**2,
    "x // 2": lambda x: x // 2,
    "x > 0": lambda x: x > 0,
    "round": torch.round,
    "isnan": torch.isnan,
    "clamp": lambda x: x.clamp(min=0),
    "hardtanh": F.hardtanh,
    "leaky_relu": F.leaky_relu,
    "dropout": lambda x: F.dropout(x, 0.5),
    "zeros_like": torch.zeros_like,
    "full_like": lambda x: torch.full_like(x, 1),
    "clone": torch.clone,
    "detach": lambda x: x.detach(),
    "logical_not": torch.logical_not,
    "softplus": F.softplus,
}

BINARY: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "maximum": torch.maximum,
    "x < y": lambda x, y: x < y,
    "x == y": lambda x, y: x == y,
    "where": lambda x, y: torch.where(x > 0, x, y),
    "lerp": lambda x, y: torch.lerp(x, y, 0.5),
    "atan2": torch.atan2,
    "addcmul": lambda x, y: torch.addcmul(x, x, y),
    "masked_fill": lambda x, y: x.masked_fill(y > 0, 0.0),
    "cdist": torch.cdist,
    "matmul": torch.matmul,
    "x @ y.mT": lambda x, y: x @ y.mT,
    "x.mT @ y": lambda x, y: x.mT @ y,
    "linear": F.linear,
    "bmm": torch.bmm,
    "dot": torch.dot,
    "addmm": lambda x, y: torch.addmm(x, x, y),
    "baddbmm": lambda x, y: torch.baddbmm(x, x, y.mT),
    "tensordot": lambda x, y: torch.tensordot(x, y, dims=1),
    "einsum ij,kj": lambda x, y: torch.einsum("ij,kj->ik", x, y),
    "einsum bij,bkj": lambda x, y: torch.einsum("bij,bkj->bik", x, y),
    "einsum ...i,...i": lambda x, y: torch.einsum("...i,...i->...", x, y),
    "kron": torch.kron,
    "expand_as": lambda x, y: x.expand_as(y),
    "view_as": lambda x, y: x.view_as(y),
    "type_as": lambda x, y: x.type_as(y),
    "broadcast_tensors": lambda x, y: torch.broadcast_tensors(x, y),  # type: ignore[no-untyped-call]
    "cosine_similarity": lambda x, y: F.cosine_similarity(x, y, dim=-1),
    "mse_loss": lambda x, y: F.mse_loss(x, y) if x.shape == y.shape else x,
}


def unary(d: Drawing) -> Step:
    name = d.choice(list(UNARY))
    return Step(name, (d.pick(),), UNARY[name])


def binary(d: Drawing) -> Step:
    name = d.choice(list(BINARY))
    return Step(name, (d.pick(), d.pick()), BINARY[name])


def residual(d: Drawing) -> Step:
    """Two of one shape."""
    one = d.pick()
    other = d.pick(lambda tensor: tensor.shape == d.pool[one].shape)
    return Step("residual", (one, other), lambda x, y: x + y)


CASTS: dict[str, Callable[[Tensor], Tensor]] = {
    "float": lambda x: x.float(),
    "double": lambda x: x.double(),
    "bfloat16": lambda x: x.bfloat16(),
    "half": lambda x: x.to(torch.float16),
    "long": lambda x: x.long(),
    "int": lambda x: x.to(torch.int32),
    "bool": lambda x: x.bool(),
    "as int32": lambda x: x.view(torch.int32),
    "as bytes": lambda x: x.view(torch.uint8),
}


def cast(d: Drawing) -> Step:
    name = d.choice(list(CASTS))
    return Step(name, (d.pick(),), CASTS[name])


# Steps: views and copies --------------------------------------------------------------------------


def reshape(d: Drawing) -> Step:
    i = d.pick(filled)
    rest, sizes = d.pool[i].numel(), []
    for _ in range(d.size(0, 3)):
        divisors = [n for n in range(1, rest + 1) if rest % n == 0]
        sizes.append(d.choice(divisors))
        rest //= sizes[-1]
    sizes.append(d.choice([rest, -1]))
    kind = d.choice(["reshape", "view"])
    return Step(f"{kind}({sizes})", (i,), lambda x: getattr(x, kind)(sizes))


def permute(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    order = d.order(d.pool[i])
    return Step(f"permute({order})", (i,), lambda x: x.permute(order))


def transpose(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    a, b = d.dim(d.pool[i]), d.dim(d.pool[i])
    return Step(f"transpose({a}, {b})", (i,), lambda x: x.transpose(a, b))


def unsqueeze(d: Drawing) -> Step:
    i, dim = d.pick(), d.size(-3, 3)
    return Step(f"unsqueeze({dim})", (i,), lambda x: x.unsqueeze(dim))


def squeeze(d: Drawing) -> Step:
    i = d.pick()
    dims = d.dims(d.pool[i])
    return Step(f"squeeze({dims})", (i,), lambda x: x.squeeze(dims))


def expand(d: Drawing) -> Step:
    i = d.pick()
    sizes = [d.size(), *(d.choice([-1, n if n != 1 else 3]) for n in d.pool[i].shape)]
    return Step(f"expand({sizes})", (i,), lambda x: x.expand(sizes))


def sliced(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    slices = []
    for _ in range(d.size(1, d.pool[i].dim())):
        start, stop, step = d.size(-3, 2), d.size(-1, 5), d.size(1, 2)
        slices.append(
            d.choice([slice(None), slice(start, stop, step), slice(start, None), None, ...])
        )
    if slices.count(...) > 1:
        raise Inapplicable
    return Step(f"x[{slices}]", (i,), lambda x: x[tuple(slices)])


def selected(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    dim, index = d.dim(d.pool[i]), d.size(-1, 1)
    return Step(f"select({dim}, {index})", (i,), lambda x: x.select(dim, index))


def diagonal(d: Drawing) -> Step:
    offset = d.size(-1, 1)
    return Step(f"diagonal({offset})", (d.pick(at_least(2)),), lambda x: x.diagonal(offset))


def windows(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    dim, size, step = d.dim(d.pool[i]), d.size(1, 3), d.size(1, 2)
    return Step(f"unfold({dim}, {size}, {step})", (i,), lambda x: x.unfold(dim, size, step))


def flatten(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    a, b = d.dim(d.pool[i]), d.dim(d.pool[i])
    return Step(f"flatten({a}, {b})", (i,), lambda x: x.flatten(a, b))


def split(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    dim, size = d.dim(d.pool[i]), d.size(1, 3)
    kind = d.choice(["split", "chunk", "tensor_split", "unbind"])
    if kind == "unbind":
        return Step(f"unbind({dim})", (i,), lambda x: x.unbind(dim))
    return Step(f"{kind}({size}, {dim})", (i,), lambda x: getattr(x, kind)(size, dim))


COPIES: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.contiguous(),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "repeat": lambda x: x.repeat(2, *[1] * max(x.dim() - 1, 0)),
    "repeat_interleave": lambda x: x.repeat_interleave(2),
    "roll": lambda x: x.roll(1, 0),
    "flip": lambda x: x.flip(0),
    "rot90": lambda x: x.rot90(),
    "tril": torch.tril,
    "triu": torch.triu,
    "diag_embed": torch.diag_embed,
    "pad": lambda x: F.pad(x, (1, 2)),
    "pad reflect": lambda x: F.pad(x, (1, 1), mode="reflect"),
    "new_zeros": lambda x: x.new_zeros(x.shape),
    "mT": lambda x: x.mT,
    "as_strided": lambda x: x.as_strided((2, 2), (1, 1)),
    "meshgrid": lambda x: torch.meshgrid(x, x, indexing="ij")[1],
}


def copy(d: Drawing) -> Step:
    name = d.choice(list(COPIES))
    return Step(name, (d.pick(),), COPIES[name])


def joined(d: Drawing) -> Step:
    first = d.pick(at_least(1))
    others = tuple(d.pick() for _ in range(d.size(1, 2)))
    kind, dim = d.choice([torch.cat, torch.stack]), d.dim(d.pool[first])
    return Step(f"{kind.__name__}({dim})", (first, *others), lambda *xs: kind(xs, dim))


# Steps: writes ------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu_": F.relu_,
    "zero_": lambda x: x.zero_(),
    "fill_": lambda x: x.fill_(1),
    "mul_": lambda x: x.mul_(2),
    "div_": lambda x: x.div_(2),
    "clamp_": lambda x: x.clamp_(0, 1),
    "sigmoid_": lambda x: x.sigmoid_(),
    "t_": lambda x: x.t_(),
    "unsqueeze_": lambda x: x.unsqueeze_(0),
    "squeeze_": lambda x: x.squeeze_(),
    "transpose_": lambda x: x.transpose_(0, -1),
    "x[0] = 1": lambda x: _set(x, 0, 1),
    "x[..., 1:] = 0": lambda x: _set(x, (..., slice(1, None)), 0),
    "x[x > 0] = 1": lambda x: _set(x, x > 0, 1),
    "normal_": lambda x: x.normal_(),
    "cumsum_": lambda x: x.cumsum_(0),
    "tril_": lambda x: x.tril_(),
}

WRITES_OF_TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add_": lambda x, y: x.add_(y),
    "x += y": lambda x, y: x.__iadd__(y),
    "mul_": lambda x, y: x.mul_(y),
    "copy_": lambda x, y: x.copy_(y),
    "x[0] = y": lambda x, y: _set(x, 0, y),
    "x[..., :1] = y": lambda x, y: _set(x, (..., slice(1)), y),
    "masked_fill_": lambda x, y: x.masked_fill_(y > 0, 1),
    "out=": lambda x, y: torch.add(x, y, out=x),
    "addcmul_": lambda x, y: x.addcmul_(x, y),
}


def _set(x: Tensor, index: Any, value: Any) -> Tensor:
    x[index] = value
    return x


def write(d: Drawing) -> Step:
    i, name = d.pick(writable), d.choice(list(WRITES))
    return Step(name, (i,), WRITES[name], writes=i)


def write_of_two(d: Drawing) -> Step:
    i, name = d.pick(writable), d.choice(list(WRITES_OF_TWO))
    return Step(name, (i, d.pick()), WRITES_OF_TWO[name], writes=i)


# Steps: reductions, norms, sorting ----------------------------------------------------------------


def reduction(d: Drawing) -> Step:
    i = d.pick()
    dims, keep = d.dims(d.pool[i]), d.flag()
    kind = d.choice(["sum", "mean", "amax", "var", "std", "all", "any", "logsumexp", "norm"])
    return Step(
        f"{kind}({dims}, keepdim={keep})", (i,), lambda x: getattr(x, kind)(dim=dims, keepdim=keep)
    )


def along(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    dim = d.dim(d.pool[i])
    kind = d.choice(["softmax", "log_softmax", "cumsum", "prod", "max", "min", "median"])
    return Step(f"{kind}({dim})", (i,), lambda x: getattr(x, kind)(dim))


def ordered(d: Drawing) -> Step:
    """Indices among the outputs are those of values that a trace does not know: of floats only."""
    i = d.pick(floating, at_least(1))
    dim, kind = d.dim(d.pool[i]), d.choice(["argmax", "sort", "topk"])
    if kind == "topk":
        k = d.size(1, 3)
        return Step(f"topk({k}, {dim})", (i,), lambda x: x.topk(k, dim))
    return Step(f"{kind}({dim})", (i,), lambda x: getattr(x, kind)(dim))


def norm(d: Drawing) -> Step:
    i = d.pick(floating, at_least(2), filled)
    shape = d.pool[i].shape
    channels, last, spatial = shape[1], shape[-1], min(max(len(shape) - 2, 1), 3)
    groups = d.choice([n for n in range(1, channels + 1) if channels % n == 0])
    batch_norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    instance_norms = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
    makers: list[Callable[[], nn.Module]] = [
        lambda: nn.LayerNorm(last),
        lambda: nn.RMSNorm(last),
        lambda: nn.GroupNorm(groups, channels),
        lambda: batch_norms[spatial - 1](channels),
        lambda: instance_norms[spatial - 1](channels, affine=True),
        lambda: nn.LocalResponseNorm(2),
    ]
    layer = d.layer(d.choice(makers))
    return Step(repr(layer), (i,), layer)


# Steps: contractions ------------------------------------------------------------------------------


def linear(d: Drawing) -> Step:
    i = d.pick(floating, at_least(1))
    outputs, bias = d.size(), d.flag()
    features = d.pool[i].shape[-1]
    layer = d.layer(lambda: nn.Linear(features, outputs, bias))
    return _of_dtype(d, i, layer)


def _of_dtype(d: Drawing, i: int, layer: nn.Module, **options: Any) -> Step:
    """The layer on the tensor, which is cast to the layer's dtype unless autocast will."""
    cast_first = d.choice([True, True, False])

    def run(x: Tensor) -> Any:
        return layer(x.float() if cast_first else x)

    return Step(repr(layer) + (" cast" if cast_first else ""), (i,), run, **options)


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def convolution(d: Drawing) -> Step:
    i = d.pick(floating, of_rank(2, 3, 4, 5), filled)
    shape = d.pool[i].shape
    batched = len(shape) == 5 or (len(shape) > 2 and d.flag())
    spatial, channels = len(shape) - 1 - batched, shape[1 if batched else 0]
    if spatial > 3:
        raise Inapplicable
    groups = d.choice([n for n in range(1, channels + 1) if channels % n == 0])
    options: dict[str, Any] = {
        "kernel_size": d.size(1, 3),
        "stride": d.size(1, 2),
        "padding": d.size(0, 1),
        "dilation": d.size(1, 2),
        "groups": groups,
        "bias": d.flag(),
    }
    transposed = d.choice([False, False, True])
    if not transposed:
        options["padding_mode"] = d.choice(["zeros", "zeros", "circular", "replicate"])
    kinds: Any = TRANSPOSED if transposed else CONVOLUTIONS
    outputs = groups * d.size(1, 2)
    layer = d.layer(lambda: kinds[spatial - 1](channels, outputs, **options))
    # Volumes are laid out as cuDNN does, which differs from the CPU.
    return _of_dtype(d, i, layer, any_layout=True)


def attention(d: Drawing) -> Step:
    i = d.pick(floating, at_least(2), filled)
    j = d.choice([i, d.pick(floating, at_least(2), lambda t: t.shape[-1] == d.pool[i].shape[-1])])
    causal = d.flag()

    def run(x: Tensor, y: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, y, y, is_causal=causal)

    return Step(f"attention(causal={causal})", (i, j), run, any_layout=True)


def masked_attention(d: Drawing) -> Step:
    i = d.pick(floating, at_least(2), filled)

    def run(x: Tensor) -> Tensor:
        length = x.shape[-2]
        mask = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        return F.scaled_dot_product_attention(x, x, x, attn_mask=mask)

    return Step("masked attention", (i,), run, any_layout=True)


def multihead(d: Drawing) -> Step:
    i = d.pick(floating, of_rank(2, 3), filled)
    embedding = d.pool[i].shape[-1]
    heads = d.choice([n for n in range(1, embedding + 1) if embedding % n == 0])
    first, weights, kind = (
        d.flag(),
        d.flag(),
        d.choice(["attention", "encoder", "pre-norm encoder"]),
    )
    if kind == "attention":
        layer = d.layer(lambda: nn.MultiheadAttention(embedding, heads, batch_first=first))

        def run(x: Tensor) -> Any:
            return layer(x.float(), x.float(), x.float(), need_weights=weights)

        return Step(f"{layer}, {heads} heads", (i,), run, any_layout=True)
    before = kind != "encoder"
    layer = d.layer(
        lambda: nn.TransformerEncoderLayer(
            embedding, heads, 5, batch_first=first, norm_first=before
        )
    )
    return _of_dtype(d, i, layer, any_layout=True)


def recurrent(d: Drawing) -> Step:
    i = d.pick(floating, of_rank(2, 3), filled)
    inputs_, hidden, layers = d.pool[i].shape[-1], d.size(1, 3), d.size(1, 2)
    both, first = d.flag(), d.flag()
    kind: Any = d.choice([nn.LSTM, nn.GRU, nn.RNN])
    layer = d.layer(lambda: kind(inputs_, hidden, layers, bidirectional=both, batch_first=first))
    return Step(repr(layer), (i,), lambda x: layer(x.float()), any_layout=True)


def cell(d: Drawing) -> Step:
    """Along the first dimension, a step a row."""
    i = d.pick(floating, of_rank(2, 3), filled)
    inputs_, hidden = d.pool[i].shape[-1], d.size(1, 3)
    kind: Any = d.choice([nn.LSTMCell, nn.GRUCell, nn.RNNCell])
    layer = d.layer(lambda: kind(inputs_, hidden))

    def run(x: Tensor) -> Any:
        state = None
        for row in x.float():
            state = layer(row, state)
        return state

    return Step(f"loop of {layer}", (i,), run)


def bilinear(d: Drawing) -> Step:
    i = d.pick(floating, at_least(1), filled)
    j = d.pick(floating, filled, lambda t: t.dim() > 0 and t.shape[:-1] == d.pool[i].shape[:-1])
    sizes = d.pool[i].shape[-1], d.pool[j].shape[-1], d.size(1, 3)
    layer = d.layer(lambda: nn.Bilinear(*sizes))
    return Step(repr(layer), (i, j), lambda x, y: layer(x.float(), y.float()))


# Steps: images ------------------------------------------------------------------------------------


def pooling(d: Drawing) -> Step:
    i = d.pick(floating, of_rank(3, 4), filled)
    size, stride, padding, ceil = d.size(1, 3), d.size(1, 2), d.size(0, 1), d.flag()
    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "max_pool1d": lambda x: F.max_pool1d(x, size, stride, padding, ceil_mode=ceil),
        "max_pool2d": lambda x: F.max_pool2d(x, size, stride, padding, ceil_mode=ceil),
        "avg_pool2d": lambda x: F.avg_pool2d(x, size, stride, padding, ceil_mode=ceil),
        "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, size),
        "adaptive_max_pool1d": lambda x: F.adaptive_max_pool1d(x, size),
        "interpolate": lambda x: F.interpolate(x, scale_factor=size),
        "bilinear": lambda x: F.interpolate(x, size=(size, stride), mode="bilinear"),
        "pixel_shuffle": lambda x: F.pixel_shuffle(x, stride),
        "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, stride),
        "unfold": lambda x: F.unfold(x, size, stride=stride, padding=padding),
        "lp_pool2d": lambda x: F.lp_pool2d(x, 2, size),
    }
    name = d.choice(list(kinds))
    return Step(f"{name}({size}, {stride}, {padding}, {ceil})", (i,), kinds[name])


# Steps: indices and masks -------------------------------------------------------------------------


def embedding(d: Drawing) -> Step:
    i, width = d.pick_known(integer), d.size(1, 3)
    layer = d.layer(lambda: nn.Embedding(6, width))
    return Step(repr(layer), (i,), layer)


KNOWN: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "x[index]": lambda x, index: x[index],
    "x[:, index]": lambda x, index: x[:, index],
    "x[index] = 1": lambda x, index: _set(x.clone(), index, 1),
    "gather": lambda x, index: x.gather(0, index),
    "index_select": lambda x, index: x.index_select(-1, index),
    "take": torch.take,
    "take_along_dim": lambda x, index: x.take_along_dim(index, -1),
    "scatter_add": lambda x, index: torch.zeros_like(x).scatter_add(0, index, x),
    "scatter": lambda x, index: x.scatter(-1, index, 1),
    "index_add": lambda x, index: x.index_add(0, index, x),
    "index_fill": lambda x, index: x.index_fill(0, index, 0),
    "masked_select": torch.masked_select,
    "masked_fill": lambda x, mask: x.masked_fill(mask, 0),
    "where": lambda x, mask: torch.where(mask, x, 0),
    "first of them": lambda x, index: x[int(index.flatten()[0])],
    "as many": lambda x, index: x.repeat_interleave(index.clamp(0, 2), dim=0),
}

OF_KNOWN: dict[str, Callable[[Tensor], Any]] = {
    "nonzero": torch.nonzero,
    "one_hot": F.one_hot,
    "unique": torch.unique,
    "bincount": torch.bincount,
    "argsort": torch.argsort,
    "cumsum": lambda x: x.cumsum(-1),
    "max": lambda x: x.max() + x,
    "arange": lambda x: torch.arange(int(x.max()) + 1, device=x.device),
    "x[x > 0]": lambda x: x[x > 0],
    "if any": lambda x: x + 1 if bool((x > 0).any()) else x.flatten(),
    "sum": lambda x: x.sum(-1),
}


def index(d: Drawing) -> Step:
    name = d.choice(list(KNOWN))
    return Step(name, (d.pick(), d.pick_known()), KNOWN[name])


def of_known(d: Drawing) -> Step:
    name = d.choice(list(OF_KNOWN))
    return Step(name, (d.pick_known(filled),), OF_KNOWN[name])


# Steps: control flow ------------------------------------------------------------------------------


def branch(d: Drawing) -> Step:
    """On sizes: which of two layers comes next."""
    i = d.pick(floating, at_least(1))
    features, limit = d.pool[i].shape[-1], d.size(1, 4)
    narrow, wide = nn.Linear(features, 1), nn.Linear(features, 3)
    d.layers += [narrow, wide]

    def run(x: Tensor) -> Any:
        layer = wide if x.shape[0] > limit else narrow
        return layer(x.float())

    return Step(f"a layer by size({limit})", (i,), run)


def loop(d: Drawing) -> Step:
    """As often as there are rows, with a layer that is used again and again."""
    i = d.pick(floating, of_rank(2, 3), filled)
    features = d.pool[i].shape[-1]
    layer = d.layer(lambda: nn.Linear(features, features))

    def run(x: Tensor) -> Any:
        rows = [x[0].float()]
        for row in x[1:]:
            rows.append(layer(rows[-1]) + row)
        return torch.stack(rows)

    return Step(f"loop of {layer}", (i,), run)


def halved(d: Drawing) -> Step:
    """Until it is small."""

    def run(x: Tensor) -> Tensor:
        while x.numel() > 4 and x.shape[0] > 1:
            x = x[: x.shape[0] // 2] * 2
        return x

    return Step("halved until small", (d.pick(at_least(1)),), run)


def checkpointed(d: Drawing) -> Step:
    i = d.pick(floating, at_least(1))
    features = d.pool[i].shape[-1]
    layer = d.layer(lambda: nn.Sequential(nn.Linear(features, 2), nn.GELU()))

    def run(x: Tensor) -> Any:
        from torch.utils.checkpoint import checkpoint

        return checkpoint(layer, x.float(), use_reentrant=False)

    return Step(f"checkpoint of {layer}", (i,), run)


# Steps: what models do beside calling layers ------------------------------------------------------

CONSTANTS: dict[str, Callable[[Tensor], Any]] = {
    "positions": lambda x: torch.arange(x.shape[-1], device=x.device),
    "rows and columns": lambda x: torch.ones(x.shape[:2], dtype=torch.bool).nonzero(),
    "causal mask": lambda x: torch.full((x.shape[-1],) * 2, float("-inf")).triu(1) + 0 * x.shape[0],
    "a list": lambda x: torch.tensor([[1, 2], [3, x.shape[0]]]),
    "numbers": lambda x: torch.tensor([0.5, 1.5], dtype=torch.float64),
    "a number": lambda x: torch.tensor(2.0),
    "linspace": lambda x: torch.linspace(0, 1, x.shape[0]),
    "eye": lambda x: torch.eye(x.shape[-1], dtype=x.dtype),
    "randn": lambda x: torch.randn(x.shape[0], 3),
    "zeros": lambda x: torch.zeros(2, x.shape[-1]),
    "shape": lambda x: torch.tensor(x.shape),
    "rotations": lambda x: (torch.arange(3.0)[:, None] / torch.arange(1.0, 3.0)).cos(),
}


def constant(d: Drawing) -> Step:
    """Made from sizes. What floats were rounded to is not compared, nor what is drawn."""
    name = d.choice(list(CONSTANTS))
    i = d.pick_known(at_least(1)) if name != "eye" else d.pick(at_least(1))
    return Step(name, (i,), CONSTANTS[name])


COMPLEX: dict[str, Callable[[Tensor], Any]] = {
    "view_as_complex": lambda x: torch.view_as_complex(x.float().contiguous()),
    "rfft": lambda x: torch.fft.rfft(x.float()),
    "fft2": lambda x: torch.fft.fft2(x.float()),
    "polar": lambda x: torch.polar(x.float(), x.float()),
    "as real": torch.view_as_real,
    "conj": lambda x: x.conj() * 2,
    "irfft": torch.fft.irfft,
    "absolute": lambda x: x.abs(),
    "x.mH @ x": lambda x: x.mH @ x,
    "rotated": lambda x: torch.view_as_real(x * torch.ones_like(x)).flatten(-2),
}


def complex_numbers(d: Drawing) -> Step:
    name = d.choice(list(COMPLEX))
    return Step(name, (d.pick(),), COMPLEX[name], any_layout=True)


def inner_autocast(d: Drawing) -> Step:
    i, enabled = d.pick(floating, at_least(1)), d.flag()
    features = d.pool[i].shape[-1]
    layer = d.layer(lambda: nn.Linear(features, 2))

    def run(x: Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            return layer(x.float()).softmax(-1) + 1

    return Step(f"autocast({enabled}) of {layer}", (i,), run)


def weight_parts(d: Drawing) -> Step:
    """A part of a weight, through a view of it."""
    i, rows = d.pick(floating, at_least(1)), d.size(1, 3)
    features = d.pool[i].shape[-1]
    layer: Any = d.layer(lambda: nn.Linear(features, 4))

    def run(x: Tensor) -> Any:
        return F.linear(x.float(), layer.weight[:rows], layer.bias[:rows]) @ layer.weight[:rows]

    return Step(f"{rows} rows of {layer}", (i,), run)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x @ x.mT).mul_(2)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        raise NotImplementedError


def own_function(d: Drawing) -> Step:
    return Step("autograd.Function", (d.pick(floating, at_least(2)),), Doubled.apply)


def vmapped(d: Drawing) -> Step:
    i = d.pick(computable, at_least(2))
    features = d.pool[i].shape[-1]
    layer: Any = d.layer(lambda: nn.Linear(features, 2))

    def run(x: Tensor) -> Any:
        return torch.vmap(lambda row: torch.tanh(layer(row.float())))(x)

    return Step(f"vmap of {layer}", (i,), run)


STEPS: list[Callable[[Drawing], Step]] = [
    unary,
    binary,
    residual,
    cast,
    reshape,
    permute,
    transpose,
    unsqueeze,
    squeeze,
    expand,
    sliced,
    selected,
    diagonal,
    windows,
    flatten,
    split,
    copy,
    joined,
    write,
    write_of_two,
    reduction,
    along,
    ordered,
    norm,
    linear,
    convolution,
    attention,
    masked_attention,
    multihead,
    recurrent,
    cell,
    bilinear,
    pooling,
    embedding,
    index,
    of_known,
    branch,
    loop,
    halved,
    checkpointed,
    constant,
    complex_numbers,
    inner_autocast,
    weight_parts,
    own_function,
    vmapped,
]

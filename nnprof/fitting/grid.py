"""`nnprof.fits_grid`: which runs fit which GPUs, by method, batch and sequence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from os import PathLike
from typing import TYPE_CHECKING, Any

from torch import nn

from nnprof.base.packages import require
from nnprof.errors import InputError, only_nnprof_errors
from nnprof.fitting.changes import blocks_of
from nnprof.fitting.fit import fits
from nnprof.fitting.gpu import gpu_of
from nnprof.fitting.methods import QUANTIZATIONS, adapted
from nnprof.hardware import Hardware

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnprof.fitting.fit import Fit

__all__ = ["METHODS", "Cell", "Grid", "fits_grid", "methods_of"]

#: Builds a model, or a model and options of `fits` for its runs.
Builder = Callable[[], Any]
#: A model or its builder, maybe with options of `fits` for its runs.
Method = nn.Module | Builder | tuple[nn.Module | Builder, Mapping[str, Any]]
Gpu = Hardware | PathLike[str] | str

#: By name: what is done to the model before it runs, as `with_lora` and `quantized` take it.
METHODS: dict[str, dict[str, str]] = {
    "full": {},
    "lora": {"lora": "r=16"},
    "qlora": {"lora": "r=16", "quantize": "nf4"},
    **{name: {"quantize": name} for name in QUANTIZATIONS},
}
#: Behind a name: activation checkpointing of the model's blocks.
_CHECKPOINT = "+checkpoint"

#: Where runs are traced. Nothing but its memory is known, so no times are estimated.
_TRACED_ON = "80GB"
#: What the grid says itself, and what has sizes of its own.
_NOT_ASKED = {"model", "hardware", "shape", "inputs", "batch", "sequence"}
_OPTIONS = inspect.signature(fits).parameters.keys() - _NOT_ASKED


@dataclass(frozen=True)
class Cell:
    """One run on one GPU. Bytes are those of `fit.memory`."""

    method: str
    batch: int | None  #: None: the library's usual
    sequence: int | None  #: tokens; likewise
    gpu: str
    verdict: str  #: "yes", "no", or "too close to tell"
    process: int  #: bytes that the process holds at its most, were there room
    spare: int  #: bytes left on the GPU then; less than 0 where they are missing
    margin: int  #: bytes that these may be off
    total: int  #: bytes that programs can have of the GPU


@dataclass(frozen=True)
class Grid:
    """`cells`: by method, sequence, batch and GPU, in the order in which they were asked for."""

    cells: tuple[Cell, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The cells as dicts, such as pandas.DataFrame takes. Memory is in bytes."""
        return [asdict(cell) for cell in self.cells]

    @only_nnprof_errors
    def plot(self, path: str | PathLike[str]) -> None:
        """Writes a picture: what the process takes over the sequence, and what the GPUs have.

        A line for each method and batch, its margin as a band. Where no sequence was asked for, it
        is over the batch.

        Raises MissingExtraError where matplotlib is not installed; InputError for a file that is no
        picture, or cannot be written.
        """
        from nnprof.report.grid_plot import save_plot

        save_plot(self.cells, path)

    def __str__(self) -> str:
        from nnprof.report.grid import render

        return render(self.cells)


@only_nnprof_errors
def fits_grid(
    methods: nn.Module | Builder | Mapping[str, Method],
    gpus: Gpu | Iterable[Gpu],
    *,
    batch: int | Iterable[int] | None = (1, 4),
    sequence: int | Iterable[int] | None = (2048, 8192),
    **run: Any,
) -> Grid:
    """Whether runs fit on GPUs: each method with each batch and sequence is traced once.

    Args:
        methods: by name, a model, or a function without arguments that builds one, called once; or
            such a thing and a dict of options of `fits` that are this method's own. A builder may
            return the two, too: `methods_of` has some. Or one model alone.
        gpus: names ("h100") or sizes ("24GB").
        batch, sequence: of the usual inputs. None: the library's, or a model has no sequence.
        run: as for `fits`: train=, optimizer=, checkpoint=, autocast=, alloc_conf=, ...

    Raises:
        InputError: as `fits`; nothing or the same is asked for twice, a size is below 1, an option
            is none of `fits` or has sizes of its own, a builder wants arguments. All but what only
            a model built tells is said before anything is traced.
    """
    devices = [gpu_of(gpu) for gpu in _listed(gpus)]
    _check_once("gpus", [device.name for device in devices])
    batches, sequences = _sizes("batch", batch), _sizes("sequence", sequence)
    named = methods if isinstance(methods, Mapping) else {_name(methods): methods}
    _check_once("methods", named)
    for name, method in named.items():
        _check_method(name, method)
    _check_options(run)
    cells = []
    for name, method in named.items():
        model, options = _built(name, method)
        for tokens, rows in product(sequences, batches):
            asked = {**run, **options, "batch": rows, "sequence": tokens}
            fit = fits(model, _TRACED_ON, **asked)
            cells += [_cell(name, rows, tokens, fit.on(device)) for device in devices]
    return Grid(tuple(cells))


def _cell(method: str, batch: int | None, sequence: int | None, fit: Fit) -> Cell:
    memory = fit.memory
    return Cell(
        method=method,
        batch=batch,
        sequence=sequence,
        gpu=fit.hardware.name,
        verdict=fit.verdict,
        process=memory.process,
        spare=fit.spare,
        margin=memory.margin,
        total=memory.total,
    )


def _built(name: str, method: Method) -> tuple[Any, dict[str, Any]]:
    """The model, and the options that are its own."""
    what, options = _pair(name, method)
    model, found = _pair(name, what if isinstance(what, nn.Module) else what())
    return model, {**found, **options}


def _pair(name: str, given: Any) -> tuple[Any, Mapping[str, Any]]:
    """A model or its builder, and the options that come with it."""
    pair = given if isinstance(given, tuple) else (given, {})
    if len(pair) != 2 or not callable(pair[0]) or not isinstance(pair[1], Mapping):
        raise InputError(
            f"methods[{name!r}] is or builds a {type(given).__name__}: give a model, a function "
            "that builds it, or one of these and a dict of options"
        )
    _check_options(pair[1])
    return pair


def _name(model: Any) -> str:
    return str(getattr(model, "__name__", type(model).__name__))


# What is asked for.


def _listed(given: Any) -> list[Any]:
    """Several, or one alone."""
    alone = isinstance(given, str) or not isinstance(given, Iterable)
    return [given] if alone else list(given)


def _sizes(name: str, given: int | Iterable[int] | None) -> Sequence[int | None]:
    if given is None:
        return [None]
    sizes = _listed(given)
    for size in sizes:
        if type(size) is not int or size < 1:
            raise InputError(f"{name}= has {size!r}: sizes are whole numbers of at least 1")
    _check_once(name, sizes)
    return sizes


def _check_once(name: str, asked: Iterable[Any]) -> None:
    entries = list(asked)
    if not entries:
        raise InputError(f"{name}= is empty: give at least one")
    for entry in entries:
        if entries.count(entry) > 1:
            raise InputError(f"{name}= has {entry!r} twice: leave one out")


def _check_method(name: str, method: Method) -> None:
    build, _ = _pair(name, method)
    if isinstance(build, nn.Module):
        return
    try:
        inspect.signature(build).bind()
    except TypeError as error:
        raise InputError(
            f"methods[{name!r}] builds a model and takes no arguments, but: {error}; "
            "bind them with functools.partial"
        ) from None


def _check_options(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in _OPTIONS:
            known = ", ".join(f"{option}=" for option in sorted(_OPTIONS))
            raise InputError(f"{name}= is no option of a grid's runs: there are {known}")


# Methods that have a name.


def methods_of(
    build: Builder, names: str | Iterable[str], *, lora: str | None = None
) -> dict[str, Builder]:
    """Methods for `fits_grid` by name: "full", "lora", "qlora", "nf4", "fp4", "int8".

    "+checkpoint" behind one: with activation checkpointing of the model's repeated blocks.

    Args:
        build: builds the model, anew for each of them, for they change it; or the model and options
            of `fits` for its runs.
        lora: settings of the adapters, as `with_lora` takes them. Default: "r=16".

    Raises:
        InputError: a name that is none, none at all, one twice. MissingExtraError: one needs peft,
            which is not installed.
    """
    asked = _listed(names)
    _check_once("names", asked)
    found: dict[str, Builder] = {}
    for name in asked:
        base = name.removesuffix(_CHECKPOINT)
        if base not in METHODS:
            known = ", ".join(METHODS)
            raise InputError(f"no method is called {name!r}: there are {known}, and {_CHECKPOINT}")
        settings = dict(METHODS[base])
        if "lora" in settings:
            require("peft")
            settings["lora"] = lora or settings["lora"]
        found[name] = partial(_adapted, name, build, checkpoint=base != name, **settings)
    return found


def _adapted(
    name: str,
    build: Builder,
    *,
    checkpoint: bool,
    lora: str | None = None,
    quantize: str | None = None,
) -> tuple[Any, dict[str, Any]]:
    model, options = _built(name, build)
    model, beside = adapted(model, lora, quantize)
    if beside:
        options["beside"] = beside
    if checkpoint:
        options["checkpoint"] = [_repeated_blocks(model)]
    return model, options


def _repeated_blocks(model: Any) -> str:
    """The glob of the model's repeated blocks. Raises InputError where it has none."""
    blocks = blocks_of(model)
    if blocks is None:
        raise InputError(f"{_name(model)} has no list of equal blocks: give checkpoint= by hand")
    return blocks

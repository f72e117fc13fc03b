"""The primitive under `measure`: any code inside a `trace` runs shape-only and is recorded."""

from __future__ import annotations

import copyreg
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from nnprof import _core
from nnprof.base.current import make_current, works_for_another
from nnprof.base.dtypes import AUTOCAST, as_dtype
from nnprof.base.modules import parameters_of
from nnprof.base.process import GeneratorsState, Undo, keep_flags, undo_all
from nnprof.errors import (
    InputError,
    NestedTraceError,
    NnprofError,
    UnsupportedError,
)
from nnprof.results import registry
from nnprof.results.records import ModelFacts, StoredTrace
from nnprof.tracing.claims import claimed_tracer, release
from nnprof.tracing.experts import idle_expert_params
from nnprof.tracing.failures import NO_DATA_NOTE, note_guesses, wants_data
from nnprof.tracing.groups import groups_of
from nnprof.tracing.optimizers import OptimizerState
from nnprof.tracing.patches.autocast import switch_on_region
from nnprof.tracing.quantization import notes_of, stored_form
from nnprof.tracing.questions import Answers
from nnprof.tracing.switches import switch_on_process

if TYPE_CHECKING:
    from os import PathLike
    from types import TracebackType

    from nnprof.hardware import Hardware
    from nnprof.results.profile import Profile
    from nnprof.results.times import Times
    from nnprof.tracing.questions import Assume

__all__ = ["bare", "trace"]

_core.set_stored_form(stored_form)


_ELSEWHERE = (
    "a thread that was started before the trace ran modules on its tensors, and what they called "
    "could not be seen: start the thread inside, or hand it work by concurrent.futures or "
    "multiprocessing.pool"
)


class trace:  # noqa: N801  a context manager, named and used like torch.no_grad
    """Runs the code inside shape-only and records what it would cost.

    `with nnprof.trace(model) as running: model(x)`, then `running.profile()`. Without a model, the
    modules that are called become known as they are called.

    Args:
        model: whose modules the costs are told by.
        backward: autograd records its graph too, so that `loss.backward()`, an optimizer's `step()`
            and whatever else a training step is made of can run inside.
        optimizer: one that steps inside: its state, its settings and the gradients of its
            parameters are put back at the end. So are those of any other that steps inside, of
            schedules and scalers, and every `.grad` that is assigned, cleared or accumulated.
        target: the kind of device that memory and kernels are counted for, "cpu" or "cuda".
            Default: the model's own; CUDA for a model on meta and where there is none.

    A number that only a real run would know reads 1 outside of modules (`loss.item()` in a training
    loop), and what is asked about it is answered as for 1 (it is finite); each answer is named in
    `profile.assumptions`. `assume` answers otherwise, as for `measure`.

    What the code inside raises passes through as it is, with notes.

    Raises NestedTraceError when this thread is already tracing.
    """

    def __init__(
        self,
        model: Callable[..., Any] | None = None,
        *,
        backward: bool = False,
        optimizer: torch.optim.Optimizer | None = None,
        target: torch.device | str | None = None,
        autocast: torch.dtype | str | None = None,
        assume: Assume | None = None,
        integer_limit: int = 16 * 1024,
        float_limit: int = 4 * 1024,
        input_float_limit: int = 16,
        recording: bool = True,
        may_rerun: bool = False,
    ) -> None:
        self._model = model
        self._autocast = as_dtype(autocast, AUTOCAST)
        self._answers = Answers(assume)
        cpu = _runs_on_cpu(model) if target is None else torch.device(target).type == "cpu"
        #: Memory and kernels are those of an accelerator, not of a CPU.
        self.accelerator = not cpu
        self._optimizer = optimizer
        self._also: tuple[Any, ...] = ()
        self._kept: set[int] = set()
        self._options: dict[str, Any] = {
            "backward": backward,
            "accelerator": self.accelerator,
            "integer_limit": integer_limit,
            "float_limit": float_limit,
            "input_float_limit": input_float_limit,
            "recording": recording,
            "may_rerun": may_rerun,
        }
        self._undo: list[Undo] = []
        self._result: _core.TraceResult | None = None
        self._facts: ModelFacts | None = None
        self._tracer: _core.Tracer | None = None
        self._thread_errors: list[NnprofError] = []
        self._started = 0.0
        self._input_bytes = 0
        self.trace_s = 0.0

    def __enter__(self) -> Self:
        if _core.tracing() and not works_for_another():
            raise NestedTraceError(
                "a trace is already running in this thread: a measure or trace inside another one "
                "would count twice; end the outer one first"
            )
        self._started = time.perf_counter()
        try:
            self._undo.append(GeneratorsState().restore)
            tracer = claimed_tracer(self._model, self._also, self._options)
            self._undo += [lambda: release(tracer), tracer.restore]
            tracer.on_question(self._answers)
            for note in notes_of(self._model):
                tracer.note(note)
            self._undo += [switch_on_process(), keep_flags()]
            if self._autocast is not None:
                device = "cpu" if _runs_on_cpu(self._model) else "cuda"
                self._undo.append(switch_on_region(self._autocast, device))
            if self._optimizer is not None:
                state = OptimizerState(self._optimizer, gradients=True)
                self.keep(self._optimizer, state.restore)
            tracer.start()
            self._undo.append(tracer.stop)
            self._undo.append(make_current(self, works_for_another=False))
        except BaseException:
            undo_all(self._undo)
            raise
        self._tracer = tracer
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tracer = self._tracer
        assert tracer is not None  # __enter__ has made it
        undo_all(self._undo)
        elsewhere = tracer.used_elsewhere
        if error is None and self._thread_errors:
            raise self._thread_errors[0]
        if error is None and elsewhere:
            raise UnsupportedError(_ELSEWHERE)
        if error is not None:
            place = tracer.failed_scope
            if place and not isinstance(error, NnprofError):
                error.add_note(f"nnprof: raised while tracing, {place}")
            if wants_data(error):
                error.add_note(NO_DATA_NOTE)
            note_guesses(tracer, error)
            return
        self._result = _core.TraceResult(tracer)
        self.trace_s = time.perf_counter() - self._started
        facts: dict[str, Any] = tracer.facts
        idle = idle_expert_params(self._model, self._result)
        self._facts = ModelFacts(
            name=_name_of(self._model),
            active_params=facts["params"] - idle,
            input_bytes=self._input_bytes,
            never_called=tuple(self._result.never_called()),
            container_types=tuple(tracer.container_types(nn.Sequential, nn.ModuleList)),
            groups=groups_of(self._result),
            **facts,
        )

    def also_remember(self, *values: Any) -> None:
        """Puts models among these, or that these can reach, back as they were at the start, too.

        To be called before the trace starts.
        """
        self._also += values

    @property
    def tracer(self) -> _core.Tracer | None:
        """The core's part of the trace, while it runs and after."""
        return self._tracer

    def keep(self, owner: object, restore: Undo) -> None:
        """Puts `owner` back at the end by calling `restore`, the first one given for it."""
        if id(owner) not in self._kept:
            self._kept.add(id(owner))
            # Before all else: what it gives back may be a gradient that the core looks at.
            self._undo.insert(0, restore)

    def note_thread_error(self, error: NnprofError) -> None:
        """What ended a thread of the program's: nobody else may hear of it."""
        self._thread_errors.append(error)

    def mark_inputs(self, *values: Any, made: bool = False) -> None:
        """Tells the records which tensors, in any nesting, are the user's inputs.

        `made`: they were made for the model, and show its device rather than their own.
        """
        if self._tracer is None:
            raise InputError("the trace is not running: call mark_inputs() inside the with block")
        for tensor in _tensors(values):
            self._input_bytes += self._tracer.mark_input(tensor, made)

    def mark_cache(self, tensors: Iterable[torch.Tensor]) -> None:
        """Tells the records which tensors a language model goes on with; after the trace, too."""
        if self._tracer is None:
            raise InputError(
                "the trace has not run: call mark_cache() inside the with block, or after"
            )
        for tensor in tensors:
            self._tracer.mark_cache(tensor)

    @contextmanager
    def unrecorded(self) -> Iterator[None]:
        """Runs the code inside shape-only too, but leaves it out of the records and the counts."""
        if self._tracer is None:
            raise InputError("the trace is not running: call unrecorded() inside the with block")
        self._tracer.recording = False
        try:
            yield
        finally:
            self._tracer.recording = self._options["recording"]

    @property
    def model(self) -> Callable[..., Any] | None:
        """What was given to be told by."""
        return self._model

    @property
    def rerun_wanted(self) -> bool:
        """A value was asked for that higher limits would make known."""
        return self._tracer is not None and self._tracer.rerun_wanted

    @property
    def result(self) -> _core.TraceResult:
        """What the core recorded; raises InputError before the trace has ended well."""
        if self._result is None:
            raise InputError("the trace has no result: call profile() after the with block ended")
        return self._result

    def profile(
        self, *, hardware: Hardware | PathLike[str] | str | None = None, strict: bool = False
    ) -> Profile:
        """What the code inside cost; with `hardware` also how long it should take there.

        Raises InputError when the trace has not ended, or ended with an error, when `hardware` is
        not known, and with `strict` where an operator has no rule or a guess was made.
        """
        from nnprof.results.profile import Profile

        result = self.result
        assert self._facts is not None  # made with the result
        times = _estimated(result, hardware) if hardware is not None else None
        profile = Profile(result, self._facts, self.trace_s, times)
        if strict:
            _check_strict(result)
        return profile


def _stored(result: _core.TraceResult) -> Any:
    return StoredTrace, (StoredTrace.to_dict(result),)


# So that all that is made of a trace (tables, memory, times) goes to other processes, too.
copyreg.pickle(_core.TraceResult, _stored)


@contextmanager
def bare() -> Iterator[None]:
    """Runs the code inside shape-only and records nothing: what a trace costs at the least."""
    tracer = _core.Tracer(recording=False)
    tracer.start()
    try:
        yield
    finally:
        tracer.stop()


def _estimated(result: _core.TraceResult, hardware: Hardware | PathLike[str] | str) -> Times:
    return registry.times_on(result, hardware)


def _check_strict(result: _core.TraceResult) -> None:
    generic = result.coverage()["generic"]
    guesses = result.assumptions()
    if generic:
        names = ", ".join(sorted(generic))
        raise InputError(f"strict: no rule for {names}; add one with nnprof.register_rule")
    if guesses:
        raise InputError("strict: the trace had to guess: " + "; ".join(guesses))


def _name_of(model: Callable[..., Any] | None) -> str:
    if model is None:
        return "trace"
    if isinstance(model, nn.Module):
        # A scripted module's class is RecursiveScriptModule; it knows what it was made from.
        return getattr(model, "original_name", type(model).__name__)
    return getattr(model, "__name__", type(model).__name__)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from _tensors(getattr(value, name, None))


def _runs_on_cpu(model: Callable[..., Any] | None) -> bool:
    if not isinstance(model, nn.Module):
        return False
    first = next(parameters_of(model), None)
    return first is not None and first.device.type == "cpu"

"""The primitive under `measure`: any code inside a `trace` runs shape-only and is recorded."""

from __future__ import annotations

import ctypes
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import nn

from nnprof import _core
from nnprof.errors import InputError, NestedTraceError, NnprofError
from nnprof.inputs import as_dtype
from nnprof.records import ModelFacts
from nnprof.scopes import install_scopes, uninstall_scopes

if TYPE_CHECKING:
    from types import TracebackType

    from nnprof.profile import Profile

__all__ = ["bare", "trace"]


_NO_DATA_NOTE = (
    "nnprof: nothing is computed in a trace, so the tensor has no data to read. For a kernel of "
    "its own (Triton, pybind) wrap it as a custom operator with a fake kernel and add a rule with "
    "nnprof.register_rule"
)


class trace:  # noqa: N801  a context manager, named and used like torch.no_grad
    """Runs the code inside shape-only and records what it would cost.

    `with nnprof.trace(model) as running: model(x)`, then `running.profile()`. Without a model, the
    modules that are called become known as they are called.

    Raises NestedTraceError when this thread is already tracing.
    """

    def __init__(
        self,
        model: Callable[..., Any] | None = None,
        *,
        autocast: torch.dtype | str | None = None,
        assume: float | Mapping[str, float] | None = None,
        integer_limit: int = 16 * 1024,
        recording: bool = True,
    ) -> None:
        self._model = model
        self._autocast = as_dtype(autocast)
        self._assume = _as_answers(assume)
        self._options = {"integer_limit": integer_limit, "recording": recording}
        self._cleanup = ExitStack()
        self._result: _core.TraceResult | None = None
        self._facts: ModelFacts | None = None
        self._tracer: _core.Tracer | None = None
        self._started = 0.0
        self._input_bytes = 0
        self.trace_s = 0.0

    def __enter__(self) -> Self:
        if _core.tracing():
            raise NestedTraceError(
                "a trace is already running in this thread: a measure or trace inside another one "
                "would count twice; end the outer one first"
            )
        self._started = time.perf_counter()
        with ExitStack() as cleanup:
            cleanup.callback(_generators_state().restore)
            tracer = _claimed_tracer(self._model, self._options)
            cleanup.callback(_release, tracer)
            cleanup.callback(tracer.restore)
            for path, value in self._assume.items():
                tracer.assume(path, value)
            cleanup.enter_context(_scopes)
            cleanup.enter_context(_flags())
            if self._autocast is not None:
                cleanup.enter_context(_autocast(self._autocast, _runs_on_cpu(self._model)))
            tracer.start()
            cleanup.callback(tracer.stop)
            self._tracer = tracer
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tracer = self._tracer
        assert tracer is not None  # __enter__ has made it
        self._cleanup.close()
        if error is not None:
            place = tracer.failed_scope
            if place and not isinstance(error, NnprofError):
                error.add_note(f"nnprof: raised while tracing, {place}")
            if wants_data(error):
                error.add_note(_NO_DATA_NOTE)
            return
        self._result = _core.TraceResult(tracer)
        self.trace_s = time.perf_counter() - self._started
        facts = tracer.facts
        self._facts = ModelFacts(
            name=_name_of(self._model),
            input_bytes=self._input_bytes,
            never_called=tuple(self._result.never_called()),
            container_types=tuple(tracer.container_types(nn.Sequential, nn.ModuleList)),
            **facts,
        )

    def mark_inputs(self, *values: Any) -> None:
        """Tells the records which tensors, in any nesting, are the user's inputs."""
        if self._tracer is None:
            raise InputError("the trace is not running: call mark_inputs() inside the with block")
        for tensor in _tensors(values):
            self._tracer.mark_input(tensor)
            self._input_bytes += tensor.numel() * tensor.element_size()

    @property
    def rerun_wanted(self) -> bool:
        """The value of an integer tensor above `integer_limit` was asked for."""
        return self._tracer is not None and self._tracer.rerun_wanted

    def profile(self, *, strict: bool = False) -> Profile:
        """What the code inside cost.

        Raises InputError when the trace has not ended, or ended with an error, and with `strict`
        where an operator has no rule or a guess was made.
        """
        from nnprof.profile import Profile

        if self._result is None or self._facts is None:
            raise InputError("the trace has no result: call profile() after the with block ended")
        profile = Profile(self._result, self._facts, self.trace_s)
        if strict:
            _check_strict(self._result)
        return profile


@contextmanager
def bare() -> Iterator[None]:
    """Runs the code inside shape-only and records nothing: what a trace costs at the least."""
    tracer = _core.Tracer(recording=False)
    tracer.start()
    try:
        yield
    finally:
        tracer.stop()


#: What torch says when Python asks a meta tensor for its data, past the dispatcher.
_DATA_ERRORS = (
    "shouldn't be called on a tensor with unallocated storage",
    "can't convert meta device type tensor to numpy",
    "Cannot access data pointer of Tensor",
)


def wants_data(error: BaseException) -> bool:
    """Was it raised because the program read a tensor's data directly (tolist, numpy)?"""
    return any(text in str(error) for text in _DATA_ERRORS)


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


# --- one trace at a time on any module -----------------------------------------------------------

_module_free = threading.Condition()


def _claimed_tracer(model: Callable[..., Any] | None, options: dict[str, Any]) -> _core.Tracer:
    """A tracer whose modules no other thread is tracing; waits until that is so."""
    with _module_free:
        while True:
            tracer = _core.Tracer(**options)
            if isinstance(model, nn.Module):
                tracer.add_modules(model, "")
            if tracer.claim_modules():
                return tracer
            _module_free.wait()


def _release(tracer: _core.Tracer) -> None:
    with _module_free:
        tracer.release_modules()
        _module_free.notify_all()


# --- what is put back at the end -----------------------------------------------------------------


class _generators_state:  # noqa: N801
    """The global random generators as they were."""

    def __init__(self) -> None:
        self._torch = torch.get_rng_state()
        self._python = random.getstate()
        self._numpy = _numpy_state() if "numpy.random" in sys.modules else None

    def restore(self) -> None:
        torch.set_rng_state(self._torch)
        random.setstate(self._python)
        if self._numpy is not None:
            self._numpy.restore()


class _NumpyState(NamedTuple):
    memory: bytes
    state: Any

    def restore(self) -> None:
        # Setting the state takes 40 us: only when numbers may have been drawn. A normal number kept
        # from an earlier pair is the one draw that leaves no trace in the generator's memory.
        if self.state["has_gauss"] or self.memory != _numpy_memory():
            sys.modules["numpy.random"].set_state(self.state)


_last_numpy_state = _NumpyState(b"", {"has_gauss": 1})


def _numpy_state() -> _NumpyState:
    """The state of NumPy's global generator. To ask NumPy takes 40 us: once for equal states."""
    global _last_numpy_state
    memory = _numpy_memory()
    if _last_numpy_state.state["has_gauss"] or memory != _last_numpy_state.memory:
        state = sys.modules["numpy.random"].get_state(legacy=False)
        _last_numpy_state = _NumpyState(memory, state)
    return _last_numpy_state


def _numpy_memory() -> bytes:
    generator = sys.modules["numpy.random"].mtrand._rand._bit_generator
    # 624 words and a position for the Mersenne twister; any other generator's state is smaller
    # than that, so its memory is not read: it is compared as new each time.
    if type(generator).__name__ != "MT19937":
        return os.urandom(16)
    return ctypes.string_at(generator.ctypes.state_address, 625 * 4)


class _Shared:
    """A process-wide switch that is on while at least one thread wants it."""

    def __init__(self, switch_on: Callable[[], Callable[[], None]]) -> None:
        self._switch_on = switch_on
        self._switch_off: Callable[[], None] = lambda: None
        self._users = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._switch_off = self._switch_on()
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._switch_off()


_known_higher_order_ops = 0


def _meet_torch_modules() -> None:
    """Tells the core and torch of each other, for what torch has loaded by now."""
    global _known_higher_order_ops
    fakes = sys.modules.get("torch._subclasses.fake_tensor")
    if fakes is not None:
        _core.set_fake_tensor_type(fakes.FakeTensor)
    operators = sys.modules["torch._ops"]._higher_order_ops
    if len(operators) != _known_higher_order_ops:
        # A higher-order operator refuses a dispatch key it does not know: ours is passed through,
        # and the operators inside come to us.
        for operator in operators.values():
            operator.fallthrough(_core.intercept_key())
        _known_higher_order_ops = len(operators)


def _switch_on_scopes() -> Callable[[], None]:
    undo = ExitStack()
    _meet_torch_modules()
    install_scopes()
    undo.callback(uninstall_scopes)
    if "torch._dynamo" in sys.modules:
        # A compiled function would compile again for the trace: run its Python instead.
        undo.enter_context(torch.compiler.set_stance("force_eager"))
    if not torch.cuda.is_available():
        # A forward that names device="cuda" traces without one: nothing is ever put there.
        _core.set_device_needs_no_init(True)
        undo.callback(_core.set_device_needs_no_init, False)
    return undo.close


_scopes = _Shared(_switch_on_scopes)


@contextmanager
def _flags() -> Iterator[None]:
    grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    # A scripted model's executor would rewrite its operators after the first calls.
    optimize = torch._C._get_graph_executor_optimize(False)
    try:
        yield
    finally:
        torch._C._set_graph_executor_optimize(optimize)
        if torch.is_grad_enabled() != grad:
            torch.set_grad_enabled(grad)
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)


# --- autocast ------------------------------------------------------------------------------------


def _runs_on_cpu(model: Callable[..., Any] | None) -> bool:
    if not isinstance(model, nn.Module):
        return False
    first = next(model.parameters(), None)
    return first is not None and first.device.type == "cpu"


@contextmanager
def _autocast(dtype: torch.dtype, on_cpu: bool) -> Iterator[None]:
    """Autocast of the device, which need not be here: torch.autocast would refuse it."""
    device = "cpu" if on_cpu else "cuda"
    before = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    torch.set_autocast_enabled(device, True)
    torch.set_autocast_dtype(device, dtype)
    try:
        yield
    finally:
        torch.set_autocast_enabled(device, before[0])
        torch.set_autocast_dtype(device, before[1])


def _as_answers(assume: float | Mapping[str, float] | None) -> dict[str, float]:
    if assume is None:
        return {}
    if isinstance(assume, Mapping):
        return {path: float(value) for path, value in assume.items()}
    return {"": float(assume)}

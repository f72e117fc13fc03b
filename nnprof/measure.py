"""The whole pipeline: a model and its inputs go in, a `Profile` comes out. Read this file first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from nnprof.base.modules import looked_through
from nnprof.calls.examples import NO_SIZES, Sizes
from nnprof.calls.inputs import make_inputs
from nnprof.calls.model_call import ModelCall
from nnprof.calls.phases import language_call
from nnprof.errors import InputError, LazyModuleError, only_nnprof_errors
from nnprof.timing.estimate import find_hardware
from nnprof.timing.measured import measured_times
from nnprof.timing.replay import check_time_budget, present_device
from nnprof.tracing.lazy_modules import has_lazy, refuse_lazy, with_shapes
from nnprof.tracing.run import bare_output, run
from nnprof.tracing.training import training_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    import torch

    from nnprof.calls.phases import LanguageCall
    from nnprof.hardware import Hardware
    from nnprof.results.profile import Profile
    from nnprof.tracing.questions import Assume
    from nnprof.tracing.trace import trace

__all__ = ["Given", "call_of", "measure", "profile_of"]


@only_nnprof_errors
def measure(
    model: Callable[..., Any],
    shape: Any = None,
    *,
    inputs: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    hardware: Hardware | PathLike[str] | str | None = None,
    backward: bool = False,
    loss: Callable[[Any], torch.Tensor] | None = None,
    optimizer: torch.optim.Optimizer | str | None = None,
    checkpoint: Sequence[str] | Mapping[str, str] | str | None = None,
    autocast: torch.dtype | str | None = None,
    phase: str | None = None,
    batch: int | None = None,
    sequence: int | None = None,
    context: int | None = None,
    assume: Assume | None = None,
    strict: bool = False,
    time_budget: float = 60.0,
    progress: Callable[[int, int, str], None] | bool | None = None,
) -> Profile:
    """What one forward of `model`, or a training step, costs, counted without computing it.

    The model runs once with shapes only: nothing is computed, weights may be real or on the meta
    device, and the model is left exactly as it was. Train or eval is as the model stands; counts
    are for the whole batch.

    Args:
        model: an `nn.Module`, or any callable.
        shape: sizes of the made inputs, batch included: `(1, 3, 224, 224)`, several positional
            ones `[(1, 3, 224, 224), (1, 10)]`, or by keyword `{"input_ids": (1, 128)}`.
        inputs: given instead of `shape`: a tensor, a tuple of positional arguments, or a dict of
            keyword arguments; real or meta tensors, in any nesting.
        kwargs: more keyword arguments of `forward`, passed as they are.
        dtype: of the made inputs. Default: the first floating parameter's; int64 for token ids.
        device: measure there too ("cpu", "cuda", a torch.device): each unique call is replayed
            alone, on random inputs, and the whole forward runs on a copy where it fits. Default:
            nothing is run.
        hardware: estimate times for it: a name ("h200", "NVIDIA A100-SXM4-80GB"), a data file, or
            a `Hardware`. Default: the device's own; without a device, no times.
        backward: a training step: the forward, then the backward of the loss, on PyTorch's own
            autograd; `profile.phase("backward")` has its costs, `profile.memory` what it holds.
        loss: a function of the output that returns a scalar. Default: the output's own `loss`, else
            the sum of the floating tensors in it, however they are nested. A generator is handed to
            it as it is.
        optimizer: steps at the end, `profile.phase("optimizer")`: a torch.optim.Optimizer, or the
            name of one with its defaults ("sgd", "momentum", "adamw", "adafactor", "muon"...), as
            torch implements it on the device in question; "loop", "foreach" or "fused" before the
            name chooses. Its state is that after earlier steps. One that asks for a closure gets
            one that runs forward and backward again; where its `step` has no default for it, as
            LBFGS's, that is the whole step.
        checkpoint: paths of modules, or globs ("layers.*"), to run under torch.utils.checkpoint;
            or how for each of them: "whole", or "selective", which keeps products and attention.
        autocast: run under autocast with this dtype, as on the model's own device (CUDA for meta).
        phase: of a language model of transformers: "prefill", the whole prompt in one call, or
            "decode", one token of each sequence with the cache that the model's own prefill of
            `context` tokens leaves. `profile.memory.kv_cache` is the cache's size. An encoder reads
            `sequence` tokens, by default `context`.
        batch: of the made inputs, where neither `shape` nor `inputs` is given.
        sequence: tokens of the made inputs, likewise.
        context: tokens in the cache of `phase="decode"`; for "prefill" the same as `sequence`.
        assume: what a value reads that only a real run would know, or a guessed index: a number for
            every such question; a list, whose items answer one question after the other; or a
            function of the `nnprof.tracing.questions.Question` (path, operator, n, shape, dtype,
            file, line) that returns a number, or None for no answer. Or such answers by module
            path.
        strict: raise where an operator has no rule or a guess was made.
        time_budget: seconds for measuring on `device`. What gets no time is estimated and named.
        progress: a function that is told after each measured operator how many are done, of how
            many, and its name; True or False for a bar or none. Default: a bar on a terminal.

    Ctrl-C while measuring ends it and keeps what was measured.

    Raises:
        InputError: an argument is wrong; the message says which and what to pass. So is a device
            that is not there.
        ShapeError, OutOfRangeError, BadTypeError...: PyTorch would refuse the input; these are
            also the RuntimeError, IndexError, TypeError... that PyTorch raises.
        DataDependentError: the forward depends on a value that nothing was computed for.
        NestedTraceError: called while another measure or trace runs in this thread.
        RaisedError: the model raised an exception of its own, whose class this is of too.

    All of them are an `NnprofError`. Ctrl-C and a lack of memory pass as they are.
    """
    asked = dict(locals())
    check_time_budget(time_budget)
    for name, flag in {"backward": backward, "strict": strict}.items():
        if not isinstance(flag, bool):
            raise InputError(f"{name}= must be True or False, not {flag!r}")
    present = present_device(device) if device is not None else None
    estimated_for = find_hardware(hardware, present)
    target = looked_through(model)
    training = training_of(target, backward, loss, optimizer, checkpoint)
    made_of = Given(shape, inputs, kwargs, dtype, Sizes(batch, sequence))
    call, language = call_of(target, made_of, phase, context)
    call = replace(call, training=training, autocast=autocast)
    try:
        running, output = run(call, assume=assume, target=_kind_of_device(estimated_for))
    except LazyModuleError as error:
        if not isinstance(target, nn.Module) or not has_lazy(target):
            raise
        refuse_lazy(optimizer)
        filled = present is not None
        copied = with_shapes(call, error, assume=assume, filled=filled)
        return measure(**{**asked, "model": copied})
    profile = profile_of(running, output, language, hardware=estimated_for, strict=strict)
    if present is not None and profile.times is not None:
        times = measured_times(
            running.result,
            profile.times,
            call,
            present,
            time_budget=time_budget,
            progress=progress,
        )
        profile = profile.replaced(times=times)
    return profile


def profile_of(
    running: trace,
    output: Any,
    language: LanguageCall | None,
    *,
    hardware: Hardware | None,
    strict: bool = False,
) -> Profile:
    """The profile of an ended run; of a language model's phase it knows the cache."""
    if language is None:
        return running.profile(hardware=hardware, strict=strict)
    language.note_cache(running, output)
    profile = running.profile(hardware=hardware, strict=strict)
    return profile.replaced(facts=replace(profile.facts, **language.facts(output)))


@dataclass(frozen=True)
class Given:
    """What a model is called with, as it was asked for: see `measure`."""

    shape: Any = None
    inputs: Any = None
    kwargs: Mapping[str, Any] | None = None
    dtype: torch.dtype | str | None = None
    sizes: Sizes = NO_SIZES


def call_of(
    target: Callable[..., Any], given: Given, phase: str | None = None, context: int | None = None
) -> tuple[ModelCall, LanguageCall | None]:
    """The forward that is asked for, and the phase that it is of a language model.

    Raises InputError as `measure` does.
    """
    language = None
    inputs, sizes = given.inputs, given.sizes
    if phase is not None or context is not None:
        if given.shape is not None or inputs is not None or given.dtype is not None:
            raise InputError("phase= and context= make the inputs: leave out shape/inputs/dtype")
        language = language_call(target, phase, sizes, context, bare_output)
        inputs, sizes = language.keywords, NO_SIZES
    arguments, keywords = make_inputs(
        target, given.shape, inputs, given.kwargs, given.dtype, sizes, run=bare_output
    )
    prepare = language.prepare if language is not None else None
    made = given.inputs is None
    return ModelCall(target, arguments, keywords, prepare, made=made), language


def _kind_of_device(hardware: Hardware | None) -> str | None:
    """What memory and kernels are counted for; None where the model's own device decides."""
    if hardware is None:
        return None
    return "cpu" if hardware.kind == "cpu" else "cuda"

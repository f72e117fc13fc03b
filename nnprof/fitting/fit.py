"""`nnprof.fits`: does a run fit on a GPU, by how much, what holds it, what would make it fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nnprof.base.modules import looked_through
from nnprof.base.units import format_bytes
from nnprof.calls.examples import Sizes
from nnprof.errors import InputError, only_nnprof_errors
from nnprof.fitting.changes import Change, changes_for
from nnprof.fitting.gpu import gpu_of, is_size
from nnprof.hardware.alloc_conf import parse
from nnprof.measure import Given, call_of, profile_of
from nnprof.tracing.run import run
from nnprof.tracing.training import training_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    import torch

    from nnprof.calls.model_call import ModelCall
    from nnprof.calls.phases import LanguageCall
    from nnprof.hardware import Hardware
    from nnprof.results.device_memory import DeviceMemory
    from nnprof.results.profile import Profile
    from nnprof.tracing.questions import Assume

__all__ = ["Fit", "Plan", "fits"]

#: The first makes the optimizer's state, the second runs beside it, the third is any later one.
STEPS = 3


@dataclass(frozen=True)
class Plan:
    """A run that is asked about: everything that a change may change."""

    call: ModelCall
    hardware: Hardware
    alloc_conf: str | None
    assume: Assume | None
    only_memory: bool  #: nothing but the memory of the GPU is known: no times
    accumulate: int = 1  #: batches whose gradients add up before the optimizer steps
    beside: int = 0  #: bytes that the trace does not see, held all the while
    language: LanguageCall | None = None  #: the phase of a language model that it is


class Fit:
    """The answer: `verdict`, by how much, what holds it; `changes` that would make it fit."""

    def __init__(self, plan: Plan, profile: Profile) -> None:
        self._plan = plan
        #: Of the whole run; in training of three steps.
        self.profile = profile
        self.hardware = plan.hardware

    def on(self, hardware: Hardware | PathLike[str] | str) -> Fit:
        """The same run on another GPU: what it asks for is simulated there, not traced again.

        Estimated times stay those of the first.
        """
        return Fit(replace(self._plan, hardware=gpu_of(hardware)), self.profile)

    @cached_property
    def memory(self) -> DeviceMemory:
        """What it takes of the GPU."""
        return self.profile.memory.on(
            self.hardware, self._plan.alloc_conf, beside=self._plan.beside
        )

    @property
    def verdict(self) -> str:
        """ "yes", "no", or "too close to tell"."""
        return self.memory.verdict

    @property
    def spare(self) -> int:
        """Bytes left on the GPU at the process's most; less than 0 where they are missing."""
        return self.memory.spare

    @property
    def holds(self) -> dict[str, int]:
        """Bytes at the peak by what they are for, most first, and what is beside the tensors."""
        held = {kind: size for kind, size in self.profile.memory.at_peak.items() if size}
        ordered = dict(sorted(held.items(), key=lambda item: -item[1]))
        beside = self.memory.reserved - sum(ordered.values())
        return ordered | {"allocator": beside, "context": self.memory.context}

    @cached_property
    def changes(self) -> list[Change]:
        """The three cheapest changes with which it would surely fit; none where it does.

        Each is traced and simulated as the run itself: that takes as long again for each.
        """
        return changes_for(self._plan, self) if self.verdict != "yes" else []

    def __bool__(self) -> bool:
        raise TypeError("a Fit is yes, no, or too close to tell: ask for its verdict")

    def __str__(self) -> str:
        verdict, sizes = self.memory.lines
        lines = [verdict, f"  {sizes}", f"  held: {self._held()}"]
        out = self.memory.out_of_memory
        if out is not None:
            lines.append(
                f"  runs out at {self._where(out.call)}, asking for {format_bytes(out.asked)}"
            )
        elif self.memory.retries:
            lines.append(
                f"  only as what is cached goes back to the device ({self.memory.retries} times), "
                "which takes time"
            )
        lines += [f"  {change}" for change in self.changes]
        if self.verdict != "yes" and not self.changes:
            lines.append("  no change that is known makes it fit")
        return "\n".join(lines)

    def _held(self) -> str:
        names = {kind: kind.replace("_", " ") for kind in self.holds}
        return ", ".join(f"{format_bytes(size)} {names[kind]}" for kind, size in self.holds.items())

    def _where(self, call: int) -> str:
        if call < 0:
            return "the model itself"
        index, data = self.profile.data.call_index(), self.profile.data
        op = data.signatures()["op"][index["signature"][call]]
        path = data.layers()[index["scope"][call]]["path"]
        return f"{op} in {path}" if path else str(op)


@only_nnprof_errors
def fits(
    model: Callable[..., Any],
    hardware: Hardware | PathLike[str] | str,
    shape: Any = None,
    *,
    inputs: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    dtype: torch.dtype | str | None = None,
    train: bool = False,
    loss: Callable[[Any], torch.Tensor] | None = None,
    optimizer: torch.optim.Optimizer | str | None = None,
    checkpoint: Sequence[str] | Mapping[str, str] | str | None = None,
    autocast: torch.dtype | str | None = None,
    phase: str | None = None,
    batch: int | None = None,
    sequence: int | None = None,
    context: int | None = None,
    assume: Assume | None = None,
    alloc_conf: str | None = None,
    beside: int = 0,
) -> Fit:
    """Whether a run fits on a GPU: a forward, or training from scratch, by shapes alone.

    What the run asks of PyTorch's caching allocator is simulated, with cuBLAS' workspaces; CUDA's
    context is added as it was seen on such devices. Of training three steps are: the first makes
    the optimizer's state, the others run beside it. The model is left as it was.

    Args:
        model: as for `measure`, in train or eval mode as it stands.
        hardware: a GPU ("h100"), or how much memory it has ("80GB").
        shape, inputs, kwargs, dtype, loss, autocast, phase, batch, sequence, context, assume: as
            for `measure`.
        train: steps of training, rather than a forward.
        optimizer: of the steps. Default: "adamw".
        checkpoint: modules under activation checkpointing, as for `measure`.
        alloc_conf: as in PYTORCH_ALLOC_CONF. Default: what the environment says.
        beside: bytes of the device that something else holds all the while.

    Raises:
        InputError: an argument is wrong, as for `measure`; the device is unknown or no GPU, or a
            size without a unit.
    """
    if not isinstance(train, bool):
        raise InputError(f"train= must be True or False, not {train!r}")
    if beside < 0:
        raise InputError(f"beside= is a number of bytes, not {beside!r}")
    device = gpu_of(hardware)
    parse(alloc_conf)  # what is wrong with it is said before anything is traced
    target = looked_through(model)
    if train and optimizer is None:
        optimizer = "adamw"
    training = training_of(target, train, loss, optimizer, checkpoint)
    if training is not None:
        training = replace(training, from_scratch=STEPS)
    given = Given(shape, inputs, kwargs, dtype, Sizes(batch, sequence))
    call, language = call_of(target, given, phase, context)
    call = replace(call, training=training, autocast=autocast)
    plan = Plan(
        call, device, alloc_conf, assume, is_size(hardware), beside=beside, language=language
    )
    return fit_of(plan)


def fit_of(plan: Plan) -> Fit:
    """Traces the run."""
    running, output = run(plan.call, assume=plan.assume, target="cuda")
    hardware = None if plan.only_memory else plan.hardware
    return Fit(plan, profile_of(running, output, plan.language, hardware=hardware))

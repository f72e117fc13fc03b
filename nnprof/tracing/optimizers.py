"""Optimizers by name, and the state of the user's own."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nnprof import _core
from nnprof.base.modules import modules_of, parameters_of
from nnprof.errors import InputError
from nnprof.tracing.shards import is_placed_alike, is_shard, local, local_gradients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nnprof.tracing.trace import trace

__all__ = ["NamedOptimizer", "OptimizerState", "named_optimizer", "with_state"]

#: What a name stands for beyond the class of that name, with torch's own defaults.
_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "momentum": ("SGD", {"momentum": 0.9}),
    "sgd-momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
}
#: How a name may end: the implementation, where it is not to be the one that torch picks.
_IMPLEMENTATIONS = ("loop", "foreach", "fused")
#: Steps that the core records itself; the others run torch's own `step()`.
_IN_CORE = ("SGD", "Adam", "AdamW")


class NamedOptimizer:
    """An optimizer of torch.optim with its default settings, for all parameters of a model."""

    def __init__(self, name: str, parameters: Sequence[Tensor], implementation: str | None) -> None:
        self._class_name, self._settings = _class_and_settings(name)
        self._parameters = list(parameters)
        self._implementation = implementation
        self._stepping: torch.optim.Optimizer | None = None
        self._in_core: _core.OptimizerStep | None = None
        #: All parameters are DTensors, and each step is on the parts that are here.
        self._on_shards = False

    def make_state(self, running: trace) -> None:
        """Makes the state that an earlier step would have left, unrecorded."""
        in_core = self._class_name in _IN_CORE
        wrapped = any(map(_wraps_others, self._parameters))
        self._on_shards = in_core and wrapped and all(map(is_shard, self._parameters))
        if self._on_shards or (in_core and not wrapped):
            self._in_core = self._core_step(self._parameters, running)
        else:
            self._make_stepping(self._parameters, running)

    def _core_step(self, parameters: Sequence[Tensor], running: trace) -> _core.OptimizerStep:
        implementation = self._implementation
        if implementation is None:
            implementation = "foreach" if running.accelerator else "loop"
        here = list(map(local, parameters)) if self._on_shards else list(parameters)
        return _core.OptimizerStep(self._class_name, implementation, here, self._settings)

    def _make_stepping(self, parameters: Sequence[Tensor], running: trace) -> None:
        with running.unrecorded(), _in_phase():  # some make their state when they are made
            self._stepping = self._make(parameters)
        with_state(self._stepping, running)

    @property
    def class_name(self) -> str:
        """Of torch.optim."""
        return self._class_name

    @property
    def is_fused(self) -> bool:
        """One kernel for all parameters was asked for."""
        return self._implementation == "fused"

    def fused(self) -> NamedOptimizer:
        """The same in one kernel for all parameters."""
        made = copy(self)
        made._implementation = "fused"
        return made

    def fresh(self) -> torch.optim.Optimizer:
        """torch's own, without state: its first step makes it."""
        return self._make(self._parameters)

    def step(self, running: trace) -> None:
        """Records one step."""
        if self._on_shards:
            self._step_shards(running)
        elif self._in_core is not None:
            self._in_core.step()
        elif self._stepping is not None:
            self._stepping.step()

    def _step_shards(self, running: trace) -> None:
        """On this rank's parts: through DTensor each call would take a hundred times as long.

        torch's own step for those whose gradients are placed otherwise than they are themselves,
        as those of norms under sequence parallel: it brings them together, by collectives.
        """
        stepped = [p for p in self._parameters if p.grad is not None]
        if not stepped:
            raise InputError(
                "no parameter has a gradient when the optimizer steps: FSDP keeps a state of its "
                "own, which another measure has changed; build the model anew, in a world"
            )
        apart = [p for p in stepped if not is_placed_alike(p, p.grad)]
        others = {id(p) for p in apart}
        if apart and self._stepping is None:
            self._make_stepping(apart, running)
            alike = [p for p in self._parameters if id(p) not in others]
            self._in_core = self._core_step(alike, running)
        assert self._in_core is not None  # make_state has made it
        with local_gradients([p for p in stepped if id(p) not in others]):
            self._in_core.step()
        if self._stepping is not None:
            self._stepping.step()

    def _make(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        implementation = self._implementation
        settings = dict(self._settings)
        if implementation is not None:
            settings |= {"foreach": implementation == "foreach"}
            if implementation == "fused":
                settings |= {"fused": True}
        make = _Muon if self._class_name == "Muon" else getattr(torch.optim, self._class_name)
        try:
            optimizer: torch.optim.Optimizer = make(parameters, **settings)
        except (TypeError, ValueError) as error:
            raise InputError(f"optimizer: {self._class_name} does not take that: {error}") from None
        return optimizer


def _wraps_others(parameter: Tensor) -> bool:
    """A subclass says itself what an operator does to it: it takes torch's own step."""
    if type(parameter) is nn.Parameter:
        return False
    return torch._C._dispatch_keys(parameter).has(torch._C.DispatchKey.Python)


@contextmanager
def _in_phase() -> Iterator[None]:
    _core.enter_optimizer()
    try:
        yield
    finally:
        _core.leave_optimizer()


class _Muon(torch.optim.Optimizer):
    """Muon for the matrices, AdamW for all else, as it is meant to be used."""

    def __init__(self, parameters: Sequence[Tensor], **settings: Any) -> None:
        super().__init__(parameters, {})
        matrices = [p for p in parameters if p.dim() == 2]
        others = [p for p in parameters if p.dim() != 2]
        self._parts: list[torch.optim.Optimizer] = []
        if matrices:
            self._parts.append(torch.optim.Muon(matrices, **settings))
        if others:
            self._parts.append(torch.optim.AdamW(others))

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for part in self._parts:
            part.step()
            self.state.update(part.state)


def named_optimizer(name: str, model: Callable[..., Any]) -> NamedOptimizer:
    """The optimizer that a name stands for: "adamw", "sgd", "momentum", "fused adamw", "muon"...

    Any class of torch.optim, without regard to case, with its default settings; "loop", "foreach"
    or "fused" before it names the implementation. Raises InputError for a name that is none.
    """
    words = name.lower().split()
    implementation = words.pop(0) if len(words) == 2 and words[0] in _IMPLEMENTATIONS else None
    if len(words) != 1:
        raise InputError(f"optimizer={name!r}: {_choices()}")
    if not isinstance(model, nn.Module):
        raise InputError("an optimizer by name is for an nn.Module: pass a torch.optim.Optimizer")
    parameters = [p for p in parameters_of(model) if p.requires_grad]
    if not parameters:
        raise InputError(f"optimizer={name!r}: no parameter of the model has requires_grad")
    return NamedOptimizer(words[0], parameters, implementation)


def _classes() -> dict[str, str]:
    classes = {
        name.lower(): name
        for name, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer)
    }
    del classes["optimizer"]
    # These ask for sparse gradients, or for a closure that calls the model again.
    for needs_more in ("sparseadam", "lbfgs"):
        classes.pop(needs_more, None)
    return classes


def _choices() -> str:
    names = sorted([*_classes(), *_VARIANTS])
    return (
        f"there are {', '.join(names)}, each also with loop, foreach or fused before it "
        "('fused adamw'); or pass a torch.optim.Optimizer"
    )


def _class_and_settings(name: str) -> tuple[str, dict[str, Any]]:
    if name in _VARIANTS:
        return _VARIANTS[name]
    classes = _classes()
    if name not in classes:
        raise InputError(f"optimizer={name!r}: {_choices()}")
    return classes[name], {}


def with_state(optimizer: torch.optim.Optimizer, running: trace) -> None:
    """Lets an optimizer that has not stepped yet make its state, by a step on empty gradients.

    It is not recorded; the trace puts the optimizer back at its end.
    """
    running.keep(optimizer, OptimizerState(optimizer, gradients=True).restore)
    if optimizer.state:
        return
    parameters = _parameters_of(optimizer)
    before = [p.grad for p in parameters]
    with running.unrecorded():
        try:
            sparse = _sparse_parameters(optimizer, running.model)
            for parameter in parameters:
                if parameter.requires_grad:
                    parameter.grad = _empty_gradient(parameter, id(parameter) in sparse)
            optimizer.step()
        finally:
            for parameter, grad in zip(parameters, before, strict=True):
                parameter.grad = grad


def _sparse_parameters(optimizer: torch.optim.Optimizer, model: object) -> set[int]:
    """Parameters, by id, whose gradients are sparse: of embeddings that ask for it."""
    if isinstance(optimizer, torch.optim.SparseAdam):
        return {id(parameter) for parameter in _parameters_of(optimizer)}
    modules = modules_of(model) if isinstance(model, nn.Module) else ()
    embeddings = (m for m in modules if isinstance(m, (nn.Embedding, nn.EmbeddingBag)))
    return {id(module.weight) for module in embeddings if module.sparse}


def _empty_gradient(parameter: Tensor, sparse: bool) -> Tensor:
    if not sparse:
        return torch.empty_like(parameter)
    # Without any row.
    rows = torch.empty((1, 0), dtype=torch.int64, device="meta")
    values = torch.empty((0, *parameter.shape[1:]), dtype=parameter.dtype, device="meta")
    return torch.sparse_coo_tensor(
        rows, values, parameter.shape, device="meta", check_invariants=False
    )


class OptimizerState:
    """What an optimizer holds, to be put back: its state, its groups' settings.

    And the gradients of its parameters, where they are still those from before the trace.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, gradients: bool = False) -> None:
        self._optimizer = optimizer
        self._attributes = dict(optimizer.__dict__)
        self._state = {key: _shallow(value) for key, value in optimizer.state.items()}
        self._groups = [dict(group) for group in optimizer.param_groups]
        kept = _parameters_of(optimizer) if gradients else []
        self._grads = [(p, p.grad) for p in kept]

    def restore(self) -> None:
        optimizer = self._optimizer
        optimizer.__dict__.clear()
        optimizer.__dict__.update(self._attributes)
        optimizer.state.clear()
        optimizer.state.update(self._state)
        del optimizer.param_groups[len(self._groups) :]
        for group, settings in zip(optimizer.param_groups, self._groups, strict=True):
            group.clear()
            group.update(settings)
        for parameter, grad in self._grads:
            if parameter.grad is not grad:
                parameter.grad = grad


def _parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _shallow(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else value

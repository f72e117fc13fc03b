"""A training step inside a trace: the loss, its backward and an optimizer's step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nnprof.base.modules import parameters_of
from nnprof.calls.outputs import tensors_in
from nnprof.errors import InputError
from nnprof.tracing import stepping
from nnprof.tracing.checkpointing import checkpointed, ways_of
from nnprof.tracing.lazy import consumed
from nnprof.tracing.optimizers import NamedOptimizer, OptimizerState, named_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnprof.tracing.trace import trace

__all__ = ["Training", "default_loss", "training_of"]

_NO_GRADIENT = (
    "the {what} needs no gradient: no parameter of the model has requires_grad, or the forward "
    "runs under torch.no_grad() or detaches its output"
)


@dataclass(frozen=True)
class Training:
    """What follows the forward of a training step."""

    loss: Callable[[Any], Tensor] | None = None
    optimizer: NamedOptimizer | torch.optim.Optimizer | None = None
    checkpoint: Mapping[str, str] = field(default_factory=dict)  #: the way by path or glob
    #: Gradients are differentiated again: the backward makes their graph.
    gradient_graph: bool = False
    #: So many whole steps from scratch, of which the first makes the optimizer's state; 0: one
    #: step, with the state that earlier ones left.
    from_scratch: int = 0

    def run(self, running: trace, model: Callable[..., Any], forward: Callable[[], Any]) -> Any:
        """The forward, the backward of its loss, the optimizer's step; returns the output.

        The optimizer's state is that of any step but the first one, which makes it. Raises
        InputError where the loss is no scalar, or nothing in it needs a gradient, and
        GradientGraphWantedError where `gradient_graph` is to be on.
        """
        with torch.enable_grad(), checkpointed(model, self.checkpoint):
            if self.from_scratch:
                return self._run_from_scratch(running, model, forward)
            optimizer = self.optimizer
            if isinstance(optimizer, torch.optim.Optimizer):
                return self._run_with(optimizer, running, forward)
            if optimizer is not None:
                optimizer.make_state(running)
            output = forward()
            self._backward(output)
            if optimizer is not None:
                optimizer.step(running)
            return output

    def _run_with(
        self, optimizer: torch.optim.Optimizer, running: trace, forward: Callable[[], Any]
    ) -> Any:
        def closure() -> Tensor:
            optimizer.zero_grad()
            with torch.enable_grad():
                return self._backward(forward()).detach()

        def whole_step() -> Any:
            output = None
            if not stepping.calls_closure_first(optimizer):
                output = forward()
                self._backward(output)
            stepping.step(optimizer, closure)
            return output

        stepping.make_state(optimizer, running, whole_step, graph=self.gradient_graph)
        return whole_step()

    def _run_from_scratch(
        self, running: trace, model: Callable[..., Any], forward: Callable[[], Any]
    ) -> Any:
        optimizer = self.optimizer
        if isinstance(optimizer, NamedOptimizer):
            optimizer = optimizer.fresh()
        elif optimizer is not None:
            state = OptimizerState(optimizer, gradients=True)
            running.keep(optimizer, state.restore)
        output = None
        for _ in range(self.from_scratch):
            if optimizer is not None:
                optimizer.zero_grad()
            elif isinstance(model, nn.Module):
                for parameter in parameters_of(model):
                    parameter.grad = None
            output = forward()
            self._backward(output)
            if optimizer is not None:
                optimizer.step()
        return output

    def _backward(self, output: Any) -> Tensor:
        given = output if self.loss is not None else consumed(output, keep=True)
        loss = (self.loss or default_loss)(given)
        del given
        _check_loss(loss)
        with warnings.catch_warnings():
            # The cycle that it makes goes with the gradients, which the trace gives back.
            warnings.filterwarnings("ignore", "Using backward.. with create_graph=True")
            loss.backward(create_graph=self.gradient_graph)  # type: ignore[no-untyped-call]
        return loss


def training_of(
    model: Callable[..., Any],
    backward: bool,
    loss: Callable[[Any], Tensor] | None,
    optimizer: torch.optim.Optimizer | str | None,
    checkpoint: Sequence[str] | Mapping[str, str] | str | None,
) -> Training | None:
    """What `measure` was asked for; None for a forward alone. Raises InputError as `measure`."""
    if not backward:
        for name, value in {"loss": loss, "optimizer": optimizer, "checkpoint": checkpoint}.items():
            if value is not None:
                raise InputError(f"{name}= is for a training step: pass backward=True, too")
        return None
    if loss is not None and not callable(loss):
        raise InputError(f"loss= must be a function of the output, got {type(loss).__name__}")
    chosen = named_optimizer(optimizer, model) if isinstance(optimizer, str) else optimizer
    if chosen is not None and not isinstance(chosen, (NamedOptimizer, torch.optim.Optimizer)):
        raise InputError(
            "optimizer= must be a name such as 'adamw' or a torch.optim.Optimizer, got "
            f"{type(chosen).__name__}"
        )
    return Training(loss, chosen, ways_of(checkpoint))


def default_loss(output: Any) -> Tensor:
    """The output's own `loss`, where it has one; else the sum of all its floating tensors."""
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(own, Tensor):
        return own
    floating = [leaf for leaf in tensors_in(output) if leaf.is_floating_point()]
    if not floating:
        raise InputError(
            f"the output ({type(output).__name__}) has no tensor to make a loss of: pass loss=, a "
            "function of the output that returns a scalar"
        )
    found = [leaf for leaf in floating if leaf.requires_grad]
    if not found:
        raise InputError(_NO_GRADIENT.format(what="output"))
    return torch.stack([leaf.sum() for leaf in found]).sum() if len(found) > 1 else found[0].sum()


def _check_loss(loss: Any) -> None:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise InputError(f"the loss must be a tensor of one element, got {what}: see loss=")
    if not loss.requires_grad:
        raise InputError(_NO_GRADIENT.format(what="loss"))

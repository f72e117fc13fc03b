"""Time series, and the states of a robot or a game."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from nnprof.calls.examples.transformers.call import Call

__all__ = ["MAKERS", "REQUIRED_MAKERS"]


def _history(call: Call) -> int:
    """Steps that the model looks back on: its context and the lags before it."""
    lags = getattr(call.config, "lags_sequence", None) or [0]
    return int(call.config.context_length + max(lags))


def past_values(call: Call) -> torch.Tensor:
    """(batch, steps), or (batch, steps, channels) of several series."""
    channels = getattr(call.config, "num_input_channels", None)
    if channels is not None:
        return call.floats(call.batch, call.config.context_length, channels)
    if not hasattr(call.config, "lags_sequence"):
        return call.floats(call.batch, call.config.context_length)
    size = call.config.input_size
    return call.floats(call.batch, _history(call), *([size] if size > 1 else []))


def past_time_features(call: Call) -> torch.Tensor:
    return call.floats(call.batch, _history(call), call.config.num_time_features)


def future_time_features(call: Call) -> torch.Tensor:
    steps = call.config.prediction_length
    return call.floats(call.batch, steps, call.config.num_time_features)


def future_values(call: Call) -> torch.Tensor:
    return call.floats(call.batch, call.config.prediction_length)


def observed(call: Call) -> torch.Tensor:
    """1 for each value, all of which were observed."""
    import torch

    return torch.ones(call.made["past_values"].shape, dtype=call.dtype, device="cpu")


MAKERS: dict[str, Callable[[Call], Any]] = {}
REQUIRED_MAKERS: dict[str, Callable[[Call], Any]] = {
    "past_values": past_values,
    "past_time_features": past_time_features,
    "past_observed_mask": observed,
}

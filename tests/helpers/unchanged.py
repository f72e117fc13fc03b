"""Is a model after a measure what it was before? The one way in which tests look."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def content(tensor: Tensor) -> Any:
    if tensor.is_meta:
        return "meta"  # where there was data before, a leak from the trace
    values = tensor.detach().resolve_conj().contiguous().flatten()
    data = values.view(torch.uint8).numpy().tobytes()
    return tensor.dtype, tuple(tensor.shape), tensor.stride(), data


def picture(value: Any, depth: int = 0) -> Any:
    """Something that compares equal only while ``value`` and what it holds stay the same."""
    if isinstance(value, Tensor):
        held = {name: picture(item, depth + 1) for name, item in vars(value).items()}
        hooks = value._backward_hooks, getattr(value, "_post_accumulate_grad_hooks", None)
        listed = [list((one or {}).items()) for one in hooks]
        kind = type(value), value.requires_grad, value._version
        return id(value), content(value), kind, held, listed
    if isinstance(value, dict) and depth < 3:
        return id(value), [(key, picture(item, depth + 1)) for key, item in value.items()]
    if isinstance(value, (list, tuple, deque)) and depth < 3:
        return id(value), [picture(item, depth + 1) for item in value]
    if isinstance(value, set):
        return id(value), sorted(map(id, value))
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    return id(value)


@dataclass
class State:
    """All that a measure may not change, of a model, its inputs and the process."""

    model: nn.Module
    inputs: list[Tensor]
    pictures: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.pictures = self.take()

    def take(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path, module in self.model.named_modules():
            found[f"class of {path}"] = type(module)
            for name, value in vars(module).items():
                found[f"{path}.{name}"] = picture(value)
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            found[f"state_dict {name}"] = content(tensor), id(tensor)
            found[f"grad of {name}"] = picture(tensor.grad)
        for number, tensor in enumerate(self.inputs):
            found[f"input {number}"] = picture(tensor), picture(tensor.grad)
        found["torch random"] = content(torch.get_rng_state())
        found["random"] = random.getstate()
        found["numpy random"] = str(np.random.get_state())  # noqa: NPY002
        found["default dtype"] = torch.get_default_dtype()
        found["grad mode"] = torch.is_grad_enabled()
        found["inference mode"] = torch.is_inference_mode_enabled()
        found["autocast"] = torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")
        found["Module.__call__"] = nn.Module.__call__, nn.Module._call_impl
        found["threads"] = torch.get_num_threads()
        found["deterministic"] = torch.are_deterministic_algorithms_enabled()
        return found

    def assert_same(self) -> None:
        now = self.take()
        assert now.keys() == self.pictures.keys()
        changed = [name for name in now if now[name] != self.pictures[name]]
        assert not changed
        # And the process computes again.
        assert (torch.ones(100) + 1).sum().item() == 200

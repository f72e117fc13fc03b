"""A model and its optimizer, as something that compares equal while nothing of them changes."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn


def values(tensor: Tensor | None) -> Any:
    return None if tensor is None else (str(tensor.device), tensor.detach().flatten().tolist())


def picture(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        grad = parameter.grad
        found[f"{name} values"] = id(parameter), values(parameter)
        found[f"{name} gradient"] = id(grad), values(grad)
        found[f"{name} flags"] = parameter.requires_grad, parameter.is_leaf
        hooks = parameter._backward_hooks, getattr(parameter, "_post_accumulate_grad_hooks", None)
        found[f"{name} hooks"] = [list(one or ()) for one in hooks]
    for name, buffer in model.named_buffers():
        found[f"{name} values"] = id(buffer), values(buffer)
    for number, state in enumerate(optimizer.state.values()):
        found[f"state {number}"] = {key: values(value) for key, value in state.items()}
    found["groups"] = [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    found["random"] = torch.get_rng_state().tolist(), random.getstate()
    found["modes"] = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")
    return found

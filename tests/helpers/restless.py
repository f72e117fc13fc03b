"""A model that changes all that a model can change of itself in a forward."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Restless(nn.Module):
    """A forward that changes everything that a forward can reach, then may raise."""

    running: Tensor
    steps: Tensor

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout()
        self.bias = nn.Parameter(torch.randn(40))
        self.head = nn.Linear(4, 5)
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)
        self.register_buffer("running", torch.zeros(4, 32))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("absent", None)
        self.error = error
        self.calls = 0
        self.last: Tensor | None = None
        self.kept = torch.arange(40.0)
        self.history: list[Tensor] = []
        self.cache: dict[str, Any] = {"mask": None, "outer": {"inner": torch.ones(3)}}
        self.conv.register_forward_hook(self.remember)

    def remember(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.history.append(output)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x.mul_(2)
        x = self.dropout(self.norm(self.conv(x)))
        self.last = x
        self.cache["mask"] = torch.ones(4)
        self.cache["new"] = x
        self.kept.add_(1)
        self.kept[3] = 7
        self.running += x.mean()
        self.running = self.running * 0.5
        self.steps += 1
        self.absent = torch.ones(2)
        with torch.no_grad():
            self.conv.weight.clamp_(-0.01, 0.01)
            self.bias.data.zero_()
            self.head.weight.copy_(torch.zeros(5, 4))
        self.frozen.requires_grad_(True)
        self.head.bias.requires_grad = False
        self.head.weight.grad = None
        if self.bias.grad is not None:
            self.bias.grad.zero_()
        self.dropout.p = 0.9
        self.norm.train(not self.norm.training)
        self.head.register_forward_pre_hook(lambda module, args: None)
        self.attribute_of_today = 1
        self.extra = nn.Linear(2, 2)
        self.head.weight_copy = nn.Parameter(torch.zeros(3))
        random.random()
        np.random.rand()  # noqa: NPY002  the global generator is the point
        torch.rand(3)
        torch.manual_seed(random.randrange(100))
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        if self.error is not None:
            raise self.error
        result: Tensor = self.head(x.mean((2, 3)))
        return result


def restless(train: bool, error: BaseException | None = None) -> Restless:
    model = Restless(error).train(train)
    model.bias.grad = torch.full_like(model.bias, 3)
    model.head.weight.grad = torch.full_like(model.head.weight, 4)
    return model

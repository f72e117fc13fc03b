"""A trace of some steps of training a small model, for what is told of reserved memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

import nnprof

if TYPE_CHECKING:
    from nnprof import Profile


def steps_of_training(steps: int) -> Profile:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(2048, 8192), nn.ReLU(), nn.Linear(8192, 2048))
        batch = torch.zeros(512, 2048)
    optimizer = torch.optim.AdamW(model.parameters())
    with nnprof.trace(model, backward=True, optimizer=optimizer, target="cuda") as running:
        for _ in range(steps):
            optimizer.zero_grad()
            model(batch).sum().backward()
            optimizer.step()
    return running.profile()

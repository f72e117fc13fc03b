"""Training steps under autocast, and the scaler of their gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tests.tracing.training.autograd.stories import Log, Stories, log_of, mlp

story = Stories()


@story
def autocast_step() -> Any:
    model, x = mlp(), torch.randn(2, 6, requires_grad=True)
    log: Log = []
    yield
    for name, module in model.named_children():
        module.register_full_backward_hook(log_of(log, name))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(x)
        loss = F.cross_entropy(out, torch.tensor([0, 1]))
    loss.backward()
    return log, out, loss, model


@story
def autocast_convolution() -> Any:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    x = torch.randn(2, 3, 5, 5, requires_grad=True)
    log: Log = []
    yield
    for name, module in model.named_children():
        module.register_full_backward_hook(log_of(log, name))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(x).sum()
    loss.backward()
    return log, loss, model, x.grad


@story
def autocast_casts_a_weight_once() -> Any:
    layer = nn.Linear(4, 4)
    log: Log = []
    yield
    layer.weight.register_post_accumulate_grad_hook(log_of(log, "accumulated"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(layer(torch.randn(2, 4)))
    out.sum().backward()
    return layer, log


@story
def gradient_scaler() -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    yield
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(model(torch.randn(2, 6)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    return model


test_as_in_a_real_run, test_of_what_was_made_before = story.tests()

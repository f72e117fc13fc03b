"""Leaves, views and activations that are written to."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.tracing.training.autograd.stories import Stories

story = Stories()


@story.raises("RuntimeError: a leaf Variable that requires grad is being used in an")
def leaf_changed_in_place() -> Any:
    torch.randn(3, requires_grad=True).add_(1)


@story.raises("RuntimeError: a view of a leaf Variable that requires grad is being used")
def view_of_leaf_changed_in_place() -> Any:
    torch.randn(3, requires_grad=True)[0].add_(1)


@story
def leaf_changed_in_place_without_grad() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    with torch.no_grad():
        x.add_(1)
    (x * 2).sum().backward()
    return x.grad, x._version


@story.raises("RuntimeError: a view of a leaf Variable that requires grad is being used")
def leaf_set_by_index() -> Any:
    x = torch.randn(3, requires_grad=True)
    x[0] = 1.0


@story
def inner_changed_in_place() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    y = x * 2
    y.add_(1).mul_(3)
    y.sum().backward()
    return x.grad, y, y._version


@story
def views_changed_in_place() -> Any:
    x, base = torch.randn(3, requires_grad=True), torch.zeros(4, 3)
    base[1] = x
    yield
    base[2:].add_(x)
    base.sum().backward()
    return x.grad, base, type(base.grad_fn).__name__


@story
def view_made_before_the_write() -> Any:
    x, base = torch.randn(3, requires_grad=True), torch.zeros(4, 3)
    yield
    row = base[1]
    base.mul_(x)
    row.sum().backward()
    return x.grad, row, type(row.grad_fn).__name__


@story.raises("RuntimeError: Output 0 of Split is a view and is being modified")
def output_of_split_changed_in_place() -> Any:
    x = torch.randn(4, requires_grad=True)
    yield
    first, _ = (x * 2).split(2)
    first.add_(1)
    first.sum().backward()


@story.buggy("views that were made without grad mode are not marked")
def chunk_under_no_grad_changed_in_place() -> Any:
    x = torch.randn(4, requires_grad=True)
    yield
    with torch.no_grad():
        view = x.view(2, 2)
    view.add_(1)


@story
def relu_in_place() -> Any:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    yield
    model(torch.randn(2, 4)).sum().backward()
    return model


@story
def masked_fill_and_masked_scatter() -> Any:
    x = torch.randn(2, 3, requires_grad=True)
    mask = torch.tensor([True, False, True])
    yield
    y = (x * 2).masked_fill_(mask, 0.0)
    y.sum().backward()
    return x.grad


@story.raises("RuntimeError: add()")
def out_argument() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    torch.add(x, 1, out=torch.empty(3))


@story.raises("RuntimeError: you can only change requires_grad flags of leaf")
def requires_grad_of_inner_turned_off() -> Any:
    y = torch.randn(3, requires_grad=True) * 2
    y.requires_grad_(False)


@story
def detach_in_place() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    y = x * 2
    y.detach_()
    return y, y.is_leaf


test_as_in_a_real_run, test_of_what_was_made_before = story.tests()

"""Views: outputs as PyTorch's, and free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

import nnprof
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare
from tests.rules.memory_formats import IMAGES

if TYPE_CHECKING:
    from collections.abc import Callable

INPUTS = {**IMAGES, "ones": torch.randn(1, 3, 1, 1)}

# Some of these raise on some of the inputs: then shape-only must raise too.
VIEWS: dict[str, Callable[[Tensor], Any]] = {
    "view": lambda x: x.view(2, -1, 5),
    "view all": lambda x: x.view(-1),
    "view too many": lambda x: x.view(7, -1),
    "view dtype": lambda x: x.view(torch.int16),
    "view_as": lambda x: x.view_as(x),
    "reshape": lambda x: x.reshape(x.shape[0], -1),
    "reshape split": lambda x: x.reshape(*x.shape[:-1], -1, 1),
    "reshape_as": lambda x: x.reshape_as(x.transpose(0, 1)),
    "flatten": lambda x: x.flatten(1),
    "flatten some": lambda x: x.flatten(-3, 2),
    "flatten nothing": lambda x: x.flatten(2, 2),
    "flatten backwards": lambda x: x.flatten(2, 1),
    "flatten a number": lambda x: x.flatten()[0].flatten(),
    "unflatten": lambda x: torch.unflatten(x, 0, (-1, 1)),
    "unflatten wrongly": lambda x: torch.unflatten(x, 1, (2, 2)),
    "transpose": lambda x: x.transpose(-1, 1),
    "transpose nothing": lambda x: x.transpose(1, 1),
    "transpose too far": lambda x: x.transpose(1, 4),
    "swapaxes": lambda x: x.swapaxes(0, 2),
    "t": lambda x: x.t(),
    "t of a matrix": lambda x: x[0, 0].t(),
    "permute": lambda x: x.permute(0, -1, 2, 1),
    "permute twice": lambda x: x.permute(0, 1, 1, 2),
    "permute fewer": lambda x: x.permute(0, 1, 2),
    "expand": lambda x: x[:, :1].expand(7, -1, 3, -1, -1),
    "expand wrongly": lambda x: x.expand(2, 3, 8, 5),
    "expand to fewer": lambda x: x.expand(2, 3),
    "expand_as": lambda x: x[:1].expand_as(x),
    "broadcast_to": lambda x: x.broadcast_to(6, *x.shape),
    "squeeze": lambda x: x.squeeze(),
    "squeeze one": lambda x: x.squeeze(-1),
    "squeeze some": lambda x: x.squeeze((0, 1)),
    "squeeze twice": lambda x: x.squeeze((0, 0)),
    "unsqueeze": lambda x: x.unsqueeze(-2),
    "unsqueeze last": lambda x: x.unsqueeze(4),
    "unsqueeze too far": lambda x: x.unsqueeze(6),
    "select": lambda x: x.select(1, -1),
    "select too far": lambda x: x.select(1, 3),
    "slice": lambda x: x[:, -2:9, 1:4:2],
    "slice nothing": lambda x: x[3:1],
    "narrow": lambda x: x.narrow(2, 0, 1),
    "narrow too much": lambda x: x.narrow(2, 1, 4),
    "diagonal": lambda x: x.diagonal(1, -1, 1),
    "diagonal off the end": lambda x: x.diagonal(9, 0, 2),
    "diagonal below": lambda x: x.diagonal(-1),
    "diagonal of one": lambda x: x.diagonal(0, 1, 1),
    "unfold": lambda x: x.unfold(2, 1, 2),
    "unfold too much": lambda x: x.unfold(2, 6, 1),
    "as_strided": lambda x: x.as_strided((2, 2), (1, 2), 1),
    "detach": lambda x: x.detach(),
}


@pytest.mark.parametrize("x", INPUTS.values(), ids=INPUTS.keys())
def test_views(x: Tensor) -> None:
    found = [m for name, view in VIEWS.items() for m in compare(name, view, ((x,), {}))]
    assert not found, "\n".join(map(str, found))


def test_complex_views() -> None:
    x = torch.randn(3, 4, 2)
    for view in (torch.view_as_complex, lambda x: torch.view_as_real(torch.view_as_complex(x))):
        assert not compare("complex", view, ((x,), {}))
        assert not compare("complex", view, ((x.transpose(0, 1),), {}))
    assert not compare("bad", torch.view_as_complex, ((x[..., :1],), {}))


def test_in_place() -> None:
    def changed(x: Tensor) -> list[Tensor]:
        x = x.clone()
        return [x.transpose_(0, 1).unsqueeze_(1).squeeze_(), x, x.resize_(4), x[:2].t_()]

    dense = IMAGES["dense"]
    for x in (dense, dense[:1], dense[..., :1]):
        assert not compare("in place", changed, ((x,), {}))


def test_all_are_free() -> None:
    free = cost_of(lambda: None)
    for view in (
        lambda x: x.view(2, 12),
        lambda x: x.reshape(6, 4),
        lambda x: x.flatten(1),
        lambda x: x.permute(2, 0, 1)[1:].unsqueeze(0).expand(5, -1, -1, -1),
        lambda x: x.transpose(0, 1).diagonal().squeeze(),
    ):
        assert cost_of(view, meta(2, 3, 4)) == free


def test_a_reshape_that_copies_moves_bytes() -> None:
    cost = cost_of(lambda x: x.transpose(0, 1).reshape(6), meta(2, 3))
    assert (cost.bytes_read, cost.bytes_written) == (24, 24)
    # Of an expanded tensor only what is there is read.
    cost = cost_of(lambda x: x.expand(5, 3).flatten(), meta(1, 3))
    assert (cost.bytes_read, cost.bytes_written) == (12, 60)
    assert not cost.kinds


# Copies of views, as functionalized graphs and torch.diag of a matrix make them.
COPIES: dict[str, Callable[[Tensor], Any]] = {
    "diag": lambda x: torch.diag(x[0, 0], 1),
    "diagonal": lambda x: torch.diagonal_copy(x, -1, 1, -1),
    "alias": torch.alias_copy,
    "as_strided": lambda x: torch.as_strided_copy(x, (2, 2), (1, 2)),
    "detach": torch.detach_copy,
    "expand": lambda x: torch.expand_copy(x, (2, *x.shape)),
    "narrow": lambda x: torch.narrow_copy(x, 1, 0, 2),
    "permute": lambda x: torch.permute_copy(x, (0, 3, 2, 1)),
    "select": lambda x: torch.select_copy(x, 2, 1),
    "slice": lambda x: torch.slice_copy(x, 1, 1, 9, 2),
    "squeeze": torch.squeeze_copy,
    "squeeze one": lambda x: torch.squeeze_copy(x, 0),
    "squeeze some": lambda x: torch.squeeze_copy(x, (0, 2)),
    "t": lambda x: torch.t_copy(x[0, 0]),
    "transpose": lambda x: torch.transpose_copy(x, 1, 3),
    "unfold": lambda x: torch.unfold_copy(x, 3, 2, 1),
    "unsqueeze": lambda x: torch.unsqueeze_copy(x, -1),
    "view": lambda x: torch.view_copy(x, (-1, x.shape[-1])),
    "view dtype": lambda x: torch.view_copy(x, torch.int16),
}


@pytest.mark.parametrize("x", INPUTS.values(), ids=INPUTS.keys())
def test_copies(x: Tensor) -> None:
    found = [m for name, copy in COPIES.items() for m in compare(name, copy, ((x,), {}))]
    assert not found, "\n".join(map(str, found))


def test_complex_copies() -> None:
    x = torch.randn(3, 4, 2)
    for copy in (
        torch.view_as_complex_copy,
        lambda x: torch.view_as_real_copy(torch.view_as_complex(x)),
    ):
        assert not compare("complex", copy, ((x,), {}))


def test_a_copy_reads_what_is_seen() -> None:
    for copy, read, written in (
        (torch.diag, 3 * 4, 3 * 4),
        (lambda x: torch.select_copy(x, 1, 0), 3 * 4, 3 * 4),
        (torch.t_copy, 15 * 4, 15 * 4),
        (lambda x: torch.expand_copy(x, (2, 3, 5)), 15 * 4, 30 * 4),
    ):
        cost = cost_of(copy, meta(3, 5))
        assert (cost.bytes_read, cost.bytes_written) == (read, written)
        assert not cost.kinds


def test_the_gradient_of_a_diagonal() -> None:
    weight = torch.randn(4, 4, requires_grad=True)
    profile = nnprof.measure(lambda x: torch.diag(x @ weight), (4, 4), backward=True)
    assert not profile.coverage.generic
    assert profile.phase("backward").macs == profile.phase("forward").macs == 4**3


@pytest.mark.parametrize("window", [(0, -1, 1), (0, 2, 0), (0, 9, 1), (3, 1, 1)])
def test_windows_that_pytorch_refuses(window: tuple[int, int, int]) -> None:
    arguments: Any = ((torch.randn(4, 5), *window), {})
    assert not compare("unfold", Tensor.unfold, arguments)
    with pytest.raises((RuntimeError, IndexError)), nnprof.trace():
        Tensor.unfold(*arguments[0])

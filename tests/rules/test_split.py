"""Splits: parts as PyTorch's, and free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

SPLITS: dict[str, Callable[[Tensor], Any]] = {
    "split": lambda x: torch.split(x, 2, 1),
    "split wholly": lambda x: torch.split(x, 9, -1),
    "split by nothing": lambda x: torch.split(x, 0),
    "split backwards": lambda x: torch.split(x, -1),
    "split sizes": lambda x: torch.split(x, [1, 0, 2], 1),
    "split sizes wrongly": lambda x: torch.split(x, [1, 1], 1),
    "split negative sizes": lambda x: torch.split(x, [4, -1], 1),
    "split_with_sizes": lambda x: x.split_with_sizes((2, 1), 1),
    "unsafe_split": lambda x: torch.unsafe_split(x, 2, -1),
    "chunk": lambda x: x.chunk(3, -1),
    "chunk into too many": lambda x: x.chunk(9, 1),
    "chunk into none": lambda x: x.chunk(0),
    "unsafe_chunk": lambda x: x.unsafe_chunk(2, -1),
    "tensor_split": lambda x: x.tensor_split(3, -1),
    "tensor_split into more": lambda x: x.tensor_split(5, 1),
    "tensor_split at": lambda x: x.tensor_split((1, 4), -1),
    "unbind": lambda x: x.unbind(1),
    "unbind too far": lambda x: x.unbind(3),
}


def test_splits() -> None:
    x = torch.randn(2, 3, 7)
    inputs = [x, x.transpose(1, 2)[:, :3], x[:, 1:], x[:0], x[:, :0], x[0, 0, 0]]
    found = [
        mismatch
        for name, split in SPLITS.items()
        for x in inputs
        for mismatch in compare(name, split, ((x,), {}))
    ]
    assert not found, "\n".join(map(str, found))


def test_all_are_free() -> None:
    free = cost_of(lambda: None)
    for split in (torch.chunk, torch.split, torch.tensor_split):
        assert cost_of(split, meta(6, 4), 3) == free
    assert cost_of(torch.unbind, meta(6, 4)) == free


def test_copies_of_parts() -> None:
    for x in (torch.randn(3, 7), torch.randn(7, 3).t(), torch.randn(3, 9)[:, 2:]):
        for copy in (
            lambda x: torch.split_copy(x, 3, 1),
            lambda x: torch.split_with_sizes_copy(x, (3, 4), 1),
            lambda x: torch.unbind_copy(x, 1),
        ):
            assert not compare("copies", copy, ((x,), {}))
    cost = cost_of(torch.unbind_copy, meta(6, 4))
    assert (cost.bytes_read, cost.bytes_written) == (96, 96)

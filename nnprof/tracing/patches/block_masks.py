"""How many pairs of a query and a key a block mask of flex attention leaves.

The kernel goes over the blocks that the mask lists and computes them whole; inside of those that
are marked as partial the mask's function says for each pair whether it counts. Where the lists are
not known, they were made in the trace, out of that very function: it is asked about every block.
Lists that a model makes itself, of what it computes, come without a function: nobody knows them.
"""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["UNKNOWN", "Pairs", "note_made_of_function", "pairs_of"]

#: Pairs that are asked about at once, and in all.
_AT_ONCE = 4 * 1024 * 1024
_MOST = 256 * 1024 * 1024


class Pairs(NamedTuple):
    """Of all samples and heads; negative where that is not known."""

    computed: int
    needed: int


UNKNOWN = Pairs(-1, -1)

#: Masks whose lists were made out of their functions.
_of_functions: weakref.WeakSet[Any] = weakref.WeakSet()

#: Masks are shared by layers. Each with the sizes that it was asked for.
_known: weakref.WeakKeyDictionary[Any, tuple[tuple[int, ...], Pairs]] = weakref.WeakKeyDictionary()


def note_made_of_function(mask: Any) -> None:
    """Its blocks are those that its function lets through."""
    _of_functions.add(mask)


def pairs_of(mask: Any, batch: int, heads: int, queries: int, keys: int) -> Pairs:
    """What the kernel computes for so many heads of so many samples, and what is needed of it."""
    sizes = (batch, heads, queries, keys)
    known = _known.get(mask)
    if known is not None and known[0] == sizes:
        return known[1]
    outside = torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(_core.intercept_key()))
    with outside, torch.no_grad():
        try:
            counted = _counted(mask, *sizes)
        except Exception:  # the mask's function is anyone's, and may read what is not there
            counted = UNKNOWN
    _known[mask] = sizes, counted
    return counted


def _counted(mask: Any, batch: int, heads: int, queries: int, keys: int) -> Pairs:
    masked_batch, masked_heads = mask.kv_num_blocks.shape[:2]
    repeats = (batch // masked_batch) * (heads // masked_heads)  # one mask for several
    blocks = _Blocks(mask, queries, keys)
    if _is_real(mask.kv_num_blocks) and _is_real(mask.kv_indices):
        partial = _listed(mask.kv_num_blocks, mask.kv_indices)
        full = partial[:0]
        if mask.full_kv_num_blocks is not None:
            full = _listed(mask.full_kv_num_blocks, mask.full_kv_indices)
        whole = int(blocks.areas(full).sum())
        computed = whole + int(blocks.areas(partial).sum())
        needed = whole + int(blocks.needed(partial).sum())
    elif _lists_are_its_own(mask):
        return UNKNOWN
    else:
        every = torch.cartesian_prod(
            *map(torch.arange, (masked_batch, masked_heads, *blocks.counts))
        )
        each = blocks.needed(every)
        computed, needed = int(blocks.areas(every)[each > 0].sum()), int(each.sum())
    return Pairs(repeats * computed, repeats * needed)


def _lists_are_its_own(mask: Any) -> bool:
    """Whether the lists say more than the function, which is torch's for none."""
    module = sys.modules[type(mask).__module__]
    return mask.mask_mod is module.noop_mask and mask not in _of_functions


def _is_real(tensor: Tensor) -> bool:
    """Whether it has data, whatever device it shows."""
    return not torch._C._dispatch_keys(tensor).has(torch._C.DispatchKey.Meta)


def _listed(counts: Tensor, indices: Tensor) -> Tensor:
    """The blocks of a mask: sample, head, row of blocks, column of blocks."""
    counts, indices = counts.cpu().long(), indices.cpu().long()
    places = (torch.arange(indices.shape[-1]) < counts[..., None]).nonzero()
    return torch.cat([places[:, :3], indices[tuple(places.T)][:, None]], dim=1)


class _Blocks:
    """A grid of blocks over queries x keys; those at its end may be cut off."""

    def __init__(self, mask: Any, queries: int, keys: int) -> None:
        sizes = mask.BLOCK_SIZE
        self._sizes = (sizes, sizes) if isinstance(sizes, int) else tuple(sizes)
        self._ends = (queries, keys)
        self.counts = tuple(
            -(-end // size) for end, size in zip(self._ends, self._sizes, strict=True)
        )
        self._asked: Callable[..., Tensor] = mask.mask_mod
        for varying in ((None, None, None, 0), (None, None, 0, None), (0, 0, 0, 0)):
            self._asked = torch.vmap(self._asked, in_dims=varying)
        given = mask.kv_num_blocks
        self._device = given.device if _is_real(given) else torch.device("cpu")

    def areas(self, blocks: Tensor) -> Tensor:
        """Pairs in each block."""
        area = torch.ones(len(blocks), dtype=torch.long)
        for dim, (end, size) in enumerate(zip(self._ends, self._sizes, strict=True), start=2):
            area *= (end - blocks[:, dim] * size).clamp(0, size)
        return area

    def needed(self, blocks: Tensor) -> Tensor:
        """Pairs in each block that the mask's function lets through."""
        rows, columns = (min(pair) for pair in zip(self._sizes, self._ends, strict=True))
        if len(blocks) * rows * columns > _MOST:
            raise MemoryError("too many pairs to ask about")
        if not len(blocks):
            return torch.zeros(0, dtype=torch.long)
        at_once = max(_AT_ONCE // (rows * columns), 1)
        return torch.cat([self._asked_about(some) for some in torch.split(blocks, at_once)])

    def _asked_about(self, blocks: Tensor) -> Tensor:
        blocks = blocks.to(self._device)
        numbers, inside = [], []
        for dim, (end, size) in enumerate(zip(self._ends, self._sizes, strict=True), start=2):
            each = blocks[:, dim, None] * size + torch.arange(min(size, end), device=self._device)
            inside.append(each < end)
            numbers.append(each.clamp(max=end - 1))
        answers = self._asked(blocks[:, 0], blocks[:, 1], *numbers)
        answers = answers & inside[0][:, :, None] & inside[1][:, None, :]
        counted: Tensor = answers.sum(dim=(1, 2)).cpu()
        return counted

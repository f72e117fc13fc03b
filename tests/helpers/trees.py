"""The leaves of nested arguments, as torch's pytree has them, without its registry: fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["leaves", "mapped"]


def leaves(tree: Any) -> Iterator[Any]:
    """What is in lists, tuples and dicts, however deep."""
    if isinstance(tree, (list, tuple)):
        for item in tree:
            yield from leaves(item)
    elif isinstance(tree, dict):
        for item in tree.values():
            yield from leaves(item)
    else:
        yield tree


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same tree with what ``function`` makes of each leaf."""
    if isinstance(tree, (list, tuple)):
        items = [mapped(function, item) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    if isinstance(tree, dict):
        return type(tree)((key, mapped(function, item)) for key, item in tree.items())
    return function(tree)

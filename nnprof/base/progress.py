"""Progress of what takes seconds: told to a function, or shown as a bar on a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["shown"]


@contextmanager
def shown(
    progress: Callable[[int, int, str], None] | bool | None, doing: str
) -> Iterator[Callable[[int, int, str], None] | None]:
    """The function to tell how many are done, of how many, and which: the caller's, or a bar's.

    `progress`: a function, True or False for a bar or none, None for a bar where stderr is a
    terminal. `doing` names what is done, such as "measuring".
    """
    if callable(progress):
        yield progress
        return
    if not (sys.stderr.isatty() if progress is None else progress):
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None)

        def show(done: int, of: int, what: str) -> None:
            bar.update(task, completed=done, total=of, description=f"{doing} {what}")

        yield show

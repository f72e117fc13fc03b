"""Functions written in Python that have other code while a trace runs.

Torch's own functions keep their names and places: other modules hold them by name, and to set an
attribute of a class would make Python forget what it knows of the class and of all its subclasses,
which takes longer than tracing a ResNet. All of them change in one step, by the core.
"""

from __future__ import annotations

from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, cast

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["copy_of", "replace", "switch_on"]

_Code = tuple[FunctionType, CodeType, dict[str, Any] | None]

_own: list[_Code] = []
_other: list[_Code] = []


def replace(
    function: object, by: Callable[..., Any], through: Callable[..., Any] | None = None
) -> None:
    """Has `by` called with the arguments of `function`, from the next `switch_on` on.

    Once and for all, for a function that stays. `by` may call a `copy_of` it, made before.
    `through`: whose code calls `nnprof_by`, where that takes its arguments in another way.
    """
    function = cast("FunctionType", function)
    if through is None:
        through = _through_with_a_cell() if function.__code__.co_freevars else _through
    _own.append((function, function.__code__, function.__kwdefaults__))
    _other.append((function, cast("FunctionType", through).__code__, {"nnprof_by": by}))


def copy_of(function: object) -> FunctionType:
    """Another function of the same code, which stays what it is."""
    function = cast("FunctionType", function)
    parts = function.__code__, function.__globals__, function.__name__
    made = FunctionType(*parts, function.__defaults__, function.__closure__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def switch_on() -> list[Callable[[], object]]:
    """Gives all of them their other code; returns what undoes it."""
    _core.set_codes(_other)
    return [_switch_off]


def _switch_off() -> None:
    _core.set_codes(_own)


def _through(*args: Any, nnprof_by: Any, **kwargs: Any) -> Any:
    return nnprof_by(*args, **kwargs)


def _through_with_a_cell() -> Callable[..., Any]:
    """For a method that names `super()`: Python wants as many free variables as it has."""
    cell = None

    def through(*args: Any, nnprof_by: Any, **kwargs: Any) -> Any:
        _ = cell
        return nnprof_by(*args, **kwargs)

    return through

"""`assume=`: the caller's answers to what a model asks of values that nobody knows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnprof.errors import InputError

__all__ = ["Answers", "Assume", "Question"]


@dataclass(frozen=True)
class Question:
    """A value that the program asks for and that nothing was computed for."""

    #: Of the module that asks; "" for the model itself, and outside of modules.
    path: str
    #: The operator that made the value: "aten::gt"; "" where no record tells.
    operator: str
    #: The question's number in that module, from 1.
    n: int
    #: Of the first tensor that the operator read.
    shape: tuple[int, ...]
    #: Of the value: "bool", "float32", "int64".
    dtype: str
    #: Where the innermost code outside of torch and nnprof asks; "" and 0 where nobody knows.
    file: str
    line: int
    #: The question in words: "aten::gt of an activation (4, 8) with 3".
    text: str


Answer = float | Sequence[float | None] | Callable[[Question], float | None]
#: One answer for all modules, or answers by the path of the module that asks.
Assume = Answer | Mapping[str, Answer]


class Answers:
    """Answers the questions of one trace, in the order they are asked."""

    def __init__(self, assume: Assume | None) -> None:
        """Raises `InputError` for an answer that is no number, list of numbers or function."""
        self._answers: dict[str, Answer] = {}
        if isinstance(assume, Mapping):
            self._answers = {str(path): _checked(answer) for path, answer in assume.items()}
        elif assume is not None:
            self._answers = {"": _checked(assume)}
        self._lists = {
            path: iter(answer)
            for path, answer in self._answers.items()
            if isinstance(answer, Sequence)
        }

    def __call__(
        self, path: str, operator: str, n: int, shape: tuple[int, ...], dtype: str, text: str
    ) -> tuple[float | None, str]:
        """The answer, None where there is none, and the place of the question: "model.py:12"."""
        file, line = _asking_place()
        question = Question(path, operator, n, shape, dtype, file, line, text)
        return self._answer(question), f"{file}:{line}" if file else ""

    def _answer(self, question: Question) -> float | None:
        path = question.path if question.path in self._answers else ""
        answer = self._answers.get(path)
        if path in self._lists:
            return next(self._lists[path], None)
        if not callable(answer):
            return answer  # type: ignore[return-value]  # a list is among the lists
        given = answer(question)
        return None if given is None else _number(given)


def _checked(answer: Any) -> Answer:
    if callable(answer):
        return answer  # type: ignore[no-any-return]
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        return [None if one is None else _number(one) for one in answer]
    return _number(answer)


def _number(answer: Any) -> float:
    try:
        return float(answer)
    except (TypeError, ValueError):
        raise InputError(
            f"assume: {answer!r} is no answer; pass a number, True or False, a list of them, or a "
            'function of the question; {"module.path": ANSWER} for those of one module'
        ) from None


#: Their code asks on behalf of somebody's.
_ASK_FOR_OTHERS = ("torch", "nnprof")


def _asking_place() -> tuple[str, int]:
    """File and line of the innermost code that is neither torch's nor ours."""
    frame = sys._getframe(1)
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _ASK_FOR_OTHERS:
            return frame.f_code.co_filename, frame.f_lineno
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "", 0

"""`nnprof fits` and `nnprof max`: will it fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., Any]


def test_says_whether_it_fits_and_what_holds_it(run: Run, models: Path) -> None:
    result = run("fits", f"{models}:Net", "--shape", "3,4", "--gpu", "8GB")
    assert result.code == 0, result.err
    first, sizes, held = result.out.splitlines()
    assert first.startswith("yes: ")
    assert "to spare on a GPU with 8 GB" in first
    assert "reserved" in sizes
    assert "context" in held


def test_of_training(run: Run, models: Path) -> None:
    options = ("--train", "--optimizer", "sgd", "--alloc-conf", "expandable_segments:True")
    result = run("fits", f"{models}:Net", "--shape", "3,4", "--gpu", "t4", *options)
    assert result.code == 0, result.err
    assert "gradients" in result.out


def test_weights_of_a_quantized_checkpoint_take_less(run: Run, models: Path) -> None:
    def parameters(*options: str) -> str:
        out = run("fits", f"{models}:Net", "--shape", "3,4", "--gpu", "t4", *options).out
        return next(part for part in out.split(", ") if part.endswith(" parameters"))

    assert parameters("--quantize", "nf4") != parameters()


def test_the_largest_batch(run: Run) -> None:
    result = run("max", "torchvision:resnet18", "--gpu", "2GB", "--train")
    assert result.code == 0, result.err
    assert result.out.startswith("batch ")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--gpu", "80"), 1, "without a unit"),
        (("--gpu", "x86"), 1, "is no GPU"),
        (("--gpu", "t4", "--optimizer", "sgd"), 2, "--optimizer is for --train"),
        (("--gpu", "t4", "--quantize", "int3"), 1, "there are nf4, fp4, int8"),
        (("--gpu", "t4", "--alloc-conf", "a:b"), 1, "no option 'a'"),
        ((), 2, "--gpu"),
    ],
)
def test_refuses(run: Run, models: Path, options: tuple[str, ...], code: int, message: str) -> None:
    result = run("fits", f"{models}:Net", "--shape", "3,4", *options)
    assert result.code == code
    assert message in result.err


def test_max_looks_for_what_is_not_given(run: Run, models: Path) -> None:
    result = run("max", f"{models}:Net", "--shape", "3,4", "--gpu", "t4")
    assert result.code == 2
    assert "leave out --shape" in result.err

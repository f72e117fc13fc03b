"""`nnprof grid`: which runs fit which GPUs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nnprof.fitting import fit as fit_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., Any]

LLAMA = {
    "model_type": "llama",
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@pytest.fixture
def llama(tmp_path: Path) -> str:
    pytest.importorskip("transformers")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA), encoding="utf-8")
    return f"transformers:{file}"


def test_prints_the_table(run: Run, llama: str) -> None:
    sizes = ("--batch", "1,4", "--sequence", "32,64", "--dtype", "bfloat16")
    gpus, methods = ("--gpu", "1GB", "--gpu", "h100"), ("--method", "full+checkpoint")
    result = run("grid", llama, *gpus, *sizes, "--train", "--method", "nf4", *methods)
    assert result.code == 0, result.err
    title, _, *lines, _ = result.out.splitlines()
    assert title.split() == ["Method", "Sequence", "Batch", "1GB", "h100-sxm"]
    assert [line.split()[:3] for line in lines] == [
        [method, sequence, batch]
        for method in ("nf4", "full+checkpoint")
        for sequence in ("32", "64")
        for batch in ("1", "4")
    ]
    assert all(line.split()[3] == "yes" for line in lines)


def test_says_of_one_run_what_fits_says(run: Run, llama: str) -> None:
    asked = ("--gpu", "8GB", "--train", "--optimizer", "sgd", "--batch", "3", "--sequence", "48")
    alone = run("fits", llama, *asked).out
    line = run("grid", llama, *asked).out.splitlines()[2]
    _, _, _, verdict, spare, unit = line.split()
    assert alone.startswith(f"{verdict}: {spare.lstrip('+')} {unit} to spare")


def test_draws_a_plot(run: Run, llama: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "grid.png"
    result = run("grid", llama, "--gpu", "1GB", "--sequence", "32,64", "--plot", file)
    assert result.code == 0, result.err
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        ((), 2, "--gpu"),
        (("--gpu", "h1000"), 1, "no hardware is called"),
        (("--gpu", "t4", "--gpu", "t4"), 1, "gpus= has 't4' twice"),
        (("--gpu", "t4", "--batch", "1,"), 2, "'1,' is no list of numbers: write 1,4"),
        (("--gpu", "t4", "--sequence", "0"), 1, "sequence= has 0"),
        (("--gpu", "t4", "--method", "dora"), 1, "no method is called 'dora'"),
        (("--gpu", "t4", "--method", "full", "--method", "full"), 1, "'full' twice"),
        (("--gpu", "t4", "--optimizer", "sgd"), 2, "--optimizer is for --train"),
        (("--gpu", "t4", "--method", "full+checkpoint"), 2, "full+checkpoint is for --train"),
        (
            ("--gpu", "t4", "--train", "--method", "nf4+checkpoint", "--checkpoint", "model"),
            2,
            "leave out --checkpoint",
        ),
        (("--gpu", "t4", "--lora", "r=4"), 2, "--lora is for --method lora"),
        (("--gpu", "t4", "--plot", "grid.txt"), 1, "end its name in .png"),
        (("--gpu", "t4", "--plot", "no/where/grid.png"), 1, "there is no folder"),
    ],
)
def test_refuses_before_anything_is_traced(
    run: Run,
    llama: str,
    asked: tuple[str, ...],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: Any) -> None:
        raise AssertionError("it was traced")

    if "--plot" in asked:
        pytest.importorskip("matplotlib")
    monkeypatch.setattr(fit_module, "fit_of", fail)
    result = run("grid", llama, *asked)
    assert result.code == code
    assert message in result.err

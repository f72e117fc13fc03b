"""`nnprof explain`: other tools' numbers side by side, with the reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnprof.conventions import CONVENTIONS, tools

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    Run = Callable[..., Any]


def rows(out: str) -> dict[str, str]:
    """The text of each tool's row, its lines joined."""
    found: dict[str, str] = {}
    name = ""
    for line in out.splitlines()[2:]:
        name = line.split()[0] if not line.startswith(" ") else name
        found[name] = " ".join([found.get(name, ""), *line.split()])
    return found


def test_every_tool_has_a_row_with_its_number_and_why(run: Run, models: Path) -> None:
    result = run("explain", f"{models}:Net", "--shape", "3,4")
    assert result.code == 0, result.err
    found = rows(result.out)
    assert list(found) == ["nnprof", *(convention.name for convention in CONVENTIONS)]
    # (4 x 8 + 8 x 2) MACs and 8 + 2 biases a row, of three.
    assert "nnprof 318 FLOPs 1.000" in found["nnprof"]
    assert "torch 288 FLOPs 0.906" in found["torch"]
    assert "leaves out biases of linear 30" in found["torch"]
    assert "fvcore 144 MACs 0.453" in found["fvcore"]
    assert "a multiply-add counts as 1" in found["fvcore"]
    assert "ptflops 174 MACs 0.547" in found["ptflops"]
    assert "may print 116 less: it divides what modules count" in found["ptflops"]
    assert max(map(len, result.out.splitlines())) <= 120


def test_run_shows_what_is_printed_and_why(
    run: Run, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> int:
        raise ValueError("no such thing\nand more")

    printed: dict[str, Any] = {
        "torch": lambda *_: 288,
        "fvcore": fail,
        "ptflops": lambda *_: 58,
        "ptflops-aten": lambda *_: 175,
        "thop": lambda *_: 144,
        "deepspeed": lambda *_: 288,
    }
    monkeypatch.setattr(tools, "RUNS", printed)
    known = {"torch", "fvcore", "ptflops", "thop"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name in known else None)
    result = run("explain", f"{models}:Net", "--shape", "3,4", "--run", "-q")
    assert result.code == 0, result.err
    found = rows(result.out)
    assert "torch 288 FLOPs 0.906 288 FLOPs" in found["torch"]
    assert "printed 288, as expected (on cpu)" in found["torch"]
    assert "failed on cpu: ValueError: no such thing" in found["fvcore"]
    assert "and more" not in found["fvcore"]
    assert "printed 58 (on cpu), 116 less: it divides what modules count" in found["ptflops"]
    assert "printed 175 (on cpu), 1 more, for a reason that is not known" in found["ptflops-aten"]
    assert "not installed: pip install deepspeed" in found["deepspeed"]
    assert "publishes numbers of its own models only" in found["torchvision"]


def test_run_runs_the_real_tools(run: Run, models: Path) -> None:
    result = run("explain", f"{models}:Words", "--input", "input_ids=2,5", "--run")
    assert result.code == 0, result.err
    # 10 words x 8 x 100 MACs, 2 FLOPs each.
    assert "printed 16,000, as expected (on cpu)" in rows(result.out)["torch"]


def test_what_torchvision_publishes_stands_beside(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "RUNS", dict.fromkeys(tools.RUNS, lambda *_: 0))
    shape = ("--shape", "1,3,224,224")
    found = rows(run("explain", "torchvision:squeezenet1_1", *shape, "--run").out)
    assert "as expected (published for IMAGENET1K_V1 at 224 pixels)" in found["torchvision"]


def test_the_options_are_those_of_measure(run: Run, models: Path) -> None:
    result = run("explain", f"{models}:Net", "--shape", "3,4", "--input", "x=3,4")
    assert result.code == 2
    assert "--shape or --input, not both" in result.err

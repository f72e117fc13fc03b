"""`nnprof rules`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

RULES = [
    {"op": "aten::relu", "family": "pointwise", "status": "ruled", "reason": "", "derived": False},
    {"op": "aten::relu_", "family": "pointwise", "status": "ruled", "reason": "", "derived": True},
    {
        "op": "aten::mm",
        "family": "matmul",
        "status": "left out",
        "reason": "torch has another schema: [...]",
        "derived": False,
    },
]


def test_lists_every_rule(run: Callable[..., Any]) -> None:
    result = run("rules")
    assert result.code == 0
    for rule in _core.rules():
        assert rule["op"] in result.out


def test_a_pattern_picks(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "rules", lambda: RULES)
    result = run("rules", "relu")
    assert "aten::relu_  pointwise  derived" in result.out
    assert "aten::mm" not in result.out
    assert result.out.endswith("2 operators ruled (1 derived), 1 left out\n")


def test_check_fails_where_any_was_left_out(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_core, "rules", lambda: RULES)
    result = run("rules", "--check")
    assert result.code == 1
    assert "aten::mm" in result.out
    assert "another schema: [...]" in result.out
    assert "aten::relu" not in result.out
    monkeypatch.setattr(_core, "rules", lambda: RULES[:2])
    assert run("rules", "--check").code == 0


def test_an_operator_of_other_versions_is_told_and_missed_by_none(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = RULES[2] | {"op": "aten::gone", "reason": "this torch has no such operator"}
    monkeypatch.setattr(_core, "rules", lambda: [*RULES[:2], gone])
    result = run("rules", "--check")
    assert result.code == 0
    assert "aten::gone" in result.out


def test_this_torch_left_out_none(run: Callable[..., Any]) -> None:
    assert run("rules", "--check").code == 0

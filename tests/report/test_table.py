"""The tree table: what is folded, cut, sorted and left out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from nnprof.errors import InputError
from nnprof.report import TableOptions, table, tree

if TYPE_CHECKING:
    from nnprof.results.profile import Profile


def body_and_notes(text: str) -> tuple[list[str], str]:
    body, notes = text.split("\n\n", 1)
    return body.splitlines()[2:], notes


def test_totals_do_not_depend_on_the_depth(cnn: Profile) -> None:
    tables = [body_and_notes(cnn.table(depth=depth)) for depth in (0, 1, 2, 9)]
    assert len({notes for _, notes in tables}) == 1
    assert f"{cnn.macs:,} MACs" in tables[0][1]
    assert [len(body) for body, _ in tables] == [1, 5, 6, 10]


def test_equal_layers_are_one_row(decoder: Profile) -> None:
    text = str(decoder)
    assert "layers.0-125 (x126)" in text
    assert len(text.splitlines()) < 40


def test_a_folded_row_is_the_sum(decoder: Profile) -> None:
    root = tree.build(decoder.layers[0])
    model = root.children[0]
    layers = model.children[1]
    assert layers.count == 126
    assert layers.values["macs"] == 126 * decoder["model.layers.7"].macs
    assert sum(child.values["macs"] or 0 for child in layers.children) == layers.values["macs"]
    assert layers.children[1].values["params"] == 126 * decoder["model.layers.0.self_attn"].params


def test_alternating_blocks_fold_and_alternating_plain_layers_do_not(alternating: Profile) -> None:
    root = tree.build(alternating.layers[0])
    assert [child.label for child in root.children] == [
        "blocks.0,2..6",
        "blocks.1,3..7",
        "features",
    ]
    assert [child.label for child in root.children[2].children] == ["0", "1", "2", "3", "4", "5-7"]


def test_nothing_is_lost_in_folding(alternating: Profile) -> None:
    def total(node: tree.Node) -> float:
        return (node.own["flops"] or 0) + sum(total(child) for child in node.children)

    assert total(tree.build(alternating.layers[0])) == alternating.flops


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([0, 1, 2], "0-2"),
        ([3, 7], "3,7"),
        ([0, 1, 4, 5, 6, 9], "0-1,4-6,9"),
        ([1, 3, 5, 7], "1,3..7"),
    ],
)
def test_ranges(numbers: list[int], text: str) -> None:
    assert tree._ranges(numbers) == text


def test_sort_puts_the_most_costly_first(cnn: Profile) -> None:
    body, _ = body_and_notes(cnn.table(depth=1, sort="params"))
    names = [re.findall(r"─ (\w+)", line)[0] for line in body[1:]]
    assert names == ["fc", "stages", "stem", "act"]


def test_sort_names_the_metrics(cnn: Profile) -> None:
    with pytest.raises(InputError, match="choose one of params, macs, flops, bytes"):
        cnn.table(sort="cost")


def test_depth_must_not_be_negative(cnn: Profile) -> None:
    with pytest.raises(InputError, match="depth"):
        cnn.table(depth=-1)


def test_own_work_gets_a_row_so_that_children_add_up(cnn: Profile) -> None:
    rows = list(tree.rows(tree.build(cnn.layers[0]), 3))
    itself = [row for row in rows if row.node.label == "(itself)"]
    assert len(itself) == 1
    assert itself[0].node.values["flops"] == 4 * 900_000


def test_calls_are_shown_where_there_are_several(cnn: Profile) -> None:
    assert "act [2 calls]" in str(cnn)


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_fits_the_width_and_never_cuts_a_number(cnn: Profile, width: int) -> None:
    text = table.render(cnn, TableOptions(width=width))
    assert all(len(line) <= width for line in text.splitlines())
    body, _ = body_and_notes(text)
    assert all("150.1 M" in body[0] for _ in body)
    assert not re.search(r"\d…", text)


def test_a_pipe_has_no_width(decoder: Profile, capsys: pytest.CaptureFixture[str]) -> None:
    print(decoder)  # noqa: T201
    assert "…" not in capsys.readouterr().out


def test_brackets_are_not_taken_for_markup(cnn: Profile) -> None:
    assert "[1, 64, 112, 112]" in str(cnn)


def test_notes_say_what_was_not_counted_exactly(cnn: Profile) -> None:
    notes = dict(table.notes(cnn))
    assert notes["Coverage"].startswith("19 of 23 operator calls priced by a rule")
    assert "mylib::blur x3" in notes["Coverage"]
    assert "nonzero" in notes["Assumed"]
    assert notes["Never called"] == "aux"


def test_html_escapes(cnn: Profile) -> None:
    object.__setattr__(cnn.facts, "name", "<script>")
    assert "<script>" not in cnn._repr_html_()
    assert "&lt;script&gt;" in cnn._repr_html_()

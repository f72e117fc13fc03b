"""Counts beyond 2^63, at which 64 bits wrap: right in the totals, and in what is made of them."""

from __future__ import annotations

import copy
import csv
import io
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nnprof
from nnprof.report import REPORTS, TableOptions
from nnprof.results.columns import counts
from tests.rules.costs import cost_of, meta

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WIDTH, ROWS = 2**20, 2**22
#: Of `wide` on ROWS rows: 2^63 FLOPs of products, and the bias.
MACS, FLOPS = 2**62, 2**63 + ROWS * WIDTH


def wide() -> nn.Linear:
    return nn.Linear(WIDTH, WIDTH, device="meta")


@pytest.fixture(scope="module")
def step() -> nnprof.Profile:
    """A training step in which every call's FLOPs fit in 64 bits, or just not, and no sum does."""
    model = nn.Sequential(wide(), nn.ReLU(), wide(), wide())
    return nnprof.measure(model, (ROWS, WIDTH), backward=True, optimizer="adamw", hardware="h200")


def test_one_call() -> None:
    profile = nnprof.measure(wide(), (ROWS, WIDTH))
    assert (profile.macs, profile.flops) == (MACS, FLOPS)
    assert profile[""].flops == profile.phase("forward").flops == FLOPS
    assert profile.flops_by_kind["contraction"] == 2**63
    assert profile.ops["flops"].tolist() == [FLOPS]
    assert "9,223,376,434,901,286,912 FLOPs (9.223 EFLOPs)" in str(profile)


def test_sums_of_a_training_step(step: nnprof.Profile) -> None:
    # The gradients of three weights, and of two inputs: that of the model needs none.
    assert step.phase("forward").macs == 3 * MACS
    assert step.phase("backward").macs == 5 * MACS
    assert step.model_flops == step.hardware_flops == 16 * MACS
    assert step.flops == sum(
        step.phase(name).flops for name in ("forward", "backward", "optimizer")
    )
    assert step.flops == sum(step.flops_by_kind.values()) - step.int_ops
    assert step.layers[0].macs == 8 * MACS
    assert step["0"].macs == 2 * MACS
    assert step["2"].macs == step["3"].macs == 3 * MACS


def test_columns_of_calls(step: nnprof.Profile) -> None:
    for name in ("macs", "flops", "bytes", "bytes_read", "bytes_written"):
        column = step.ops[name]
        assert column.dtype == object
        assert column.sum() == sum(column.tolist()) == getattr(step, name)
    assert (2 * step.ops["macs"]).sum() == 2 * step.macs
    frame = step.ops.to_pandas()
    assert frame["flops"].sum() == step.flops
    by_phase = frame.groupby("phase")["macs"].sum()
    assert (by_phase["forward"], by_phase["backward"]) == (3 * MACS, 5 * MACS)


def test_small_counts_stay_int64() -> None:
    profile = nnprof.measure(nn.Linear(4, 4), (2, 4))
    assert profile.ops["macs"].dtype == profile.memory.timeline["live"].dtype == "int64"
    assert profile.ops.to_pandas()["macs"].dtype == "int64"


@pytest.mark.parametrize("made", [list, lambda values: counts(values)])
def test_a_column_whose_values_fit_and_whose_sum_does_not(made: Callable[..., Any]) -> None:
    for values in ([2**62, 2**62, 1], [2**63], [2**64 + 1, 1], [2**59] * 2):
        column = counts(made(values))
        assert column.sum() == sum(values)
        assert (3 * column).tolist() == [3 * value for value in values]


def test_stored_and_loaded(step: nnprof.Profile, tmp_path: Path) -> None:
    step.save(tmp_path / "step.json")
    loaded = nnprof.Profile.load(tmp_path / "step.json")
    for name in ("macs", "flops", "bytes", "model_flops", "hardware_flops", "flops_by_kind"):
        assert getattr(loaded, name) == getattr(step, name)
    assert loaded.ops["flops"].tolist() == step.ops["flops"].tolist()
    assert loaded.ops["flops"].sum() == step.flops
    assert [layer.macs for layer in loaded.layers] == [layer.macs for layer in step.layers]
    assert not loaded.compare(step).layers
    assert copy.deepcopy(step).flops == step.flops


def test_csv(step: nnprof.Profile, tmp_path: Path) -> None:
    step.save(tmp_path / "step.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "step.csv").read_text())))
    assert int(rows[0]["macs"]) == 8 * MACS
    assert sum(int(row["own_flops"]) for row in rows) == step.flops


def test_reports_have_no_negative_number(step: nnprof.Profile) -> None:
    for report in REPORTS:
        assert " -" not in report.render(step, TableOptions()).replace("--", ""), report.name


def test_compare(step: nnprof.Profile) -> None:
    one = nnprof.measure(wide(), (ROWS, WIDTH))
    totals = {one.metric.name: one for one in one.compare(step).totals}
    assert totals["macs"].after == 8 * MACS
    assert totals["macs"].ratio == 8


def test_other_tools_conventions(step: nnprof.Profile) -> None:
    assert step.flops_as("torch") == 6 * MACS
    assert step.flops_as("fvcore") == 3 * MACS
    for tool in ("torchvision", "ptflops", "ptflops-aten", "thop", "deepspeed"):
        assert step.flops_as(tool) >= 3 * MACS


def test_times(step: nnprof.Profile) -> None:
    seconds = step.estimated_s
    assert seconds is not None
    assert step.mfu is not None
    assert seconds > 16 * MACS / 989.4e12  # the peak of bfloat16: float32 is slower
    assert 0 < step.mfu < 1


def test_memory() -> None:
    """Four tensors of 2^62 bytes."""
    with nnprof.trace() as running:
        held = [torch.empty(2**60, device="meta").relu() for _ in range(3)]
        held.append(held[0] + held[1])
    memory = running.profile().memory
    assert memory.peak == sum(memory.at_peak.values()) > 2**63
    assert memory.timeline["highest"].max() == memory.peak


class Scaled(nn.Module):
    """Attention with as many queries as keys, in heads of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(()))

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.scale
        return F.scaled_dot_product_attention(x, x, x, is_causal=True)


#: A model, and the sizes of its input without the batch: a sample takes more than 2^29 MACs.
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(2**16, 2**16), (2**16,)),
    "conv": (lambda: nn.Conv2d(2**10, 2**10, 3), (2**10, 32, 32)),
    "transposed": (lambda: nn.ConvTranspose2d(2**10, 2**10, 3), (2**10, 32, 32)),
    "attention": (Scaled, (2, 2**13, 64)),
    "encoder": (lambda: nn.TransformerEncoderLayer(512, 8, batch_first=True), (2**10, 512)),
    "lstm": (lambda: nn.LSTM(2**10, 2**10, batch_first=True), (2**7, 2**10)),
    "gru": (lambda: nn.GRU(2**10, 2**10, batch_first=True), (2**7, 2**10)),
}


@pytest.mark.parametrize("name", MODELS)
def test_counts_go_with_the_batch(name: str) -> None:
    """A batch of 2^34 takes 2^34 times what one of 2^10 takes... or 2^24 times, exactly."""
    make, sizes = MODELS[name]
    with torch.device("meta"):
        model = make().train()
    small, large = (
        nnprof.measure(model, (batch, *sizes), backward=True) for batch in (2**10, 2**34)
    )
    assert large.macs == 2**24 * small.macs > 2**62
    assert large.flops_executed > 2**63
    for kind in ("contraction", "exp", "tanh"):
        assert large.flops_by_kind[kind] == 2**24 * small.flops_by_kind[kind], kind
    assert large.ops["macs"].sum() == large.macs


def test_a_rule_counted_in_python() -> None:
    """Any number goes there and back."""
    library = torch.library.Library("large_counts", "FRAGMENT")
    library.define("op(Tensor x) -> Tensor")
    library.impl("op", lambda x: x.clone(), "CompositeExplicitAutograd")
    library.impl("op", torch.empty_like, "Meta")
    for number in (1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 3 * 2**99 + 5):

        def rule(call: Any, number: int = number) -> dict[str, int]:
            return {"macs": number, "flops": number, "bytes_read": number}

        nnprof.register_rule("large_counts::op")(rule)
        cost = cost_of(torch.ops.large_counts.op, meta(2))
        assert (cost.macs, cost.kinds["add"], cost.bytes_read) == (number, number, number)


def test_what_is_too_large_raises() -> None:
    library = torch.library.Library("too_large_counts", "FRAGMENT")
    library.define("op(Tensor x) -> Tensor")
    library.impl("op", torch.empty_like, "Meta")
    nnprof.register_rule("too_large_counts::op")(lambda call: {"macs": 2**126})
    with pytest.raises(nnprof.NnprofError, match="2\\^127"):
        cost_of(torch.ops.too_large_counts.op, meta(2))

"""A plan of checkpoints: within the budget, as cheap as brute force finds, as a real step is."""

from __future__ import annotations

import re
from itertools import chain, combinations, product
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nnprof
from nnprof.errors import InputError
from tests.tracing.training.real import bytes_of, one_thread, real_memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

pytest.importorskip("scipy")


class Uneven(nn.Module):
    """Blocks of different widths, so that it matters which are chosen."""

    WIDTHS = (96, 512, 64, 256, 384, 128)

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(64, width), nn.GELU(), nn.Linear(width, 64), nn.Tanh())
            for width in self.WIDTHS
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


class Attending(nn.Module):
    """Blocks of different widths, whose products and attention are dear, and the rest cheap."""

    WIDTHS = (512, 256, 384, 64)

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AttendingBlock(width) for width in self.WIDTHS)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class AttendingBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.qkv = nn.LayerNorm(64), nn.Linear(64, 3 * 64)
        self.up, self.down = nn.Linear(64, width), nn.Linear(width, 64)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm(x)).unflatten(-1, (3, 4, 16)).unbind(-3)
        heads = (part.transpose(1, 2) for part in (query, key, value))
        x = x + F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(-2)
        return x + self.down(F.gelu(self.up(x)).square())


ROWS = 4096


def uneven() -> Uneven:
    with torch.device("meta"):
        return Uneven().train()


def step(model: nn.Module, modules: Iterable[str] = ()) -> nnprof.Profile:
    return nnprof.measure(model, (ROWS, 64), backward=True, checkpoint=list(modules) or None)


def subsets(names: list[str]) -> Iterable[tuple[str, ...]]:
    return chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))


@pytest.mark.parametrize("share", [0.95, 0.85, 0.75, 0.65])
def test_recomputes_no_more_than_brute_force(share: float) -> None:
    model = uneven()
    alone = step(model)
    budget = int(share * alone.memory.peak)
    plan = nnprof.plan_memory(model, budget, (ROWS, 64))
    traced = step(model, plan.modules)
    assert traced.memory.peak == plan.peak <= budget
    assert traced.flops - alone.flops == plan.recompute_flops
    names = [f"blocks.{number}" for number in range(len(Uneven.WIDTHS))]
    tried = [step(model, chosen) for chosen in subsets(names)]
    best = min(one.flops for one in tried if one.memory.peak <= budget) - alone.flops
    # It may choose from more than blocks: what is inside of them.
    assert plan.recompute_flops <= 1.05 * best


TOKENS = (4, 256, 64)


def attending() -> Attending:
    with torch.device("meta"):
        return Attending().train()


def step_in(ways: Mapping[str, str]) -> nnprof.Profile:
    return nnprof.measure(attending(), TOKENS, backward=True, checkpoint=ways)


@pytest.fixture(scope="module")
def every_choice() -> list[nnprof.Profile]:
    """Each block wholly, selectively, or not: 81 steps; the first without a checkpoint."""
    names = [f"blocks.{number}" for number in range(len(Attending.WIDTHS))]
    return [
        step_in({name: way for name, way in zip(names, ways, strict=True) if way})
        for ways in product(("", "whole", "selective"), repeat=len(names))
    ]


@pytest.mark.parametrize("share", [0.97, 0.9, 0.85, 0.8, 0.75, 0.7])
def test_chooses_among_ways_as_well_as_brute_force(
    share: float, every_choice: list[nnprof.Profile]
) -> None:
    alone = every_choice[0]
    budget = int(share * alone.memory.peak)
    best = min(one.flops for one in every_choice if one.memory.peak <= budget) - alone.flops
    plan = nnprof.plan_memory(attending(), budget, TOKENS, selective=True)
    traced = step_in(plan.checkpoint)
    assert traced.memory.peak == plan.peak <= budget
    assert traced.flops - alone.flops == plan.recompute_flops <= 1.05 * best


def test_keeps_what_is_dear_where_that_is_enough() -> None:
    budget = 0.85 * step_in({}).memory.peak
    whole = nnprof.plan_memory(attending(), budget, TOKENS)
    either = nnprof.plan_memory(attending(), budget, TOKENS, selective=True)
    assert whole.selective == ()
    assert either.selective
    assert set(either.selective) <= set(either.modules)
    assert either.recompute_flops < 0.5 * whole.recompute_flops
    assert f"{either.selective[0]} (selectively)" in str(either)


class Remembering(nn.Module):
    """What it computes depends on how often it did."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block, self.calls = block, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        for _ in range(self.calls - 1):
            x = x.sin()
        return self.block(x)


def test_leaves_out_what_cannot_run_again() -> None:
    model = attending()
    model.blocks[1] = Remembering(model.blocks[1])
    budget = 0.85 * nnprof.measure(model, TOKENS, backward=True).memory.peak
    plan = nnprof.plan_memory(model, budget, TOKENS, selective=True)
    assert plan.peak <= budget
    assert "blocks.1" not in plan.modules


def test_a_real_selective_step_holds_what_the_plan_says() -> None:
    torch.manual_seed(0)
    model, x = Attending().train(), torch.randn(*TOKENS)
    alone = nnprof.measure(model, inputs=x, backward=True)
    plan = nnprof.plan_memory(model, 0.8 * alone.memory.peak, inputs=x, selective=True)
    assert plan.selective
    before = model(x)

    def real_step() -> None:
        output = model(x)
        output.sum().backward()

    undo = plan.apply(model)
    try:
        assert torch.equal(model(x), before)
        with one_thread():
            real = sum(map(bytes_of, [*model.parameters(), x])) + real_memory(real_step).peak
    finally:
        undo()
    assert all("forward" not in vars(module) for module in model.modules())
    assert plan.peak == pytest.approx(real, rel=0.02)


def test_no_checkpoint_where_none_is_needed() -> None:
    plan = nnprof.plan_memory(uneven(), "80GB", (ROWS, 64))
    assert plan.modules == ()
    assert plan.recompute_flops == 0
    assert "no checkpoint is needed" in str(plan)


def test_a_real_step_holds_what_the_plan_says() -> None:
    torch.manual_seed(0)
    model, x = Uneven().train(), torch.randn(ROWS, 64)
    alone = nnprof.measure(model, inputs=x, backward=True)
    plan = nnprof.plan_memory(model, 0.75 * alone.memory.peak, inputs=x)

    def real_step() -> None:
        output = model(x)  # which a training loop holds on to
        output.sum().backward()

    undo = plan.apply(model)
    resident = sum(map(bytes_of, [*model.parameters(), x]))
    try:
        with one_thread():
            real = resident + real_memory(real_step).peak
    finally:
        undo()
    assert plan.peak == pytest.approx(real, rel=0.02)
    assert real < alone.memory.peak


def test_apply_alone_changes_the_model_and_can_be_undone() -> None:
    model, x = Uneven().train(), torch.randn(8, 64)
    before = model(x)
    plan = nnprof.plan_memory(model, int(0.75 * step(uneven()).memory.peak), (ROWS, 64))
    assert all("forward" not in vars(module) for module in model.modules())
    undo = plan.apply(model)
    changed = [path for path, module in model.named_modules() if "forward" in vars(module)]
    assert sorted(changed) == sorted(plan.modules)
    assert torch.equal(model(x), before)
    undo()
    assert all("forward" not in vars(module) for module in model.modules())


def test_chooses_among_the_layers_of_a_language_model() -> None:
    from nnprof.models import load_model

    model = load_model("transformers:gpt2").train()
    run: dict[str, Any] = {"batch": 4, "sequence": 512, "optimizer": "adamw"}
    alone = nnprof.measure(model, backward=True, **run)
    plan = nnprof.plan_memory(model, 0.85 * alone.memory.peak, **run)
    assert plan.peak <= 0.85 * alone.memory.peak
    assert 0 < plan.recompute_share < 0.2
    again = nnprof.measure(model, backward=True, checkpoint=list(plan.modules), **run)
    assert again.memory.peak == plan.peak


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (0, "more than 0"),
        (-5, "more than 0"),
        (float("nan"), "more than 0"),
        ("24", "without a unit: write '24GB'"),
        ("-24GB", "more than 0"),
        ("lots", "is no size"),
        ("24 GX", "'GX' is none of the units MB, GB"),
        (None, "must be a size"),
        (1000, r"the smallest that checkpoints can meet is [\d,]+ bytes"),
    ],
)
def test_refuses_a_budget_that_is_none(budget: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        nnprof.plan_memory(uneven(), budget, (ROWS, 64))


def test_the_smallest_budget_that_it_names_works() -> None:
    model = uneven()
    with pytest.raises(InputError) as refused:
        nnprof.plan_memory(model, 1000, (ROWS, 64))
    told = re.search(r"is ([\d,]+) bytes", str(refused.value))
    assert told is not None
    smallest = int(told[1].replace(",", ""))
    assert nnprof.plan_memory(model, smallest, (ROWS, 64)).peak <= smallest

"""What a training loop is answered that asks about values nobody knows: as for ones, and listed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import nnprof

if TYPE_CHECKING:
    from collections.abc import Callable

# Of one number and of several, whose values are not known. The oracle asks real ones.
QUESTIONS: list[Callable[[Tensor, Tensor], Any]] = [
    lambda n, _: bool(n),
    lambda n, _: n.item(),
    lambda n, _: float(n),
    lambda n, _: math.isfinite(n),
    lambda n, _: math.isnan(n),
    lambda n, _: math.isinf(n),
    lambda n, _: bool(torch.isfinite(n)),
    lambda n, _: bool(torch.isnan(n)),
    lambda n, _: bool(n.isinf()),
    lambda n, _: bool(torch.isposinf(n)),
    lambda n, _: bool(torch.isneginf(n)),
    lambda n, _: bool(torch.isreal(n)),
    lambda n, _: bool(torch.signbit(n)),
    lambda n, _: bool(torch.isfinite(torch.complex(n, n))),
    lambda n, _: bool(n > 3),
    lambda n, _: bool(n < 3),
    lambda n, _: bool(n >= 1),
    lambda n, _: bool(torch.le(torch.tensor(3.0), n)),
    lambda n, _: bool(n == n),
    lambda n, _: bool(n != n),
    lambda n, _: bool(n == math.inf),
    lambda n, _: bool(torch.isclose(n, torch.tensor(1.0))),
    lambda n, m: torch.allclose(n, m),
    lambda n, m: torch.allclose(m, torch.zeros(8)),
    lambda n, m: torch.equal(m, m),
    lambda n, m: torch.equal(m, torch.zeros(8)),
    lambda n, _: bool(~torch.isfinite(n)),
    lambda n, _: bool(torch.logical_not(n.isnan())),
    lambda n, _: bool(torch.logical_or(n.isnan(), n.isinf())),
    lambda n, _: bool(n.isnan() | n.isinf()),
    lambda n, _: bool(n.isfinite() & (n > 0)),
    lambda n, _: bool(n.isfinite() ^ n.isnan()),
    lambda n, _: bool(n.isfinite().logical_and_(n < 0)),
    lambda n, _: n.isnan().int().item(),
    lambda n, _: n.isfinite().to(torch.int64).item(),
    lambda n, _: (n.isfinite().float() * n.isnan().float()).item(),
    lambda n, _: (1 - n.isnan().float()).item(),
    lambda n, _: n.isnan().clone().detach().cpu().item(),
    lambda n, _: torch.where(n.isnan(), torch.zeros(()), torch.ones(())).item(),
    lambda n, m: m.isfinite().all().item(),
    lambda n, m: m.isnan().any().item(),
    lambda n, m: m.isnan().any(dim=0).item(),
    lambda n, m: m.any().item(),
    lambda n, m: m.all().item(),
    lambda n, m: (m > torch.tensor([0.5] * 4 + [2.0] * 4)).all().item(),
    lambda n, m: (m > torch.tensor([0.5] * 4 + [2.0] * 4)).any().item(),
    lambda n, m: m.isnan().sum().item(),
    lambda n, m: bool(m.isfinite().sum() == 8),
    lambda n, m: torch.count_nonzero(m.isfinite()).item(),
    lambda n, m: m.isfinite().float().mean().item(),
    lambda n, m: m.isnan().max().item(),
    lambda n, m: m.isfinite()[2].item(),
    lambda n, _: torch.stack([n.isfinite(), n.isnan()]).all().item(),
    lambda n, _: torch.stack([n.isfinite(), n.isnan()]).any().item(),
    lambda n, _: torch.cat([n.isnan()[None], n.isinf()[None]]).any().item(),
    lambda n, _: torch._assert(n.isfinite(), "must be finite"),
    lambda n, _: torch._check_tensor_all(n.isfinite()),
    lambda n, m: torch.equal(m, torch.full((8,), 1.0)),
    lambda n, m: torch.equal(m, torch.tensor([1.0] * 7 + [2.0])),
    lambda n, _: bool(n < torch.tensor(0.5)),
    lambda n, _: bool(n < torch.full_like(n, 0.5)),
    lambda n, _: f"{n:.3f}",
]


def asked(questions: list[Callable[[Tensor, Tensor], Any]]) -> tuple[list[Any], list[str]]:
    layer = nn.Linear(8, 8)
    with nnprof.trace(layer, backward=True) as running:
        layer(torch.randn(4, 8)).sum().backward()
        gradients = layer.bias.grad
        assert gradients is not None
        norm = nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        answers = [question(norm, gradients) for question in questions]
    return answers, running.profile().assumptions


def test_each_question_is_answered_as_for_ones_and_listed() -> None:
    answers, listed = asked(QUESTIONS)
    assert answers == [question(torch.ones(()), torch.ones(8)) for question in QUESTIONS]
    assert any(
        line.startswith("aten::isfinite of") and "is taken to be True" in line for line in listed
    )
    for question in QUESTIONS:
        assert asked([question])[1]


class Scaled:
    """A loop that steps unless the scaler, or the loop itself, finds what is not finite."""

    def __init__(self) -> None:
        self.model = nn.Linear(16, 16)
        self.optimizer = torch.optim.AdamW(self.model.parameters())

    def state_bytes(self, guard: Callable[[Tensor], bool]) -> int:
        with nnprof.trace(self.model, backward=True, optimizer=self.optimizer) as running:
            self.model(torch.randn(4, 16)).sum().backward()
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            if guard(norm):
                self.optimizer.step()
        profile = running.profile()
        return profile.memory.after("optimizer")["optimizer"]


@pytest.mark.parametrize(
    "guard",
    [
        lambda norm: torch.isfinite(norm),
        lambda norm: not torch.isnan(norm) and not torch.isinf(norm),
        lambda norm: math.isfinite(norm),
        lambda norm: torch.isfinite(norm).all(),
        lambda norm: not (norm.isnan() | norm.isinf()).any(),
        lambda norm: norm < 100,
    ],
)
def test_a_guarded_step_is_taken(guard: Callable[[Tensor], bool]) -> None:
    elements = 16 * 16 + 16
    assert Scaled().state_bytes(guard) == 2 * 4 * elements + 2 * 4


def test_the_caller_may_answer_a_training_loop() -> None:
    layer = nn.Linear(8, 8)
    with nnprof.trace(
        layer, backward=True, assume=lambda q: q.operator == "aten::isnan"
    ) as running:
        loss = layer(torch.randn(4, 8)).sum()
        found = bool(loss.isnan()), bool(loss.isinf())
    assert found == (True, False)
    assert any("as the caller said" in line for line in running.profile().assumptions)


def test_what_is_written_to_answers_no_longer() -> None:
    layer = nn.Linear(8, 8)
    with nnprof.trace(layer, backward=True):
        loss = layer(torch.randn(4, 8)).sum().detach()
        flag = loss.isnan().float()
        assert flag.item() == 0
        flag.add_(loss)
        assert flag.item() == 1
        flag.copy_(loss.isinf())
        assert flag.item() == 0

"""Losses: outputs as PyTorch's, costs those of loops over the elements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare
from tests.rules.scalars import Number, Tally, total

if TYPE_CHECKING:
    from collections.abc import Callable

aten = torch.ops.aten

ELEMENTWISE = (
    F.mse_loss,
    F.l1_loss,
    F.smooth_l1_loss,
    F.huber_loss,
    F.soft_margin_loss,
    F.binary_cross_entropy,
    F.binary_cross_entropy_with_logits,
    F.kl_div,
    F.poisson_nll_loss,
)
reductions = pytest.mark.parametrize("reduction", ["none", "mean", "sum"])


@reductions
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_elementwise_outputs(reduction: str, dtype: torch.dtype) -> None:
    x = torch.ones(2, 3, dtype=dtype)
    for y in (torch.ones(2, 3), torch.ones(3, 2).t(), torch.ones(2, 3).double()):
        for function in ELEMENTWISE:
            assert not compare(str(function), function, ((x, y), {"reduction": reduction}))
            assert not compare(str(function), function, ((y, x), {"reduction": reduction}))


def test_operators_that_broadcast() -> None:
    x, y = torch.ones(2, 3), torch.ones(3, 2).t()
    for reduction in (0, 1, 2):
        for a, b in ((x, torch.ones(3)), (torch.ones(3), x), (x, torch.ones(4)), (y, x), (x, y)):
            for loss in (aten.mse_loss, aten.smooth_l1_loss, aten.huber_loss):
                assert not compare(str(loss), loss, ((a, b, reduction), {}))
            assert not compare("soft", aten.soft_margin_loss, ((a, b, reduction), {}))
            entropy = aten.binary_cross_entropy
            assert not compare("bce", entropy, ((a, b, None, reduction), {}))
            assert not compare("bce", entropy, ((a, a, b, reduction), {}))
            logits = aten.binary_cross_entropy_with_logits
            assert not compare("logits", logits, ((a, b, None, None, reduction), {}))
            assert not compare("logits", logits, ((a, a, b, b, reduction), {}))
    assert not compare("delta", aten.huber_loss, ((x, x, 1, 0.0), {}))
    assert not compare("beta", aten.smooth_l1_loss, ((x, x, 1, -1.0), {}))


@reductions
def test_classes(reduction: str) -> None:
    kwargs = {"reduction": reduction}
    x, right = torch.ones(2, 3).log_softmax(1), torch.tensor([0, 2])
    weight = torch.ones(3)
    for function in (F.nll_loss, F.cross_entropy, F.multi_margin_loss):
        for target in (right, right[:1], right.int(), right.float()):
            assert not compare("classes", function, ((x, target), kwargs))
        assert not compare("weighted", function, ((x, right), kwargs | {"weight": weight}))
        assert not compare("weights", function, ((x, right), kwargs | {"weight": weight[:2]}))
        assert not compare("one", function, ((x[0], right[0]), kwargs))
    images, labels = torch.ones(2, 3, 4, 5), torch.zeros(2, 4, 5, dtype=torch.int64)
    for target in (labels, labels[:1], labels.int()):
        assert not compare("images", F.nll_loss, ((images, target), kwargs))
        assert not compare("images", F.cross_entropy, ((images, target), kwargs))
    smooth = kwargs | {"label_smoothing": 0.1}
    assert not compare("smooth", F.cross_entropy, ((x, right), smooth))
    assert not compare("probabilities", F.cross_entropy, ((x, torch.ones(2, 3)), kwargs))


@reductions
def test_ctc(reduction: str) -> None:
    x = torch.ones(10, 2, 5).log_softmax(2)
    targets = torch.ones(2, 4, dtype=torch.int64)
    for lengths in ((10, 8), (4, 3)), (torch.tensor([10, 8]), torch.tensor([4, 3])):
        assert not compare("ctc", F.ctc_loss, ((x, targets, *lengths), {"reduction": reduction}))


def test_gradient_outputs() -> None:
    g, x, y = torch.tensor(1.0), torch.ones(2, 3), torch.ones(3, 2).t()
    for self, target in ((x, y), (y, x)):
        for backward in (aten.mse_loss_backward, aten.soft_margin_loss_backward):
            assert not compare("gradient", backward, ((g, self, target, 1), {}))
        for bounded in (aten.smooth_l1_loss_backward, aten.huber_loss_backward):
            assert not compare("gradient", bounded, ((g, self, target, 1, 1.0), {}))
        backward = aten.binary_cross_entropy_backward
        assert not compare("gradient", backward, ((g, self, target, None, 1), {}))
        right = torch.tensor([0, 2])
        backward = aten.nll_loss_backward
        assert not compare("gradient", backward, ((g, self, right, None, 1, -100, g), {}))
        backward = aten.multi_margin_loss_backward
        assert not compare("gradient", backward, ((g, self, right, 1, 1), {}))
    images, labels = torch.ones(2, 3, 4, 5), torch.zeros(2, 4, 5, dtype=torch.int64)
    backward = aten.nll_loss2d_backward
    assert not compare("gradient", backward, ((g, images, labels, None, 1, -100, g), {}))


def squared(x: Number, y: Number) -> Number:
    difference = x - y
    return difference * difference


def smooth(x: Number, y: Number) -> Number:
    difference = abs(x - y)
    _ = difference.choose("beta")
    return 0.5 * difference * difference / "beta"


def huber(x: Number, y: Number) -> Number:
    difference = abs(x - y)
    _ = difference.choose("delta")
    return 0.5 * difference * difference


def soft_margin(x: Number, y: Number) -> Number:
    return (-y * x).exp().log1p()


def cross_entropy(x: Number, y: Number) -> Number:
    return (y - 1) * (-x).log1p().choose(-100) - y * x.log().choose(-100)


def logits(x: Number, y: Number) -> Number:
    return (1 - y) * x - (x.choose(0) - (-abs(x)).exp().log1p())


@pytest.mark.parametrize(
    ("loop", "function"),
    [
        (squared, F.mse_loss),
        (smooth, F.smooth_l1_loss),
        (huber, F.huber_loss),
        (soft_margin, F.soft_margin_loss),
        (cross_entropy, F.binary_cross_entropy),
        (logits, F.binary_cross_entropy_with_logits),
    ],
)
def test_elementwise_costs(
    loop: Callable[[Number, Number], Number], function: Callable[..., Tensor]
) -> None:
    tally = Tally()
    xs, ys = tally.row(6), tally.row(6)
    losses = [loop(x, y) for x, y in zip(xs, ys, strict=True)]
    none = cost_of(function, meta(2, 3), meta(2, 3), reduction="none")
    assert none.kinds == tally.kinds
    assert (none.bytes_read, none.bytes_written) == (48, 24)
    whole = total(losses, xs[0])
    assert cost_of(function, meta(2, 3), meta(2, 3), reduction="sum").kinds == tally.kinds
    _ = whole / 6
    mean = cost_of(function, meta(2, 3), meta(2, 3))
    assert mean.kinds == tally.kinds
    assert (mean.bytes_read, mean.bytes_written) == (48, 4)


def test_weights() -> None:
    x, y, w = meta(2, 3), meta(2, 3), meta(3)
    function = F.binary_cross_entropy_with_logits
    plain = cost_of(function, x, y, reduction="none").kinds
    weighted = cost_of(function, x, y, w, reduction="none").kinds
    assert weighted == plain | {"multiply": plain["multiply"] + 6}
    positive = cost_of(function, x, y, pos_weight=w, reduction="none").kinds
    tally = Tally()
    for number in tally.row(6):
        _ = number * ((number - 1) * number + 1)
    assert {
        kind: n - plain[kind] for kind, n in positive.items() if n != plain[kind]
    } == tally.kinds


def test_only_the_right_class_is_read() -> None:
    x, right = meta(5, 7), torch.zeros(5, dtype=torch.int64)
    none = cost_of(F.nll_loss, x, right, reduction="none")
    assert none.kinds == {"add": 5}
    assert (none.bytes_read, none.bytes_written) == (5 * 4 + 5 * 8, 5 * 4 + 4)
    assert cost_of(F.nll_loss, x, right).kinds == {"add": 10, "division": 1}
    weighted = cost_of(F.nll_loss, x, right, meta(7))
    # Both the losses and the weights are summed.
    assert weighted.kinds == {"add": 15, "multiply": 5, "division": 1}
    assert weighted.bytes_read == 5 * 4 + 5 * 8 + 5 * 4
    images = cost_of(F.nll_loss, meta(2, 7, 3, 4), torch.zeros(2, 3, 4, dtype=torch.int64))
    assert images.kinds == {"add": 48, "division": 1}
    assert images.bytes_read == 24 * (4 + 8)
    g = meta()
    gradient = cost_of(aten.nll_loss_backward, g, x, right, None, 1, -100, meta())
    assert gradient.kinds == {"add": 5, "division": 5}
    assert gradient.bytes_read == 5 * 8 + 2 * 4
    assert gradient.bytes_written == 5 * 7 * 4


def test_cross_entropy_is_its_parts() -> None:
    x, right = meta(5, 7), torch.zeros(5, dtype=torch.int64)
    parts: dict[str, int] = dict(cost_of(F.log_softmax, x, 1).kinds)
    for kind, count in cost_of(F.nll_loss, x, right).kinds.items():
        parts[kind] = parts.get(kind, 0) + count
    assert cost_of(F.cross_entropy, x, right).kinds == parts


@pytest.mark.parametrize("p", [1, 2])
def test_margins(p: int) -> None:
    tally = Tally()
    rows = tally.rows(5, 7)
    losses = []
    for right, *wrong in rows:
        margins = []
        for number in wrong:
            margin = (1 - right) + number
            _ = margin.choose(0)
            margins.append(margin * margin if p == 2 else margin)
        losses.append(total(margins, right) / 7)
    _ = total(losses, rows[0][0]) / 5
    targets = torch.zeros(5, dtype=torch.int64)
    assert cost_of(F.multi_margin_loss, meta(5, 7), targets, p).kinds == tally.kinds


def test_gradient_costs() -> None:
    g, x, y = meta(), meta(2, 3), meta(2, 3)
    tally = Tally()
    for number in tally.row(6):
        _ = (number - "y") * "2 / n" * "g"
    cost = cost_of(aten.mse_loss_backward, g, x, y, 1)
    assert cost.kinds == tally.kinds
    assert (cost.bytes_read, cost.bytes_written) == (52, 24)
    tally = Tally()
    for number in tally.row(6):
        _ = (number - "y") * "g" / ((1 - number) * number).choose("epsilon")
    assert cost_of(aten.binary_cross_entropy_backward, g, x, y, None, 1).kinds == tally.kinds
    tally = Tally()
    for number in tally.row(6):
        z = (-(number * "y")).exp()
        _ = z * "y" * "1 / n" * "g" / (1 + z)
    assert cost_of(aten.soft_margin_loss_backward, g, x, y, 1).kinds == tally.kinds


def test_ctc_cost() -> None:
    tally = Tally()
    # Every step of every sequence has 2 L + 1 states for L labels.
    for steps, labels in ((10, 4), (8, 3)):
        for number in tally.row(steps * (2 * labels + 1)):
            top = number.choose("b").choose("c")
            powers = [(number - top).exp() for _ in range(3)]
            _ = ((powers[0] + powers[1]) + powers[2]).log() + top + "log_prob"
    targets = torch.ones(2, 4, dtype=torch.int64)
    cost: Any = cost_of(aten._ctc_loss, meta(10, 2, 5), targets, [10, 8], [4, 3])
    assert cost.kinds == tally.kinds


def test_ctc_cost_of_lengths_in_tensors() -> None:
    steps = [1 + i % 10 for i in range(100)]
    labels = [i % 3 for i in range(100)]
    tally = Tally()
    states = sum(t * (2 * n + 1) for t, n in zip(steps, labels, strict=True))
    for number in tally.row(states):
        top = number.choose("b").choose("c")
        powers = [(number - top).exp() for _ in range(3)]
        _ = ((powers[0] + powers[1]) + powers[2]).log() + top + "log_prob"
    targets = torch.ones(100, 4, dtype=torch.int64)
    lengths = torch.tensor(steps), torch.tensor(labels)
    cost = cost_of(aten._ctc_loss.Tensor, meta(10, 100, 5), targets, *lengths)
    assert cost.kinds == tally.kinds
    # The gradient as of lengths in lists; of unknown ones as if all were full.
    kept = meta(100), meta(10, 100, 5), targets
    found = meta(100), meta(10, 100, 9)
    gradient = aten._ctc_loss_backward
    by_tensors = cost_of(gradient.Tensor, *kept, *lengths, *found, 0)
    by_lists = cost_of(gradient, *kept, steps, labels, *found, 0)
    assert by_tensors.kinds == by_lists.kinds
    unknown = cost_of(gradient.Tensor, *kept, *(t.to("meta") for t in lengths), *found, 0)
    assert unknown.kinds == cost_of(gradient, *kept, [10] * 100, [4] * 100, *found, 0).kinds

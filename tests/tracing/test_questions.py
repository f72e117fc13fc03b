"""Values that nobody knows, asked for inside of modules: who answers, and what the error says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import nnprof
from nnprof.errors import DataDependentError, NnprofError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnprof.tracing.questions import Question


class Asks(nn.Module):
    """Asks two questions of what its weights make, and multiplies for each that is answered yes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        if h.sum() > 3:
            x = x @ h.T @ x
        if (h < 100).all():
            x = x @ h.T @ x
        return x


FIRST, SECOND = 4 * 8 * 4 + 4 * 4 * 8, 4 * 8 * 4 + 4 * 4 * 8
BASE = 4 * 8 * 8


def macs(assume: Any) -> int:
    return nnprof.measure(nn.Sequential(Asks()), (4, 8), assume=assume).macs


@pytest.mark.parametrize(
    ("assume", "expected"),
    [
        (False, BASE),
        (True, BASE + FIRST + SECOND),
        ([True, False], BASE + FIRST),
        ({"0": [False, True]}, BASE + SECOND),
        ({"0": [True, None], "": False}, None),
        ({"0": lambda q: q.n == 2}, BASE + SECOND),
        (lambda q: q.operator == "aten::gt", BASE + FIRST),
        ({"": lambda q: q.dtype == "bool" and q.path == "0"}, BASE + FIRST + SECOND),
    ],
)
def test_answers_by_question(assume: Any, expected: int | None) -> None:
    if expected is None:
        with pytest.raises(DataDependentError, match="number 2"):
            macs(assume)
    else:
        assert macs(assume) == expected


def test_a_function_is_told_of_each_question() -> None:
    questions: list[Question] = []

    def answer(question: Question) -> bool:
        questions.append(question)
        return True

    macs(answer)
    first, second = questions
    assert (first.path, first.n, first.operator, first.dtype) == ("0", 1, "aten::gt", "bool")
    assert first.text == "aten::gt of aten::sum of an activation (4, 8) with 3"
    assert first.file == __file__
    assert second.n == 2
    assert second.line == first.line + 2
    assert second.text == "aten::all of aten::lt of an activation (4, 8) with 100"
    assert second.shape == (4, 8)


def test_the_error_says_what_is_asked_where_and_what_to_pass() -> None:
    with pytest.raises(DataDependentError) as caught:
        nnprof.measure(nn.Sequential(Asks()), (4, 8))
    text = str(caught.value)
    line = Asks.forward.__code__.co_firstlineno + 2
    assert "aten::gt of aten::sum of an activation (4, 8) with 3" in text
    assert "module '0' (Asks)" in text
    assert f"{__file__}:{line}" in text
    assert 'assume={"0": True or False}' in text
    assert "inputs=" not in text


class AsksInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if (x.abs().amax() > 0.5) else x


def test_a_question_of_the_inputs_alone_is_told_by_real_ones() -> None:
    with pytest.raises(DataDependentError, match="inputs= with real ones"):
        nnprof.measure(AsksInput(), (4, 8))
    assert nnprof.measure(AsksInput(), inputs=torch.ones(4, 8)).macs == 4 * 8 * 8
    assert nnprof.measure(AsksInput(), inputs=torch.zeros(4, 8)).macs == 0


@pytest.mark.parametrize("assume", ["yes", {"0": "x"}, [object()], {"": lambda q: "maybe"}])
def test_what_is_no_answer_is_refused(assume: Any) -> None:
    with pytest.raises(nnprof.errors.InputError, match="assume"):
        macs(assume)


def test_what_an_answering_function_raises_comes_through() -> None:
    def answer(question: Question) -> bool:
        raise KeyError("no idea")

    with pytest.raises(KeyError, match="no idea") as caught:
        macs(answer)
    assert isinstance(caught.value, NnprofError)


class Strided(nn.Module):
    """Takes care that the first is never the largest, and steps by the index of the largest."""

    def __init__(self, made: str) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.made = made

    def forward(self, x: Tensor) -> Tensor:
        score = self.layer(x).mean((0, 2))
        score[0] = -torch.inf
        indices = {
            "topk": lambda: score.topk(1).indices,
            "argmax": lambda: score.argmax(),
            "sort": lambda: score.sort(descending=True).indices[1],
            "shifted": lambda: score.argmax() % 4 + 1,
        }[self.made]()
        return self.layer(x[:, :: indices.item()])


@pytest.mark.parametrize("made", ["topk", "argmax", "sort", "shifted"])
def test_a_guessed_index_is_no_special_one_and_may_be_answered(made: str) -> None:
    x = torch.randn(2, 12, 8)
    guessed = nnprof.measure(Strided(made), inputs=x)
    assert any("spread evenly" in line for line in guessed.assumptions)
    for period in (2, 5):
        told = nnprof.measure(Strided(made), inputs=x, assume={"": period})
        assert told.macs == 2 * (12 + -(-12 // period)) * 8 * 8
        assert any("as the caller said" in line for line in told.assumptions)


class FailsByGuess(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        number = self.layer(x).flatten().argmax().item()
        if number != 3:
            raise ValueError("only 3 will do")
        return x


def test_an_error_tells_of_the_guesses_before_it() -> None:
    model = nn.Sequential(FailsByGuess())
    with pytest.raises(ValueError, match="only 3") as caught:
        nnprof.measure(model, (4, 8))
    assert isinstance(caught.value, NnprofError)
    notes = " ".join(caught.value.__notes__)
    assert "aten::argmax in module '0' (FailsByGuess): indices are spread evenly" in notes
    assert 'assume={"0": VALUE}' in notes
    assert nnprof.measure(model, (4, 8), assume={"0": 3}).macs == 4 * 8 * 8


class LooksUp(nn.Module):
    """Looks up what is the most likely in a table that has fewer rows, but for a special one."""

    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.layer, self.table, self.masked = nn.Linear(8, 64), nn.Embedding(4, 8), masked

    def forward(self, x: Tensor) -> Tensor:
        codes = self.layer(x).argmax(-1)
        if self.masked:
            codes = torch.where(codes == 63, 0, codes.masked_fill(codes == 62, 1))
        return self.layer(self.table(codes + 100))


@pytest.mark.parametrize("masked", [False, True])
def test_a_guessed_index_that_leaves_a_table_is_no_error(masked: bool) -> None:
    profile = nnprof.measure(LooksUp(masked), (5, 8))
    assert profile.macs == 2 * 5 * 8 * 64
    assert any("spread evenly" in line for line in profile.assumptions)
    with pytest.raises(nnprof.errors.OutOfRangeError, match="row 100"):
        nnprof.measure(nn.Embedding(4, 8), inputs=torch.tensor([100]))


class Routes(nn.Module):
    """Sends each token through its expert by sorting them, without asking for a value."""

    def forward(self, x: Tensor) -> Tensor:
        return x[x.argmax(-1).argsort()]


@pytest.mark.parametrize("tokens", [64, 40_000])
def test_a_guess_is_listed_whatever_the_size(tokens: int) -> None:
    profile = nnprof.measure(Routes(), (tokens, 8))
    assert any("aten::argmax" in line for line in profile.assumptions)
    with pytest.raises(nnprof.errors.InputError, match="strict"):
        nnprof.measure(Routes(), (tokens, 8), strict=True)


def test_a_value_above_the_limits_says_which_to_raise() -> None:
    def asks() -> int:
        return int(torch.arange(1000).sum())

    with (
        pytest.raises(DataDependentError, match=r"nnprof\.trace\(model, integer_limit="),
        nnprof.trace(integer_limit=10),
    ):
        asks()
    with nnprof.trace(integer_limit=1000):
        assert asks() == 499_500
    with nnprof.trace(integer_limit=10, assume=5):
        assert asks() == 5


def test_what_is_known_decides_beside_the_unknown() -> None:
    def known(x: Tensor) -> Tensor:
        unknown = (x > 0).any()
        no, yes = torch.tensor(False), torch.tensor(True)
        assert not (unknown & no)
        assert not torch.logical_and(no, unknown)
        assert unknown | yes
        assert torch.logical_or(yes, x > 0).all()
        return x

    nnprof.measure(known, (30, 30))


def test_a_format_asks_for_the_value() -> None:
    def told(x: Tensor) -> Tensor:
        texts.append(f"{x.mean():.2f}|{torch.tensor(0.5):.2f}")
        return x

    texts: list[str] = []
    nnprof.measure(told, (30, 30), assume=0.25)
    assert texts == ["0.25|0.50"]
    with pytest.raises(DataDependentError, match="aten::mean"):
        nnprof.measure(told, (30, 30))


def test_a_tensor_equals_itself() -> None:
    weight = torch.ones(8, 8)

    def compares(x: Tensor) -> Tensor:
        y = x * 2
        return y @ weight if torch.equal(y, y) else y

    profile = nnprof.measure(compares, inputs=torch.empty(4, 8, device="meta"))
    assert profile.macs == 4 * 8 * 8
    assert any("compared with itself" in one for one in profile.assumptions)


FINITE: dict[str, Callable[[Tensor], Any]] = {
    "isfinite": lambda h: torch.isfinite(h).all(),
    "isnan": lambda h: not torch.isnan(h).any().item(),
    "isinf": lambda h: not (h.isposinf() | torch.isneginf(h)).any(),
    "norm": lambda h: torch.isfinite(h.norm()),
    "inverted": lambda h: not (~torch.isfinite(h)).any(),
    "counted": lambda h: torch.isfinite(h).sum() == h.numel(),
    "none counted": lambda h: torch.count_nonzero(h.isnan()) == 0,
    "product": lambda h: torch.isfinite(h).prod(),
    "unequal to itself": lambda h: not (h != h).any(),
    "below infinity": lambda h: (h.abs() < float("inf")).all(),
}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("asked", FINITE)
def test_numbers_are_taken_as_finite(asked: str, backward: bool) -> None:
    class Checks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            h: Tensor = self.first(x)
            return self.second(h) if FINITE[asked](h) else h

    model = Checks()
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        loss = model(torch.randn(4, 8)).sum()
        if backward:
            loss.backward()
    profile = nnprof.measure(model, (4, 8), backward=backward)
    assert 2 * profile.macs == counter.get_total_flops()
    assert profile.assumptions
    other = nnprof.measure(model, (4, 8), assume=asked.startswith(("isnan", "isinf", "in", "un")))
    assert other.macs == 4 * 8 * 8  # who calls may say otherwise


def test_half_precision_is_clamped_where_it_overflows() -> None:
    """As transformers has it."""

    class Clamps(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            h = super().forward(x)
            if h.dtype == torch.float16 and torch.isinf(h).any():
                h = h.clamp(-65504, 65504)
            return h

    profile = nnprof.measure(Clamps(8, 8).half(), (4, 8))
    assert "aten::clamp" not in profile.coverage.ruled


def test_numbers_read_at_once_are_asked_for_one_by_one() -> None:
    class Reads(nn.Linear):
        how = "tolist"

        def forward(self, x: Tensor) -> Tensor:
            h = super().forward(x)
            times = h[0, :2].tolist() if self.how == "tolist" else h[0, :2].detach().numpy()
            for _ in range(int(sum(times))):
                h = h @ h.mT
            return h

    for how in ("tolist", "numpy"):
        model = Reads(4, 4)
        model.how = how
        base = 4 * 4 * 4
        with pytest.raises(DataDependentError, match=r"test_questions\.py:\d+\. Pass assume="):
            nnprof.measure(model, (4, 4))
        assert nnprof.measure(model, (4, 4), assume=[1, 2]).macs == base * 4


FACTORIZED: dict[str, Callable[[Tensor], Any]] = {
    "cholesky": lambda a: not torch.linalg.cholesky_ex(a).info.any(),
    "lu": lambda a: torch.linalg.lu_factor_ex(a).info == 0,
    "inverse": lambda a: torch.linalg.inv_ex(a).info.eq(0).all(),
    "solution": lambda a: int(torch.linalg.solve_ex(a, a).info) == 0,
    "ldl": lambda a: not torch.linalg.ldl_factor_ex(a).info,
}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("asked", FACTORIZED)
def test_matrices_are_taken_to_have_their_factorization(asked: str, backward: bool) -> None:
    """As Gaussian processes ask, which try again with more on the diagonal."""

    class Tries(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            h = super().forward(x)
            a = h.mT @ h + 10 * torch.eye(8)
            return h if FACTORIZED[asked](a) else h @ h.mT @ h

    model = Tries(8, 8)
    profile = nnprof.measure(model, (6, 8), backward=backward)
    linear, product = 6 * 8 * 8, 8 * 6 * 8
    calls = [one for one in profile.ops.to_pandas().itertuples() if one.phase == "forward"]
    products = sum(one.macs for one in calls if one.op in ("aten::linear", "aten::matmul"))
    assert products == linear + product
    assert any("linalg_" in one for one in profile.assumptions)

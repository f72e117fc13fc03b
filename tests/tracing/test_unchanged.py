"""A model, its inputs and the process are after a measure what they were before."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import nnprof
from tests.helpers.restless import restless
from tests.helpers.unchanged import State, picture


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_nothing_changes(train: bool, grad: bool) -> None:
    model, x = restless(train), torch.randn(2, 3, 8, 8)
    with torch.set_grad_enabled(grad):
        state = State(model, [x])
        for _ in range(2):
            nnprof.measure(model, inputs=x)
            state.assert_same()


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("error", [ValueError("half way"), RuntimeError("out of luck")])
def test_nothing_changes_when_forward_raises(train: bool, error: Exception) -> None:
    model, x = restless(train, error), torch.randn(2, 3, 8, 8)
    state = State(model, [x])
    with pytest.raises(type(error), match=str(error)) as caught:
        nnprof.measure(model, inputs=x)
    assert caught.value.__cause__ is error
    state.assert_same()


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_nothing_changes_when_interrupted(train: bool, error: BaseException) -> None:
    model, x = restless(train, error), torch.randn(2, 3, 8, 8)
    state = State(model, [x])
    with pytest.raises(type(error)):
        nnprof.measure(model, inputs=x)
    state.assert_same()


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise LookupError("the answer")


def test_the_models_own_error_says_where_it_was_raised() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Raises()))
    with pytest.raises(LookupError, match="the answer") as caught:
        nnprof.measure(model, (1, 2))
    assert "1.0" in "".join(caught.value.__notes__)


def test_a_measure_works_after_one_that_failed() -> None:
    model = nn.Sequential(nn.Linear(20, 20), nn.ReLU())
    expected = nnprof.measure(model, (4, 20)).macs
    for _ in range(3):
        with pytest.raises(nnprof.NnprofError):
            nnprof.measure(model, (4, 21))
        assert nnprof.measure(model, (4, 20)).macs == expected


def test_real_outputs_are_the_same_before_and_after() -> None:
    model, x = restless(False), torch.randn(2, 3, 8, 8)
    model.forward = lambda x: model.head(model.norm(model.conv(x)).mean((2, 3)))  # type: ignore[method-assign]
    before = model(x)
    nnprof.measure(model, inputs=x)
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)


def test_inputs_in_any_nesting_stay_as_they_are() -> None:
    @dataclass
    class Batch:
        image: Tensor
        sizes: dict[str, list[Tensor]]

    class InPlace(nn.Module):
        def forward(self, batch: Batch, *, mask: Tensor) -> Tensor:
            batch.image.zero_()
            batch.sizes["all"][0] += 1
            mask.logical_not_()
            return batch.image * mask

    batch = Batch(torch.randn(4, 20), {"all": [torch.arange(30), torch.randn(30)]})
    mask = torch.ones(4, 20, dtype=torch.bool)
    state = State(InPlace(), [batch.image, *batch.sizes["all"], mask])
    nnprof.measure(state.model, inputs=batch, kwargs={"mask": mask})
    state.assert_same()


def test_a_cache_that_is_passed_in_stays_as_it_is() -> None:
    class Cached(nn.Module):
        def forward(self, x: Tensor, cache: dict[str, Tensor], seen: list[Tensor]) -> Tensor:
            cache["keys"] = torch.cat((cache["keys"], x))
            seen.append(x)
            return cache["keys"] * 2

    cache, seen = {"keys": torch.randn(3, 20)}, [torch.randn(2)]
    before = picture(cache), picture(seen)
    nnprof.measure(Cached(), inputs=(torch.randn(1, 20), cache, seen))
    assert (picture(cache), picture(seen)) == before


def test_aliases_of_what_is_written_see_the_write_and_keep_their_values() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.counts = nn.Buffer(torch.arange(6))

        def forward(self, x: Tensor) -> Tensor:
            view = self.counts[2:4]
            view += 10
            assert [int(count) for count in self.counts] == [0, 1, 12, 13, 4, 5]
            assert [int(count) for count in view] == [12, 13]
            return x.repeat(int(self.counts[2]), 1)

    model = Writes()
    profile = nnprof.measure(model, (1, 20))
    assert profile[""].output_shapes == [[12, 20]]
    assert model.counts.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_gradient_and_its_graph_survive() -> None:
    model, x = nn.Linear(20, 5), torch.randn(4, 20, requires_grad=True)
    loss = model(x).sum()
    nnprof.measure(model, inputs=x)
    loss.backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, model.weight.sum(0).expand(4, 20))


def test_optimizer_and_hooks_on_tensors_survive() -> None:
    model = nn.Linear(20, 5)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(3, 20)).sum().backward()
    optimizer.step()
    seen: list[int] = []
    model.weight.register_hook(lambda grad: seen.append(1))
    before = picture(optimizer.state_dict())[1]
    nnprof.measure(model, (3, 20))
    assert [key for key, _ in before] == list(optimizer.state_dict())
    assert not seen
    model(torch.randn(3, 20)).sum().backward()
    assert seen == [1]


class Rotation:
    """Keeps a table, as some libraries' position embeddings do: it is no module."""

    def __init__(self) -> None:
        self.table: Tensor | None = None
        self.tables: dict[int, Tensor] = {}
        self.sizes: list[int] = []

    def __call__(self, x: Tensor) -> Tensor:
        if self.table is None:
            self.table = torch.outer(x[:, 0], x[0])
        self.tables[len(x)] = self.table
        self.sizes.append(len(x))
        return x * self.table


class Rotated(nn.Module):
    """Holds one."""

    def __init__(self) -> None:
        super().__init__()
        self.rotation = Rotation()

    def forward(self, x: Tensor) -> Tensor:
        return self.rotation(x)


@pytest.mark.parametrize("channels", [64, 3])  # with 3 the second layer refuses
def test_objects_that_modules_hold_are_put_back(channels: int) -> None:
    model = nn.Sequential(Rotated(), nn.Linear(channels, channels))
    rotation = model[0].rotation
    for _ in range(2):
        if channels == 64:
            assert nnprof.measure(model, (64, 64)).macs == 64 * 64 + 64**3
        else:
            with pytest.raises(RuntimeError):
                nnprof.measure(model, (64, 64))
        assert model[0].rotation is rotation
        assert vars(rotation) == {"table": None, "tables": {}, "sizes": []}

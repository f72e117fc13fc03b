"""Copies on the device: they share what their originals share, and nothing with them."""

from __future__ import annotations

import copy
import functools
import threading
import types
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnprof.timing.end_to_end.copies import DeviceCopies, reachable, storage_bytes

CPU = torch.device("cpu")


def copied(value: Any, *, inputs: bool = False) -> Any:
    return DeviceCopies(CPU).of(value, inputs=inputs)


def addresses(*values: Any) -> set[int]:
    tensors = [item for item in reachable(*values) if isinstance(item, Tensor)]
    return {tensor.data_ptr() for tensor in tensors if tensor.numel()}


class Tied(nn.Module):
    row: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.head = nn.Linear(4, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.same_storage = nn.Parameter(self.embedding.weight.detach(), requires_grad=False)
        self.register_buffer("row", self.embedding.weight.detach()[3])
        self.last: Tensor | None = None

    def forward(self, ids: Tensor) -> Tensor:
        self.last = self.head(self.embedding(ids))
        return self.last


@pytest.mark.parametrize("where", ["cpu", "meta"])
def test_tied_weights_stay_tied(where: str) -> None:
    with torch.device(where):
        model = Tied()
    copy = copied(model)
    assert copy.head.weight is copy.embedding.weight
    assert isinstance(copy.head.weight, nn.Parameter)
    assert copy.same_storage.data_ptr() == copy.embedding.weight.data_ptr()
    assert not copy.same_storage.requires_grad
    torch.testing.assert_close(copy.row, copy.embedding.weight[3].detach())
    if where == "cpu":
        assert not addresses(model) & addresses(copy)
        torch.testing.assert_close(copy.head.weight, model.head.weight)
    assert copy.row.device == CPU


def test_shared_storages_count_once() -> None:
    assert storage_bytes(Tied()) == 11 * 4 * 4
    with torch.device("meta"):
        assert storage_bytes(Tied()) == 11 * 4 * 4


def test_tensors_with_a_history_are_copied_without_it() -> None:
    model = Tied()
    model(torch.tensor([1, 2]))
    assert model.last is not None
    assert model.last.grad_fn is not None
    copy = copied(model)
    assert copy.last.grad_fn is None
    assert copy.last.requires_grad
    torch.testing.assert_close(copy.last, model.last)


def test_gradients_are_not_copied() -> None:
    model = nn.Linear(2, 2)
    model(torch.randn(1, 2)).sum().backward()
    assert copied(model).weight.grad is None
    assert model.weight.grad is not None


def test_layouts_are_kept() -> None:
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert copied(model).weight.stride() == model.weight.stride()
    sparse = torch.eye(3).to_sparse()
    torch.testing.assert_close(copied([sparse])[0], sparse)
    conjugated = torch.randn(3, dtype=torch.complex64).conj()
    torch.testing.assert_close(copied([conjugated])[0], conjugated)


def test_locks_modules_and_signatures_are_shared() -> None:
    class Holds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = [threading.Lock(), torch, types.MappingProxyType({1: 2})]

    model = Holds()
    assert all(a is b for a, b in zip(copied(model).held, model.held, strict=True))


@torch.library.custom_op("nnprof_copies::doubled", mutates_args=())
def doubled(x: Tensor) -> Tensor:
    return x * 2


@torch.jit.script
def scripted(x: Tensor) -> Tensor:
    return x + 1


def test_operators_are_shared_and_what_holds_them_is_not() -> None:
    model = nn.Linear(2, 2)
    model.held = [doubled, scripted, functools.partial(doubled, torch.ones(2))]  # type: ignore[assignment]
    copy = copied(model)
    assert copy.held[0] is doubled
    assert copy.held[1] is scripted
    assert copy.held[2].args[0] is not model.held[2].args[0]  # type: ignore[union-attr,index]
    assert copy.held[2]().tolist() == [2, 2]


class CopiesItself:
    def __init__(self, table: Tensor, copies: int = 0) -> None:
        self.table, self.copies, self.stream = table, copies, iter([1])

    def __deepcopy__(self, memo: dict[int, Any]) -> CopiesItself:
        return CopiesItself(copy.deepcopy(self.table, memo), self.copies + 1)


class Shares:
    def __init__(self) -> None:
        self.table = torch.ones(3)

    def __deepcopy__(self, memo: dict[int, Any]) -> Shares:
        return self


def test_objects_copy_as_they_say() -> None:
    model = Tied()
    model.held = [CopiesItself(model.row), Shares(), Shares()]  # type: ignore[assignment]
    made = copied(model)
    assert [made.held[0].copies, model.held[0].copies] == [1, 0]  # type: ignore[union-attr,index]
    assert made.held[0].table is made.row
    assert made.held[1] is model.held[1]  # type: ignore[index]


def test_modules_refer_to_each_other_in_the_copy() -> None:
    class Parent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
            self.second.__dict__["parent"] = self
            self.call, self.calls = functools.partial(self.note, 1), []  # type: ignore[var-annotated]
            self.first.register_forward_hook(self.note)

        def note(self, *args: Any) -> None:
            self.calls.append(args)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    model = Parent()
    made = copied(model)
    made(torch.ones(1, 2))
    made.call()
    assert made.second.parent is made
    assert (len(made.calls), len(model.calls)) == (2, 0)


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU])
def test_recurrent_layers_compute_the_same(make: Any) -> None:
    model, x = make(3, 4, num_layers=2), torch.randn(5, 2, 3)
    torch.testing.assert_close(copied(model)(x)[0], model(x)[0])


def test_scripted_modules_are_copied() -> None:
    model, x = torch.jit.script(nn.Linear(3, 4)), torch.randn(2, 3)
    copy = copied(model)
    assert copy.weight.data_ptr() != model.weight.data_ptr()
    torch.testing.assert_close(copy(x), model(x))


def test_lazy_modules_are_refused() -> None:
    with pytest.raises(ValueError, match="weight of a lazy module"):
        copied(nn.LazyLinear(3))


# Functions reach a model too.


def normalizes() -> Any:
    return nn.BatchNorm1d(2)


GLOBAL = normalizes()
X = torch.randn(4, 2)


def test_functions_run_over_copies_of_what_they_name() -> None:
    model, calls = normalizes(), []

    def inner(x: Tensor) -> Tensor:
        calls.append(1)
        return model(x)

    for function in (
        inner,
        lambda x: inner(x),
        lambda x: GLOBAL(x),
        lambda x, model=model: model(x),
        functools.partial(lambda model, x: model(x), model),
        model.forward,
    ):
        copy = copied(function)
        copy(X)
        copied(copy)(X)
    assert (model.num_batches_tracked, GLOBAL.num_batches_tracked, calls) == (0, 0, [])


def test_a_function_that_names_no_state_is_itself() -> None:
    assert copied(torch.relu) is torch.relu
    function = lambda x: torch.relu(x)  # noqa: E731
    assert copied(function) is function


def test_a_forward_put_in_place_of_another_runs_on_the_copy() -> None:
    model = normalizes()
    inner = model.forward
    model.forward = lambda x: inner(x) + model.weight
    copy = copied(model)
    with torch.no_grad():
        copy.weight.fill_(100.0)
    assert copy(X).amax() > 99
    assert (copy.num_batches_tracked, model.num_batches_tracked) == (1, 0)


def test_hooks_write_to_copies_of_what_they_name() -> None:
    model, seen = nn.Sequential(nn.Linear(2, 2)), []
    model[0].register_forward_hook(lambda module, args, output: seen.append(output))
    copy = copied(model)
    copy(X)
    assert seen == []
    (hook,) = copy[0]._forward_hooks.values()
    assert len(hook.__closure__[0].cell_contents) == 1


def test_functions_share_their_variables_as_before() -> None:
    count = 0
    weight = torch.ones(1)

    def step(x: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return x * weight

    first, second = copied((step, lambda: (count, weight)))
    first(X)
    assert second()[0] == 1
    assert count == 0


# Values for tensors that hold none.


def test_a_meta_model_gets_values_of_the_usual_kind() -> None:
    with torch.device("meta"):
        model = nn.Sequential(
            nn.Conv2d(64, 128, 3),
            nn.BatchNorm2d(128),
            nn.LayerNorm(200),
            nn.Embedding(1000, 64),
            nn.Linear(400, 300).to(torch.bfloat16),
        )
    copies = DeviceCopies(CPU)
    conv, batch_norm, layer_norm, embedding, linear = copies.of(model)
    assert conv.weight.std().item() == pytest.approx((64 * 9) ** -0.5, rel=0.05)
    assert (batch_norm.running_var == 1).all()
    assert (batch_norm.running_mean == 0).all()
    assert batch_norm.num_batches_tracked == 0
    assert layer_norm.weight.mean().item() == pytest.approx(1.0, abs=0.01)
    assert embedding.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert linear.weight.float().std().item() == pytest.approx(400**-0.5, rel=0.05)
    assert linear.bias.float().std().item() == pytest.approx(0.02, rel=0.2)
    assert copies.notes == ("weights are random",)


def test_buffers_that_say_what_they_are_get_it() -> None:
    class Rotary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("inv_freq", torch.empty(8), persistent=False)
            self.register_buffer("position_ids", torch.empty(1, 6, dtype=torch.int64))
            self.register_buffer("mask", torch.empty(2, 2, dtype=torch.bool))
            self.register_buffer("freqs_cis", torch.empty(3, dtype=torch.complex64))
            self.register_buffer("index", torch.empty(4, dtype=torch.int32))

    with torch.device("meta"):
        model = Rotary()
    copies = DeviceCopies(CPU)
    copy = copies.of(model)
    torch.testing.assert_close(copy.inv_freq, 10_000 ** (-torch.arange(8) / 8))
    assert copy.position_ids.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert copy.mask.all()
    assert copy.freqs_cis.isfinite().all()
    assert copy.index.tolist() == [0, 0, 0, 0]
    assert "inv_freq (frequencies)" in copies.notes[0]


def test_real_and_meta_may_be_mixed() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, device="meta"))
    copy = copied(model)
    torch.testing.assert_close(copy[0].weight, model[0].weight)
    assert copy(torch.randn(2, 3)).isfinite().all()


def test_inputs_that_hold_no_values_get_some() -> None:
    copies = DeviceCopies(CPU)
    given = {
        "image": torch.empty(100, 100, device="meta"),
        "nested": [(torch.empty(1000, dtype=torch.int64, device="meta"),)],
        "mask": torch.empty(5, dtype=torch.bool, device="meta"),
    }
    made = copies.of(given, inputs=True)
    assert made["image"].std().item() == pytest.approx(1, rel=0.05)
    assert made["nested"][0][0].unique().tolist() == [0, 1]
    assert made["mask"].all()
    assert copies.notes == ("integer inputs that hold no values are 0 and 1",)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, torch.uint16, torch.float64])
def test_narrow_and_wide_dtypes_are_filled(dtype: torch.dtype) -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.empty(8, 8, dtype=dtype, device="meta"), requires_grad=False)
    assert copied(model).weight.dtype == dtype


def test_large_tensors_repeat_what_was_drawn() -> None:
    with torch.device("meta"):
        model = nn.Linear(2100, 2100)
    weight = copied(model).weight.detach().flatten()
    assert weight.count_nonzero() > 0.999 * weight.numel()
    assert (weight[:100] == weight[4_194_301:][:100]).all()


def test_the_same_values_each_time() -> None:
    with torch.device("meta"):
        model = nn.Linear(20, 20)
    torch.testing.assert_close(copied(model).weight, copied(model).weight, rtol=0, atol=0)

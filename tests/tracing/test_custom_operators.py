"""Costs of operators of one's own: rules in Python, and the formulas that torch itself knows."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torch.utils import flop_counter
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

import nnprof
from tests.rules.costs import meta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.alone import Starter

NAMESPACE = "nnprof_tests"
_numbers = itertools.count()


def product(x: Tensor, weight: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    out = x @ weight * scale
    return out if bias is None else out + bias


def custom_product() -> Any:
    """A new operator at each call, for what is registered for one stays; x @ weight + bias."""
    name = f"{NAMESPACE}::product{next(_numbers)}"

    @torch.library.custom_op(name, mutates_args=())
    def operator(
        x: Tensor, weight: Tensor, bias: Tensor | None = None, *, scale: float = 1.0
    ) -> Tensor:
        return product(x, weight, bias, scale)

    @operator.register_fake
    def _(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
        return x.new_empty(x.shape[0], weight.shape[1])

    return getattr(torch.ops.nnprof_tests, name.partition("::")[2])


@pytest.fixture(autouse=True)
def _formulas_as_they_were() -> Iterator[None]:
    before = dict(flop_counter.flop_registry)
    yield
    flop_counter.flop_registry.clear()
    flop_counter.flop_registry.update(before)


def profile_of(function: Any, *args: Any, **kwargs: Any) -> nnprof.Profile:
    with torch.no_grad(), nnprof.trace() as running:
        function(*args, **kwargs)
    return running.profile()


def real_flops(function: Any, *args: Any, **kwargs: Any) -> int:
    """FlopCounterMode's number of the real run."""
    real = [torch.randn(a.shape) if isinstance(a, Tensor) else a for a in args]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        function(*real, **kwargs)
    return int(counter.get_total_flops())


def test_a_formula_of_torch_is_honoured() -> None:
    operator = custom_product()
    generic = profile_of(operator, meta(4, 5), meta(5, 6))
    assert generic.macs == 0
    assert generic.coverage.generic

    @register_flop_formula(operator)
    def formula(x: Any, weight: Any, bias: Any = None, *, out_shape: Any, scale: Any = 1.0) -> int:
        assert (bias is None) == (scale == 1.0)
        return int(2 * x[0] * weight[0] * out_shape[1])

    profile = profile_of(operator, meta(4, 5), meta(5, 6))
    assert profile.macs == 4 * 5 * 6
    assert profile.flops == real_flops(operator, meta(4, 5), meta(5, 6)) == 2 * 4 * 5 * 6
    assert profile.bytes == generic.bytes == 4 * (4 * 5 + 5 * 6 + 4 * 6)
    name = str(operator).replace(".", "::")
    assert profile.coverage.ruled == {name: 1}
    assert not profile.coverage.generic
    assert list(profile.ops["ruled"]) == [True]
    with_bias = profile_of(operator, meta(4, 5), meta(5, 6), meta(6), scale=2.0)
    assert with_bias.macs == 4 * 5 * 6
    assert nnprof.measure(operator, [(4, 5), (5, 6)], strict=True).macs == 4 * 5 * 6


def test_a_formula_gets_what_flop_counter_mode_passes() -> None:
    operator = custom_product()
    seen: list[Any] = []

    @register_flop_formula(operator, get_raw=True)
    def formula(*args: Any, out_val: Any, **kwargs: Any) -> int:
        tensors = [*args, out_val]
        assert all(isinstance(t, Tensor) for t in tensors)
        seen.append((len(args), [(t.shape, t.stride(), t.dtype) for t in tensors], kwargs))
        return 10

    transposed = torch.empty(7, 5, dtype=torch.float32).T
    for args, kwargs in [
        ((torch.ones(4, 5), torch.ones(5, 7)), {}),
        ((torch.ones(4, 5), transposed, torch.ones(7)), {"scale": 3.0}),
        ((torch.ones(1, 5).expand(4, 5), transposed, None), {"scale": 1.0}),
    ]:
        seen.clear()
        with torch.no_grad(), FlopCounterMode(display=False):
            operator(*args, **kwargs)
        assert profile_of(operator, *args, **kwargs).macs == 5
        assert seen[0] == seen[1]


def test_lists_and_several_outputs_reach_a_formula() -> None:
    name = f"{NAMESPACE}::rows{next(_numbers)}"

    @torch.library.custom_op(name, mutates_args=())
    def rows(parts: list[Tensor], sizes: list[int]) -> tuple[Tensor, Tensor]:
        return torch.cat(parts), torch.cat(parts)[: sizes[0]]

    @rows.register_fake
    def _(parts: list[Tensor], sizes: list[int]) -> tuple[Tensor, Tensor]:
        out = parts[0].new_empty(sum(p.shape[0] for p in parts), parts[0].shape[1])
        return out, out[: sizes[0]].clone()

    packet = getattr(torch.ops.nnprof_tests, name.partition("::")[2])

    @register_flop_formula(packet)
    def formula(parts: Any, sizes: Any, out_shape: Any) -> int:
        return int(sum(p[0] for p in parts) + sizes[0] + 1000 * out_shape[1][0])

    profile = profile_of(packet, [meta(2, 3), meta(4, 3)], [5])
    assert profile.flops == (2 + 4) + 5 + 1000 * 5
    assert profile.macs == profile.flops // 2


def test_no_formula_changes_what_an_operator_of_torch_costs() -> None:
    """Be there a rule for it or none, be the formula torch's or anybody's."""
    signal = meta(64)
    for operator, args in (
        (torch.ops.aten.mm, (meta(2, 3), meta(3, 4))),
        (torch.ops.aten.fft_fftfreq, (8,)),
        (torch.ops.aten._fft_r2c, (signal, [0], 0, True)),
        (torch.ops.prims.mul, (signal, signal)),
    ):
        before = profile_of(operator, *args)
        flop_counter.flop_registry.pop(operator, None)
        register_flop_formula(operator)(lambda *args, **kwargs: 1_000_000)
        after = profile_of(operator, *args)
        assert (after.macs, after.flops) == (before.macs, before.flops)
        assert after.coverage == before.coverage


def test_a_rule_goes_before_a_formula() -> None:
    operator = custom_product()
    register_flop_formula(operator)(lambda *args, **kwargs: 1000)
    name = str(operator).replace(".", "::")
    nnprof.register_rule(name)(lambda call: {"macs": 7})
    assert profile_of(operator, meta(4, 5), meta(5, 6)).macs == 7


def test_an_odd_number_is_kept_whole() -> None:
    operator = custom_product()
    register_flop_formula(operator)(lambda *args, **kwargs: 7)
    profile = profile_of(operator, meta(4, 5), meta(5, 6))
    assert (profile.macs, profile.flops) == (3, 7)


def test_what_a_formula_raises_names_it() -> None:
    operator = custom_product()

    @register_flop_formula(operator)
    def formula(x: Any, *args: Any, **kwargs: Any) -> int:
        return int(x[5])

    with pytest.raises(IndexError) as caught:
        profile_of(operator, meta(4, 5), meta(5, 6))
    assert str(operator).replace(".", "::") in caught.value.__notes__[-1]


@pytest.mark.parametrize("flops", [-2, 1.5, None, float("nan"), "many"])
def test_a_formula_must_count(flops: Any) -> None:
    operator = custom_product()
    register_flop_formula(operator)(lambda *args, **kwargs: flops)
    with pytest.raises(nnprof.NnprofError, match=r"flop formula of nnprof_tests::product\d+"):
        profile_of(operator, meta(4, 5), meta(5, 6))


@pytest.mark.parametrize(
    "counted", [None, 5, {"mac": 5}, {"macs": -1}, {"macs": 0.5}, {"flops": None}], ids=repr
)
def test_a_rule_must_count(counted: Any) -> None:
    operator = custom_product()
    nnprof.register_rule(str(operator).replace(".", "::"))(lambda call: counted)
    with pytest.raises(nnprof.NnprofError, match=r"rule of nnprof_tests::product\d+"):
        profile_of(operator, meta(4, 5), meta(5, 6))


def test_a_rule_counts_and_leaves_the_rest() -> None:
    operator = custom_product()
    calls = []

    @nnprof.register_rule(str(operator).replace(".", "::") + ".default")
    def cost(call: dict[str, Any]) -> dict[str, int]:
        calls.append(call)
        return {"macs": 120, "flops": 24, "bytes_written": 1}

    profile = profile_of(operator, meta(4, 5), meta(5, 6), scale=0.5)
    assert (profile.macs, profile.flops) == (120, 2 * 120 + 24)
    assert (profile.bytes_read, profile.bytes_written) == (4 * (4 * 5 + 5 * 6), 1)
    (call,) = calls
    assert [a["shape"] for a in call["arguments"][:2]] == [[4, 5], [5, 6]]
    assert call["arguments"][2:] == [None, 0.5]
    assert call["outputs"][0]["strides"] == [6, 1]


@pytest.mark.parametrize("name", ["product", "", "aten.mm"])
def test_a_rule_is_for_a_full_name(name: str) -> None:
    with pytest.raises(nnprof.NnprofError, match="mylib::op"):
        nnprof.register_rule(name)


def test_the_flop_counter_is_not_loaded_for_this(run_alone: Starter) -> None:
    code = (
        "import sys, torch, nnprof\n"
        "library = torch.library.Library('nnprof_tests', 'DEF')\n"
        "library.define('copy(Tensor x) -> Tensor')\n"
        "library.impl('copy', lambda x: torch.empty(3, device='meta'), 'Meta')\n"
        "with nnprof.trace() as running:\n"
        "    torch.ops.nnprof_tests.copy(torch.empty(3, device='meta'))\n"
        "assert running.profile().coverage.generic == {'nnprof_tests::copy': 1}\n"
        "sys.exit('torch.utils.flop_counter' in sys.modules)"
    )
    assert run_alone(code).returncode == 0


def define(schema: str, meta_kernel: Any) -> Any:
    """An operator that has a kernel for the meta device only, as long as the library lives."""
    made: Any = torch.library.Library
    library = made(f"{NAMESPACE}_defined", "DEF")
    library.define(schema)
    library.impl(schema.partition("(")[0], meta_kernel, "Meta")
    return library


def test_an_operator_that_takes_the_place_of_another_is_itself() -> None:
    """As in a notebook whose cell runs again: the old operator's memory may serve the new one."""
    x = torch.empty(30, 40, device="meta")
    for schema, args in [
        ("first(Tensor x) -> Tensor", (x,)),
        ("first(Tensor x, int times, Tensor y) -> Tensor", (x, 2, x[:15])),
        ("second(Tensor x, Tensor y) -> Tensor", (x, x[15:])),
    ] * 2:
        library = define(schema, lambda x, *rest: torch.empty_like(x))
        name = schema.partition("(")[0]
        namespace = torch._ops._OpNamespace(f"{NAMESPACE}_defined")
        profile = profile_of(getattr(namespace, name), *args)
        assert profile.coverage.generic == {f"{NAMESPACE}_defined::{name}": 1}
        shapes = [list(a.shape) for a in args if isinstance(a, Tensor)]
        assert profile.ops["input_shapes"][0] == shapes
        library._destroy()


def test_an_operator_without_a_cpu_kernel_needs_none() -> None:
    library = define("launched(Tensor x) -> Tensor", lambda x: x.new_empty(x.shape[0]))

    def function() -> Tensor:
        known = torch.zeros(3, 2)  # small and made of nothing unknown: otherwise computed
        out: Tensor = torch._ops._OpNamespace(f"{NAMESPACE}_defined").launched(known)
        assert out.shape == (3,)
        return out + 1

    assert profile_of(function).coverage.generic == {f"{NAMESPACE}_defined::launched": 1}
    library._destroy()

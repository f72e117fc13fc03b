"""List operators: outputs as PyTorch's, costs as of the operators that they do for each tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import nnprof
from tests.helpers.versions import TORCH
from tests.rules.costs import cost_of, meta
from tests.rules.coverage_cases import FOREACH_BINARY, FOREACH_UNARY
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

DTYPES = (torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64)


def tensors(dtype: torch.dtype) -> list[Tensor]:
    """Contiguous, transposed, sliced and of no dimension."""
    made = [torch.ones(2, 3), torch.ones(3, 4).t(), torch.ones(4, 6)[:, ::2], torch.ones(())]
    return [tensor.to(dtype) for tensor in made]


def foreach(name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(torch, f"_foreach_{name}")
    return function


#: 2.11 has neither this nor mm.
NEWER = ["clone"] if hasattr(torch, "_foreach_clone") else []


# Outputs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*FOREACH_UNARY, "max", "norm", "powsum", *NEWER, "zero"])
def test_one_list(name: str, dtype: torch.dtype) -> None:
    xs = tensors(dtype)
    if name != "zero":
        assert not compare(name, foreach(name), ((xs,), {}))
    if name in FOREACH_UNARY or name == "zero":
        assert not compare(f"{name}_", foreach(f"{name}_"), ((xs,), {}))


def is_complex_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_complex()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FOREACH_BINARY)
def test_two_lists(name: str, dtype: torch.dtype) -> None:
    xs = tensors(dtype)
    seconds: list[Any] = [tensors(other) for other in DTYPES]
    seconds += [2, 2.5, True, 2j, [1, 2, 3, 4], [1, 2.5, True, 0.0], [1j, 2, 3.0, True]]
    seconds += [torch.tensor(2.5), torch.tensor(2), torch.tensor(2j)]
    for second in seconds:
        if isinstance(second, Tensor) and name not in ("add", "mul", "div"):
            continue
        if TORCH >= (2, 14) and is_complex_tensor(second) and dtype is torch.bfloat16:
            continue  # torch.bcomplex32, with which nothing is computed yet: both raise
        for function in (foreach(name), foreach(f"{name}_")):
            assert not compare(name, function, ((xs, second), {}))


def test_three_lists() -> None:
    xs, ys = tensors(torch.float32), tensors(torch.bfloat16)
    numbers = [1.0, 2.0, 3.0, 4.0]
    for name in ("addcmul", "addcdiv"):
        for value in (0.5, numbers, torch.tensor(numbers)):
            for function in (foreach(name), foreach(f"{name}_")):
                for lists in ((xs, xs, xs), (xs, ys, xs), (ys, xs, ys)):
                    assert not compare(name, function, ((*lists, value), {}))
    for weight in (0.5, numbers, xs):
        for function in (foreach("lerp"), foreach("lerp_")):
            assert not compare("lerp", function, ((xs, tensors(torch.float32), weight), {}))


def test_lists_that_do_not_fit() -> None:
    x, y = torch.ones(2, 3), torch.ones(3)
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("sqrt", ([],)),
        ("norm", ([],)),
        ("add", ([x], [x, x])),
        ("add", ([x], [1.0, 2.0])),
        ("add", ([x], torch.ones(1))),
        ("add", ([x], [torch.ones(2)])),
        ("add_", ([y], [x])),
        ("add", ([y], [x])),
        ("div_", ([y.long()], 2)),
        ("copy_", ([x], [torch.ones(2)])),
        ("copy_", ([x], [y, y])),
        ("copy_", ([x], [y])),
        ("max", ([torch.ones(0)],)),
        ("norm", ([torch.ones(0), x], float("inf"))),
        ("norm", ([x], 2, torch.float64)),
        ("norm", ([y.long()],)),
        ("addcmul", ([x], [x], [x], torch.ones(()))),
        ("addcmul", ([x], [x], [x], torch.ones(2))),
        ("addcmul", ([x, x], [x, x], [x, x], torch.ones(4)[::2])),
    ]
    for name, args in calls:
        assert not compare(name, foreach(name), (args, {}))


def test_parts_copied() -> None:
    x = torch.ones(4, 6)
    for tensor, sizes, dim in ((x, [2, 4], 1), (x.t(), [1, 0, 5], 0), (x, [3], 1)):
        assert not compare("split", torch.split_with_sizes_copy, ((tensor, sizes, dim), {}))
    y = torch.ones(2, 5, 3)
    for lists in ([y, x[:2]], [y], [x, y], [y.double(), y], [x[:0]], []):
        for dim in (0, 1, -1):
            assert not compare("_chunk_cat", torch._chunk_cat, ((lists, dim, 2), {}))


# Values -------------------------------------------------------------------------------------------


def test_known_integers_stay_known() -> None:
    mine = [torch.arange(3), torch.arange(2)]
    with nnprof.trace():
        steps = [torch.tensor(0.0), torch.tensor(4.0)]
        torch._foreach_add_(steps, 1)
        assert [step.item() for step in steps] == [1.0, 5.0]
        torch._foreach_mul_(mine, [2, 3])
        assert [tensor.clone().tolist() for tensor in mine] == [[0, 2, 4], [0, 3]]
        torch._foreach_zero_(mine)
        assert torch._foreach_max(mine)[0].item() == 0
    assert [tensor.tolist() for tensor in mine] == [[0, 1, 2], [0, 1]]


def test_one_unknown_tensor_makes_what_is_written_unknown() -> None:
    numbers, shapes = torch.zeros(2), meta(2)
    with nnprof.trace():
        made = numbers + 1
        torch._foreach_zero_([made, shapes])
        with pytest.raises(nnprof.errors.DataDependentError):
            made[0].item()


# Costs --------------------------------------------------------------------------------------------

XS, YS = [meta(2, 3), meta(4)], [meta(2, 3), meta(4)]
INTEGERS = [torch.ones(2, 3, dtype=torch.int64), torch.ones(4, dtype=torch.int64)]
COMPLEX = [meta(2, dtype=torch.complex64), meta(3, dtype=torch.complex64)]


def single(name: str, inplace: bool) -> Callable[..., Any]:
    """The operator that a list operator does for each tensor."""
    if name.startswith("addc"):
        function: Any = getattr(Tensor, name + "_" * inplace)
        return lambda x, a, b, value: function(x, a, b, value=value)
    if name == "norm":
        return lambda x, p: torch.linalg.vector_norm(x, p)
    if name == "copy":
        return Tensor.copy_
    by_number = {"maximum": "clamp_min", "minimum": "clamp_max"}
    found: Callable[..., Any] = getattr(Tensor, by_number.get(name, name) + "_" * inplace)
    return found


COSTS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *((name, (XS,), {}) for name in FOREACH_UNARY),
    *((name, (XS, YS), {}) for name in FOREACH_BINARY),
    *((name, (XS, 3), {}) for name in FOREACH_BINARY),
    *((name, (XS, [1, 2.5]), {}) for name in FOREACH_BINARY),
    ("add", (XS, YS), {"alpha": 2}),
    ("sub", (XS, YS), {"alpha": -1}),
    ("add", (INTEGERS, 3), {}),
    ("mul", (INTEGERS, [3, 2]), {}),
    ("mul", (COMPLEX, COMPLEX), {}),
    ("pow", (XS, [2, 0.5]), {}),
    ("pow", (XS, [-1, 3]), {}),
    ("addcmul", (XS, YS, YS, 1), {}),
    ("addcmul", (XS, YS, YS, 0.5), {}),
    ("addcdiv", (XS, YS, YS, 0.5), {}),
    ("addcdiv", (XS, YS, YS, [1.0, 0.5]), {}),
    ("lerp", (XS, YS, 0.5), {}),
    ("lerp", (XS, YS, [0.5, 0.1]), {}),
    ("lerp", (XS, YS, YS), {}),
]  # fmt: skip
FUNCTIONAL: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *COSTS,
    ("max", (XS,), {}),
    *(("norm", (XS, p), {}) for p in (2, 1, 3, 0, float("inf"))),
    ("norm", (COMPLEX, 2), {}),
    *(
        [
            ("mm", ([meta(2, 3), meta(4, 5)], [meta(3, 4), meta(5, 1)]), {}),
            ("clone", (XS,), {}),
        ]
        if NEWER
        else []
    ),
]
IN_PLACE: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *((name, args, kwargs) for name, args, kwargs in COSTS if args[0] is not INTEGERS),
    ("zero", (XS,), {}),
    ("copy", (XS, [meta(3), meta(4)]), {}),
]


def one_by_one(function: Callable[..., Any], args: tuple[Any, ...], **kwargs: Any) -> None:
    for i in range(len(args[0])):
        function(*(arg[i] if isinstance(arg, list) else arg for arg in args), **kwargs)


@pytest.mark.parametrize(("name", "args", "kwargs"), FUNCTIONAL)
def test_cost_is_that_of_all_tensors(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    expected = cost_of(one_by_one, single(name, inplace=False), args, **kwargs)
    assert cost_of(foreach(name), *args, **kwargs) == expected


@pytest.mark.parametrize(("name", "args", "kwargs"), IN_PLACE)
def test_cost_in_place_is_that_of_all_tensors(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    expected = cost_of(one_by_one, single(name, inplace=name != "copy"), args, **kwargs)
    assert cost_of(foreach(f"{name}_"), *args, **kwargs) == expected


def test_power_sums_are_norms_without_the_root() -> None:
    roots = {1.0: {}, 2.0: {"sqrt": 2}, 3.0: {"exp": 2}, 0.0: {}}
    for power, root in roots.items():
        norm = cost_of(foreach("norm"), XS, power).kinds
        sums = cost_of(foreach("powsum"), XS, power).kinds
        assert {kind: sums.get(kind, 0) + root.get(kind, 0) for kind in norm} == norm


def test_bytes() -> None:
    x, one = meta(2, 3), meta()
    packed = cost_of(foreach("addcmul_"), XS, YS, YS, meta(2))
    assert packed.kinds == {"add": 10, "multiply": 20}
    assert (packed.bytes_read, packed.bytes_written) == (40 + 40 + 8, 40)
    shared = cost_of(foreach("mul_"), XS, one)
    assert (shared.bytes_read, shared.bytes_written) == (40 + 4, 40)
    again = cost_of(foreach("add"), [x, meta(4)], [x, meta(4)])
    assert (again.bytes_read, again.bytes_written) == (24 + 32, 40)
    copies = cost_of(torch._chunk_cat, [meta(2, 3), meta(4)], 0, 3)
    assert (copies.bytes_read, copies.bytes_written) == (40, 3 * (3 + 2) * 4)
    parts = cost_of(torch.split_with_sizes_copy, meta(2, 3), [1, 2], 1)
    assert (parts.bytes_read, parts.bytes_written) == (24, 24)


def test_what_returns_nothing_and_has_no_rule_writes_too() -> None:
    with torch.no_grad(), nnprof.trace() as running:
        torch.ops.aten._foreach_mul.Scalar_out(XS, 2.0, out=YS)
    profile = running.profile()
    assert profile.coverage.generic == {"aten::_foreach_mul.Scalar_out": 1}
    assert (profile.bytes_read, profile.bytes_written) == (40, 40)


# In use -------------------------------------------------------------------------------------------


def test_gradients_are_clipped() -> None:
    params = [nn.Parameter(torch.ones(10, 10)), nn.Parameter(torch.ones(30))]
    for param in params:
        param.grad = torch.empty_like(param)
    with nnprof.trace() as running:
        nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
    profile = running.profile()
    assert not profile.coverage.generic
    assert profile.coverage.ruled["aten::_foreach_norm.Scalar"] == 1
    assert profile.coverage.ruled["aten::_foreach_mul_.Tensor"] == 1
    # Each element squared and scaled; each norm squared, and the quotient that is the factor, which
    # PyTorch makes of a reciprocal and a product. The root of each norm and of their norm.
    assert profile.flops_by_kind["multiply"] == 130 + 2 + 130 + 1
    assert profile.flops_by_kind["sqrt"] == 3


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_an_optimizer_updates_a_list(device: str) -> None:
    params = [nn.Parameter(torch.ones(10, 10, device=device))]
    params[0].grad = torch.ones_like(params[0])
    with nnprof.trace() as running:
        torch.optim.AdamW(params, foreach=True).step()
    profile = running.profile()
    assert profile.coverage.ruled.keys() >= {
        "aten::_foreach_add_.Tensor",  # the step, a real number
        "aten::_foreach_mul_.Scalar",
        "aten::_foreach_lerp_.Scalar",
        "aten::_foreach_addcmul_.Scalar",
        "aten::_foreach_sqrt",
        "aten::_foreach_div_.ScalarList",
        "aten::_foreach_add_.Scalar",
        "aten::_foreach_addcdiv_.ScalarList",
    }
    # decay 1, lerp 3, squares 4, root and its correction 2, epsilon 1, update 3; and the step
    assert profile.flops == 100 * (1 + 3 + 4 + 2 + 1 + 3) + 1
    assert device == "meta" or torch.equal(params[0], torch.ones(10, 10))

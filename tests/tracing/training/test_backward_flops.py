"""Multiply-accumulates of backward passes: the products that the gradients need, one by one.

Each product is counted by loops of `tests.oracles`: the gradient of a factor is a contraction of
the other factor with the output's gradient, over the very same terms. Whole models are held against
FlopCounterMode over PyTorch's own backward pass, where that counts right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import nnprof
from benchmarks.training_models import TRAINING_MODELS, TrainingModel, scalar_loss
from tests.helpers import oracles

if TYPE_CHECKING:
    from collections.abc import Callable


def macs_of(function: Callable[..., Tensor], *args: Any, target: str = "cpu") -> tuple[int, int]:
    """Of the forward, and of the backward of the sum."""
    model = function if isinstance(function, nn.Module) else None
    with nnprof.trace(model, backward=True, target=target) as running:
        function(*args).sum().backward()
    profile = running.profile()
    return profile.phase("forward").macs, profile.phase("backward").macs


def leaf(*shape: int, wanted: bool = True) -> Tensor:
    return torch.randn(shape, requires_grad=wanted)


# Convolutions -------------------------------------------------------------------------------------

CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1d": ((2, 3, 7), (4, 3, 3), {}),
    "1d strided": ((2, 3, 9), (4, 3, 3), {"stride": (2,), "padding": (1,)}),
    "2d": ((2, 4, 6, 5), (6, 4, 3, 2), {}),
    "2d padded": ((1, 2, 4, 4), (3, 2, 3, 3), {"padding": (1, 2)}),
    "2d dilated": ((1, 2, 7, 8), (3, 2, 3, 2), {"dilation": (2, 3), "stride": (1, 2)}),
    "2d grouped": ((2, 4, 5, 5), (6, 2, 3, 3), {"groups": 2, "padding": (1, 1)}),
    "2d depthwise": ((2, 4, 5, 5), (4, 1, 3, 3), {"groups": 4, "stride": (2, 2)}),
    "2d pointwise": ((2, 4, 3, 3), (5, 4, 1, 1), {}),
    "3d": ((1, 2, 4, 3, 5), (3, 2, 2, 2, 3), {"stride": (1, 1, 2), "padding": (1, 0, 1)}),
}

#: Whether the input, the weight and the bias want a gradient.
WANTED = [
    pytest.param((True, True, True), id="all"),
    pytest.param((False, True, True), id="first layer"),
    pytest.param((True, False, False), id="frozen"),
    pytest.param((True, False, True), id="frozen weight"),
    pytest.param((False, False, True), id="only bias"),
]


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str, wanted: tuple[bool, bool, bool]) -> None:
    shape, kernel, options = CONVOLUTIONS[name]
    x, weight = leaf(*shape, wanted=wanted[0]), leaf(*kernel, wanted=wanted[1])
    bias = leaf(kernel[0], wanted=wanted[2])
    convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.dim()]
    product = oracles.convolution(shape, kernel, **options)
    forward, backward = macs_of(lambda: convolve(x, weight, bias, **options))
    assert (forward, backward) == (product, product * (wanted[0] + wanted[1]))


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_transposed_convolutions(
    dimensions: int, groups: int, wanted: tuple[bool, bool, bool]
) -> None:
    sizes, kernel = (4, 3, 2)[:dimensions], (2, 3, 2)[:dimensions]
    x = leaf(2, 4, *sizes, wanted=wanted[0])
    weight = leaf(4, 3, *kernel, wanted=wanted[1])
    bias = leaf(3 * groups, wanted=wanted[2])
    convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dimensions - 1]
    product = oracles.transposed_convolution(x.shape, weight.shape, groups=groups)
    forward, backward = macs_of(
        lambda: convolve(x, weight, bias, stride=2, padding=1, groups=groups)
    )
    assert (forward, backward) == (product, product * (wanted[0] + wanted[1]))


# Matrix products ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("of_x", "of_weight"), [(1, 1), (0, 1), (1, 0)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 4), (2, 5, 4), (4,)], ids=str)
def test_linear(shape: tuple[int, ...], bias: bool, of_x: int, of_weight: int) -> None:
    x, weight = leaf(*shape, wanted=bool(of_x)), leaf(3, 4, wanted=bool(of_weight))
    added = leaf(3) if bias else None
    product = oracles.linear(shape, (3, 4))
    assert macs_of(lambda: F.linear(x, weight, added)) == (product, product * (of_x + of_weight))


@pytest.mark.parametrize(("of_a", "of_b"), [(1, 1), (0, 1), (1, 0)])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 3, 4), (4, 5)),
        ((2, 1, 3, 4), (3, 4, 5)),
        ((3, 4), (2, 4, 5)),
        ((3, 4), (4,)),
        ((4,), (4, 5)),
    ],
    ids=str,
)
def test_matmul(a: tuple[int, ...], b: tuple[int, ...], of_a: int, of_b: int) -> None:
    left, right = leaf(*a, wanted=bool(of_a)), leaf(*b, wanted=bool(of_b))
    product = oracles.matmul(a, b)
    assert macs_of(lambda: left @ right) == (product, product * (of_a + of_b))


@pytest.mark.parametrize(
    ("equation", "a", "b"),
    [
        ("ij,jk->ik", (3, 4), (4, 5)),
        ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
        ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
        ("bi,ij->bj", (2, 3), (3, 4)),
    ],
)
def test_einsum(equation: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    left, right = leaf(*a), leaf(*b)
    product = oracles.einsum(equation, a, b)
    assert macs_of(lambda: torch.einsum(equation, left, right)) == (product, 2 * product)


def test_baddbmm_and_addmm() -> None:
    batches = leaf(2, 3, 5), leaf(2, 3, 4), leaf(2, 4, 5)
    assert macs_of(lambda: torch.baddbmm(*batches)) == (120, 240)
    rows = leaf(3, 5), leaf(3, 4), leaf(4, 5)
    assert macs_of(lambda: torch.addmm(*rows)) == (60, 120)


def test_bilinear() -> None:
    x1, x2, weight = leaf(2, 3), leaf(2, 4), leaf(5, 3, 4)
    forward, backward = macs_of(lambda: F.bilinear(x1, x2, weight))
    product = oracles.bilinear((2, 3), (2, 4), (5, 3, 4))
    assert (forward, backward) == (product, 3 * product)


# Attention ----------------------------------------------------------------------------------------


def half_meta(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float16, device="meta", requires_grad=True)


@pytest.mark.parametrize("target", ["cpu", "cuda"])
@pytest.mark.parametrize("masked", ["", "causal", "mask"])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_attention(kv_heads: int, masked: str, target: str) -> None:
    """A fused backward computes the scores again: five products, for two of the forward."""
    make = leaf if target == "cpu" else half_meta
    query, key, value = make(2, 4, 6, 8), make(2, kv_heads, 6, 8), make(2, kv_heads, 6, 8)
    mask = torch.zeros(6, 6, dtype=query.dtype, device=query.device) if masked == "mask" else None
    options: Any = {"is_causal": masked == "causal", "enable_gqa": kv_heads != 4}
    forward, backward = macs_of(
        lambda: F.scaled_dot_product_attention(query, key, value, attn_mask=mask, **options),
        target=target,
    )
    product = oracles.attention(query.shape, key.shape, value.shape)
    fused = kv_heads == 4 or target == "cpu" or masked != "mask"
    assert forward == product
    assert 2 * backward == (5 if fused else 4) * product


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_attention_in_plain_products(target: str) -> None:
    query, key, value = leaf(2, 2, 6, 8), leaf(2, 2, 5, 8), leaf(2, 2, 5, 8)
    product = oracles.attention(query.shape, key.shape, value.shape)

    def attend() -> Tensor:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return F.scaled_dot_product_attention(query, key, value)

    assert macs_of(attend, target=target) == (product, 2 * product)


# Recurrent networks -------------------------------------------------------------------------------

RECURRENT = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True}], ids=str)
@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent(kind: str, options: dict[str, Any], frozen: bool) -> None:
    """Each product of a step has two gradients, and one where the weights are frozen.

    The kernel of a whole layer, which an LSTM has on the CPU, makes them all.
    """
    model = RECURRENT[kind](3, 4, **options).requires_grad_(not frozen)
    x, start = leaf(5, 2, 3), leaf(2 if options else 1, 2, 4)
    state = (start, start) if kind == "lstm" else start
    product = oracles.recurrent(
        kind,
        [2] * 5,
        3,
        4,
        layers=options.get("num_layers", 1),
        directions=1 + options.get("bidirectional", False),
    )
    with nnprof.trace(model, backward=True) as running:
        model(x, state)[0].sum().backward()
    profile = running.profile()
    assert profile.phase("forward").macs == product
    assert profile.phase("backward").macs == product * (1 if frozen and kind != "lstm" else 2)


@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_cells(kind: str) -> None:
    model = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}[kind](3, 4)
    x, start = leaf(2, 3), leaf(2, 4)
    product = oracles.cell(kind, 2, 3, 4)
    with nnprof.trace(model, backward=True) as running:
        out = model(x, (start, start) if kind == "lstm" else start)
        (out[0] if kind == "lstm" else out).sum().backward()
    profile = running.profile()
    assert profile.phase("forward").macs == product
    assert profile.phase("backward").macs == 2 * product


# Graphs -------------------------------------------------------------------------------------------


def test_gradients_stop_where_nothing_below_wants_one() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 7))
    model[0].requires_grad_(False)
    x = torch.randn(2, 4)
    assert macs_of(model, x) == (2 * (20 + 30 + 42), 2 * (30 + 2 * 42))
    model[1].requires_grad_(False)
    assert macs_of(model, x)[1] == 2 * 42


def test_a_frozen_layer_in_the_middle_hands_gradients_on() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 7))
    model[1].requires_grad_(False)
    assert macs_of(model, torch.randn(2, 4))[1] == 2 * (20 + 30 + 2 * 42)


def test_what_does_not_reach_the_loss_has_no_backward() -> None:
    used, unused = nn.Linear(4, 5), nn.Linear(4, 6)

    def step() -> Tensor:
        x = torch.randn(2, 4)
        unused(x)
        out: Tensor = used(x)
        return out

    assert macs_of(step) == (2 * (20 + 24), 2 * 20)


# Whole models -------------------------------------------------------------------------------------


class AttentionProducts(TorchFunctionMode):
    """Adds up the multiply-accumulates of all attention, of the forward."""

    macs = 0

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is F.scaled_dot_product_attention:
            query, key, value = args[:3]
            self.macs += query[..., 0].numel() * key.size(-2) * (query.size(-1) + value.size(-1))
        if function is F.multi_head_attention_forward:  # what is called inside is not seen
            (length, batch, width), keys = args[0].shape, args[1].shape[0]
            self.macs += 2 * batch * length * keys * width
        return function(*args, **kwargs or {})


def counted_by_pytorch(case: TrainingModel, device: str) -> int:
    """Attention is counted in plain products, for FlopCounterMode has no count for the kernel of a
    CPU; a fused backward computes the scores again, which is half a forward more.
    """
    model, x = case.make(device).eval(), case.make_input(device)

    def step() -> None:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            scalar_loss(model(x)).backward()

    with AttentionProducts() as attention:
        macs = oracles.flop_counter_macs(step)
    return macs + attention.macs // 2


#: FlopCounterMode is wrong for grouped convolutions, and has no count for recurrent kernels.
COUNTED = [case for case in TRAINING_MODELS if case.name not in ("mobilenet_v2", "lstm")]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=pytest.mark.long if case.name == "gpt2" else ())
        for case in COUNTED
    ],
)
def test_models_count_as_pytorch_does(case: TrainingModel) -> None:
    # A mask of GPT-2 depends on values.
    expected = counted_by_pytorch(case, "cpu" if case.name == "gpt2" else "meta")
    # Without dropout, with which a CPU has no fused attention.
    model, x = case.make("meta").eval(), case.make_input("cpu")
    with nnprof.trace(model, backward=True, target="cpu") as running:
        scalar_loss(model(x if x.dtype is torch.int64 else x.to("meta"))).backward()
    assert running.profile().macs == expected


def test_backward_of_depthwise_convolutions_is_two_forwards() -> None:
    case = next(m for m in TRAINING_MODELS if m.name == "mobilenet_v2")
    model, x = case.make("meta").train(), case.make_input("meta")
    with nnprof.trace(model, backward=True) as running:
        scalar_loss(model(x)).backward()
    profile = running.profile()
    forward, backward = profile.phase("forward").macs, profile.phase("backward").macs
    first = oracles.convolution((1, 3, 64, 64), (32, 3, 3, 3), stride=(2, 2), padding=(1, 1))
    assert backward == 2 * forward - 2 * first  # of the images there is no gradient

"""Dtypes under autocast are those of a real run on the CPU."""

from __future__ import annotations

import itertools
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import nnprof
from tests.rules import differential

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES = 2


def dtypes(tree: Any) -> list[torch.dtype]:
    return [leaf.dtype for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def run(
    function: Callable[..., Any], arguments: differential.Arguments, autocast: bool = True
) -> Any:
    """The dtypes that come out under autocast; an exception stands for itself."""
    try:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return dtypes(function(*arguments[0], **arguments[1]))
    except Exception as error:  # to be compared with the other run's
        return error


def autocast_mismatches(op: Any) -> list[str]:
    found = []
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        if dtype not in op.dtypes:
            continue
        torch.manual_seed(0)
        for sample in itertools.islice(op.sample_inputs_func(op, "cpu", dtype, False), SAMPLES):
            arguments = differential.arguments_of(sample)
            real = run(op.op, differential.copy_arguments(arguments, lambda tensor: False))
            if isinstance(real, Exception):
                continue
            shadows = differential.copy_arguments(arguments, differential.is_floating)
            with nnprof.trace():
                traced = run(op.op, shadows)
                if isinstance(traced, Exception):
                    without = run(op.op, shadows, autocast=False)
                    if isinstance(without, Exception):
                        continue  # what cannot be traced at all is the matter of test_op_db
            if real != traced:
                call = differential.describe_call(op.name, *arguments)
                found.append(f"{call}: expected {real}, got {traced!r}"[:400])
    return found


# Operators whose dtypes differ from the CPU's without autocast too.
OTHER_DTYPES = {name for name, kinds in differential.EXCEPTIONS.items() if "dtype" in kinds}
# Kernels that call matmul inside, which autocast casts there: a rule-less leaf runs as a whole.
OTHER_DTYPES |= {"linalg_pinv", "linalg_pinv_hermitian"}


@pytest.mark.parametrize("op", op_db, ids=lambda op: op.formatted_name)
def test_every_operator(op: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = autocast_mismatches(op)
    assert op.formatted_name in OTHER_DTYPES or not found, "\n".join(found[:3])


class Net(nn.Module):
    """Convolution, norms, attention, recurrence, and what autocast promotes or keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.layer_norm = nn.LayerNorm(16)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        # No nn.LSTM: on the CPU it takes bfloat16 only where oneDNN has a kernel for it.
        self.gru = nn.GRU(16, 8, batch_first=True)
        self.cell = nn.LSTMCell(8, 8)
        self.head = nn.Linear(8, 5)
        self.activation = nn.Softmax(-1)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.pool(F.gelu(self.norm(self.conv(x)))).flatten(2).transpose(1, 2)
        attended, weights = self.attention(x, x, x)
        x = self.layer_norm(attended + x)
        x = self.encoder(x)
        mixed = torch.cat((x, attended.float()), dim=1)
        hidden, _ = self.gru(mixed)
        last, _ = self.cell(hidden[:, -1])
        logits = self.head(last)
        loss = F.mse_loss(logits, torch.zeros_like(logits))
        return [x, weights, mixed, hidden, last, logits, self.activation(logits), loss]


def module_dtypes(model: nn.Module, call: Callable[[], Any]) -> dict[str, Any]:
    """The dtypes of what every module returned, and of what ``call`` did."""
    found: dict[str, Any] = {}
    handles = [
        module.register_forward_hook(
            lambda module, args, output, path=path: found.update({path: dtypes(output)})
        )
        for path, module in model.named_modules()
    ]
    try:
        found["returned"] = dtypes(call())
    finally:
        for handle in handles:
            handle.remove()
    return found


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_modules_of_a_model(train: bool, grad: bool) -> None:
    model, x = Net().train(train), torch.randn(2, 3, 8, 8)
    with torch.set_grad_enabled(grad), torch.autocast("cpu", torch.bfloat16):
        real = module_dtypes(model, lambda: model(x))
        with nnprof.trace(model):
            traced = module_dtypes(model, lambda: model(x))
    assert traced == real
    with torch.set_grad_enabled(grad), nnprof.trace(model, autocast=torch.bfloat16):
        traced = module_dtypes(model, lambda: model(x))
    assert traced == real


class Casts(TorchDispatchMode):
    """Counts the casts between floating dtypes that a real run makes."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[list[int]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default:
            self.sizes.append(list(out.shape))
        return out


@pytest.mark.parametrize("grad", [True, False])
def test_casts_of_weights_are_cached_as_autocast_does(grad: bool) -> None:
    layer = nn.Linear(32, 32, bias=False)
    model, x = nn.Sequential(layer, nn.ReLU(), layer, layer), torch.randn(4, 32)
    with torch.set_grad_enabled(grad):
        with torch.autocast("cpu", torch.bfloat16), Casts() as casts:
            model(x)
        profile = nnprof.measure(model, inputs=x, autocast="bfloat16")
    assert casts.sizes
    converted = [
        shapes[0]
        for op, shapes in zip(profile.ops["op"], profile.ops["output_shapes"], strict=True)
        if op.startswith(("aten::_to_copy", "aten::to."))
    ]
    assert sorted(converted) == sorted(casts.sizes)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16, "float16"])
def test_measure_under_autocast(device: str, dtype: Any) -> None:
    model = nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64), nn.Linear(64, 8)).to(device)
    profile = nnprof.measure(model, (4, 32), autocast=dtype)
    by_op = dict(zip(profile.ops["op"], profile.ops["dtype"], strict=True))
    assert str(dtype).removeprefix("torch.") in by_op["aten::linear"]
    # The CPU's autocast leaves layer_norm alone, CUDA's runs it in float32.
    kept = str(dtype).removeprefix("torch.") if device == "cpu" else "float32"
    assert by_op["aten::layer_norm"] == kept
    assert profile.macs == nnprof.measure(model, (4, 32)).macs
    assert not torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cuda")


def test_autocast_inside_of_a_forward() -> None:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(32, 32)
            self.second = nn.Linear(32, 32)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                x = self.first(x)
                assert x.dtype == torch.bfloat16
                with torch.autocast("cpu", enabled=False):
                    x = self.second(x.float())
            assert x.dtype == torch.float32
            out: Tensor = self.second(x)
            assert out.dtype == torch.float32
            return out

    for device in ("cpu", "meta"):
        assert nnprof.measure(Inside().to(device), (4, 32)).macs == 3 * 4 * 32 * 32


def test_a_forward_that_asks_for_cuda_autocast() -> None:
    class Cuda(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(32, 32)

        def forward(self, x: Tensor) -> Tensor:
            with torch.amp.autocast("cuda", torch.bfloat16):
                out: Tensor = self.linear(x)
            return out

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without CUDA torch warns, and disables it
        profile = nnprof.measure(Cuda().to("meta"), (4, 32))
    assert profile.macs == 4 * 32 * 32


@pytest.mark.parametrize("inside", [True, False])
def test_a_region_for_the_device_of_a_tensor(inside: bool) -> None:
    """As models write it, who read the device off their tensors."""

    class Region(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=inside):
                return self.project(x)

    def result(model: nn.Module, x: torch.Tensor) -> torch.dtype:
        return model(x).dtype

    initialize = torch.autocast.__init__
    model, x = Region(), torch.randn(4, 8)
    really = result(model, x)
    found = []
    for traced in (model, model.to("meta")):
        nnprof.measure(lambda x, traced=traced: found.append(result(traced, x)), inputs=x)
    assert found == [really, really]
    assert torch.autocast.__init__ is initialize


def test_a_region_without_autocast_inside_of_autocast() -> None:
    layer = nn.Linear(8, 8)

    def forward(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return layer(x)

    profile = nnprof.measure(forward, (4, 8), autocast=torch.bfloat16)
    assert set(profile.ops["dtype"]) == {"float32"}

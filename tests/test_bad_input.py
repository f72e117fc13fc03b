"""What a wrong argument gets: an NnprofError that names what is wrong and what to do."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nnprof
from benchmarks.models import torchvision_model
from nnprof import errors
from nnprof.models import load_model


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(20, 20)

    def forward(self, image: Tensor, scale: Tensor) -> Tensor:
        out: Tensor = self.linear(image) * scale
        return out


def message(*args: Any, **kwargs: Any) -> str:
    """What the NnprofError says that this call of measure raises."""
    with pytest.raises(nnprof.NnprofError) as caught:
        nnprof.measure(*args, **kwargs)
    text = str(caught.value)
    assert len(text) > 20
    assert "\n  File" not in text
    return text


def says(text: str, *words: str) -> bool:
    return all(word.lower() in text.lower() for word in words)


def test_too_few_inputs() -> None:
    assert says(message(Two(), (1, 20)), "Two", "scale")


def test_too_many_inputs() -> None:
    assert says(message(Two(), [(1, 20), (1, 20), (1, 20)]), "Two", "image, scale", "3 inputs")


def test_unknown_keyword() -> None:
    text = message(Two(), {"image": (1, 20), "scael": (1, 20)})
    assert says(text, "scael", "scale")


def test_no_inputs() -> None:
    assert says(message(Two()), "shape", "inputs", "image")


def test_shape_and_inputs() -> None:
    assert says(message(Two(), (1, 20), inputs=torch.ones(1, 20)), "shape", "inputs", "both")


def test_wrong_channel_count_names_the_layer() -> None:
    text = message(torchvision_model("resnet18"), (1, 4, 224, 224))
    assert says(text, "conv1", "4", "3", "channels")


def test_wrong_size_names_the_layer_in_depth() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(20, 30)), nn.Sequential(nn.Linear(31, 2)))
    assert says(message(model, (4, 20)), "1.0", "linear")


def test_shapes_that_do_not_broadcast_are_runtime_errors_too() -> None:
    with pytest.raises(RuntimeError) as caught:
        nnprof.measure(Two(), [(4, 20), (3, 20)])
    assert isinstance(caught.value, nnprof.NnprofError)
    assert says(str(caught.value), "4", "3", "mul")


@pytest.mark.parametrize("not_a_model", [3, "resnet18", None, torch.ones(2), [nn.Linear(2, 2)]])
def test_not_a_model(not_a_model: Any) -> None:
    text = message(not_a_model, (1, 2))
    assert says(text, type(not_a_model).__name__, "module")


def test_a_class_in_place_of_a_module() -> None:
    assert says(message(Two, [(1, 20), (1, 20)]), "Two", "class", "Two(")


def test_unknown_model_names() -> None:
    for name, near in (
        ("torchvision:resnet51", "resnet50"),
        ("timm:convnext_larg", "convnext_large"),
        ("transformers:lama", "llama"),
    ):
        if name.startswith("timm"):
            pytest.importorskip("timm")
        with pytest.raises(nnprof.NnprofError) as caught:
            load_model(name)
        assert says(str(caught.value), name.split(":")[1], near)
    with pytest.raises(nnprof.NnprofError, match="torchvision"):
        load_model("resnet50")


@pytest.mark.parametrize("shape", [(1, 0), (0, 20), (-1, 20), (1, 3, -224, 224)])
def test_sizes_that_are_not_positive(shape: tuple[int, ...]) -> None:
    text = message(nn.Linear(20, 2), shape)
    assert says(text, str(min(shape)), "at least 1", str(shape))


@pytest.mark.parametrize("shape", [(1.5, 20), (1, "20"), "1,20", 5, (), (True, 20), [(1, 20), 3]])
def test_what_is_no_shape(shape: Any) -> None:
    assert says(message(nn.Linear(20, 2), shape), "size")


def test_float_ids_for_an_embedding() -> None:
    model = nn.Sequential(nn.Embedding(100, 16), nn.Linear(16, 2))
    for ids in (torch.ones(2, 30), torch.ones(2, 30, device="meta")):
        text = message(model, inputs=ids)
        assert says(text, "embedding", "float32", "int64")
    assert says(message(model, (2, 30), dtype=torch.float32), "embedding", "float32", "int64")


def test_ids_outside_of_the_vocabulary() -> None:
    model = nn.Embedding(100, 16)
    with pytest.raises(IndexError) as caught:
        nnprof.measure(model, inputs=torch.tensor([[1, 2, 100]]))
    assert isinstance(caught.value, nnprof.NnprofError)
    assert says(str(caught.value), "100")


def test_unknown_dtypes() -> None:
    assert says(message(nn.Linear(20, 2), (1, 20), autocast="bfloat61"), "bfloat61", "bfloat16")
    assert says(message(nn.Linear(20, 2), (1, 20), dtype="float23"), "float23", "dtype")


@pytest.mark.parametrize(
    ("package", "name"),
    [("timm", "timm:resnet18"), ("transformers", "transformers:llama")],
)
def test_missing_extra(package: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def find_nothing(wanted: str, *args: Any) -> Any:
        return None if wanted == package else find_spec(wanted, *args)

    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)
    monkeypatch.delitem(sys.modules, package, raising=False)
    with pytest.raises(errors.MissingExtraError, match=f"pip install {package}") as caught:
        load_model(name)
    assert isinstance(caught.value, ImportError)


def test_a_value_that_no_one_knows() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(20, 20)

        def forward(self, x: Tensor) -> Tensor:
            x = self.gate(x)
            return x * 2 if x.sum() > 0 else x

    model = nn.Sequential(Branches())
    text = message(model, (4, 20))
    assert says(text, "'0'", "assume")
    assert (
        nnprof.measure(model, (4, 20), assume=1).flops
        > nnprof.measure(model, (4, 20), assume=0).flops
    )


def test_strict_refuses_guesses() -> None:
    class Guesses(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[x > 0]

    profile = nnprof.measure(Guesses(), (4, 20))
    assert profile.assumptions
    assert says(message(Guesses(), (4, 20), strict=True), "strict", "guess")


def test_a_trace_has_no_profile_before_its_end() -> None:
    with nnprof.trace() as trace, pytest.raises(nnprof.NnprofError, match="end"):
        trace.profile()


def test_an_unknown_layer() -> None:
    profile = nnprof.measure(torchvision_model("resnet18"), (1, 3, 224, 224))
    with pytest.raises(nnprof.NnprofError, match=r"layer1\.0\.conv1"):
        profile["layer1.0.conv"]


@pytest.mark.parametrize(
    "dtype", ["int4", "uint2", "qint8", "quint4x2", "bits8", "float4_e2m1fn_x2", "float8_e4m3fn"]
)
def test_a_dtype_that_no_model_computes_in(dtype: str) -> None:
    text = message(nn.Linear(4, 4), (2, 4), dtype=dtype)
    assert says(text, f"torch.{dtype}", "float32, float16, bfloat16", "quantization_config")
    assert says(message(nn.Linear(4, 4), (2, 4), autocast=dtype), "bfloat16 or float16")


@pytest.mark.parametrize("dtype", ["float32", "int64", "float64"])
def test_autocast_in_what_it_does_not_compute_in(dtype: str) -> None:
    assert says(message(nn.Linear(4, 4), (2, 4), autocast=dtype), "bfloat16 or float16", dtype)


def test_a_dtype_that_no_input_is_of() -> None:
    linear = nn.Linear(4, 4)
    assert says(message(linear, inputs=torch.ones(2, 4), dtype="float16"), "dtype=", "inputs=")
    model = torchvision_model("resnet18")
    assert says(message(model, dtype="int8"), "ResNet", "no integer input", "int8")


@pytest.mark.parametrize("budget", [float("nan"), -1, 0, "5", None, True, float("inf"), [1]])
def test_a_time_budget_that_is_none(budget: Any) -> None:
    assert says(message(nn.Linear(4, 4), (2, 4), time_budget=budget), "time_budget", "seconds")


@pytest.mark.parametrize("name", ["backward", "strict"])
@pytest.mark.parametrize("flag", ["no", 0, None])
def test_a_flag_that_is_none(name: str, flag: Any) -> None:
    text = message(nn.Linear(4, 4), (2, 4), **{name: flag})
    assert says(text, f"{name}=", "True or False", repr(flag))

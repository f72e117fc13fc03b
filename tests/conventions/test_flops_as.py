"""Numbers by other tools' conventions, against what these tools really print."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nnprof
from nnprof.base.packages import import_torchvision
from nnprof.conventions import CONVENTIONS, explain, tools
from nnprof.errors import InputError
from nnprof.models import load_model
from nnprof.results import stored
from nnprof.results.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnprof.conventions import Explanation

PACKAGES = {convention.name: convention.package for convention in CONVENTIONS}

# Why a tool prints another number than its convention stands for, by the words that start it.
TWICE = "activation and pooling modules count twice"
BATCH = "it divides what modules count"
NO_KERNEL = "on the CPU it has no formula"
UNFUSED = "where there is no fused kernel, as on the CPU"
TRANSPOSED = "it takes a transposed convolution at every position"
MULTIHEAD_TWICE = "the products inside of nn.MultiheadAttention count twice"
OTHER_NAME = "it does not see an activation that is called by another name"
PERMUTED = "it does not see the bias that nn.MultiheadAttention adds"
ROWS = "it takes the rows of a matmul from its first operand"
OPERATOR = "it does not see a matmul that is written as x @ y"
EINSUM = "it does not see the products inside of an einsum"


def explanations(model: Any, x: Tensor) -> dict[str, Explanation]:
    profile = nnprof.measure(model, inputs=x)
    return {one.convention.name: one for one in explain(profile.data)}


def printed_by(tool: str, model: nn.Module, x: Tensor) -> int:
    """What the real tool prints; skips the test where it cannot be imported."""
    pytest.importorskip(PACKAGES[tool], exc_type=ImportError)
    found = tools.run_tool(tool, PACKAGES[tool], model, (x,), {})
    assert found.number is not None, found.note
    return found.number


def check(model: nn.Module, x: Tensor, tool: str, why: tuple[str, ...]) -> None:
    """What is printed is the convention's number, but for exactly the reasons in `why`."""
    one = explanations(model, x)[tool]
    found = one.why_printed(printed_by(tool, model, x))
    assert found is not None, (one.number, one.quirks)
    assert len(found) == len(why)
    assert all(any(reason.startswith(start) for start in why) for reason in found), found


# Whole models.


def small(name: str) -> nn.Module:
    """A few layers of a torchvision architecture, for images of 32 x 32."""
    models = import_torchvision().models
    convnext = models.convnext
    builders: dict[str, Callable[[], nn.Module]] = {
        "resnet": lambda: models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1]),
        "mobilenet_v3": models.mobilenet_v3_small,
        "densenet": lambda: models.DenseNet(8, (2, 2), 16),
        "convnext": lambda: convnext.ConvNeXt(
            [convnext.CNBlockConfig(16, 32, 1), convnext.CNBlockConfig(32, None, 1)]
        ),
        "swin": lambda: models.SwinTransformer([4, 4], 16, [2, 2], [2, 2], [4, 4]),
        "vit": lambda: models.VisionTransformer(32, 8, 2, 2, 32, 64),
    }
    return builders[name]().eval()


def reasons_of_vision(tool: str, *, transformer: bool) -> tuple[str, ...]:
    if tool == "torch" and transformer:
        return (NO_KERNEL,)
    return (TWICE,) if tool == "ptflops" else ()


@pytest.mark.parametrize("tool", list(tools.RUNS))
@pytest.mark.parametrize("name", ["resnet", "mobilenet_v3", "densenet", "convnext", "swin", "vit"])
def test_small_vision_models(name: str, tool: str) -> None:
    why = reasons_of_vision(tool, transformer=name == "vit")
    check(small(name), torch.rand(1, 3, 32, 32), tool, why)


@pytest.mark.long
@pytest.mark.parametrize("tool", list(tools.RUNS))
@pytest.mark.parametrize(
    "name",
    ["resnet50", "mobilenet_v3_large", "densenet121", "convnext_tiny", "swin_t", "vit_b_16"],
)
def test_vision_models(name: str, tool: str) -> None:
    why = reasons_of_vision(tool, transformer=name == "vit_b_16")
    check(load_model(f"torchvision:{name}"), torch.rand(1, 3, 224, 224), tool, why)


@pytest.mark.parametrize("tool", [tool for tool in tools.RUNS if tool != "fvcore"])
def test_llama(tool: str) -> None:
    import_torchvision()
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100}
    config = transformers.LlamaConfig(**sizes, **heads)
    model = transformers.LlamaForCausalLM(config).eval()
    check(model, torch.arange(16)[None], tool, (NO_KERNEL,) if tool == "torch" else ())


@pytest.mark.parametrize(
    "name", ["resnet50", "mobilenet_v3_large", "vit_b_16", "swin_t", "maxvit_t"]
)
def test_what_torchvision_publishes(name: str) -> None:
    assert_as_published(name)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:The default weight initialization of:FutureWarning")
def test_what_torchvision_publishes_of_every_classifier() -> None:
    for name in import_torchvision().models.list_models(import_torchvision().models):
        assert_as_published(name)


def assert_as_published(name: str) -> None:
    model = load_model(f"torchvision:{name}")
    for weights in import_torchvision().models.get_model_weights(name):
        size = weights.transforms().crop_size[0]
        if getattr(model, "image_size", size) != size:
            continue  # a vision transformer is built for one size
        number = nnprof.measure(model, (1, 3, size, size)).flops_as("torchvision")
        # Published to three digits after the point of a GFLOP.
        assert abs(number - weights.meta["_ops"] * 1e9) <= 0.5e6 + 1


# Layers, one by one.


class First(nn.Module):
    """The first output of a layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTMCell(12, 8)
        self.second = nn.GRUCell(8, 8)
        self.third = nn.RNNCell(8, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.first(x[:, 0])[0]))


class Attention(nn.Module):
    def __init__(self, *, weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=self.weights)[0]


class Images(nn.Module):
    """What the tools know of images, as modules and as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Conv2d(3, 8, 3, padding=1)
        self.transposed = nn.ConvTranspose2d(8, 6, 3, stride=2, groups=2)
        self.norms = nn.Sequential(
            nn.GroupNorm(2, 6), nn.InstanceNorm2d(6), nn.BatchNorm2d(6, affine=False)
        )
        self.activations = nn.Sequential(nn.PReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.ELU())
        self.sizes = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.AvgPool2d(2))
        self.end = nn.Softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activations(self.norms(self.transposed(self.start(x))))
        x = F.interpolate(self.sizes(x), scale_factor=2)
        return self.end(torch.sigmoid(F.relu6(x)))


class Functions(nn.Module):
    """Products and norms without a module."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, 12))
        self.bias = nn.Parameter(torch.zeros(12))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.matmul(F.linear(x, self.weight, self.bias), self.weight)
        x = torch.bmm(x, x.transpose(1, 2))
        x = torch.matmul(self.weight[:5, :5], x)
        x = torch.addmm(self.bias[:5], x[0], self.weight[:5, :5])
        return F.silu(F.layer_norm(x, (5,)))


class Operators(nn.Module):
    """Products as operators and as einsum, which reads the same in a trace of operators."""

    def __init__(self, einsum: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, 12))
        self.einsum = einsum

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bij,jk->bik", x, self.weight) if self.einsum else x @ self.weight


class Vectors(nn.Module):
    """Products that are none of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12))

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(x, self.weight)


SEQUENCE, ONE_SEQUENCE = torch.rand(2, 5, 12), torch.rand(1, 5, 12)
IMAGES, ONE_IMAGE = torch.rand(2, 3, 8, 8), torch.rand(1, 3, 8, 8)
TWO_WAYS = {"bias": False, "num_layers": 2, "bidirectional": True}

Case = tuple["Callable[[], nn.Module]", Tensor, dict[str, tuple[str, ...]]]
LAYERS: dict[str, Case] = {
    "lstm": (lambda: First(nn.LSTM(12, 8, batch_first=True)), ONE_SEQUENCE, {}),
    "lstm, two ways": (
        lambda: First(nn.LSTM(12, 8, **TWO_WAYS, batch_first=True)),
        ONE_SEQUENCE,
        {},
    ),
    "gru": (
        lambda: First(nn.GRU(12, 8, batch_first=True)),
        ONE_SEQUENCE,
        {"torch": (UNFUSED,), "ptflops-aten": (UNFUSED,)},
    ),
    "rnn": (
        lambda: First(nn.RNN(12, 8, batch_first=True)),
        ONE_SEQUENCE,
        {"torch": (UNFUSED,), "ptflops-aten": (UNFUSED,)},
    ),
    "cells": (Cells, ONE_SEQUENCE, {}),
    "attention": (lambda: Attention(weights=False), ONE_SEQUENCE, {"torch": (NO_KERNEL,)}),
    "attention with weights": (
        lambda: Attention(weights=True),
        ONE_SEQUENCE,
        {"ptflops": (MULTIHEAD_TWICE,)},
    ),
    "encoder layer": (
        lambda: nn.TransformerEncoderLayer(12, 3, 24, batch_first=True),
        SEQUENCE,
        {
            "torch": (NO_KERNEL,),
            "ptflops": (BATCH, OTHER_NAME),
            "ptflops-aten": (PERMUTED,),
            "deepspeed": (OTHER_NAME,),
        },
    ),
    "images": (Images, ONE_IMAGE, {"ptflops": (TWICE,), "thop": (TRANSPOSED,)}),
    "images, a batch": (Images, IMAGES, {"ptflops": (BATCH, TWICE), "thop": (TRANSPOSED,)}),
    "functions": (
        Functions,
        SEQUENCE,
        {"fvcore": (ROWS,), "ptflops": (ROWS,), "deepspeed": (ROWS,)},
    ),
    "operators": (lambda: Operators(einsum=False), SEQUENCE, {"ptflops": (OPERATOR,)}),
    "einsum": (lambda: Operators(einsum=True), SEQUENCE, {"ptflops": (EINSUM,)}),
    "vectors": (Vectors, SEQUENCE, {"ptflops": (ROWS,), "deepspeed": (ROWS,)}),
}


NOT_COMPARABLE = {
    ("vectors", "fvcore"): "it fails on matrix x vector",
    ("einsum", "deepspeed"): "it reads the four digits that NumPy prints",
}


@pytest.mark.parametrize(
    ("case", "tool"),
    [pair for pair in itertools.product(LAYERS, tools.RUNS) if pair not in NOT_COMPARABLE],
)
def test_layers(case: str, tool: str) -> None:
    build, x, why = LAYERS[case]
    check(build().eval(), x, tool, why.get(tool, ()))


@pytest.mark.parametrize("tool", ["torch", "fvcore"])  # the others put the model into eval mode
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("size", [1, 4])
def test_norms_in_training(tool: str, affine: bool, size: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8, affine=affine)).train()
    check(model, torch.rand(2, 3, size, size), tool, ())


def test_only_the_very_classes_of_a_table_count() -> None:
    class Linear(nn.Module):
        """Called as PyTorch's is, and not it."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 3))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight)

    x = torch.rand(2, 3)
    assert printed_by("thop", Linear(), x) == 0
    assert nnprof.measure(Linear(), x.shape).flops_as("thop") == 0
    assert nnprof.measure(nn.Linear(3, 5, bias=False), x.shape).flops_as("thop") == 2 * 3 * 5


# The profile.


def test_an_unknown_tool_names_the_known_ones() -> None:
    profile = nnprof.measure(nn.Linear(3, 4), (2, 3))
    with pytest.raises(InputError, match=r"no tool 'fvcor' is known.*torch.*fvcore.*deepspeed"):
        profile.flops_as("fvcor")


@pytest.fixture
def profile() -> Profile:
    return nnprof.measure(Images().eval(), (2, 3, 8, 8))


def test_a_loaded_profile_gives_the_same(profile: Profile, tmp_path: Path) -> None:
    profile.save(tmp_path / "images.json")
    loaded = Profile.load(tmp_path / "images.json")
    for convention in CONVENTIONS:
        assert loaded.flops_as(convention.name) == profile.flops_as(convention.name) > 0


def test_a_profile_of_before_classes_were_recorded_goes_by_their_names(profile: Profile) -> None:
    old = stored.to_dict(profile)
    for row in old["layers"]:
        del row["type_module"]
    assert stored.from_dict(old).flops_as("thop") == profile.flops_as("thop")


def test_the_parts_hold_all_of_our_flops_and_all_of_the_number(profile: Profile) -> None:
    for one in explain(profile.data):
        assert sum(part.flops for part in one.parts) == profile.flops
        assert sum(part.theirs for part in one.parts) == profile.flops_as(one.convention.name)
        assert all(not part.theirs for part in one.parts if not part.counted)


def test_nothing_is_counted_of_a_model_that_computes_nothing() -> None:
    profile = nnprof.measure(nn.Identity(), (2, 3))
    assert {profile.flops_as(convention.name) for convention in CONVENTIONS} == {0}


# Running the tools.


@pytest.mark.parametrize("tool", list(tools.RUNS))
def test_the_model_is_left_as_it_was(tool: str) -> None:
    model = Images().train()
    before, kept = copy.deepcopy(model.state_dict()), dict(model.start.__dict__)
    random = torch.random.get_rng_state()
    printed_by(tool, model, IMAGES)
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(module.training for module in model.modules())
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.start.__dict__ == kept


def test_a_model_without_weights_gets_some_and_shared_ones_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = nn.Linear(4, 4)
            self.second.weight = self.first.weight
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            assert self.first.weight is self.second.weight
            out = self.norm(self.second(self.first(x)))
            assert bool(out.isfinite().all())
            return out

    with torch.device("meta"):
        model = Tied().eval()
    assert printed_by("torch", model, torch.empty(2, 4, device="meta")) == 2 * 2 * (2 * 4 * 4)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_a_model_too_big_to_fill_runs_on_the_meta_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "MOST_PARAMETERS", 10)
    model = nn.Linear(4, 4, device="meta")
    x = torch.empty(2, 4, device="meta")
    assert tools.run_tool("torch", "torch", model, (x,), {}) == tools.Printed(64, "on meta")

    class Reads(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * float(x.sum())

    found = tools.run_tool("torch", "torch", Reads(4, 4, device="meta"), (x,), {})
    assert found.number is None
    assert "failed on meta" in found.note
    assert "too big" in found.note


def test_what_keeps_a_tool_from_running_is_told() -> None:
    model, x = nn.Linear(3, 4), torch.rand(2, 5)
    missing = tools.run_tool("torch", "no_such_package", model, (x,), {})
    assert missing == tools.Printed(None, "not installed: pip install no_such_package")
    failed = tools.run_tool("torch", "torch", model, (x,), {})
    assert failed.number is None
    assert failed.note.startswith("failed on cpu: RuntimeError: mat1 and mat2 shapes")
    function = tools.run_tool("torch", "torch", torch.relu, (x,), {})
    assert function == tools.Printed(None, "takes an nn.Module only")


@pytest.mark.parametrize("tool", list(tools.RUNS))
def test_arguments_by_name_reach_every_tool(tool: str) -> None:
    pytest.importorskip(PACKAGES[tool], exc_type=ImportError)
    model = nn.Sequential(nn.Linear(3, 4, bias=False))
    found = tools.run_tool(tool, PACKAGES[tool], model, (), {"input": torch.rand(2, 3)})
    assert found.number == nnprof.measure(model, (2, 3)).flops_as(tool), found.note


def test_the_documentation_has_a_row_for_every_tool() -> None:
    page = (Path(__file__).parents[2] / "docs" / "conventions.md").read_text(encoding="utf-8")
    assert all(f"\n| `{convention.name}`" in page for convention in CONVENTIONS)

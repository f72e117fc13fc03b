"""Models named by strings."""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import nnprof
from nnprof.base.packages import import_torchvision
from nnprof.errors import MissingExtraError, ModelError
from nnprof.models import load_model, transformers_names

if TYPE_CHECKING:
    from pathlib import Path


def on_meta(model: Any) -> bool:
    return all(parameter.is_meta for parameter in model.parameters())


def elements(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_torchvision() -> None:
    model = load_model("torchvision:resnet50")
    assert (elements(model), on_meta(model)) == (25_557_032, True)


def test_a_torchvision_detector_fetches_no_backbone() -> None:
    assert on_meta(load_model("torchvision:fasterrcnn_resnet50_fpn"))


def test_import_torchvision_twice_is_the_same() -> None:
    assert import_torchvision() is import_torchvision()


def test_timm() -> None:
    import_torchvision()
    pytest.importorskip("timm")
    model = load_model("timm:resnet18")
    assert on_meta(model)
    assert elements(model) == 11_689_512


def test_transformers_by_type_and_by_file(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    small: dict[str, Any] = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    small |= {"intermediate_size": 128, "vocab_size": 100, "model_type": "llama"}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(small))
    model = load_model(f"transformers:{file}")
    assert type(model).__name__ == "LlamaForCausalLM"
    assert on_meta(model)
    file.write_text(json.dumps(small | {"architectures": ["LlamaModel"]}))
    assert type(load_model(f"transformers:{file}")).__name__ == "LlamaModel"
    assert type(load_model("transformers:bert")).__name__ == "BertForMaskedLM"


@pytest.mark.parametrize(
    ("name", "model_class", "parameters"),
    # As their model cards and checkpoints have them: whisper-tiny, bart-large,
    # clip-vit-base-patch32, siglip-base-patch16-224, llava-1.5-7b-hf, Qwen2-VL-72B.
    [
        ("whisper", "WhisperForConditionalGeneration", 37_760_640),
        ("bart", "BartForConditionalGeneration", 406_291_456),
        ("clip", "CLIPModel", 151_277_313),
        ("siglip", "SiglipModel", 203_155_970),
        ("llava", "LlavaForConditionalGeneration", 7_063_427_072),
        ("qwen2_vl", "Qwen2VLForConditionalGeneration", 73_405_560_320),
    ],
)
def test_a_bare_name_is_the_whole_model(name: str, model_class: str, parameters: int) -> None:
    pytest.importorskip("transformers")
    model = load_model(f"transformers:{name}")
    assert (type(model).__name__, elements(model)) == (model_class, parameters)
    assert str(nnprof.measure(model)).splitlines()[2].startswith(model_class)


@pytest.mark.parametrize(
    ("name", "model_class", "parts"),
    [
        ("marian", "MarianMTModel", {"encoder", "decoder"}),
        ("blenderbot", "BlenderbotForConditionalGeneration", {"encoder", "decoder"}),
        ("trocr", "VisionEncoderDecoderModel", {"encoder", "decoder"}),
        ("blip-2", "Blip2ForConditionalGeneration", {"vision_model", "qformer", "language_model"}),
        (
            "musicgen",
            "MusicgenForConditionalGeneration",
            {"text_encoder", "audio_encoder", "decoder"},
        ),
    ],
)
def test_no_part_is_left_out(name: str, model_class: str, parts: set[str]) -> None:
    pytest.importorskip("transformers")
    model = load_model(f"transformers:{name}")
    assert type(model).__name__ == model_class
    found = {path.rpartition(".")[2] for path, _ in model.named_modules()}
    assert parts <= found
    assert nnprof.measure(model).macs > 0


def test_a_type_that_the_table_does_not_know_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    for name in ("bart", "llama", "llava", "vit"):
        monkeypatch.delitem(transformers_names.CLASSES, name)
    assert type(load_model("transformers:bart")).__name__ == "BartForConditionalGeneration"
    assert type(load_model("transformers:llama")).__name__ == "LlamaForCausalLM"
    assert type(load_model("transformers:llava")).__name__ == "LlavaForConditionalGeneration"
    assert type(load_model("transformers:vit")).__name__ == "ViTForImageClassification"


def test_a_part_without_a_model_is_named_as_one() -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ModelError, match="a config for sam_mask_decoder, but no model"):
        load_model("transformers:sam_mask_decoder")


def test_diffusers_by_class_and_by_file(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    # The size of SD 1.5's UNet, as its model card has it: the class's defaults but for one.
    stable_diffusion = {"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(stable_diffusion))
    model = load_model(f"diffusers:{file}")
    assert (elements(model), on_meta(model)) == (859_520_964, True)
    assert not model.training
    assert type(load_model("diffusers:DiTTransformer2DModel")).__name__ == "DiTTransformer2DModel"


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ('{"in_channels": 4}', "no diffusers config: it has no '_class_name'"),
        ('{"_class_name": "Unet2DConditionModel"}', "did you mean UNet2DConditionModel"),
        ('{"_class_name": "DDIMScheduler"}', "diffusers has no model 'DDIMScheduler'"),
        ('{"_class_name": "UNet2DModel", "block_out_channels": [3]}', "building .* failed"),
        ("{", "cannot read the config"),
    ],
)
def test_a_wrong_diffusers_config(tmp_path: Path, config: str, complaint: str) -> None:
    pytest.importorskip("diffusers")
    file = tmp_path / "config.json"
    file.write_text(config)
    with pytest.raises(ModelError, match=complaint):
        load_model(f"diffusers:{file}")


OWN = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width=8):
        super().__init__(nn.Linear(4, width))

class Wide(Net):
    def __init__(self, width):
        super().__init__(width)

class NeedsValues(Net):
    def __init__(self):
        super().__init__(int(torch.full((1,), 6).item()))

def make():
    return Net(16)

def broken():
    raise RuntimeError("no such weights\\nsecond line")

made = Net()
seven = 7
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "mine_for_nnprof.py"
    file.write_text(OWN)
    return file


@pytest.mark.parametrize(
    ("name", "width"), [("Net", 8), ("make", 16), ("made", 8), ("NeedsValues", 6)]
)
def test_a_file_of_ones_own(own: Path, name: str, width: int) -> None:
    model: Any = load_model(f"{own}:{name}")
    assert model[0].out_features == width
    assert on_meta(model) == (name in {"Net", "make"})


def test_a_module_of_ones_own(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(own.parent))
    assert isinstance(load_model("mine_for_nnprof:made"), nn.Module)
    assert isinstance(load_model("torch.nn:Identity"), nn.Identity)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("Wide", "TypeError.*'width'"),
        ("broken", "building .*: RuntimeError: no such weights$"),
        ("seven", "is a int|is an int"),
        ("maek", "did you mean make|made"),
    ],
)
def test_what_is_wrong_with_ones_own(own: Path, name: str, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        load_model(f"{own}:{name}")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("resnet50", "use torchvision:NAME, timm:NAME"),
        ("torchvision:", "names no model"),
        ("torchvision:resnet5", "did you mean resnet50"),
        ("timm:resnet_18", "did you mean .*resnet18"),
        ("transformers:lama", "did you mean .*llama"),
        ("transformers:gone.json", "cannot read the config gone.json"),
        ("torchvison:resnet50", "did you mean torchvision:"),
        ("no_such_package.x:y", "no module 'no_such_package.x'"),
        ("gone.py:Net", "there is no file gone.py"),
    ],
)
def test_unknown_names(text: str, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        load_model(text)


@pytest.mark.parametrize("text", ["{}", "[]", "not json"])
def test_what_is_no_config(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(ModelError, match=r"config\.json"):
        load_model(f"transformers:{file}")


def test_a_file_that_fails_to_import(tmp_path: Path) -> None:
    file = tmp_path / "fails_for_nnprof.py"
    file.write_text("1 / 0")
    with pytest.raises(ModelError, match=r"importing .* failed: ZeroDivisionError"):
        load_model(f"{file}:x")


@pytest.mark.parametrize("package", ["torchvision", "timm", "transformers"])
def test_a_missing_extra_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=f"pip install {package}"):
        load_model(f"{package}:anything")


def test_the_default_device_is_left_alone(own: Path) -> None:
    load_model(f"{own}:Net")
    assert torch.empty(1).device.type == "cpu"

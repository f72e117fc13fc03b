"""What `benchmarks/gpu.py` measures: models of usual sizes, on the meta device and in bfloat16.

`QUICK_CASES` are small stand-ins for trying the program itself, on any device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

__all__ = ["CASES", "QUICK_CASES", "Case"]

# torch and the libraries are imported where a model is built: the list alone is read without them.


@dataclass(frozen=True)
class Case:
    """A model and how it is called."""

    name: str  # as --models takes it
    title: str
    build: Callable[[], nn.Module]
    call: Callable[[], dict[str, Any]]  # keyword arguments of `nnprof.measure`
    params: int | None = None  # published
    share: float = 1.0  # of the time for all models, over that of the others
    most_s: float | None = None  # for measuring, whatever time there is
    repeated: bool = False  # its operators are timed once more, in another process


def _named(text: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torch

        from nnprof.models import load_model

        model: nn.Module = load_model(text)
        return model.to(torch.bfloat16)

    return build


def _shape(*sizes: int) -> Callable[[], dict[str, Any]]:
    return lambda: {"shape": sizes}


def _bert_large() -> nn.Module:
    return _from_config(
        "BertModel",
        {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_attention_heads": 16,
            "num_hidden_layers": 24,
        },
    )


def _from_config(architecture: str, config: dict[str, Any]) -> nn.Module:
    from benchmarks.large_models import LargeModel, Published

    return LargeModel("", "", architecture, config, {}, Published("0")).build()


def _llama_3_8b() -> nn.Module:
    from benchmarks.large_models import LARGE_MODELS

    later = LARGE_MODELS["Llama-3.1-8B"]
    # Of 3.1 only the positions are others.
    positions = {"rope_type": "default", "rope_theta": 500000.0}
    changed = {"rope_parameters": positions, "max_position_embeddings": 8192}
    return replace(later, config=later.config | changed).build()


def _llama_3_8b_generating() -> nn.Module:
    """With logits of the last token alone, as `generate` asks for them.

    Those of 64 prompts of 2048 tokens, which the prefill before a decode step reads, are 34 GB.
    """
    import torch

    from nnprof.base.packages import import_torchvision

    import_torchvision()  # transformers imports it, and may not be able to on its own
    import transformers

    base = transformers.LlamaForCausalLM

    class LlamaOfLastLogits(base):  # type: ignore[misc, valid-type]
        @wraps(base.forward)
        def forward(self, *arguments: Any, **keywords: Any) -> Any:
            return super().forward(*arguments, **({"logits_to_keep": 1} | keywords))

    config = _llama_3_8b().config
    with torch.device("meta"):
        model: nn.Module = LlamaOfLastLogits._from_config(config, dtype=torch.bfloat16)
    return model.eval()


def _decode(batch: int) -> Callable[[], dict[str, Any]]:
    return lambda: {"phase": "decode", "context": 2048, "batch": batch}


def _sdxl_unet() -> nn.Module:
    import torch

    from benchmarks import zoo_diffusers
    from nnprof.base.packages import import_torchvision

    import_torchvision()  # diffusers imports it, and may not be able to on its own
    import diffusers

    config = dict(zoo_diffusers.PUBLISHED["stable-diffusion-xl"])
    architecture = getattr(diffusers, config.pop("_class_name"))
    with torch.device("meta"):
        model: nn.Module = architecture(**config)
    return model.to(torch.bfloat16).eval()


def _whisper() -> nn.Module:
    from benchmarks.large_models import LARGE_MODELS

    return LARGE_MODELS["Whisper-large-v3"].build()


def _whisper_inputs() -> dict[str, Any]:
    from benchmarks.large_models import LARGE_MODELS

    return {"inputs": LARGE_MODELS["Whisper-large-v3"].example()}


def _llama_3_405b() -> nn.Module:
    from benchmarks.models import LLAMA_3_405B, llama

    return llama(LLAMA_3_405B)


CASES = (
    Case(
        "resnet50",
        "ResNet-50, batch 64",
        _named("torchvision:resnet50"),
        _shape(64, 3, 224, 224),
        params=25_557_032,
        repeated=True,
    ),
    Case(
        "resnet50-b1",
        "ResNet-50, batch 1",
        _named("torchvision:resnet50"),
        _shape(1, 3, 224, 224),
        params=25_557_032,
        share=0.5,
    ),
    Case(
        "vit-l",
        "ViT-L/16, batch 32",
        _named("timm:vit_large_patch16_224"),
        _shape(32, 3, 224, 224),
        params=304_326_632,
        share=0.6,
    ),
    Case(
        "bert-l",
        "BERT-L, 32 x 128 tokens",
        _bert_large,
        lambda: {"batch": 32, "sequence": 128},
        params=335_141_888,
        share=0.6,
    ),
    Case(
        "llama-8b-prefill",
        "Llama-3-8B, prefill of 2048",
        _llama_3_8b,
        lambda: {"phase": "prefill", "sequence": 2048},
        params=8_030_261_248,
        repeated=True,
    ),
    Case(
        "llama-8b-decode-b1",
        "Llama-3-8B, decode at 2048, batch 1",
        _llama_3_8b_generating,
        _decode(1),
        params=8_030_261_248,
        repeated=True,
    ),
    Case(
        "llama-8b-decode-b64",
        "Llama-3-8B, decode at 2048, batch 64",
        _llama_3_8b_generating,
        _decode(64),
        params=8_030_261_248,
        share=1.5,  # the prefill before each sample takes seconds
    ),
    Case(
        "sdxl-unet",
        "SDXL UNet, 2 x 1024 px",
        _sdxl_unet,
        lambda: {"batch": 2},
        params=2_567_463_684,
        share=1.5,
    ),
    Case(
        "whisper",
        "Whisper large-v3, 30 s and 448 tokens",
        _whisper,
        _whisper_inputs,
        params=1_543_490_560,
    ),
    Case(
        "llama-405b",
        "Llama-3-405B, prefill of 8192",
        _llama_3_405b,
        _shape(1, 8192),
        params=405_853_388_800,
        most_s=60.0,
    ),
)


def _tiny_cnn() -> nn.Module:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, device="meta"),
        nn.BatchNorm2d(16, device="meta"),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10, device="meta"),
    ).eval()


def _tiny_transformer() -> nn.Module:
    from benchmarks.models import LlamaConfig, llama

    return llama(
        LlamaConfig(hidden=64, ffn=128, layers=2, heads=4, kv_heads=2, vocabulary=256, context=64)
    )


QUICK_CASES = (
    Case("tiny-cnn", "CNN of 3 layers", _tiny_cnn, _shape(4, 3, 32, 32), params=650, repeated=True),
    Case("tiny-llama", "Llama of 2 layers", _tiny_transformer, _shape(1, 32), repeated=True),
)

"""The zoo's models of diffusers: every class with its constructor's defaults, and public ones.

`PUBLISHED` holds what the checkpoint's own config.json says where it is not the default of the
class; the page is named above each.
"""

from __future__ import annotations

import inspect
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.zoo_models import usual_case
from nnprof.base.packages import import_torchvision

if TYPE_CHECKING:
    from benchmarks.zoo_models import Case

__all__ = ["PUBLISHED", "case", "names"]

#: Classes that are no model of their own.
_NO_MODELS = {
    "ModelMixin",  # the base class
    "MotionAdapter",  # weights for UNetMotionModel; has no forward
    "ControlNetXSAdapter",  # weights for UNetControlNetXSModel; its forward raises
}

#: Classes whose defaults make no model: one of them is None where a number is needed, or the sizes
#: do not go together (UNet1DModel raises in its own forward).
_NEED_A_CONFIG = {
    "ControlNetUnionModel",
    "DreamLiteTransformer2DModel",
    "EasyAnimateTransformer3DModel",
    "HiDreamImageTransformer2DModel",
    "HunyuanDiT2DControlNetModel",
    "HunyuanDiT2DModel",
    "LatteTransformer3DModel",
    "LuminaNextDiT2DModel",
    "OmniGenTransformer2DModel",
    "Transformer2DModel",
    "TransformerTemporalModel",
    "UNet1DModel",
    "ZImageControlNetModel",
}

Config = dict[str, Any]

PUBLISHED: dict[str, Config] = {
    # huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5, unet
    "stable-diffusion-v1-5": {
        "_class_name": "UNet2DConditionModel",
        "cross_attention_dim": 768,
        "sample_size": 64,
    },
    # huggingface.co/stabilityai/stable-diffusion-xl-base-1.0, unet
    "stable-diffusion-xl": {
        "_class_name": "UNet2DConditionModel",
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "attention_head_dim": [5, 10, 20],
        "block_out_channels": [320, 640, 1280],
        "cross_attention_dim": 2048,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "projection_class_embeddings_input_dim": 2816,
        "sample_size": 128,
        "transformer_layers_per_block": [1, 2, 10],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "use_linear_projection": True,
    },
    # huggingface.co/stabilityai/stable-diffusion-3-medium-diffusers, transformer
    "stable-diffusion-3-medium": {
        "_class_name": "SD3Transformer2DModel",
        "caption_projection_dim": 1536,
        "num_attention_heads": 24,
        "num_layers": 24,
        "pos_embed_max_size": 192,
    },
    # huggingface.co/black-forest-labs/FLUX.1-dev, transformer
    "flux.1-dev": {"_class_name": "FluxTransformer2DModel", "guidance_embeds": True},
    # huggingface.co/facebook/DiT-XL-2-256, transformer
    "dit-xl-2-256": {"_class_name": "DiTTransformer2DModel", "out_channels": 8, "sample_size": 32},
    # huggingface.co/stabilityai/sd-vae-ft-mse
    "sd-vae": {
        "_class_name": "AutoencoderKL",
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "layers_per_block": 2,
        "sample_size": 256,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    },
    # huggingface.co/Wan-AI/Wan2.1-T2V-1.3B-Diffusers, transformer
    "wan2.1-t2v-1.3b": {
        "_class_name": "WanTransformer3DModel",
        "ffn_dim": 8960,
        "num_attention_heads": 12,
        "num_layers": 30,
    },
    # huggingface.co/THUDM/CogVideoX-2b, transformer: the class's defaults
    "cogvideox-2b": {"_class_name": "CogVideoXTransformer3DModel"},
    # huggingface.co/Tencent-Hunyuan/HunyuanDiT-v1.1-Diffusers, transformer
    "hunyuan-dit-v1.1": {
        "_class_name": "HunyuanDiT2DModel",
        "hidden_size": 1408,
        "in_channels": 4,
        "mlp_ratio": 4.3637,
        "num_layers": 40,
        "patch_size": 2,
        "sample_size": 128,
    },
    # huggingface.co/maxin-cn/Latte-1, transformer
    "latte-1": {
        "_class_name": "LatteTransformer3DModel",
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "attention_head_dim": 72,
        "caption_channels": 4096,
        "cross_attention_dim": 1152,
        "in_channels": 4,
        "norm_elementwise_affine": False,
        "norm_eps": 1e-06,
        "norm_type": "ada_norm_single",
        "num_embeds_ada_norm": 1000,
        "num_layers": 28,
        "out_channels": 8,
        "patch_size": 2,
        "sample_size": 64,
        "video_length": 16,
    },
    # huggingface.co/Alpha-VLLM/Lumina-Next-SFT-diffusers, transformer
    "lumina-next-sft": {
        "_class_name": "LuminaNextDiT2DModel",
        "num_kv_heads": 8,
        "num_layers": 24,
    },
    # huggingface.co/HiDream-ai/HiDream-I1-Full, transformer
    "hidream-i1": {
        "_class_name": "HiDreamImageTransformer2DModel",
        "axes_dims_rope": [64, 32, 32],
        "caption_channels": [4096, 4096],
        "in_channels": 16,
        "llama_layers": [*range(32), *[31] * 16],
        "out_channels": 16,
        "patch_size": 2,
    },
}


def names() -> list[str]:
    """The published models, then the classes."""
    import_torchvision()  # which diffusers imports
    import diffusers

    found = {name: getattr(diffusers, name) for name in diffusers._import_structure["models"]}
    left_out = _NO_MODELS | _NEED_A_CONFIG
    return [*PUBLISHED, *sorted(n for n in found.keys() - left_out if _has_defaults(found[n]))]


def _has_defaults(found: Any) -> bool:
    """Whether it is a model class that can be called without arguments."""
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
        return False
    parameters = list(inspect.signature(found.__init__).parameters.values())[1:]
    return all(p.default is not p.empty or p.kind == p.VAR_KEYWORD for p in parameters)


def case(name: str) -> Case:
    """A model and its usual inputs."""
    if name not in PUBLISHED:
        return usual_case(f"diffusers:{name}")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(PUBLISHED[name]))
        return usual_case(f"diffusers:{config}")

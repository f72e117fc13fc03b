"""Inputs of diffusers' models: models made small take them for real, filled with random values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree
from torch.utils.flop_counter import FlopCounterMode

import nnprof
from nnprof.base.packages import import_torchvision
from nnprof.calls.examples import NO_SIZES, Sizes, example_inputs
from nnprof.errors import InputError
from nnprof.models import load_model
from nnprof.tracing.run import bare_output

import_torchvision()
diffusers = pytest.importorskip("diffusers")

BLOCKS = {"block_out_channels": (16, 32), "norm_num_groups": 8, "sample_size": 8}
UNET = {
    **BLOCKS,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 24,
}
CONTROL = {
    "block_out_channels": (16, 32),
    "norm_num_groups": 8,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 24,
    "conditioning_embedding_out_channels": (4, 8, 8, 8),
}
MOTION = {
    **{name: value for name, value in UNET.items() if "block_types" not in name},
    "down_block_types": ("CrossAttnDownBlockMotion", "DownBlockMotion"),
    "up_block_types": ("UpBlockMotion", "CrossAttnUpBlockMotion"),
    "num_attention_heads": 2,
    "motion_num_attention_heads": 2,
}
VAE = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "norm_num_groups": 4,
    "sample_size": 32,
}
HEADS = {"num_attention_heads": 2, "attention_head_dim": 16}
FLUX = {
    **HEADS,
    "num_layers": 1,
    "num_single_layers": 1,
    "joint_attention_dim": 24,
    "axes_dims_rope": (4, 6, 6),
}
WAN = {
    **HEADS,
    "patch_size": (1, 8, 8),
    "text_dim": 24,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 1,
}
VIDEO = {**HEADS, "sample_height": 8, "sample_width": 8, "num_layers": 1}

SMALL: list[tuple[str, str, dict[str, Any]]] = [
    ("SD 1.5", "UNet2DConditionModel", UNET),
    (
        "SDXL",
        "UNet2DConditionModel",
        UNET
        | {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 20,
        },
    ),
    ("classes", "UNet2DConditionModel", UNET | {"num_class_embeds": 10}),
    ("image", "UNet2DConditionModel", UNET | {"class_embed_type": "timestep"}),
    (
        "unconditional",
        "UNet2DModel",
        BLOCKS
        | {
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        },
    ),
    ("AnimateDiff", "UNetMotionModel", MOTION),
    ("ControlNet", "ControlNetModel", CONTROL),
    (
        "SD3",
        "SD3Transformer2DModel",
        HEADS
        | {
            "sample_size": 8,
            "num_layers": 2,
            "joint_attention_dim": 24,
            "caption_projection_dim": 32,
            "pooled_projection_dim": 20,
            "pos_embed_max_size": 8,
        },
    ),
    ("Flux", "FluxTransformer2DModel", FLUX | {"pooled_projection_dim": 12}),
    ("Flux guided", "FluxTransformer2DModel", FLUX | {"guidance_embeds": True}),
    (
        "Qwen-Image",
        "QwenImageTransformer2DModel",
        {name: value for name, value in FLUX.items() if name != "num_single_layers"},
    ),
    ("DiT", "DiTTransformer2DModel", HEADS | {"sample_size": 8, "num_layers": 1}),
    (
        "PixArt",
        "PixArtTransformer2DModel",
        HEADS
        | {"sample_size": 8, "num_layers": 1, "cross_attention_dim": 32, "caption_channels": 24},
    ),
    (
        "HunyuanDiT",
        "HunyuanDiT2DModel",
        HEADS
        | {
            "hidden_size": 32,
            "in_channels": 4,
            "num_layers": 2,
            "patch_size": 2,
            "sample_size": 8,
            "cross_attention_dim": 24,
            "cross_attention_dim_t5": 32,
            "text_len": 5,
            "text_len_t5": 7,
        },
    ),
    (
        "Lumina",
        "LuminaNextDiT2DModel",
        {
            "sample_size": 8,
            "hidden_size": 64,
            "num_layers": 1,
            "num_attention_heads": 2,
            "num_kv_heads": 1,
            "cross_attention_dim": 24,
        },
    ),
    (
        "Z-Image",
        "ZImageTransformer2DModel",
        {
            "dim": 64,
            "n_layers": 1,
            "n_refiner_layers": 1,
            "n_heads": 2,
            "n_kv_heads": 2,
            "cap_feat_dim": 24,
            "axes_dims": [8, 12, 12],
        },
    ),
    ("CogVideoX", "CogVideoXTransformer3DModel", VIDEO | {"text_embed_dim": 24}),
    ("Wan from an image", "WanTransformer3DModel", WAN | {"image_dim": 20}),
    (
        "LTX",
        "LTXVideoTransformer3DModel",
        HEADS
        | {"in_channels": 8, "num_layers": 1, "cross_attention_dim": 32, "caption_channels": 24},
    ),
    (
        "HunyuanVideo",
        "HunyuanVideoTransformer3DModel",
        HEADS
        | {
            "num_layers": 1,
            "num_single_layers": 1,
            "num_refiner_layers": 1,
            "patch_size": 8,
            "text_embed_dim": 24,
            "pooled_projection_dim": 20,
            "rope_axes_dim": (4, 6, 6),
        },
    ),
    ("SD VAE", "AutoencoderKL", VAE),
    (
        "prior",
        "PriorTransformer",
        HEADS | {"num_layers": 1, "embedding_dim": 20, "num_embeddings": 7},
    ),
]


def small(name: str, config: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return getattr(diffusers, name)(**config).eval()


def usual(model: Any, sizes: Sizes = NO_SIZES) -> tuple[tuple[Any, ...], dict[str, Any]]:
    arguments = example_inputs(model, sizes, bare_output)
    assert arguments is not None
    return arguments


def filled(tensor: torch.Tensor) -> torch.Tensor:
    return torch.randn(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor


@pytest.mark.parametrize(
    ("class_name", "config"), [case[1:] for case in SMALL], ids=[case[0] for case in SMALL]
)
def test_the_model_itself_takes_them(class_name: str, config: dict[str, Any]) -> None:
    # Of another copy: either run may leave tables of positions behind.
    macs = nnprof.measure(small(class_name, config)).macs
    model = small(class_name, config)
    args, kwargs = usual(model)
    args, kwargs = _pytree.tree_map_only(torch.Tensor, filled, (args, kwargs))
    counter = FlopCounterMode(display=False, custom_mapping=BY_HAND)
    outers = OuterProducts()
    with torch.no_grad(), counter, outers:
        model(*args, **kwargs)
    assert 2 * macs == counter.get_total_flops() + 2 * outers.macs


def attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    batch, heads, queries, channels = query
    return int(2 * batch * heads * queries * key[-2] * (channels + value[-1]))


#: What FlopCounterMode takes for free.
BY_HAND = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops,
}


class OuterProducts(TorchFunctionMode):
    """Counts the multiplications of `torch.outer`, which runs as a plain multiplication."""

    macs = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in (torch.outer, torch.Tensor.outer):
            self.macs += made.numel()
        return made


@pytest.mark.parametrize("class_name", ["UNet2DConditionModel", "AutoencoderKL"])
def test_the_batch(class_name: str) -> None:
    model = small(class_name, UNET if class_name == "UNet2DConditionModel" else VAE)
    assert nnprof.measure(model, batch=3).macs == 3 * nnprof.measure(model).macs


def test_the_sequence_is_the_text() -> None:
    model = small("UNet2DConditionModel", UNET)
    _, kwargs = usual(model)
    assert kwargs["encoder_hidden_states"].shape == (1, 77, 24)
    _, kwargs = usual(model, Sizes(sequence=11))
    assert kwargs["encoder_hidden_states"].shape == (1, 11, 24)
    macs = [nnprof.measure(model, sequence=tokens).macs for tokens in (10, 20, 30)]
    assert macs[2] - macs[1] == macs[1] - macs[0] > 0


def test_the_dtype_is_the_models() -> None:
    model = small("UNet2DConditionModel", UNET).bfloat16()
    _, kwargs = usual(model)
    assert {tensor.dtype for tensor in kwargs.values()} == {torch.bfloat16}


def test_a_model_that_derives_from_one_of_diffusers() -> None:
    class Mine(diffusers.UNet2DConditionModel):  # type: ignore[misc,name-defined]
        pass

    expected = nnprof.measure(small("UNet2DConditionModel", UNET)).macs
    assert nnprof.measure(Mine(**UNET)).macs == expected


def test_published_sizes() -> None:
    # 118.7 GMACs: DiT-XL/2 at 256 x 256 pixels, in Table 4 of "Scalable Diffusion Models with
    # Transformers", which leaves out what diffusers' layers each do again for the time.
    macs = nnprof.measure(load_model("diffusers:DiTTransformer2DModel")).macs
    assert macs / 1e9 == pytest.approx(118.64, rel=0.04)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(InputError, match="AutoencoderKL takes no text and so no sequence"):
        nnprof.measure(small("AutoencoderKL", VAE), sequence=5)
    with pytest.raises(InputError, match=r"Timesteps is a layer of diffusers.*pass shape="):
        nnprof.measure(diffusers.models.embeddings.Timesteps(8, True, 0))
    model = small("ControlNetModel", CONTROL)
    multiple = diffusers.MultiControlNetModel([model])
    with pytest.raises(InputError, match=r"of diffusers, not one of its models: pass shape="):
        nnprof.measure(multiple)
    with torch.device("meta"):
        protein = diffusers.RFD4ProteinaTransformer()
    with pytest.raises(InputError, match=r"takes as bb_ca, .* is not known: pass inputs="):
        nnprof.measure(protein)

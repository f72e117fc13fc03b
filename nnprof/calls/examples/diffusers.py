"""What models of diffusers take, read from their `config`.

The arguments of `forward` go by their names, which mean the same in nearly every class: a maker for
each name, and by class what differs.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from nnprof.calls.examples.tensors import floats
from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnprof.calls.examples import Arguments, Sizes

__all__ = ["make"]


def make(model: Any, sizes: Sizes) -> Arguments:
    """The arguments of one denoising step, or of one pass through an autoencoder, as keywords.

    Latents have the sizes that the config names (`sample_size`...), else those of 1024 x 1024
    pixels, or of 81 frames of 480 x 832; an autoencoder gets pixels. Batch 1, without the doubling
    for classifier-free guidance. `sizes.sequence` is the number of text tokens; the usual one is
    that of the family's own pipeline.

    Raises `InputError` where a required argument is of no known meaning, and for a sequence where
    the model takes no text.
    """
    name = type(model).__name__
    if not hasattr(model, "config"):
        raise InputError(f"{name} is a layer of diffusers, not one of its models: pass shape=")
    call = _Call(model, 1 if sizes.batch is None else sizes.batch, sizes.sequence)
    parameters = inspect.signature(model.forward).parameters.values()
    required = {p.name for p in parameters if p.default is p.empty}
    makers = _BY_NAME | {k: v for k, v in _IF_REQUIRED.items() if k in required} | _of_class(model)
    unknown = sorted(required - makers.keys())
    if unknown:
        raise InputError(f"what {name} takes as {', '.join(unknown)} is not known: pass inputs=")
    made = {p.name: makers[p.name](call) for p in parameters if p.name in makers}
    if sizes.sequence is not None and not made.keys() & _TEXTS:
        raise InputError(f"{name} takes no text and so no sequence: leave it out")
    return (), {k: value for k, value in made.items() if value is not None or k in required}


def _of_class(model: Any) -> dict[str, Maker]:
    """What `_BY_CLASS` says of the model's class and its bases, the closest last."""
    found: dict[str, Maker] = {}
    for base in reversed(type(model).__mro__):
        found |= _BY_CLASS.get(base.__name__, {})
    return found


@dataclass(frozen=True)
class _Call:
    """The call that is made: what the makers ask."""

    model: Any
    batch: int
    sequence: int | None

    def config(self, *names: str, default: Any = None) -> Any:
        """The first of the values that the config has and that is not None."""
        values = (self.model.config.get(name) for name in names)
        return next((value for value in values if value is not None), default)

    def floats(self, *sizes: int) -> torch.Tensor:
        return floats(self.model, self.batch, *sizes)

    def ones(self, *sizes: int) -> torch.Tensor:
        """Integers, real ones: models count and index with masks."""
        return torch.ones((self.batch, *sizes), dtype=torch.int64, device="cpu")

    def zeros(self, *sizes: int) -> torch.Tensor:
        return torch.zeros((self.batch, *sizes), dtype=torch.int64, device="cpu")

    def tokens(self, usual: int | None = None) -> int:
        """Of text: as many as were asked for, else what the config says or the family takes."""
        if self.sequence is not None:
            return self.sequence
        base = next((b for b in type(self.model).__mro__ if b.__name__ in _TOKENS), None)
        by_class = None if base is None else _TOKENS[base.__name__]
        return int(usual or by_class or self.config(*_TEXT_LENGTHS, default=512))


_TEXT_LENGTHS = ("max_text_seq_length", "max_sequence_length", "text_len", "num_embeddings")

#: Text tokens of the pipelines that do not take T5's 512, where the config does not tell.
_TOKENS = {
    **dict.fromkeys(("ControlNetModel", "ControlNetUnionModel", "SparseControlNetModel"), 77),
    **dict.fromkeys(("UNet2DConditionModel", "UNet3DConditionModel", "UNetMotionModel"), 77),
    **dict.fromkeys(("UNetControlNetXSModel", "I2VGenXLUNet", "UVit2DModel"), 77),
    # CLIP's 77 and T5's 256.
    **dict.fromkeys(("SD3Transformer2DModel", "SD3ControlNetModel"), 333),
    **dict.fromkeys(("SanaTransformer2DModel", "SanaControlNetModel"), 300),
    **dict.fromkeys(("Kandinsky3UNet", "LTXVideoTransformer3DModel", "StableAudioDiTModel"), 128),
    **dict.fromkeys(("CogView3PlusTransformer2DModel", "CogView4Transformer2DModel"), 224),
    "AuraFlowTransformer2DModel": 256,
    "HiDreamImageTransformer2DModel": 128,
    "HunyuanVideoTransformer3DModel": 256,
    "PixArtTransformer2DModel": 300,
}


#: Makes one argument; None leaves it out.
Maker: TypeAlias = "Callable[[_Call], Any]"


# Latents and pixels -----------------------------------------------------------------------------


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[-2], value[-1])


def _channels(call: _Call) -> int:
    return int(call.config(*_CHANNELS))


_CHANNELS = ("in_channels", "input_channels", "io_channels", "in_visual_dim", "audio_channels")


def _sides(call: _Call) -> tuple[int, int]:
    """Height and width of a picture's latents: of 1024 pixels, 8 to a latent."""
    return _pair(call.config("sample_size", default=128))


def _clip(call: _Call) -> tuple[int, int, int]:
    """Frames, height and width of a video's latents: 4 frames and 8 pixels to a latent."""
    size = _pair(call.config("sample_size", default=(60, 104)))
    height = call.config("sample_height", default=size[0])
    width = call.config("sample_width", default=size[1])
    return call.config("video_length", default=21), height, width


def _latents(call: _Call) -> torch.Tensor:
    """By the class's name: images or videos."""
    sides = _clip if "3D" in type(call.model).__name__ else _sides
    return call.floats(_channels(call), *sides(call))


def _unet_sides(call: _Call) -> tuple[int, int]:
    return _pair(call.config("sample_size", default=64))


def _unet_latents(call: _Call) -> torch.Tensor:
    return call.floats(_channels(call), *_unet_sides(call))


def _unet_clip(call: _Call) -> torch.Tensor:
    return call.floats(_channels(call), _UNET_FRAMES, *_unet_sides(call))


_UNET_FRAMES = 16


def _frames_first(call: _Call) -> torch.Tensor:
    """(batch, frames, channels, height, width): CogVideoX and its kin."""
    frames, height, width = _clip(call)
    pixels = call.config("sample_frames")  # of pixels, not latents
    if pixels is not None:
        frames = (pixels - 1) // call.config("temporal_compression_ratio", default=4) + 1
    return call.floats(frames, _channels(call), height, width)


def _channels_last(call: _Call) -> torch.Tensor:
    """(batch, frames, height, width, channels), with the condition and its mask where asked for."""
    channels = _channels(call)
    conditioned = call.config("visual_cond", default=False)
    return call.floats(*_clip(call), 2 * channels + 1 if conditioned else channels)


def _packed(call: _Call) -> torch.Tensor:
    """A picture's patches in a row."""
    return call.floats(_PATCHES * _PATCHES, _channels(call))


def _packed_condition(call: _Call) -> torch.Tensor:
    extra = call.config("extra_condition_channels", default=0)
    return call.floats(_PATCHES * _PATCHES, _channels(call) + extra)


#: Patches along a side of 1024 pixels: 8 to a latent, two latents to a patch.
_PATCHES = 64


def _packed_clip(call: _Call) -> torch.Tensor:
    return call.floats(math.prod(_PACKED_CLIP), _channels(call))


#: Latents of 161 frames of 480 x 704 pixels, 8 frames and 32 pixels to each: LTX's usual video.
_PACKED_CLIP = (21, 15, 22)


def _pixels(call: _Call) -> torch.Tensor:
    """What an image autoencoder takes."""
    sides = _pair(call.config("sample_size", "image_size", "encoder_input_size", default=512))
    return call.floats(3 if call.config(*_CHANNELS) is None else _channels(call), *sides)


def _video_pixels(call: _Call) -> torch.Tensor:
    """17 frames: one more than a multiple of 16, which every causal autoencoder takes."""
    return call.floats(3, 17, 256, 256)


def _waveform(call: _Call) -> torch.Tensor:
    """About 1.5 s of 44.1 kHz, a multiple of every autoencoder's hop."""
    stereo = 2 if call.config("stereo") else 1
    return call.floats(call.config("audio_channels", "num_channels", default=stereo), 1 << 16)


def _condition_pixels(call: _Call) -> torch.Tensor:
    """A ControlNet's picture: each level of its embedding but the last halves the size."""
    levels = len(call.config(*_CONDITION_LEVELS))
    channels = call.config("conditioning_channels", "ctrl_conditioning_channels")
    height, width = _unet_sides(call)
    return call.floats(channels, height << (levels - 1), width << (levels - 1))


_CONDITION_LEVELS = (
    "conditioning_embedding_out_channels",
    "ctrl_conditioning_embedding_out_channels",
)


# Conditions -------------------------------------------------------------------------------------


def _one(call: _Call) -> torch.Tensor:
    """A time, a guidance scale: a number for each of the batch."""
    return call.floats()


def _text(call: _Call) -> torch.Tensor | None:
    width = call.config(*_TEXT_WIDTHS)
    if width is None:
        return None
    return call.floats(call.tokens(), width if isinstance(width, int) else width[0])


#: Where configs say how wide the text is; first what is projected to the width of the others.
_TEXT_WIDTHS = (
    "caption_channels",
    "encoder_hid_dim",
    "joint_attention_dim",
    "text_embed_dim",
    "text_dim",
    "text_in_dim",
    "cap_feat_dim",
    "context_in_dim",
    "in_text_dim",
    "dit_text_dim",
    "cond_token_dim",
    "encoder_hidden_size",
    "cross_attention_input_dim",
    "cross_attention_dim",
    "condition_dim",
)


def _text_of(*widths: str) -> Maker:
    """A text of a width that the config has under another name."""
    return lambda call: call.floats(call.tokens(), call.config(*widths))


def _text_of_frames(call: _Call) -> torch.Tensor:
    """The text once for every frame."""
    sizes = (call.batch * _UNET_FRAMES, call.tokens(), call.config("cross_attention_dim"))
    return floats(call.model, *sizes)


def _text_mask(call: _Call) -> torch.Tensor:
    return call.ones(call.tokens())


def _pooled(call: _Call) -> torch.Tensor | None:
    width = call.config("pooled_projection_dim", "in_text_dim2")
    return None if width is None else call.floats(width)


def _guidance(call: _Call) -> torch.Tensor | None:
    return call.floats() if call.config("guidance_embeds") else None


def _labels(call: _Call) -> torch.Tensor | None:
    if call.config("class_embed_type") == "projection":
        return call.floats(call.config("projection_class_embeddings_input_dim"))
    if call.config("class_embed_type") == "timestep":
        return call.floats()
    classes = call.config("num_class_embeds", "num_embeds_ada_norm")
    return None if classes is None else call.zeros()


def _image_ids(call: _Call) -> torch.Tensor:
    return floats(call.model, _PATCHES * _PATCHES, _rope_axes(call))


def _text_ids(call: _Call) -> torch.Tensor:
    return floats(call.model, call.tokens(), _rope_axes(call))


def _rope_axes(call: _Call) -> int:
    return len(call.config("axes_dims_rope", default=(16, 56, 56)))


def _image_shapes(call: _Call) -> list[list[tuple[int, int, int]]]:
    return [[(1, _PATCHES, _PATCHES)] for _ in range(call.batch)]


def _image_text(call: _Call) -> torch.Tensor | None:
    """CLIP's 257 tokens of a picture, for video models that start from one."""
    width = call.config("image_dim")
    return None if width is None else call.floats(257, width)


def _added_conditions(call: _Call) -> dict[str, Any] | None:
    """Of a UNet, by what it adds to the time: the pooled text and the sizes of SDXL..."""
    made: dict[str, Any] = {}
    pooled = call.config("projection_class_embeddings_input_dim")
    width = call.config("cross_attention_dim")
    kind = call.config("addition_embed_type")
    if kind == "text_time":
        sizes = _SIZES_IN_TIME * call.config("addition_time_embed_dim")
        made = {
            "text_embeds": call.floats(pooled - sizes),
            "time_ids": call.floats(_SIZES_IN_TIME),
        }
    if kind == "text_image":
        made = {"text_embeds": call.floats(width), "image_embeds": call.floats(width)}
    if kind in ("image", "image_hint") or call.config("encoder_hid_dim_type") == "image_proj":
        made["image_embeds"] = call.floats(call.config("encoder_hid_dim", default=width))
    if kind == "image_hint":
        height, width = _unet_sides(call)
        made["hint"] = call.floats(3, 8 * height, 8 * width)
    return made or None


#: Original height and width, the crop's top and left, the target's height and width.
_SIZES_IN_TIME = 6


def _pixart_conditions(call: _Call) -> dict[str, Any]:
    """Resolution and aspect ratio, which the models of 1024 pixels look at."""
    if call.config("use_additional_conditions") is False or call.config("sample_size") != 128:
        return {"resolution": None, "aspect_ratio": None}
    return {"resolution": call.floats(2), "aspect_ratio": call.floats(1)}


def _rotary(call: _Call) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of every patch."""
    height, width = _sides(call)
    patch = call.config("patch_size")
    sizes = (height // patch * (width // patch), call.config("attention_head_dim"))
    return floats(call.model, *sizes), floats(call.model, *sizes)


def _positions(*sizes: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.arange(size, device="cpu") for size in sizes)


def _visual_positions(call: _Call) -> tuple[torch.Tensor, ...]:
    patches = zip(_clip(call), call.config("patch_size"), strict=True)
    return _positions(*(size // patch for size, patch in patches))


def _all_tokens(call: _Call) -> int:
    """Of OmniGen: the text, the time and the picture's patches."""
    height, width = _sides(call)
    patch = int(call.config("patch_size"))
    return call.tokens() + 1 + height // patch * (width // patch)


# The tables -------------------------------------------------------------------------------------

#: The arguments that are passed wherever `forward` has them.
_BY_NAME: dict[str, Maker] = {
    "hidden_states": _latents,
    "sample": _unet_latents,
    "timestep": _one,
    "encoder_hidden_states": _text,
    "encoder_hidden_states_image": _image_text,
    "pooled_projections": _pooled,
    "guidance": _guidance,
    "class_labels": _labels,
    "img_ids": _image_ids,
    "txt_ids": _text_ids,
    "img_shapes": _image_shapes,
    "added_cond_kwargs": _added_conditions,
}

#: The arguments that are passed where `forward` demands them.
_IF_REQUIRED: dict[str, Maker] = {
    "encoder_attention_mask": _text_mask,
    "controlnet_cond": _condition_pixels,
    "timestep_r": _one,
    "r_timestep": _one,
    "original_size": lambda call: call.floats(2),
    "target_size": lambda call: call.floats(2),
    "crop_coords": lambda call: call.floats(2),
}

#: Arguments whose length `sequence` is.
_TEXTS = frozenset(
    {
        "encoder_hidden_states",
        "encoder_hidden_states_t5",
        "cap_feats",
        "input_ids",
        "source_hidden_states",
        "text_bth",
    }
)

_PACKED: dict[str, Maker] = {"hidden_states": _packed, "controlnet_cond": _packed}
_IMAGE_AUTOENCODER: dict[str, Maker] = {"sample": _pixels}
_VIDEO_AUTOENCODER: dict[str, Maker] = {"sample": _video_pixels}
_AUDIO_AUTOENCODER: dict[str, Maker] = {"sample": _waveform}
_LTX: dict[str, Maker] = {
    "hidden_states": _packed_clip,
    "num_frames": lambda call: _PACKED_CLIP[0],
    "height": lambda call: _PACKED_CLIP[1],
    "width": lambda call: _PACKED_CLIP[2],
}
_HUNYUAN_DIT: dict[str, Maker] = {
    "encoder_hidden_states": lambda call: call.floats(
        call.config("text_len"), call.config("cross_attention_dim")
    ),
    "text_embedding_mask": lambda call: call.ones(call.config("text_len")),
    "encoder_hidden_states_t5": lambda call: call.floats(
        call.tokens(call.config("text_len_t5")), call.config("cross_attention_dim_t5")
    ),
    "text_embedding_mask_t5": lambda call: call.ones(call.tokens(call.config("text_len_t5"))),
    "image_meta_size": lambda call: call.floats(6),
    "style": lambda call: call.zeros(),
    "image_rotary_emb": _rotary,
    "controlnet_cond": _latents,
}

#: What differs by class, also for the classes that derive from one.
_BY_CLASS: dict[str, dict[str, Maker]] = {
    **dict.fromkeys(
        (
            "BriaTransformer2DModel",
            "ChromaTransformer2DModel",
            "Flux2Transformer2DModel",
            "Flux3Transformer2DModel",
            "FluxControlNetModel",
            "FluxTransformer2DModel",
            "LongCatImageTransformer2DModel",
            "NucleusMoEImageTransformer2DModel",
            "OvisImageTransformer2DModel",
            "QwenImageTransformer2DModel",
        ),
        _PACKED,
    ),
    **dict.fromkeys(
        (
            "AsymmetricAutoencoderKL",
            "AutoencoderDC",
            "AutoencoderKL",
            "AutoencoderKLFlux2",
            "AutoencoderKLHunyuanImage",
            "AutoencoderKLKVAE",
            "AutoencoderKLTemporalDecoder",
            "AutoencoderRAE",
            "AutoencoderTiny",
            "ConsistencyDecoderVAE",
            "VQModel",
        ),
        _IMAGE_AUTOENCODER,
    ),
    **dict.fromkeys(
        (
            "AutoencoderKLAllegro",
            "AutoencoderKLCogVideoX",
            "AutoencoderKLCosmos",
            "AutoencoderKLHunyuanImageRefiner",
            "AutoencoderKLHunyuanVideo",
            "AutoencoderKLHunyuanVideo15",
            "AutoencoderKLKVAEVideo",
            "AutoencoderKLLTX2Video",
            "AutoencoderKLLTXVideo",
            "AutoencoderKLMagvit",
            "AutoencoderKLMiniMaxH3",
            "AutoencoderKLQwenImage",
            "AutoencoderKLWan",
            "AutoencoderVidTok",
            "Kandinsky6SRVAE",
        ),
        _VIDEO_AUTOENCODER,
    ),
    **dict.fromkeys(
        (
            "AutoencoderKLKVAEAudio",
            "AutoencoderKLMiniMaxH3Audio",
            "AutoencoderOobleck",
            "AutoencoderSAME",
            "Cosmos3AVAEAudioTokenizer",
            "LongCatAudioDiTVae",
        ),
        _AUDIO_AUTOENCODER,
    ),
    # Red, green, blue and alpha.
    "AutoencoderKLQwenImage21": {"sample": lambda call: call.floats(4, 1, 512, 512)},
    # 6 frames to a latent.
    "AutoencoderKLMochi": {"sample": lambda call: call.floats(3, 19, 256, 256)},
    **dict.fromkeys(("HunyuanDiT2DModel", "HunyuanDiT2DControlNetModel"), _HUNYUAN_DIT),
    "SD3ControlNetModel": {"controlnet_cond": _latents},
    "SanaControlNetModel": {"controlnet_cond": _latents},
    "CogVideoXTransformer3DModel": {"hidden_states": _frames_first},
    "ConsisIDTransformer3DModel": {"hidden_states": _frames_first},
    "AnyFlowTransformer3DModel": {
        "hidden_states": _frames_first,
        "timestep": lambda call: call.floats(_clip(call)[0]),
        "r_timestep": lambda call: call.floats(_clip(call)[0]),
    },
    "Kandinsky6Transformer3DModel": {"hidden_states": _channels_last},
    "Kandinsky5Transformer3DModel": {
        "hidden_states": _channels_last,
        "visual_rope_pos": _visual_positions,
        "text_rope_pos": lambda call: _positions(call.tokens())[0],
    },
    "Kandinsky6SRTransformer3DModel": {
        "hidden_states": lambda call: call.floats(21, 64, 96, 2 * _channels(call) + 1),
    },
    "LTXVideoTransformer3DModel": _LTX,
    "LTX2VideoTransformer3DModel": _LTX
    | {
        "audio_hidden_states": lambda call: call.floats(126, call.config("audio_in_channels")),
        "audio_encoder_hidden_states": _text,
        "audio_num_frames": lambda call: 126,
    },
    "BriaFiboTransformer2DModel": _PACKED
    | {
        "text_encoder_layers": lambda call: [
            call.floats(call.tokens(), call.config("text_encoder_dim"))
            for _ in range(call.config("num_layers") + call.config("num_single_layers"))
        ],
    },
    "QwenImageControlNetModel": {
        "hidden_states": _packed,
        "controlnet_cond": _packed_condition,
    },
    "Krea2Transformer2DModel": {
        "hidden_states": _packed,
        "encoder_hidden_states": lambda call: call.floats(
            call.tokens(), call.config("num_text_layers"), call.config("text_hidden_dim")
        ),
        "position_ids": lambda call: floats(call.model, call.tokens() + _PATCHES**2, 3),
    },
    "ErnieImageTransformer2DModel": {
        "hidden_states": lambda call: call.floats(_channels(call), _PATCHES, _PATCHES),
        "text_bth": _text,
        "text_lens": lambda call: call.ones() * call.tokens(),
    },
    "ZImageTransformer2DModel": {
        "x": lambda call: [
            floats(call.model, _channels(call), 1, *_sides(call)) for _ in range(call.batch)
        ],
        "t": _one,
        "cap_feats": lambda call: [
            floats(call.model, call.tokens(), call.config("cap_feat_dim"))
            for _ in range(call.batch)
        ],
    },
    "LuminaNextDiT2DModel": {
        "encoder_mask": _text_mask,
        "cross_attention_kwargs": lambda call: {},  # which its default, None, is not taken for
        "image_rotary_emb": lambda call: torch.empty(
            (384, 384, call.config("hidden_size") // call.config("num_attention_heads") // 2),
            dtype=torch.complex64,
            device="meta",
        ),
    },
    "GlmImageTransformer2DModel": {
        "prior_token_id": lambda call: call.zeros(_PATCHES * _PATCHES),
        "prior_token_drop": lambda call: call.zeros().bool(),
    },
    "HiDreamImageTransformer2DModel": {
        "timesteps": _one,
        "encoder_hidden_states_t5": _text,
        "encoder_hidden_states_llama3": lambda call: [
            call.floats(call.tokens(), call.config("caption_channels")[1])
            for _ in range(max(call.config("llama_layers")) + 1)
        ],
        "pooled_embeds": lambda call: call.floats(call.config("text_emb_dim")),
        "img_ids": lambda call: None,  # made by the model where images have one size
    },
    "HunyuanVideo15Transformer3DModel": {
        "encoder_hidden_states_2": lambda call: call.floats(256, call.config("text_embed_2_dim")),
        "encoder_attention_mask_2": lambda call: call.ones(256),
        # Zeros mean that no picture is given, and the model asks.
        "image_embeds": lambda call: torch.zeros(
            call.batch, 729, call.config("image_embed_dim"), dtype=call.floats().dtype, device="cpu"
        ),
    },
    "HunyuanVideoFramepackTransformer3DModel": {
        "image_embeds": lambda call: (
            call.floats(729, call.config("image_proj_dim"))
            if call.config("has_image_proj")
            else None
        ),
        "indices_latents": lambda call: torch.arange(float(_clip(call)[0]), device="cpu"),
    },
    "CosmosTransformer3DModel": {
        "padding_mask": lambda call: floats(call.model, 1, 1, *_clip(call)[1:]),
    },
    "WanVACETransformer3DModel": {
        "control_hidden_states": lambda call: call.floats(
            call.config("vace_in_channels"), *_clip(call)
        ),
    },
    "WanAnimateTransformer3DModel": {
        "pose_hidden_states": lambda call: call.floats(
            call.config("latent_channels"), _clip(call)[0] - 1, *_clip(call)[1:]
        ),
        "face_pixel_values": lambda call: call.floats(
            3, 4 * (_clip(call)[0] - 2) + 1, *_pair(call.config("motion_encoder_size"))
        ),
    },
    "DiTTransformer2DModel": {"hidden_states": _latents},
    "PixArtTransformer2DModel": {"added_cond_kwargs": _pixart_conditions},
    "PriorTransformer": {
        "hidden_states": lambda call: call.floats(call.config("embedding_dim")),
        "proj_embedding": lambda call: call.floats(
            call.config("embedding_proj_dim", "embedding_dim")
        ),
        "encoder_hidden_states": _text_of("embedding_dim"),
    },
    "StableAudioDiTModel": {
        "hidden_states": lambda call: call.floats(_channels(call), call.config("sample_size")),
        "global_hidden_states": lambda call: call.floats(1, call.config("global_states_input_dim")),
    },
    "StableAudio3DiTModel": {
        "hidden_states": lambda call: call.floats(_channels(call), 1024),
        "global_hidden_states": lambda call: call.floats(call.config("global_cond_dim")),
    },
    "AceStepTransformer1DModel": {
        "hidden_states": lambda call: call.floats(1024, call.config("audio_acoustic_hidden_dim")),
        "context_latents": lambda call: call.floats(
            1024, _channels(call) - call.config("audio_acoustic_hidden_dim")
        ),
        "encoder_hidden_states": _text_of("encoder_hidden_size", "hidden_size"),
    },
    "LongCatAudioDiTTransformer": {
        "hidden_states": lambda call: call.floats(1024, call.config("latent_dim")),
        "latent_cond": lambda call: call.floats(1024, call.config("latent_dim")),
    },
    "UNet3DConditionModel": {"sample": _unet_clip},
    "UNetMotionModel": {"sample": _unet_clip, "encoder_hidden_states": _text_of_frames},
    "I2VGenXLUNet": {
        "sample": _unet_clip,
        "image_latents": _unet_clip,
        "fps": _one,
        "image_embeddings": lambda call: call.floats(call.config("cross_attention_dim")),
    },
    "UNetSpatioTemporalConditionModel": {
        "sample": lambda call: call.floats(
            call.config("num_frames"), _channels(call), *_pair(call.config("sample_size") or 64)
        ),
        "encoder_hidden_states": lambda call: call.floats(1, call.config("cross_attention_dim")),
        "added_time_ids": lambda call: call.floats(
            call.config("projection_class_embeddings_input_dim")
            // call.config("addition_time_embed_dim")
        ),
    },
    "UNet1DModel": {
        "sample": lambda call: call.floats(_channels(call), call.config("sample_size")),
    },
    "UNetControlNetXSModel": {
        "sample": lambda call: call.floats(4, *_unet_sides(call)),
        "controlnet_cond": _condition_pixels,
    },
    "SparseControlNetModel": {
        "sample": _unet_clip,
        "encoder_hidden_states": _text_of_frames,
        "controlnet_cond": _unet_clip,
        "conditioning_mask": lambda call: call.floats(1, _UNET_FRAMES, *_unet_sides(call)),
    },
    "StableCascadeUNet": {
        "sample": lambda call: call.floats(_channels(call), 24, 24),
        "timestep_ratio": _one,
        "clip_text_pooled": lambda call: call.floats(
            1, call.config("clip_text_pooled_in_channels")
        ),
    },
    "Kandinsky3UNet": {"encoder_attention_mask": lambda call: call.ones(call.tokens()).bool()},
    "BriaFibo2Transformer2DModel": {
        "encoder_hidden_states": lambda call: call.floats(
            1 + len(call.config("injection_layer_ids")),
            call.tokens(),
            call.config("cap_feat_dim"),
        ),
    },
    "MiniMaxMusic3Transformer1DModel": {
        "hidden_states": lambda call: call.floats(_channels(call), 1024),
        "encoder_hidden_states": lambda call: call.floats(1024, call.config("condition_dim")),
    },
    "MMAudioVocoder": {"mel": lambda call: call.floats(call.config("num_mels"), 1024)},
    "MMAudioVAE": {"sample": lambda call: call.floats(1 << 16)},
    "LTX2VideoDiffusionDecoderModel": {
        "z": lambda call: call.floats(call.config("latent_channels"), 3, 8, 8),
    },
    "Kandinsky6SRLatentUpscalerBank": {
        "latents": lambda call: call.floats(_channels(call), 5, 32, 32),
        "scale": lambda call: call.config("scales")[0],
    },
    "T5FilmDecoder": {
        "encodings_and_masks": lambda call: [
            (call.floats(2048, call.config("d_model")), call.ones(2048))
        ],
        "decoder_input_tokens": lambda call: call.floats(
            call.config("targets_length"), call.config("input_dims")
        ),
        "decoder_noise_time": _one,
    },
    "AnimaTextConditioner": {
        "source_hidden_states": _text_of("source_dim"),
        "target_input_ids": lambda call: call.zeros(call.tokens()),
    },
    "OmniGenTransformer2DModel": {
        "input_ids": lambda call: call.ones(call.tokens()),
        "input_img_latents": lambda call: [],
        "input_image_sizes": lambda call: {},
        "attention_mask": lambda call: call.ones(*(_all_tokens(call),) * 2),
        "position_ids": lambda call: _positions(_all_tokens(call))[0].expand(call.batch, -1),
    },
    "UVit2DModel": {
        "input_ids": lambda call: call.zeros(*_sides(call)),
        "pooled_text_emb": lambda call: call.floats(call.config("cond_embed_dim")),
        "micro_conds": lambda call: call.floats(5),
    },
    "T2IAdapter": {"x": lambda call: call.floats(_channels(call), 512, 512)},
}

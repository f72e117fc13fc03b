"""What a model of diffusers is told beside its latents: time, text, labels, positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from nnprof.calls.examples.diffusers.latents import (
    PATCHES,
    UNET_FRAMES,
    clip,
    sides_of,
    unet_sides,
)
from nnprof.calls.examples.tensors import floats

if TYPE_CHECKING:
    from nnprof.calls.examples.diffusers.call import Call, Maker

__all__ = [
    "added_conditions",
    "all_tokens",
    "guidance",
    "image_ids",
    "image_shapes",
    "image_text",
    "labels",
    "one",
    "pixart_conditions",
    "pooled",
    "positions",
    "rotary",
    "text",
    "text_ids",
    "text_mask",
    "text_of",
    "text_of_frames",
    "visual_positions",
]


def one(call: Call) -> torch.Tensor:
    """A time, a guidance scale: a number for each of the batch."""
    return call.floats()


def text(call: Call) -> torch.Tensor | None:
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


def text_of(*widths: str) -> Maker:
    """A text of a width that the config has under another name."""
    return lambda call: call.floats(call.tokens(), call.config(*widths))


def text_of_frames(call: Call) -> torch.Tensor:
    """The text once for every frame."""
    sizes = (call.batch * UNET_FRAMES, call.tokens(), call.config("cross_attention_dim"))
    return floats(call.model, *sizes)


def text_mask(call: Call) -> torch.Tensor:
    return call.ones(call.tokens())


def pooled(call: Call) -> torch.Tensor | None:
    width = call.config("pooled_projection_dim", "in_text_dim2")
    return None if width is None else call.floats(width)


def guidance(call: Call) -> torch.Tensor | None:
    return call.floats() if call.config("guidance_embeds") else None


def labels(call: Call) -> torch.Tensor | None:
    if call.config("class_embed_type") == "projection":
        return call.floats(call.config("projection_class_embeddings_input_dim"))
    if call.config("class_embed_type") == "timestep":
        return call.floats()
    classes = call.config("num_class_embeds", "num_embeds_ada_norm")
    return None if classes is None else call.zeros()


def image_ids(call: Call) -> torch.Tensor:
    return floats(call.model, PATCHES * PATCHES, _rope_axes(call))


def text_ids(call: Call) -> torch.Tensor:
    return floats(call.model, call.tokens(), _rope_axes(call))


def _rope_axes(call: Call) -> int:
    return len(call.config("axes_dims_rope", default=(16, 56, 56)))


def image_shapes(call: Call) -> list[list[tuple[int, int, int]]]:
    return [[(1, PATCHES, PATCHES)] for _ in range(call.batch)]


def image_text(call: Call) -> torch.Tensor | None:
    """CLIP's 257 tokens of a picture, for video models that start from one."""
    width = call.config("image_dim")
    return None if width is None else call.floats(257, width)


def added_conditions(call: Call) -> dict[str, Any] | None:
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
        height, width = unet_sides(call)
        made["hint"] = call.floats(3, 8 * height, 8 * width)
    return made or None


#: Original height and width, the crop's top and left, the target's height and width.
_SIZES_IN_TIME = 6


def pixart_conditions(call: Call) -> dict[str, Any]:
    """Resolution and aspect ratio, which the models of 1024 pixels look at."""
    if call.config("use_additional_conditions") is False or call.config("sample_size") != 128:
        return {"resolution": None, "aspect_ratio": None}
    return {"resolution": call.floats(2), "aspect_ratio": call.floats(1)}


def rotary(call: Call) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of every patch."""
    height, width = sides_of(call)
    patch = call.config("patch_size")
    sizes = (height // patch * (width // patch), call.config("attention_head_dim"))
    return floats(call.model, *sizes), floats(call.model, *sizes)


def positions(*sizes: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.arange(size, device="cpu") for size in sizes)


def visual_positions(call: Call) -> tuple[torch.Tensor, ...]:
    patches = zip(clip(call), call.config("patch_size"), strict=True)
    return positions(*(size // patch for size, patch in patches))


def all_tokens(call: Call) -> int:
    """Of OmniGen: the text, the time and the picture's patches."""
    height, width = sides_of(call)
    patch = int(call.config("patch_size"))
    return call.tokens() + 1 + height // patch * (width // patch)

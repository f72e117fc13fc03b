"""Latents and pixels: what a model of diffusers denoises, or an autoencoder takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from nnprof.calls.examples.diffusers.call import Call

__all__ = [
    "PACKED_CLIP",
    "PATCHES",
    "UNET_FRAMES",
    "channels_last",
    "channels_of",
    "clip",
    "condition_pixels",
    "frames_first",
    "latents",
    "packed",
    "packed_clip",
    "packed_condition",
    "pair",
    "pixels",
    "sides_of",
    "unet_clip",
    "unet_latents",
    "unet_sides",
    "video_pixels",
    "waveform",
]


def pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[-2], value[-1])


def channels_of(call: Call) -> int:
    return int(call.config(*_CHANNELS))


_CHANNELS = ("in_channels", "input_channels", "io_channels", "in_visual_dim", "audio_channels")


def sides_of(call: Call) -> tuple[int, int]:
    """Height and width of a picture's latents: of 1024 pixels, 8 to a latent."""
    return pair(call.config("sample_size", default=128))


def clip(call: Call) -> tuple[int, int, int]:
    """Frames, height and width of a video's latents: 4 frames and 8 pixels to a latent."""
    size = pair(call.config("sample_size", default=(60, 104)))
    height = call.config("sample_height", default=size[0])
    width = call.config("sample_width", default=size[1])
    return call.config("video_length", default=21), height, width


def latents(call: Call) -> torch.Tensor:
    """By the class's name: images or videos."""
    sides = clip if "3D" in type(call.model).__name__ else sides_of
    return call.floats(channels_of(call), *sides(call))


def unet_sides(call: Call) -> tuple[int, int]:
    return pair(call.config("sample_size", default=64))


def unet_latents(call: Call) -> torch.Tensor:
    return call.floats(channels_of(call), *unet_sides(call))


def unet_clip(call: Call) -> torch.Tensor:
    return call.floats(channels_of(call), UNET_FRAMES, *unet_sides(call))


UNET_FRAMES = 16


def frames_first(call: Call) -> torch.Tensor:
    """(batch, frames, channels, height, width): CogVideoX and its kin."""
    frames, height, width = clip(call)
    pixels = call.config("sample_frames")  # of pixels, not latents
    if pixels is not None:
        frames = (pixels - 1) // call.config("temporal_compression_ratio", default=4) + 1
    return call.floats(frames, channels_of(call), height, width)


def channels_last(call: Call) -> torch.Tensor:
    """(batch, frames, height, width, channels), with the condition and its mask where asked for."""
    channels = channels_of(call)
    conditioned = call.config("visual_cond", default=False)
    return call.floats(*clip(call), 2 * channels + 1 if conditioned else channels)


def packed(call: Call) -> torch.Tensor:
    """A picture's patches in a row."""
    return call.floats(PATCHES * PATCHES, channels_of(call))


def packed_condition(call: Call) -> torch.Tensor:
    extra = call.config("extra_condition_channels", default=0)
    return call.floats(PATCHES * PATCHES, channels_of(call) + extra)


#: Patches along a side of 1024 pixels: 8 to a latent, two latents to a patch.
PATCHES = 64


def packed_clip(call: Call) -> torch.Tensor:
    return call.floats(math.prod(PACKED_CLIP), channels_of(call))


#: Latents of 161 frames of 480 x 704 pixels, 8 frames and 32 pixels to each: LTX's usual video.
PACKED_CLIP = (21, 15, 22)


def pixels(call: Call) -> torch.Tensor:
    """What an image autoencoder takes."""
    sides = pair(call.config("sample_size", "image_size", "encoder_input_size", default=512))
    return call.floats(3 if call.config(*_CHANNELS) is None else channels_of(call), *sides)


def video_pixels(call: Call) -> torch.Tensor:
    """17 frames: one more than a multiple of 16, which every causal autoencoder takes."""
    return call.floats(3, 17, 256, 256)


def waveform(call: Call) -> torch.Tensor:
    """About 1.5 s of 44.1 kHz, a multiple of every autoencoder's hop."""
    stereo = 2 if call.config("stereo") else 1
    return call.floats(call.config("audio_channels", "num_channels", default=stereo), 1 << 16)


def condition_pixels(call: Call) -> torch.Tensor:
    """A ControlNet's picture: each level of its embedding but the last halves the size."""
    levels = len(call.config(*_CONDITION_LEVELS))
    channels = call.config("conditioning_channels", "ctrl_conditioning_channels")
    height, width = unet_sides(call)
    return call.floats(channels, height << (levels - 1), width << (levels - 1))


_CONDITION_LEVELS = (
    "conditioning_embedding_out_channels",
    "ctrl_conditioning_embedding_out_channels",
)

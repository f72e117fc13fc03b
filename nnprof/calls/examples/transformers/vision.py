"""Images and videos: pixels in the layout that a model takes, and what says how they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from nnprof.calls.examples.transformers.call import Call

__all__ = ["MAKERS", "REQUIRED_MAKERS", "side"]

_VISION_PARTS = (
    "vision_config",
    "vision_model_config",
    "vision_encoder_config",
    "image_config",
    "vit_config",
    "vq_config",
    "vlm_config.vision_config",
    "encoder.vision_config",
    "encoder",
    "backbone_config",
)
#: Side of an image, in pixels, where the config does not say.
_SIDE = 224
#: Side of the images that such models are used with; their configs do not say.
_SIDES = {
    **dict.fromkeys(("detr", "conditional_detr", "dab-detr", "deformable_detr"), 640),
    **dict.fromkeys(("table-transformer", "rt_detr", "rt_detr_v2", "d_fine", "deimv2"), 640),
    **dict.fromkeys(("grounding-dino", "mm-grounding-dino", "omdet-turbo", "lw_detr"), 640),
    **dict.fromkeys(("pp_doclayout_v2", "pp_doclayout_v3", "pp_doclayout_v4"), 640),
    **dict.fromkeys(("mask2former", "maskformer", "oneformer", "upernet", "segformer"), 512),
    **dict.fromkeys(("superpoint", "superglue", "lightglue", "efficientloftr"), 480),
    **dict.fromkeys(("slanet", "uvdoc", "uvdoc_backbone"), 488),
    **dict.fromkeys(
        ("pe_video", "pe_video_encoder", "pe_audio_video", "pe_audio_video_encoder"), 336
    ),
    "depth_pro": 1536,
    "rf_detr": 560,
    "tvp": 448,
    "sam2": 1024,
    "edgetam": 1024,
    "edgetam_vision_model": 1024,
}
#: Patches on each side of an image that is given as a row of patches.
_GRID = 16
#: Frames of a video where the config does not say.
_FRAMES = 8


def vision(call: Call) -> Any:
    return call.part(*_VISION_PARTS)


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, dict):
        value = (value.get("height"), value.get("width"))
    if isinstance(value, (list, tuple)):
        return (int(value[-2]), int(value[-1])) if len(value) > 1 else (int(value[0]),) * 2
    return int(value), int(value)


def side(call: Call) -> tuple[int, int]:
    """Height and width of an image, in pixels."""
    for part in (vision(call), call.config):
        for name in ("image_size", "img_size", "input_size", "spatial_size"):
            value = getattr(part, name, None)
            if value and call.model_type not in _SIDES:
                return _pair(value)
    if call.model_type.endswith("_rec"):  # of PP-OCR: one line of text
        return 48, 320
    usual = _SIDES.get(call.model_type, _SIDE)
    patch = patch_size(call)[0]
    return (usual // patch * patch or patch,) * 2


def channels(call: Call) -> int:
    for part in (vision(call), call.config):
        for name in ("num_channels", "in_channels", "in_chans"):
            value = getattr(part, name, None)
            if type(value) is int:
                return value
    return 3


def patch_size(call: Call) -> tuple[int, int]:
    for part in (vision(call), call.config):
        value = getattr(part, "patch_size", None)
        if value is not None and not (isinstance(value, (list, tuple)) and len(value) > 3):
            return _pair(value)
    return 16, 16


def frames(call: Call) -> int:
    for part in (vision(call), call.config):
        for name in ("num_frames", "frames_per_clip", "n_frames"):
            value = getattr(part, name, None)
            if type(value) is int:
                return value
    return _FRAMES


_TEMPORAL = ("temporal_patch_size", "patch_temporal_size", "num_frames_per_patch")

# The layouts.


def images(call: Call) -> torch.Tensor:
    """(batch, channels, height, width)."""
    return call.floats(call.batch, channels(call), *side(call))


def crops(call: Call) -> torch.Tensor:
    """(batch, crops, channels, height, width): an image is cut into tiles."""
    return call.floats(call.batch, 1, channels(call), *side(call))


def clip(call: Call) -> torch.Tensor:
    """(batch, frames, channels, height, width)."""
    return call.floats(call.batch, frames(call), channels(call), *side(call))


def image_pairs(call: Call) -> torch.Tensor:
    """(batch, 2, channels, height, width)."""
    return call.floats(call.batch, 2, 3, *side(call))


def patch_rows(call: Call) -> torch.Tensor:
    """(patches of all images, elements of a patch): the grid says where each of them lies."""
    part = vision(call)
    depth = next((d for n in _TEMPORAL if (d := getattr(part, n, None))), 1)
    height, width = patch_size(call)
    return call.floats(call.batch * _GRID * _GRID, channels(call) * depth * height * width)


def patches_of_image(call: Call) -> torch.Tensor:
    """(batch, patches of an image, elements of a patch)."""
    (rows, columns), (height, width) = side(call), patch_size(call)
    patches = (rows // height) * (columns // width)
    return call.floats(call.batch, patches, channels(call) * height * width)


def loose_patches(call: Call) -> torch.Tensor:
    """(patches of all images, channels, height and width of a patch)."""
    return call.floats(call.batch * _GRID * _GRID, channels(call), *patch_size(call))


def grid(call: Call) -> torch.Tensor:
    """(batch, 3): frames, rows and columns of patches of each image."""
    return call.integers([[1, _GRID, _GRID]] * call.batch)


def image_sizes(call: Call) -> torch.Tensor:
    """(batch, 2): height and width of each image in pixels."""
    return call.integers([side(call)] * call.batch)


def pixel_mask(call: Call) -> torch.Tensor:
    """(batch, height, width), all of them of the image."""
    return call.ones(call.batch, *side(call))


# Rows of patches with a mask (SigLIP 2 and what is built on it).


def padded_patches(call: Call) -> torch.Tensor:
    """(batch, patches, elements of a patch)."""
    height, width = patch_size(call)
    return call.floats(call.batch, _GRID * _GRID, channels(call) * height * width)


def patches_mask(call: Call) -> torch.Tensor:
    return call.ones(call.batch, _GRID * _GRID)


def spatial_shapes(call: Call) -> torch.Tensor:
    """(batch, 2): rows and columns of patches."""
    return call.integers([[_GRID, _GRID]] * call.batch)


def pixel_values(call: Call) -> torch.Tensor:
    """In the layout that the model's other parameters, or its type, tell."""
    layout = _LAYOUTS.get(call.model_type)
    if layout is not None:
        return layout(call)
    if _GRIDS & call.parameters.keys():
        return patch_rows(call)
    if "spatial_shapes" in call.parameters:
        return padded_patches(call)
    return images(call)


_GRIDS = frozenset({"image_grid_thw", "grid_thw"})

#: Layouts that nothing but the model's type tells.
_LAYOUTS: dict[str, Callable[[Call], torch.Tensor]] = {
    **dict.fromkeys(("idefics", "idefics2", "idefics3", "smolvlm"), crops),
    **dict.fromkeys(("llava_next", "llava_next_video", "llava_onevision"), crops),
    **dict.fromkeys(("granite4_vision", "granite_docling", "colmodernvbert", "modernvbert"), crops),
    **dict.fromkeys(("timesformer", "videomae", "vivit", "xclip", "tvp"), clip),
    **dict.fromkeys(("instructblipvideo",), clip),
    **dict.fromkeys(("kimi_k25", "kimi_k25_vision", "paddleocr_vl"), loose_patches),
    "ultravbert": crops,
    **dict.fromkeys(("superglue", "lightglue", "efficientloftr"), image_pairs),
}

#: What is passed wherever forward has a parameter of such a name.
MAKERS: dict[str, Callable[[Call], Any]] = {
    "pixel_values": pixel_values,
    "image_grid_thw": grid,
    "spatial_shapes": spatial_shapes,
}
#: What is passed where forward demands it.
REQUIRED_MAKERS: dict[str, Callable[[Call], Any]] = {
    "hidden_states": patch_rows,
    "grid_thw": grid,
    "pixel_values_videos": clip,
    "pixel_mask": pixel_mask,
    "pixel_attention_mask": pixel_mask,
    "image_sizes": image_sizes,
    "merge_sizes": lambda call: call.ones(call.batch),
    "image_merge_sizes": lambda call: call.ones(call.batch),
    "target_sizes": spatial_shapes,
    "image_grid_hw": spatial_shapes,
    "prompt_depth": lambda call: call.floats(call.batch, 1, 192, 256),
}

"""Packages that may be missing, or fit another torch: a clear error, and a way in nevertheless."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING

import torch

from nnprof.errors import MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["import_torchvision", "require"]


def require(package: str) -> None:
    """Raises `MissingExtraError` with the pip line where `package` is not installed."""
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        raise MissingExtraError(f"this needs {package}, an extra: pip install {package}")


# Defined in place of torchvision's C++ operators where those cannot be loaded; kept for good.
_torchvision_library: list[torch.library.Library] = []
_TORCHVISION_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align": "(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor",
    "roi_pool": "(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width) -> (Tensor, Tensor)",
    "ps_roi_align": "(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width, int sampling_ratio) -> (Tensor, Tensor)",
    "ps_roi_pool": "(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width) -> (Tensor, Tensor)",
    "deform_conv2d": "(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, "
    "SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, "
    "SymInt dilation_w, SymInt groups, SymInt offset_groups, bool use_mask) -> Tensor",
}


def import_torchvision() -> ModuleType:
    """torchvision, also where its C++ operators do not load: built for another torch than this one.

    A torchvision for CUDA beside a CPU torch fails at import, for it registers meta kernels for
    operators that were not defined. With the bare schemas defined first its models work; those that
    call the operators (detection) only shape-only, for there are no kernels. Raises
    `MissingExtraError` where it is not installed.
    """
    if "torchvision" in sys.modules:
        return sys.modules["torchvision"]
    require("torchvision")
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _forget("torchvision")
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, signature in _TORCHVISION_SCHEMAS.items():
        library.define(name + signature)  # type: ignore[no-untyped-call]
    _torchvision_library.append(library)
    torchvision = importlib.import_module("torchvision")
    _use_meta_kernels(torchvision, library)
    return torchvision


def _use_meta_kernels(torchvision: ModuleType, library: torch.library.Library) -> None:
    """Registers torchvision's own meta kernels, which it does only beside its C++ operators."""
    kernels = importlib.import_module("torchvision._meta_registrations")
    for name in _TORCHVISION_SCHEMAS:
        if "nms" not in name:  # these it has registered
            library.impl(name, getattr(kernels, f"meta_{name}"), "Meta")  # type: ignore[no-untyped-call]
    # Asked before each call of an operator, of each module under its own name.
    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        if hasattr(sys.modules[name], "_has_ops"):
            sys.modules[name]._has_ops = lambda: True  # type: ignore[attr-defined]


def _forget(package: str) -> None:
    """Drops what a failed import left behind."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]

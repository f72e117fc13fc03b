"""The call that is made of a model of diffusers: what its arguments' makers ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from nnprof.calls.examples.tensors import floats

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Call",
    "Maker",
]


@dataclass(frozen=True)
class Call:
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
Maker: TypeAlias = "Callable[[Call], Any]"

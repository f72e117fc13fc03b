"""Small models of many kinds: between them, they make most calls that models make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.models import LlamaConfig, llama, torchvision_model
from nnprof.base.packages import import_torchvision
from nnprof.calls.inputs import make_inputs
from nnprof.calls.model_call import ModelCall
from nnprof.tracing.run import bare_output, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnprof import _core

IMAGE = (1, 3, 64, 64)

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
T5 = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4, "vocab_size": 300}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 300, "n_positions": 128}
MAMBA = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 300, "state_size": 8}
WHISPER = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "vocab_size": 300,
    "max_source_positions": 100,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
CLIP_PART = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
}
CLIP = {
    "text_config": CLIP_PART | {"vocab_size": 300, "eos_token_id": 2},
    "vision_config": CLIP_PART | {"image_size": 32, "patch_size": 16},
}


class Detection(nn.Module):
    """What detectors do around their convolutions: anchors, scores, the best of them, masks."""

    def forward(self, features: Tensor) -> Tensor:
        batch, channels, height, width = features.shape
        scores = features.mean(1).flatten(1).sigmoid()
        best, places = scores.topk(20, dim=1)
        rows = torch.arange(batch).unsqueeze(1)
        chosen = features.flatten(2).transpose(1, 2)[rows, places]
        kept = chosen[:, :, 0] > 0
        masked = chosen.masked_fill(~kept.unsqueeze(-1), 0.0)
        upsampled = F.interpolate(features, scale_factor=2.0, mode="bilinear")
        grid = F.affine_grid(torch.eye(2, 3).expand(batch, 2, 3), [batch, channels, 7, 7])
        sampled = F.grid_sample(features, grid, align_corners=False)
        distances = torch.cdist(chosen[..., :4], chosen[..., :4]).sort(-1).values
        counted = masked.new_zeros(batch, height * width).scatter_add_(1, places, best)
        return counted.sum() + upsampled.sum() + sampled.sum() + distances.cumsum(-1).sum()


class Indexing(nn.Module):
    """Lookups of all kinds, with indices that nothing is known of."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(50, 16, mode="sum")
        self.table = nn.Embedding(50, 16, padding_idx=0)

    def forward(self, ids: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        rows = self.table(ids)
        order = weights.argsort()
        picked = rows.index_select(0, order[:8]) + rows.gather(0, order[:8, None].expand(8, 16))
        written = rows.clone().index_put((order,), rows).index_add(0, order, rows)
        written = written.scatter(0, order[:, None].expand_as(rows), rows)
        taken = torch.take_along_dim(rows, order[:, None], 0).take(order)
        buckets = torch.bucketize(weights, torch.linspace(-1, 1, 5))
        classes = F.one_hot(ids % 7, 7).float()
        repeated = rows.repeat_interleave(2, dim=0)
        loss = F.cross_entropy(rows, ids % 16)
        total = picked.sum() + written.sum() + taken.sum() + buckets.sum() + classes.sum()
        return total + repeated.sum() + loss + self.bag(ids, offsets).sum()


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 24, 2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(48, 24)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(self.lstm(x)[0])[0]


class InPlace(nn.Module):
    """Arithmetic in place, and into outputs that are given."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone().mul_(x).exp_().add_(x, alpha=2).relu_()
        torch.add(x, y, out=y)
        y[:, :2] = x[:, :2]
        y.transpose(1, 2).clamp_(0, 1).div_(3)
        return F.dropout(y, 0.5).softmax(-1)


def _transformers(name: str, config: dict[str, Any], **inputs: Any) -> Callable[[], Any]:
    def build() -> Any:
        transformers = pytest.importorskip("transformers")
        config_name = name.partition("For")[0].removesuffix("Model").removesuffix("LMHead")
        made = getattr(transformers, f"{config_name}Config")(**config)
        return getattr(transformers, name)(made).eval(), inputs

    return build


def _torchvision(name: str, shape: tuple[int, ...] = IMAGE) -> Callable[[], Any]:
    return lambda: (torchvision_model(name, "cpu").eval(), {"shape": shape})


def _timm(name: str, shape: tuple[int, ...] = IMAGE) -> Callable[[], Any]:
    def build() -> Any:
        import_torchvision()
        timm = pytest.importorskip("timm")
        return timm.create_model(name).eval(), {"shape": shape}

    return build


def _own(model: Callable[[], nn.Module], *inputs: Tensor) -> Callable[[], Any]:
    return lambda: (model(), {"inputs": inputs})


_MIXTRAL = TEXT | {"num_local_experts": 4, "num_experts_per_tok": 2}
_TINY = LlamaConfig(hidden=64, ffn=160, layers=2, heads=4, kv_heads=2, vocabulary=100, context=64)

#: Name: makes the model and what `make_inputs` takes.
ZOO: dict[str, Callable[[], tuple[nn.Module, dict[str, Any]]]] = {
    "resnet18": _torchvision("resnet18"),
    "resnext50_32x4d": _torchvision("resnext50_32x4d"),
    "mobilenet_v3_small": _torchvision("mobilenet_v3_small"),
    "efficientnet_b0": _torchvision("efficientnet_b0"),
    "densenet121": _torchvision("densenet121"),
    "shufflenet_v2_x0_5": _torchvision("shufflenet_v2_x0_5"),
    "convnext_tiny": _torchvision("convnext_tiny"),
    "swin_t": _torchvision("swin_t", (1, 3, 224, 224)),
    "googlenet": _torchvision("googlenet", (1, 3, 96, 96)),
    "regnet_y_400mf": _torchvision("regnet_y_400mf"),
    "timm vit": _timm("vit_tiny_patch16_224", (1, 3, 224, 224)),
    "timm mixer": _timm("gmixer_24_224", (1, 3, 224, 224)),
    "timm ghostnet": _timm("ghostnet_100"),
    "llama": lambda: (llama(_TINY, torch.float32, "cpu"), {"shape": (2, 32)}),
    "llama bfloat16": lambda: (llama(_TINY, torch.bfloat16, "cpu"), {"shape": (2, 32)}),
    "LlamaForCausalLM": _transformers("LlamaForCausalLM", TEXT),
    "GPT2LMHeadModel": _transformers("GPT2LMHeadModel", GPT2),
    "BertModel": _transformers("BertModel", TEXT),
    "T5ForConditionalGeneration": _transformers("T5ForConditionalGeneration", T5),
    "MixtralForCausalLM": _transformers("MixtralForCausalLM", _MIXTRAL),
    "MambaForCausalLM": _transformers("MambaForCausalLM", MAMBA),
    "WhisperForConditionalGeneration": _transformers("WhisperForConditionalGeneration", WHISPER),
    "CLIPModel": _transformers("CLIPModel", CLIP),
    "Recurrent": _own(Recurrent, torch.randn(3, 7, 16)),
    "Detection": _own(Detection, torch.randn(2, 8, 16, 16)),
    "Indexing": _own(Indexing, torch.arange(1, 25), torch.tensor([0, 3, 9, 20]), torch.randn(24)),
    "InPlace": _own(InPlace, torch.randn(4, 6, 8)),
}


def traced(name: str) -> _core.TraceResult:
    model, inputs = ZOO[name]()
    with torch.no_grad():
        return result_of(model, **inputs)


def result_of(model: Any, **inputs: Any) -> _core.TraceResult:
    """What the trace of one call of the model recorded."""
    running, _ = run(ModelCall(model, *make_inputs(model, **inputs, run=bare_output)))
    assert running._result is not None
    return running._result

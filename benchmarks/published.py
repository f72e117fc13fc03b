"""Published GPU times as code: each row of a file becomes calls that are traced.

The files are those of nnprof's timing collection: `gemm_bf16`, `attention_prefill_causal_bf16`,
`attention_decode_bf16` (ai-dynamo/aiconfigurator), `matmul_fp32`, `vector_fp32`,
`llm_end_to_end_fp32` (sitar-lab/NeuSight) and `timm_end_to_end_amp_fp16` (pytorch-image-models).
What a file's authors ran around the operator itself is traced too, so that one model of time
serves all of them; nothing is fitted here.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nnprof
from nnprof.base.packages import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Row = dict[str, str]


@dataclass(frozen=True)
class Collection:
    """One file: what its rows are, and how they were timed."""

    name: str
    #: The module and the inputs to trace for a row.
    build: Callable[[Row], tuple[nn.Module, tuple[Any, ...]]]
    seconds: Callable[[Row], float]
    #: What an error is reported for, beside the device.
    group: Callable[[Row], str]
    calls: int = 1  # of the operator in what is traced
    #: Timed by events around one eager call, so that its launch is in the time.
    launched: bool = False
    #: The attention kernel of the data by device, where it is not PyTorch's choice.
    attention: Callable[[str], str | None] = lambda device: None
    autocast: torch.dtype | None = None
    #: Constants to fit on half of a device's rows.
    fitted: tuple[str, ...] = ()


def rows(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", newline="") as file:
        yield from csv.DictReader(file)


def trace(collection: Collection, row: Row) -> nnprof.Profile:
    """The profile of a row's calls."""
    model, inputs = collection.build(row)
    training = model.training
    with (
        torch.set_grad_enabled(training),
        nnprof.trace(model, autocast=collection.autocast) as running,
    ):
        model(*inputs)
    return running.profile()


def _sizes(row: Row, *names: str) -> list[int]:
    return [int(row[name]) for name in names]


def _meta(*sizes: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(sizes, dtype=dtype, device="meta")


def _microseconds(row: Row) -> float:
    return float(row["us"]) * 1e-6


# --- products --------------------------------------------------------------------------------


class RotatedLinear(nn.Module):
    """Linear layers with equal weights' sizes, called one after the other."""

    def __init__(self, rows: int, columns: int, depth: int, copies: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList(
            nn.Parameter(_meta(columns, depth, dtype=torch.bfloat16)) for _ in range(copies)
        )

    def forward(self, x: Tensor) -> None:
        for weight in self.weights:
            F.linear(x, weight)


#: The collector calls each of six weights in turn, so that none is found in the L2 cache.
_ROTATED = 6


def _gemm(row: Row) -> tuple[nn.Module, tuple[Any, ...]]:
    m, n, k = _sizes(row, "m", "n", "k")
    return RotatedLinear(m, n, k, _ROTATED), (_meta(m, k, dtype=torch.bfloat16),)


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.eval()

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


def _matmul_fp32(row: Row) -> tuple[nn.Module, tuple[Any, ...]]:
    batch, m, n, k = _sizes(row, "batch", "m", "n", "k")
    if row["op"] == "linear":
        return nn.Linear(k, n, device="meta").eval(), (_meta(batch * m, k, dtype=torch.float32),)
    operands = _meta(batch, m, k, dtype=torch.float32), _meta(batch, k, n, dtype=torch.float32)
    return Function(torch.bmm), operands


# --- operators bound by memory ---------------------------------------------------------------

#: By the file's names; a trailing "u" is with a Python number.
_VECTOR: dict[str, Callable[..., Tensor]] = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "addu": lambda x, _: x + 1.5,
    "mulu": lambda x, _: x * 1.5,
    "divu": lambda x, _: x / 1.5,
    "powu": lambda x, _: x**1.5,
    "relu": lambda x, _: F.relu(x),
    "gelu": lambda x, _: F.gelu(x),
    "tanh": lambda x, _: torch.tanh(x),
    "softmax": lambda x, _: F.softmax(x, dim=-1),
}


def _vector(row: Row) -> tuple[nn.Module, tuple[Any, ...]]:
    count, columns = _sizes(row, "rows", "columns")
    x, y = (_meta(count, columns, dtype=torch.float32) for _ in range(2))
    if row["op"] == "ln":
        return nn.LayerNorm(columns, device="meta").eval(), (x,)
    return Function(_VECTOR[row["op"]]), (x, y)


def _vector_group(row: Row) -> str:
    return row["op"] if row["op"] in ("ln", "softmax") else "elementwise"


# --- attention: a module of a serving engine ---------------------------------------------------


def _prepare(qkv: Tensor, heads: int, kv_heads: int, size: int) -> tuple[Tensor, Tensor]:
    """One kernel rotates queries and keys, another one puts keys and values into the cache."""
    rotated = qkv.clone()
    q, kv = rotated.split([heads * size, 2 * kv_heads * size], dim=-1)
    return q, kv.clone()


def _heads(x: Tensor, size: int) -> Tensor:
    return x.unflatten(-1, (-1, size)).transpose(1, 2)


def _prefill(row: Row) -> tuple[nn.Module, tuple[Any, ...]]:
    batch, length, heads, kv_heads, size = _sizes(
        row, "batch", "length", "heads", "kv_heads", "head_dim"
    )

    def attend(qkv: Tensor) -> Tensor:
        q, kv = _prepare(qkv, heads, kv_heads, size)
        k, v = kv.chunk(2, dim=-1)
        return F.scaled_dot_product_attention(
            _heads(q, size), _heads(k, size), _heads(v, size), is_causal=True, enable_gqa=True
        )

    width = (heads + 2 * kv_heads) * size
    return Function(attend), (_meta(batch, length, width, dtype=torch.bfloat16),)


def _decode(row: Row) -> tuple[nn.Module, tuple[Any, ...]]:
    batch, length, heads, kv_heads, size = _sizes(
        row, "batch", "length", "heads", "kv_heads", "head_dim"
    )

    def attend(qkv: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        q, _ = _prepare(qkv, heads, kv_heads, size)
        return F.scaled_dot_product_attention(_heads(q, size), keys, values, enable_gqa=True)

    width = (heads + 2 * kv_heads) * size
    qkv = _meta(batch, 1, width, dtype=torch.bfloat16)
    cache = (_meta(batch, kv_heads, length + 1, size, dtype=torch.bfloat16) for _ in range(2))
    return Function(attend), (qkv, *cache)


def _engine_kernel(device: str) -> str:
    return "fa3" if device.startswith(("h100", "h200")) else "fa2"


def _of_kernel(*names: str) -> tuple[str, ...]:
    """Constants of the attention kernel of a device's data."""
    return ("bandwidth.attention", "cache_gain", *(f"attention.{{kernel}}.{n}" for n in names))


_SHARES = ("share_64", "share_128", "share_192", "share_256")


# --- whole models ------------------------------------------------------------------------------

#: Of the configurations in NeuSight's scripts/asplos/data/DLmodel_configs, what is not the default
#: of transformers' own classes. Their attention is eager.
_LLMS: dict[str, dict[str, Any]] = {
    "bert_large": {
        "type": "bert",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
    "gpt2_large": {"type": "gpt2", "n_embd": 1280, "n_head": 20, "n_layer": 36},
    "gpt3_xl": {"type": "gpt2", "n_embd": 3072, "n_head": 24, "n_layer": 24, "n_positions": 2048},
    "gpt3_27": {"type": "gpt2", "n_embd": 2560, "n_head": 32, "n_layer": 32, "n_positions": 2048},
    "opt_13": {
        "type": "opt",
        "hidden_size": 2048,
        "ffn_dim": 8192,
        "num_attention_heads": 32,
        "num_hidden_layers": 24,
        "word_embed_proj_dim": 2048,
        "vocab_size": 50272,
    },
    "switchxl4": {
        "type": "switch_transformers",
        "d_model": 1024,
        "d_ff": 16384,
        "d_kv": 128,
        "num_heads": 32,
        "num_layers": 24,
        "num_decoder_layers": 24,
        "num_sparse_encoder_layers": 12,
        "num_sparse_decoder_layers": 12,
        "num_experts": 4,
        "expert_capacity": 64,
        "router_dtype": "float32",
    },
}
#: (when not training, when training), of transformers.
_LLM_CLASSES = {
    "bert": ("AutoModelForSequenceClassification", "AutoModelForPreTraining"),
    "gpt2": ("AutoModelForCausalLM", "AutoModelForCausalLM"),
    "opt": ("AutoModelForCausalLM", "AutoModelForCausalLM"),
    "switch_transformers": ("AutoModelForSeq2SeqLM", "AutoModelForSeq2SeqLM"),
}


def _llm(row: Row) -> tuple[nn.Module, tuple[Any, ...]]:
    import_torchvision()  # which transformers would else fail to import
    import transformers

    values = dict(_LLMS[row["model"]])
    kind = values.pop("type")
    config = transformers.AutoConfig.for_model(kind, **values)
    training = row["phase"] == "train"
    auto = getattr(transformers, _LLM_CLASSES[kind][training])
    with torch.device("meta"):
        model = auto.from_config(config, attn_implementation="eager").float().train(training)
    ids = torch.ones(_sizes(row, "batch", "sequence"), dtype=torch.int64)
    if kind == "switch_transformers":  # input_ids, attention_mask, decoder_input_ids
        return model, (ids, ids, ids)
    return model, (ids,)


def _timm(row: Row) -> tuple[nn.Module, tuple[Any, ...]]:
    import_torchvision()
    import timm

    batch, size = _sizes(row, "batch", "image")
    with torch.device("meta"):
        model = timm.create_model(row["model"]).eval()
    channels = model.default_cfg["input_size"][0]
    return model, (_meta(batch, channels, size, size, dtype=torch.float32),)


COLLECTIONS = (
    Collection(
        "gemm_bf16",
        _gemm,
        _microseconds,
        lambda row: "linear bf16",
        calls=_ROTATED,
        fitted=("matrix_share", "bandwidth.matmul", "launch_s", "cache_gain"),
    ),
    Collection(
        "attention_prefill_causal_bf16",
        _prefill,
        _microseconds,
        lambda row: "prefill",
        attention=_engine_kernel,
        fitted=("bandwidth.copy", *_of_kernel("fixed_s", "setup", *_SHARES)),
    ),
    Collection(
        "attention_decode_bf16",
        _decode,
        _microseconds,
        lambda row: "decode",
        attention=_engine_kernel,
        fitted=_of_kernel("fixed_s", "combine_s", "setup", "decode_rows"),
    ),
    Collection(
        "matmul_fp32",
        _matmul_fp32,
        _microseconds,
        lambda row: f"{row['op']} fp32",
        launched=True,
        fitted=("vector_share", "bandwidth.matmul", "launch_s"),
    ),
    Collection(
        "vector_fp32",
        _vector,
        _microseconds,
        _vector_group,
        launched=True,
        fitted=("bandwidth.elementwise", "bandwidth.layer_norm", "bandwidth.softmax"),
    ),
    Collection(
        "llm_end_to_end_fp32",
        _llm,
        lambda row: float(row["forward_ms"]) * 1e-3,
        lambda row: "LLM forward",
        launched=True,
    ),
    Collection(
        "timm_end_to_end_amp_fp16",
        _timm,
        lambda row: float(row["ms"]) * 1e-3,
        lambda row: "timm forward",
        launched=True,
        autocast=torch.float16,
    ),
)

"""How quantized checkpoints store a weight: what the `quantization_config` of a config says.

Each reader below takes that dict and returns a `Scheme`. Layouts are those of the library that
writes the checkpoints, named beside each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Any

__all__ = ["Layout", "Scheme", "matches", "method_of", "scheme_of"]

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """What a weight of (..., rows, columns) takes: its numbers, and what scales them."""

    bits: float
    #: Rows and columns of a block that shares a scale; None: all of them.
    rows: int | None = 1
    columns: int | None = None
    #: Bits that a block takes besides: its scale, its zero point.
    block_bits: float = 0
    #: Bytes a column takes, such as the group that it belongs to; bytes of the whole.
    column_bytes: int = 0
    fixed_bytes: int = 0
    #: Blocks run over the rows' ends, as over a flat vector.
    flat: bool = False

    def bytes(self, shape: tuple[int, ...]) -> int:
        rows, columns = shape[-2:]
        many = prod(shape[:-2])
        if self.flat:
            blocks = ceil(rows * columns / (self.columns or rows * columns))
        else:
            blocks = ceil(rows / (self.rows or rows)) * ceil(columns / (self.columns or columns))
        each = ceil(rows * columns * self.bits / 8) + ceil(blocks * self.block_bits / 8)
        return many * (each + columns * self.column_bytes + self.fixed_bytes)


@dataclass(frozen=True)
class Scheme:
    """Which weights are stored how. Patterns are as transformers has them, "re:" a regex."""

    name: str
    layout: Layout
    #: Modules that stay as they are; None: the library's default, the output embeddings.
    kept: tuple[str, ...] | None = None
    #: Besides those, the default is kept too.
    and_default: bool = False
    #: Only modules that match are stored so; empty: every linear layer.
    only: tuple[str, ...] = ()
    linear: bool = True
    #: Weights of all experts in one tensor are stored so, too.
    experts: bool = False
    #: Other layouts by pattern; the first that matches decides. None: kept as it is.
    others: tuple[tuple[str, Layout | None], ...] = ()

    def layout_of(self, name: str) -> Layout | None:
        for pattern, layout in self.others:
            if matches(name, pattern):
                return layout
        if self.only and not any(matches(name, pattern) for pattern in self.only):
            return None
        return self.layout


def matches(name: str, pattern: str) -> bool:
    """From the start up to the end of a part of the path, as a regex, or at the end."""
    if pattern.startswith("re:"):
        return re.match(pattern[3:], name) is not None
    try:
        if re.match(rf"(?:{pattern})(?:(?<=\.)|(?=\.|$))", name):
            return True
    except re.error:
        pass
    return name == pattern or name.endswith(pattern)


def scheme_of(config: Config, element_bits: int) -> Scheme | None:
    """The scheme that a `quantization_config` names; None for one that is not known.

    `element_bits` are those of the weights that are not quantized: scales are often stored alike.
    """
    reader = _READERS.get(method_of(config))
    return reader(config, element_bits) if reader is not None else None


def method_of(config: Config) -> str:
    """The `quant_method` that a `quantization_config` names, or means; "" where there is none."""
    method = config.get("quant_method")
    if method is None:  # bitsandbytes did not write it once
        known = config.get("load_in_4bit") or config.get("load_in_8bit")
        method = "bitsandbytes" if known else ""
    return str(getattr(method, "value", method))


def _names(config: Config, *keys: str) -> tuple[str, ...] | None:
    for key in keys:
        if config.get(key) is not None:
            return tuple(config[key])
    return None


def _group(size: Any) -> int | None:
    return int(size) if size and int(size) > 0 else None


# transformers' fine-grained FP8 (DeepSeek-V3): a float32 a block, or one of eight bits.
def _fp8(config: Config, element_bits: int) -> Scheme:
    rows, columns = config.get("weight_block_size") or (None, None)
    scale = 8 if config.get("scale_fmt") == "ue8m0" else 32
    layout = Layout(8, rows, columns, scale)
    if config.get("activation_scheme") == "static":
        layout = replace(layout, fixed_bytes=4)
    return Scheme("fp8", layout, _names(config, "modules_to_not_convert"), experts=True)


# Microscaling formats (OCP MX): blocks of 32 along a row with an exponent of eight bits.
def _mxfp8(config: Config, element_bits: int) -> Scheme:
    kept = _names(config, "modules_to_not_convert", "ignored_layers")
    return Scheme("mxfp8", Layout(8, 1, 32, 8), kept, experts=True)


def _mxfp4(config: Config, element_bits: int) -> Scheme:
    kept = _names(config, "modules_to_not_convert")
    return Scheme("mxfp4", Layout(4, 1, 32, 8), kept or (), linear=False, experts=True)


# Blocks of 16 with a scale of eight bits; a float32 for the weight and one for its input.
_NVFP4 = Layout(4, 1, 16, 8, fixed_bytes=8)


def _nvfp4(config: Config, element_bits: int) -> Scheme:
    kept = _names(config, "modules_to_not_convert", "ignore")
    return Scheme("nvfp4", _NVFP4, kept, experts=True)


# NVIDIA's ModelOpt: a float32 for the weight and one for its input.
def _modelopt(config: Config, element_bits: int) -> Scheme | None:
    quantization = config.get("quantization") or config
    algorithm = str(quantization.get("quant_algo", "")).upper()
    kept = _names(quantization, "ignore", "exclude_modules")
    if "NVFP4" in algorithm:
        return Scheme("modelopt NVFP4", _NVFP4, kept, experts=True)
    if algorithm == "FP8":
        layout = Layout(8, None, None, 32, fixed_bytes=4)
        return Scheme("modelopt FP8", layout, kept, experts=True)
    return None


# FBGEMM's FP8: a float32 a row.
def _fbgemm_fp8(config: Config, element_bits: int) -> Scheme:
    kept = _names(config, "modules_to_not_convert")
    return Scheme("fbgemm_fp8", Layout(8, 1, None, 32), kept, experts=True)


# bitsandbytes: QuantState of four bits, SCB of eight.
def _bitsandbytes(config: Config, element_bits: int) -> Scheme:
    kept = _names(config, "llm_int8_skip_modules")
    if not config.get("load_in_4bit"):
        return Scheme("bitsandbytes 8-bit", Layout(8, 1, None, 32), kept)
    layout = Layout(4, None, 64, 32, fixed_bytes=16 * 4, flat=True)
    if config.get("bnb_4bit_use_double_quant"):
        # A byte a block, a float32 for 256 of them; their table of 256 numbers, and an offset.
        layout = replace(layout, block_bits=8 + 32 / 256, fixed_bytes=16 * 4 + 256 * 4 + 4)
    kind = str(config.get("bnb_4bit_quant_type", "fp4"))
    return Scheme(f"bitsandbytes 4-bit {kind}", layout, kept)


# AutoGPTQ, GPTQModel: qweight, qzeros, scales of 16 bits, g_idx of int32 a column.
def _gptq(config: Config, element_bits: int) -> Scheme:
    bits = int(config.get("bits", 4))
    layout = Layout(bits, 1, _group(config.get("group_size", 128)), 16 + bits, column_bytes=4)
    kept = _names(config, "modules_to_not_convert") or ()
    only = config.get("modules_in_block_to_quantize") or ()
    flat = tuple(name for group in only for name in ([group] if isinstance(group, str) else group))
    if config.get("lm_head"):
        return Scheme("gptq", layout, kept, only=flat, experts=True)
    return Scheme("gptq", layout, kept, and_default=True, only=flat, experts=True)


# AutoAWQ: qweight, qzeros, scales of 16 bits.
def _awq(config: Config, element_bits: int) -> Scheme:
    bits = int(config.get("bits", config.get("w_bit", 4)))
    group = _group(config.get("group_size", config.get("q_group_size", 128)))
    kept = _names(config, "modules_to_not_convert") or ()
    return Scheme("awq", Layout(bits, 1, group, 16 + bits), kept, and_default=True, experts=True)


# AutoRound: as GPTQ without the columns' groups; extra_config has other bits for some layers.
def _auto_round(config: Config, element_bits: int) -> Scheme:
    def layout(options: Config) -> Layout | None:
        bits = int(options.get("bits", config.get("bits", 4)))
        if bits >= element_bits:
            return None
        group = _group(options.get("group_size", config.get("group_size", 128)))
        return Layout(bits, 1, group, 16 + bits)

    others = tuple((name, layout(options)) for name, options in _extra(config))
    blocks = config.get("block_name_to_quantize") or config.get("to_quant_block_names") or ()
    only = tuple(blocks.split(",") if isinstance(blocks, str) else blocks)
    usual = layout({}) or Layout(element_bits)
    return Scheme("auto-round", usual, (), and_default=True, only=only, experts=True, others=others)


def _extra(config: Config) -> list[tuple[str, Config]]:
    return [
        (str(name), options)
        for name, options in (config.get("extra_config") or {}).items()
        if isinstance(options, Mapping)
    ]


# compressed-tensors (llm-compressor, vLLM): groups of layers with the arguments of their weights.
def _compressed_tensors(config: Config, element_bits: int) -> Scheme | None:
    groups = [
        group
        for group in (config.get("config_groups") or {}).values()
        if isinstance(group, Mapping) and group.get("weights")
    ]
    if not groups:
        return None
    packed = str(config.get("format", ""))
    layouts = [_compressed_layout(group["weights"], element_bits, packed) for group in groups]
    others = []
    for group, layout in zip(groups, layouts, strict=True):
        named = [target for target in group.get("targets", ()) if target not in _CLASSES]
        others += [(str(target), layout) for target in named]
    whole = [
        layout
        for group, layout in zip(groups, layouts, strict=True)
        if any(target in _CLASSES for target in group.get("targets", ()))
    ]
    kept = tuple(config.get("ignore") or ())
    name = f"compressed-tensors {packed}".strip()
    if not whole:  # only layers that are named
        only = tuple(pattern for pattern, _ in others)
        return Scheme(name, layouts[0], kept, only=only, experts=True, others=tuple(others))
    return Scheme(name, whole[0], kept, experts=True, others=tuple(others))


#: Targets that stand for every linear layer.
_CLASSES = ("Linear", "LinearBase", "FusedMoE")


def _compressed_layout(weights: Config, element_bits: int, packed: str) -> Layout:
    bits = int(weights.get("num_bits", 8))
    strategy = str(weights.get("strategy") or "tensor")
    if strategy == "tensor_group":
        return _NVFP4
    zero = 0 if weights.get("symmetric", True) else bits
    rows, columns = _COMPRESSED_BLOCKS.get(strategy, (1, None))
    if strategy == "group":
        columns = _group(weights.get("group_size"))
    if strategy == "block" and weights.get("block_structure"):
        sizes = weights["block_structure"]
        sizes = sizes.split("x") if isinstance(sizes, str) else sizes
        rows, columns = int(sizes[0]), int(sizes[1])
    mx = strategy == "group" and columns == 32 and "mx" in packed
    layout = Layout(
        bits,
        rows,
        columns,
        (8 if mx else element_bits) + zero,
    )
    if bits < 8 and not mx:  # packed into int32, and the shape beside it as two int64
        layout = replace(layout, fixed_bytes=16)
    return replace(layout, column_bytes=4) if weights.get("actorder") == "group" else layout


_COMPRESSED_BLOCKS: dict[str, tuple[int | None, int | None]] = {
    "tensor": (None, None),
    "channel": (1, None),
    "token": (1, None),
    "group": (1, None),
    "block": (128, 128),
}


# torchao: a scale like the weights' a group or row, int4 with a zero point.
def _torchao(config: Config, element_bits: int) -> Scheme | None:
    kind, options = _torchao_kind(config.get("quant_type"))
    options = {**options, **(config.get("quant_type_kwargs") or {})}
    kept = _names(config, "modules_to_not_convert")
    group = _group(options.get("group_size", 128))
    if "int4" in kind or "uintx" in kind:
        by_group = Layout(4, 1, group, 2 * element_bits)
        if "activation" in kind:
            by_group = Layout(4, 1, _group(options.get("group_size", 32)), element_bits)
        return Scheme(f"torchao {kind}", by_group, kept)
    if "int8" in kind:
        return Scheme(f"torchao {kind}", Layout(8, 1, None, element_bits), kept)
    if "float8" in kind:
        by_row = "perrow" in str(options.get("granularity", "")).lower()
        rows = 1 if by_row else None
        return Scheme(f"torchao {kind}", Layout(8, rows, None, 32), kept)
    return None


def _torchao_kind(value: Any) -> tuple[str, dict[str, Any]]:
    """ "int4_weight_only", or {"default": {"_type": "Int4WeightOnlyConfig", "_data": {...}}}."""
    if isinstance(value, Mapping):
        value = value.get("default", value)
    if isinstance(value, Mapping):
        kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(value.get("_type", ""))).lower()
        return kind.removesuffix("_config"), dict(value.get("_data") or {})
    return str(value).lower(), {}


# HQQ: scale and zero point of 16 bits a group.
def _hqq(config: Config, element_bits: int) -> Scheme:
    inner = config.get("quant_config") or config
    options = inner.get("weight_quant_params") or inner
    layout = Layout(
        int(options.get("nbits", 4)), None, _group(options.get("group_size", 64)), 32, flat=True
    )
    return Scheme("hqq", layout, _names(config, "skip_modules") or ("lm_head",))


# optimum-quanto: a scale a row of eight bits; of fewer, scale and shift a group of 128.
def _quanto(config: Config, element_bits: int) -> Scheme | None:
    bits = {"int8": 8, "float8": 8, "int4": 4, "int2": 2}.get(str(config.get("weights", "int8")))
    if bits is None:
        return None
    layout = (
        Layout(8, 1, None, element_bits) if bits == 8 else Layout(bits, 1, 128, 2 * element_bits)
    )
    return Scheme("quanto", layout, _names(config, "modules_to_not_convert"))


# EETQ: a scale of 16 bits a row.
def _eetq(config: Config, element_bits: int) -> Scheme:
    kept = _names(config, "modules_to_not_convert")
    return Scheme("eetq", Layout(8, 1, None, 16), kept)


# BitNet: four weights of three values in a byte, one scale.
def _bitnet(config: Config, element_bits: int) -> Scheme:
    kept = _names(config, "modules_to_not_convert")
    return Scheme("bitnet", Layout(2, None, None, element_bits), kept)


# AQLM: codes of a group of inputs, one for each codebook; the codebooks; a scale a row of groups.
def _aqlm(config: Config, element_bits: int) -> Scheme:
    inputs, outputs = int(config.get("in_group_size", 8)), int(config.get("out_group_size", 1))
    books, bits = int(config.get("num_codebooks", 1)), int(config.get("nbits_per_codebook", 16))
    code_bits = 8 if bits <= 8 else 16
    layout = Layout(
        code_bits * books / (inputs * outputs),
        outputs,
        None,
        element_bits,
        fixed_bytes=books * 2**bits * inputs * outputs * element_bits // 8,
    )
    kept = _names(config, "linear_weights_not_to_quantize") or ()
    return Scheme("aqlm", layout, tuple(name.removesuffix(".weight") for name in kept))


# HIGGS: codes of `bits` a weight, a scale a group, two tables.
def _higgs(config: Config, element_bits: int) -> Scheme:
    bits = int(config.get("bits", 4))
    tables = (2**bits + 2 ** (2 * bits) * 2) * element_bits // 8
    group = _group(config.get("group_size", 256))
    kept = _names(config, "modules_to_not_convert")
    return Scheme("higgs", Layout(bits, 1, group, element_bits, fixed_bytes=tables), kept)


_READERS: dict[str, Callable[[Config, int], Scheme | None]] = {
    "fp8": _fp8,
    "mxfp8": _mxfp8,
    "mxfp4": _mxfp4,
    "nvfp4": _nvfp4,
    "modelopt": _modelopt,
    "fbgemm_fp8": _fbgemm_fp8,
    "bitsandbytes": _bitsandbytes,
    "bitsandbytes_4bit": _bitsandbytes,
    "bitsandbytes_8bit": _bitsandbytes,
    "gptq": _gptq,
    "awq": _awq,
    "auto-round": _auto_round,
    "intel/auto-round": _auto_round,
    "compressed-tensors": _compressed_tensors,
    "torchao": _torchao,
    "hqq": _hqq,
    "quanto": _quanto,
    "eetq": _eetq,
    "bitnet": _bitnet,
    "aqlm": _aqlm,
    "higgs": _higgs,
}

"""Sizes of quantized checkpoints: those of the tensors that libraries load them into."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import nnprof
from nnprof.models import load_model
from nnprof.tracing.quantization.schemes import matches, scheme_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

transformers = pytest.importorskip("transformers")

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "torch_dtype": "bfloat16",
}
#: (outputs, inputs) of the linear layers in one of its blocks.
SHAPES = [(256, 256), (128, 256), (128, 256), (256, 256), (512, 256), (512, 256), (256, 512)]


def loaded(folder: Path, quantization: dict[str, Any] | None, **changes: Any) -> nn.Module:
    config = {**LLAMA, **changes}
    if quantization is not None:
        config["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(config))
    model: nn.Module = load_model(f"transformers:{folder / 'config.json'}")
    return model


def bytes_of(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def held(folder: Path, quantization: dict[str, Any], **changes: Any) -> nnprof.Profile:
    """Measured, and checked against the same without quantization: it computes as much."""
    plain = nnprof.measure(loaded(folder, None, **changes), sequence=4)
    profile = nnprof.measure(loaded(folder, quantization, **changes), sequence=4)
    assert (profile.params, profile.macs) == (plain.params, plain.macs)
    assert profile["model.layers.0"].params == plain["model.layers.0"].params
    assert profile.memory.peak - profile.memory.parameters == pytest.approx(
        plain.memory.peak - plain.memory.parameters, abs=512 * 100
    )
    return profile


def rest_of(folder: Path, keep: Callable[[str], bool] = lambda name: False) -> int:
    """Bytes of what is not in a linear layer of a block, or is kept."""
    model = loaded(folder, None)
    return bytes_of(
        parameter
        for name, parameter in model.named_parameters()
        if not ("proj" in name and "layers" in name) or keep(name)
    )


def test_fp8_as_transformers_makes_it(tmp_path: Path) -> None:
    for options in (
        {"weight_block_size": [128, 128]},
        {"weight_block_size": [64, 128], "modules_to_not_convert": ["model.layers.0", "lm_head"]},
        {"weight_block_size": None},
    ):
        config = {"quant_method": "fp8", "activation_scheme": "dynamic", **options}
        model = loaded(tmp_path, None)
        from transformers.integrations.finegrained_fp8 import replace_with_fp8_linear

        fp8 = transformers.FineGrainedFP8Config(**options)
        kept = options.get("modules_to_not_convert") or ["lm_head"]
        replace_with_fp8_linear(model, kept, fp8)
        assert held(tmp_path, config).memory.parameters == bytes_of(model.parameters())


def four_bits(rows: int, columns: int, group: int, zeros: bool = True) -> int:
    """GPTQ's and AWQ's tensors: int32 of eight numbers, scales of 16 bits, packed zero points."""
    groups = columns // group
    shapes = [(columns // 8, rows, 4), (groups, rows, 2)]
    if zeros:
        shapes.append((groups, rows // 8, 4))
    return sum(a * b * size for a, b, size in shapes)


METHODS: dict[str, tuple[dict[str, Any], Callable[[int, int], int]]] = {
    "gptq": (
        {"quant_method": "gptq", "bits": 4, "group_size": 128},
        lambda rows, columns: four_bits(rows, columns, 128) + columns * 4,  # g_idx
    ),
    "gptq without groups": (
        {"quant_method": "gptq", "bits": 8, "group_size": -1},
        lambda rows, columns: rows * columns + rows * 2 + rows + columns * 4,
    ),
    "awq": (
        {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True},
        lambda rows, columns: four_bits(rows, columns, 64),
    ),
    "auto-round": (
        {"quant_method": "auto-round", "bits": 4, "group_size": 128},
        lambda rows, columns: four_bits(rows, columns, 128),
    ),
    "bitsandbytes 8 bits": (
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
        lambda rows, columns: rows * columns + rows * 4,
    ),
    "bitsandbytes 4 bits": (
        {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        lambda rows, columns: rows * columns // 2 + rows * columns // 64 * 4 + 16 * 4,
    ),
    "bitsandbytes twice": (
        {"load_in_4bit": True, "bnb_4bit_use_double_quant": True},
        lambda rows, columns: (
            rows * columns // 2
            + rows * columns // 64
            + rows * columns // 64 // 256 * 4
            + (16 + 256 + 1) * 4
        ),
    ),
    "fbgemm": (
        {"quant_method": "fbgemm_fp8"},
        lambda rows, columns: rows * columns + rows * 4,
    ),
    "mxfp8": (
        {"quant_method": "mxfp8"},
        lambda rows, columns: rows * columns + rows * columns // 32,
    ),
    "torchao": (
        {"quant_method": "torchao", "quant_type": "int8_weight_only"},
        lambda rows, columns: rows * columns + rows * 2,
    ),
    "torchao by class": (
        {
            "quant_method": "torchao",
            "quant_type": {
                "default": {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 32}}
            },
        },
        lambda rows, columns: rows * columns // 2 + rows * columns // 32 * 4,
    ),
    "hqq": (
        {
            "quant_method": "hqq",
            "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}},
        },
        lambda rows, columns: rows * columns // 2 + rows * columns // 64 * 4,
    ),
    "quanto": (
        {"quant_method": "quanto", "weights": "int8"},
        lambda rows, columns: rows * columns + rows * 2,
    ),
    "eetq": ({"quant_method": "eetq"}, lambda rows, columns: rows * columns + rows * 2),
    "bitnet": ({"quant_method": "bitnet"}, lambda rows, columns: rows * columns // 4 + 2),
    "compressed-tensors in ints": (
        {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "ignore": ["lm_head"],
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "weights": {
                        "num_bits": 4,
                        "strategy": "group",
                        "group_size": 128,
                        "symmetric": True,
                    },
                }
            },
        },
        lambda rows, columns: four_bits(rows, columns, 128, zeros=False) + 2 * 8,  # weight_shape
    ),
    "compressed-tensors in floats": (
        {
            "quant_method": "compressed-tensors",
            "format": "float-quantized",
            "ignore": ["re:.*lm_head"],
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "weights": {
                        "num_bits": 8,
                        "type": "float",
                        "strategy": "channel",
                        "symmetric": True,
                    },
                }
            },
        },
        lambda rows, columns: rows * columns + rows * 2,
    ),
    "nvfp4": (
        {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]},
        lambda rows, columns: rows * columns // 2 + rows * columns // 16 + 2 * 4,
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods(name: str, tmp_path: Path) -> None:
    config, expected = METHODS[name]
    profile = held(tmp_path, config)
    layers = 2 * sum(expected(*shape) for shape in SHAPES)
    assert profile.memory.parameters == layers + rest_of(tmp_path)
    assert any("quantization_config" in text for text in profile.assumptions)


def test_what_is_ignored_stays(tmp_path: Path) -> None:
    config, expected = METHODS["compressed-tensors in ints"]
    ignore = ["lm_head", "re:.*layers[.]1[.].*", "model.layers.0.mlp.down_proj"]
    profile = held(tmp_path, {**config, "ignore": ignore})
    kept = rest_of(tmp_path, lambda name: "layers.1." in name or "0.mlp.down_proj" in name)
    assert profile.memory.parameters == kept + sum(expected(*shape) for shape in SHAPES[:-1])
    config, expected = METHODS["bitsandbytes 8 bits"]
    profile = held(tmp_path, {**config, "llm_int8_skip_modules": ["k_proj", "v_proj", "lm_head"]})
    kept = rest_of(tmp_path, lambda name: "k_proj" in name or "v_proj" in name)
    shapes = [shape for shape in SHAPES if shape != (128, 256)]
    assert profile.memory.parameters == kept + 2 * sum(expected(*shape) for shape in shapes)


def test_experts_in_one_tensor(tmp_path: Path) -> None:
    """gpt-oss: only the experts are in MXFP4, a scale of eight bits for 32."""
    sizes = {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "num_local_experts": 4,
        "head_dim": 64,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    model = loaded(tmp_path, None, **sizes)
    experts = [
        parameter
        for name, parameter in model.named_parameters()
        if "experts" in name and parameter.dim() == 3
    ]
    assert len(experts) == 2 * 2
    numbers = sum(parameter.numel() for parameter in experts)
    profile = held(tmp_path, {"quant_method": "mxfp4"}, **sizes)
    plain = bytes_of(model.parameters())
    assert profile.memory.parameters == plain - 2 * numbers + numbers // 2 + numbers // 32


def test_unknown_schemes_are_named(tmp_path: Path) -> None:
    profile = held(tmp_path, {"quant_method": "one-bit-of-tomorrow"})
    assert profile.memory.parameters == rest_of(tmp_path, lambda name: True)
    assert any("'one-bit-of-tomorrow'" in text for text in profile.assumptions)


def test_a_model_without_a_config_is_as_it_is(tmp_path: Path) -> None:
    profile = nnprof.measure(loaded(tmp_path, None), sequence=4)
    assert not profile.assumptions
    assert profile.memory.parameters == 2 * profile.params


def test_patterns() -> None:
    assert matches("model.layers.1.mlp", "model.layers.1")
    assert not matches("model.layers.11.mlp", "model.layers.1")
    assert matches("model.layers.3.fc1", "fc1")
    assert matches("lm_head", "re:.*lm_head")
    assert not matches("my.head", "re:lm")
    assert scheme_of({"quant_method": "torchao", "quant_type": "of tomorrow"}, 16) is None

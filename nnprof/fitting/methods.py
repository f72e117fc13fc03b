"""Ways to hold and to train less: adapters by peft, weights as a quantized checkpoint has them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from torch import nn

from nnprof.base.modules import modules_of
from nnprof.base.packages import require
from nnprof.errors import InputError
from nnprof.tracing.quantization import store_as_config_says

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QUANTIZATIONS", "adapted", "quantized", "with_lora"]

_BNB4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}
#: By name: the quantization_config of such a checkpoint.
QUANTIZATIONS: dict[str, dict[str, Any]] = {
    "nf4": _BNB4 | {"bnb_4bit_quant_type": "nf4"},
    "fp4": _BNB4 | {"bnb_4bit_quant_type": "fp4"},
    "int8": {"quant_method": "bitsandbytes", "load_in_8bit": True},
}


class _Config:
    """What `store_as_config_says` reads of a model's config."""

    def __init__(self, quantization: dict[str, Any]) -> None:
        self.quantization_config = quantization


def quantized(model: nn.Module, how: str) -> int:
    """Marks the linear layers' weights of `model` as stored so; they are frozen.

    Returns the bytes of the largest of them unpacked: one is, while its layer computes. Raises
    InputError for a name that is none.
    """
    if how not in QUANTIZATIONS:
        raise InputError(f"quantize={how!r}: there are {', '.join(QUANTIZATIONS)}")
    largest = 0
    for module in modules_of(model):
        if isinstance(module, nn.Linear):
            module.weight.requires_grad_(False)
            largest = max(largest, module.weight.numel() * module.weight.element_size())
    store_as_config_says(model, _Config(QUANTIZATIONS[how]))
    return largest


def with_lora(model: nn.Module, settings: str) -> Any:
    """`model` with peft's LoRA: "r=16", and beside it alpha=32, dropout=0.05, dora, target=q|v.

    All linear layers but the output are adapted unless `target` names some. Raises InputError for a
    setting that is none, MissingExtraError where peft is missing.
    """
    require("peft")
    peft = importlib.import_module("peft")
    arguments: dict[str, Any] = {"target_modules": "all-linear"}
    for entry in settings.split(","):
        name, _, value = entry.strip().partition("=")
        read = _LORA.get(name)
        if read is None:
            raise InputError(f"lora={settings!r}: {name!r} is none of {', '.join(_LORA)}")
        try:
            arguments |= read(value)
        except ValueError:
            raise InputError(f"lora={settings!r}: {name} is no number: {value!r}") from None
    return peft.get_peft_model(model, peft.LoraConfig(**arguments))


def adapted(model: Any, lora: str | None, quantize: str | None) -> tuple[Any, int]:
    """`model` with its weights as `quantized` stores them, then adapters as of `with_lora`.

    And the bytes beside it: see `quantized`.
    """
    beside = quantized(model, quantize) if quantize else 0
    return (with_lora(model, lora) if lora else model), beside


_LORA: dict[str, Callable[[str], dict[str, Any]]] = {
    "r": lambda value: {"r": int(value)},
    "alpha": lambda value: {"lora_alpha": float(value)},
    "dropout": lambda value: {"lora_dropout": float(value)},
    "dora": lambda _: {"use_dora": True},
    "target": lambda value: {"target_modules": value.split("|")},
}

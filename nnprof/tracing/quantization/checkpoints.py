"""What a quantized checkpoint's weights take, from the `quantization_config` of its config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from nnprof.base.modules import modules_of, named_modules, parameters_of
from nnprof.tracing.quantization.parameters import STORED_BYTES
from nnprof.tracing.quantization.schemes import Scheme, matches, method_of, scheme_of

__all__ = ["notes_of", "store_as_config_says"]

#: Attribute of a model: what is to be said of its weights in `profile.assumptions`.
_NOTES = "_nnprof_notes"


def store_as_config_says(model: nn.Module, config: Any) -> None:
    """Marks the weights of `model` that its checkpoint has quantized with the bytes they take.

    The model stays as it is: of weights that no one has read only the size is of interest. What is
    not known of the scheme is said in `profile.assumptions`.
    """
    found = _quantization_config(config)
    if found is None:
        return
    method = method_of(found)
    scheme = scheme_of(found, element_bits=8 * _usual_dtype(model).itemsize)
    if scheme is None:
        note = f"the quantization_config ({method!r}) is not known: weights are counted unquantized"
    else:
        marked = sum(_mark(parameter, stored) for parameter, stored in _stored(model, scheme))
        dtype = str(_usual_dtype(model)).removeprefix("torch.")
        note = (
            f"{marked} weights are held as the quantization_config says ({scheme.name}); what "
            f"operators compute, read and write is counted in {dtype}"
        )
    object.__setattr__(model, _NOTES, (note,))


def notes_of(model: object) -> tuple[str, ...]:
    """What is to be said of a model's weights in the assumptions."""
    return vars(model).get(_NOTES, ()) if isinstance(model, nn.Module) else ()


def _quantization_config(config: Any) -> Mapping[str, Any] | None:
    """As a dict; that of the text model where the config is made of several."""
    for part in (config, *(getattr(config, name, None) for name in ("text_config", "llm_config"))):
        for name in ("quantization_config", "compression_config"):
            value = getattr(part, name, None)
            if value is not None and not isinstance(value, Mapping) and hasattr(value, "to_dict"):
                value = value.to_dict()
            if isinstance(value, Mapping) and value:
                return value
    return None


def _usual_dtype(model: nn.Module) -> torch.dtype:
    floating = (p.dtype for p in parameters_of(model) if p.is_floating_point())
    return next(floating, torch.float32)


def _mark(parameter: torch.Tensor, stored: int) -> bool:
    setattr(parameter, STORED_BYTES, stored)
    return True


def _stored(model: nn.Module, scheme: Scheme) -> Iterator[tuple[torch.Tensor, int]]:
    """Each weight that is quantized, and its bytes."""
    kept = list(scheme.kept or ())
    if scheme.kept is None or scheme.and_default:
        kept += _kept_by_default(model)
    tied = _tied_to_embeddings(model)
    for path, module in named_modules(model):
        if any(matches(path, pattern) for pattern in kept):
            continue
        layout = scheme.layout_of(path)
        if layout is None:
            continue
        for weight, shape in _weights(path, module, scheme):
            if id(weight) not in tied:
                yield weight, layout.bytes(shape)


def _weights(
    path: str, module: nn.Module, scheme: Scheme
) -> Iterable[tuple[torch.Tensor, tuple[int, ...]]]:
    """A module's own weights that a scheme is for: (..., outputs, inputs)."""
    if isinstance(module, nn.Linear):
        return [(module.weight, tuple(module.weight.shape))] if scheme.linear else []
    if type(module).__name__ == "Conv1D":  # GPT-2's linear layer: inputs first
        weight = module.weight
        assert isinstance(weight, nn.Parameter)
        return [(weight, tuple(reversed(weight.shape)))] if scheme.linear else []
    if scheme.experts and path.rpartition(".")[2] == "experts":
        own = parameters_of(module, recurse=False)
        return [(weight, tuple(weight.shape)) for weight in own if weight.dim() == 3]
    return []


def _kept_by_default(model: nn.Module) -> list[str]:
    """What transformers keeps where a config does not say: the output embeddings."""
    try:
        from transformers.quantizers.base import get_keys_to_not_convert

        return list(get_keys_to_not_convert(model))
    except (ImportError, AttributeError):
        return ["lm_head"]


def _tied_to_embeddings(model: nn.Module) -> set[int]:
    return {id(m.weight) for m in modules_of(model) if isinstance(m, nn.Embedding)}

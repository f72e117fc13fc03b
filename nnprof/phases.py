"""Prefill and decode: a language model's two ways to run, with its own key-value cache.

A prefill is one call with the whole prompt. A decode step is one call with one token a sequence and
the cache that a prefill left: the model makes that cache itself, in a trace that records nothing,
so that it is of the classes, dtypes and shapes which this model uses. Its tensors hold no data.

An encoder-decoder model of text reads its prompt in the encoder, and the decoder starts with one
token. A decode step finds a cache of `context` decoder tokens, and one of the encoder's output.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch

from nnprof.errors import InputError
from nnprof.example_inputs import Sizes, example_inputs
from nnprof.inputs import make_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    #: `nnprof.run.run` with its settings, recording nothing: (model, arguments, keywords).
    Run = Callable[[Any, tuple[()], dict[str, Any]], tuple[Any, Any]]

__all__ = ["LANGUAGE_PHASES", "LanguageCall", "language_call"]

LANGUAGE_PHASES = ("prefill", "decode")

#: What models call their cache, in the output and among the parameters of forward, and how they are
#: asked for it.
_CACHES = {
    "past_key_values": "use_cache",
    "cache_params": "use_cache",
    "state": "use_cache",
    "past_buckets_states": "use_cache",
    "mems": "use_mems",
}


@dataclass(frozen=True)
class LanguageCall:
    """The call of one phase."""

    phase: str
    keywords: dict[str, Any]
    #: Tokens that it reads (prefill) or generates (decode), of the whole batch.
    tokens: int
    #: The cache that a decode step is given.
    cache: Any = None

    def facts(self, output: Any) -> dict[str, Any]:
        """Fields of `ModelFacts` that are known after the call, from what it returned."""
        cache = _cache_of(output)[1] if self.cache is None else self.cache
        return {
            "language_phase": self.phase,
            "tokens": self.tokens,
            "kv_cache_bytes": _cache_bytes(cache),
            "kv_cache_layer_bytes": tuple(map(_cache_bytes, _layers(cache))),
        }


def language_call(
    model: Any, phase: str | None, sizes: Sizes, context: int | None, run: Run
) -> LanguageCall:
    """The keyword arguments with which `model` does one `phase`; `run` runs it before.

    Raises `InputError` where a size is missing or the model has no cache.
    """
    if phase not in LANGUAGE_PHASES:
        raise InputError(_wrong_phase(phase))
    for name, size in (*sizes._asdict().items(), ("context", context)):
        if size is not None and (type(size) is not int or size < 1):
            raise InputError(f"{name}= must be a whole number of at least 1, not {size!r}")
    language = _Language(model)
    batch = sizes.batch or 1
    if phase == "prefill":
        return _prefill(language, batch, sizes.sequence, context)
    return _decode(language, batch, sizes.sequence, context, run)


def _wrong_phase(phase: str | None) -> str:
    if phase is None:
        return "context= is the length of a language model's cache: pass phase='decode' too"
    return f"there is no phase {phase!r}: pass 'prefill' or 'decode'"


def _prefill(
    language: _Language, batch: int, sequence: int | None, context: int | None
) -> LanguageCall:
    if (sequence is None) == (context is None):
        problem = "needs the prompt's tokens" if sequence is None else "takes one length, not two"
        raise InputError(f"phase='prefill' {problem}: pass sequence=2048, or the same as context=")
    prompt = sequence or context or 1
    decoder = 1 if language.has_text_encoder else prompt
    keywords = language.decoder_inputs(batch, decoder) | language.encoder_inputs(batch, prompt)
    return LanguageCall("prefill", keywords, batch * prompt)


def _decode(
    language: _Language, batch: int, sequence: int | None, context: int | None, run: Run
) -> LanguageCall:
    if context is None:
        raise InputError("phase='decode' needs the tokens in the cache: pass context=8192")
    if sequence is not None and not language.has_text_encoder:
        raise InputError(
            "phase='decode' takes one token of each sequence: leave out sequence=, and give the "
            "tokens in the cache as context="
        )
    encoded = language.encoded(batch, sequence or context, run)
    _, output = run(language.model, (), language.decoder_inputs(batch, context) | encoded)
    name, cache = _cache_of(output)
    if cache is None:
        raise InputError(_no_cache(language))
    keywords = language.decoder_inputs(batch, 1) | encoded | {name: cache}
    return LanguageCall("decode", keywords, batch, cache)


def _no_cache(language: _Language) -> str:
    return (
        f"{language.name} left no cache for a decode step: pass a model that returns one when "
        f"called with {language.use_cache}=True (a decoder by its config, if it could be an "
        "encoder too; in eval mode, if it uses gradient checkpointing)"
    )


class _Language:
    """What phases need to know of a model: which arguments are its text, and which its cache."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.name = type(model).__name__
        classes = {base.__module__.partition(".")[0] for base in type(model).__mro__}
        if "transformers" not in classes:
            raise InputError(
                f"phase= is for language models of transformers, which {self.name} is not: leave "
                "it out, and give a prompt or a cache of yours as inputs="
            )
        self._parameters = inspect.signature(model.forward).parameters
        cache = next((name for name in _CACHES if name in self._parameters), None)
        if cache is None or not {"input_ids", "decoder_input_ids"} & self._parameters.keys():
            raise InputError(
                f"phase= is for models that generate text with a cache, and {self.name} takes none "
                f"({', '.join(_CACHES)}): leave phase= out"
            )
        #: The argument that asks for a cache.
        self.use_cache = _CACHES[cache]

    @property
    def has_encoder(self) -> bool:
        """A decoder of such a pair, alone, has none."""
        return "decoder_input_ids" in self._parameters

    @property
    def has_text_encoder(self) -> bool:
        """The encoder takes token ids, rather than an image or speech."""
        return self.has_encoder and "input_ids" in self._parameters

    def decoder_inputs(self, batch: int, tokens: int) -> dict[str, Any]:
        """Token ids for the decoder, and the wish for a cache."""
        name = "decoder_input_ids" if self.has_encoder else "input_ids"
        return make_inputs(self.model, {name: (batch, tokens)})[1] | self._cache_wanted()

    def _cache_wanted(self) -> dict[str, Any]:
        """Asks for a cache where the model would leave none by itself.

        Not otherwise: some pass the question on to their encoder, which refuses it.
        """
        usual = getattr(getattr(self.model, "config", None), self.use_cache, None)
        return {} if usual is True and not self.model.training else {self.use_cache: True}

    def encoder_inputs(self, batch: int, tokens: int) -> dict[str, Any]:
        """What the encoder takes: `tokens` ids, or the usual image or speech."""
        if self.has_text_encoder:
            return make_inputs(self.model, {"input_ids": (batch, tokens)})[1]
        if not self.has_encoder:
            return {}
        made = example_inputs(self.model, Sizes(batch))
        return {} if made is None else {n: v for n, v in made[1].items() if "decoder" not in n}

    def encoded(self, batch: int, tokens: int, run: Run) -> dict[str, Any]:
        """What the encoder makes of its inputs, as the argument of a step that does without it."""
        if not self.has_encoder:
            return {}
        if "encoder_outputs" not in self._parameters or not hasattr(self.model, "get_encoder"):
            raise InputError(f"{self.name} cannot decode without its encoder: leave phase= out")
        encoder = self.model.get_encoder()
        known = inspect.signature(encoder.forward).parameters
        inputs = self.encoder_inputs(batch, tokens)
        inputs = {name: value for name, value in inputs.items() if name in known}
        return {"encoder_outputs": run(encoder, (), inputs | {"return_dict": True})[1]}


def _cache_of(output: Any) -> tuple[str, Any]:
    """The cache in a model's output, and the name of the argument to pass it as."""
    for name in _CACHES:
        cache = getattr(output, name, None)
        if cache is not None:
            return name, cache
    return "", None


# Bytes. Caches are objects of layers with tensors in attributes, lists and dicts: they are searched
# rather than asked, for their classes differ and a new one must not count as nothing.


def _cache_bytes(cache: Any) -> int:
    """Bytes of the elements of all tensors in a cache, each once; numbers (0-dim) are no states."""
    seen = {}
    for tensor in _tensors(cache, set()):
        place = tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape
        seen[place] = tensor.numel() * tensor.element_size()
    return sum(seen.values())


def _tensors(value: Any, visited: set[int]) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        if value.dim() > 0:
            yield value
        return
    if id(value) in visited:
        return
    visited.add(id(value))
    if isinstance(value, dict):
        inside = list(value.values())
    elif isinstance(value, (list, tuple)):
        inside = list(value)
    else:
        inside = list(getattr(value, "__dict__", {}).values())
    for item in inside:
        yield from _tensors(item, visited)


def _layers(cache: Any) -> list[Any]:
    """What a cache holds of each layer: a list of the self-attention's and the cross-attention's.

    Nothing where the cache is not made of layers.
    """
    pair = ("self_attention_cache", "cross_attention_cache")
    parts = [getattr(cache, name) for name in pair if hasattr(cache, name)] or [cache]
    layers = [part.layers for part in parts if isinstance(getattr(part, "layers", None), list)]
    return [list(layer) for layer in zip_longest(*layers)]

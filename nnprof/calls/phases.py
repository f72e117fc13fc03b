"""Prefill and decode: a language model's two ways to run, with its own key-value cache.

A prefill is one call with the whole prompt. A decode step is one call with one token a sequence and
the cache that a prefill left: the model makes that cache itself, shape-only and unrecorded, so that
it is of the classes, dtypes and shapes which this model uses, and what modules keep in themselves
from a prompt on is there too. Its tensors hold no data.

An encoder-decoder model of text reads its prompt in the encoder, and the decoder starts with one
token. A decode step finds a cache of `context` decoder tokens, and one of the encoder's output.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch

from nnprof.base.current import current_trace
from nnprof.base.modules import model_of_inputs
from nnprof.calls.examples import Sizes, check_sizes, example_inputs
from nnprof.calls.inputs import make_inputs
from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nnprof.calls.examples.tensors import Runner
    from nnprof.tracing.trace import trace

__all__ = ["LANGUAGE_PHASES", "LanguageCall", "language_call"]

LANGUAGE_PHASES = ("prefill", "decode")

#: What models call their cache, in the output and among the parameters of forward, and how they are
#: asked for it.
_CACHES = {
    "cache": "use_cache",  # from transformers 5.24 on, which warns where the next name is used
    "past_key_values": "use_cache",
    "cache_params": "use_cache",
    "state": "use_cache",
    "past_buckets_states": "use_cache",
    "mems": "use_mems",
}


#: Tokens to see by whether a cache grows with them: more than a convolution's state goes back.
_SHORT_PROMPTS = (64, 128)


@dataclass
class LanguageCall:
    """The call of one phase."""

    language: _Language
    phase: str
    #: The arguments to call the model with, but for those that `prepare` adds.
    keywords: dict[str, Any]
    #: Tokens that it reads (prefill) or generates (decode), of the whole batch.
    tokens: int
    past: _Past | None = None
    _cache: _CacheBytes | None = field(default=None, init=False)

    def prepare(self, keywords: dict[str, Any]) -> dict[str, Any]:
        """`keywords` with all that a decode step is given. It runs the prefill for that.

        Raises `InputError` where the model leaves no cache, or was given one besides.
        """
        made = sorted(keywords.keys() & {*_CACHES, "encoder_outputs"})
        if made:
            raise InputError(
                f"phase= makes {' and '.join(made)}: leave it out of kwargs, or leave phase= out "
                "and give all as inputs="
            )
        if self.past is None:
            return keywords
        given = self.past.make()
        cache = _cache_in(given)[1]
        # At once, for the step adds a token.
        self._cache = _CacheBytes.of(cache)
        running = current_trace()
        if running is not None:
            running.mark_cache(_tensors(cache, set()))
        return keywords | given

    def note_cache(self, running: trace, output: Any) -> None:
        """Tells the records of the call which tensors are the cache that it leaves."""
        running.mark_cache(_tensors(_cache_in(output)[1], set()))

    def facts(self, output: Any) -> dict[str, Any]:
        """Fields of `ModelFacts` that are known after the call, from what it returned."""
        cache = self._cache or _CacheBytes.of(self.language.cache_left(output)[1])
        return {
            "language_phase": self.phase,
            "tokens": self.tokens,
            "kv_cache_bytes": cache.total,
            "kv_cache_layer_bytes": cache.layers,
        }


def language_call(
    model: Any, phase: str | None, sizes: Sizes, context: int | None, run: Runner
) -> LanguageCall:
    """How to call `model` for one `phase`. `run` is that of `nnprof.calls.inputs.make_inputs`.

    Raises `InputError` where a size is missing or the model takes no cache.
    """
    if phase not in LANGUAGE_PHASES:
        raise InputError(_wrong_phase(phase))
    check_sizes(**sizes._asdict(), context=context)
    language = _Language(model, run)
    make = _prefill if phase == "prefill" else _decode
    return make(language, sizes.batch or 1, sizes.sequence, context)


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
    return LanguageCall(language, "prefill", keywords, batch * prompt)


def _decode(
    language: _Language, batch: int, sequence: int | None, context: int | None
) -> LanguageCall:
    if context is None:
        raise InputError("phase='decode' needs the tokens in the cache: pass context=8192")
    if sequence is not None and not language.has_text_encoder:
        raise InputError(
            "phase='decode' takes one token of each sequence: leave out sequence=, and give the "
            "tokens in the cache as context="
        )
    past = _Past(
        language,
        language.encoder_inputs(batch, sequence or context),
        language.decoder_inputs(batch, context),
    )
    return LanguageCall(language, "decode", language.decoder_inputs(batch, 1), batch, past)


@dataclass(frozen=True)
class _Past:
    """What was before a decode step: what the decoder read, and the encoder if there is one."""

    language: _Language
    encoder: dict[str, Any]
    decoder: dict[str, Any]

    def make(self) -> dict[str, Any]:
        """Runs it, and returns the arguments that hand it on: the cache, the encoder's output."""
        encoded = self.language.encoded(self.encoder)
        name, cache = self._state() or self._read(self.decoder | encoded)
        return {name: cache, **encoded}

    def _read(self, keywords: dict[str, Any]) -> tuple[str, Any]:
        return self.language.cache_left(self.language.model(**keywords))

    def _state(self) -> tuple[str, Any] | None:
        """What a short prompt leaves, if a long one leaves no more: the state of a recurrent model.

        Such models may loop over the tokens in Python, which takes seconds where there are many.
        """
        ids = self.decoder.get("input_ids")
        if not self.language.is_stateful or ids is None or ids.shape[1] <= _SHORT_PROMPTS[-1]:
            return None
        short, longer = (
            self._read(self.decoder | {"input_ids": ids[:, :tokens]}) for tokens in _SHORT_PROMPTS
        )
        as_large = _CacheBytes.of(short[1]) == _CacheBytes.of(longer[1])
        return longer if as_large and not _holds_tokens(longer[1]) else None


class _Language:
    """What phases need to know of a model: which arguments are its text, and which its cache."""

    def __init__(self, model: Any, run: Runner) -> None:
        self._run = run
        #: What is called, and the model that says what it takes.
        self.model, self.inner = model, model_of_inputs(model)
        self.name = type(self.inner).__name__
        classes = {base.__module__.partition(".")[0] for base in type(self.inner).__mro__}
        if "transformers" not in classes:
            raise InputError(
                f"phase= is for language models of transformers, which {self.name} is not: leave "
                "it out, and give a prompt or a cache of yours as inputs="
            )
        self._parameters = inspect.signature(self.inner.forward).parameters
        cache = next((name for name in _CACHES if name in self._parameters), None)
        if cache is None or not {"input_ids", "decoder_input_ids"} & self._parameters.keys():
            raise InputError(
                f"phase= is for models that generate text with a cache, and {self.name} takes none "
                f"({', '.join(_CACHES)}): leave phase= out"
            )
        #: It keeps a state of one size, in some of its layers at least.
        self.is_stateful = getattr(self.inner, "_is_stateful", False)
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
        return self._ids(name, batch, tokens) | self._cache_wanted()

    def _ids(self, name: str, batch: int, tokens: int) -> dict[str, Any]:
        return make_inputs(self.inner, {name: (batch, tokens)}, run=self._run)[1]

    def _cache_wanted(self) -> dict[str, Any]:
        """Asks for a cache where the model would leave none by itself.

        Not otherwise: some pass the question on to their encoder, which refuses it.
        """
        usual = getattr(getattr(self.inner, "config", None), self.use_cache, None)
        return {} if usual is True and not self.model.training else {self.use_cache: True}

    def encoder_inputs(self, batch: int, tokens: int) -> dict[str, Any]:
        """What the encoder takes: `tokens` ids, or the usual image or speech."""
        if self.has_text_encoder:
            return self._ids("input_ids", batch, tokens)
        if not self.has_encoder:
            return {}
        made = example_inputs(self.inner, Sizes(batch), self._run)
        return {} if made is None else {n: v for n, v in made[1].items() if "decoder" not in n}

    def cache_left(self, output: Any) -> tuple[str, Any]:
        """The cache in what the model returned, and its name."""
        name, cache = _cache_in(output)
        if cache is None:
            raise InputError(
                f"{self.name} left no cache: pass a model that returns one when called with "
                f"{self.use_cache}=True (a decoder by its config, if it could be an encoder too; "
                "in eval mode, if it uses gradient checkpointing)"
            )
        return name, cache

    def encoded(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """What the encoder makes of its inputs, as the argument of a call that does without it."""
        if not self.has_encoder:
            return {}
        if "encoder_outputs" not in self._parameters or not hasattr(self.inner, "get_encoder"):
            raise InputError(f"{self.name} cannot decode without its encoder: leave phase= out")
        encoder = self.inner.get_encoder()
        known = inspect.signature(encoder.forward).parameters
        inputs = {name: value for name, value in inputs.items() if name in known}
        return {"encoder_outputs": encoder(**inputs, return_dict=True)}


def _cache_in(values: Any) -> tuple[str, Any]:
    """The cache among a model's arguments or in its output, and its name; ("", None) if none is."""
    named = values if isinstance(values, Mapping) else {}
    found = ((name, named[name]) for name in _CACHES if named.get(name) is not None)
    return next(found, ("", None))


# Bytes. Caches are objects of layers with tensors in attributes, lists and dicts: they are searched
# rather than asked, for their classes differ and a new one must not count as nothing.


@dataclass(frozen=True)
class _CacheBytes:
    total: int
    layers: tuple[int, ...]

    @classmethod
    def of(cls, cache: Any) -> _CacheBytes:
        return cls(_bytes(cache), tuple(map(_bytes, _layers(cache))))


def _bytes(cache: Any) -> int:
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


def _holds_tokens(cache: Any) -> bool:
    """Some layer keeps keys and values, one for each token."""
    layers = (part for layer in _layers(cache) for part in layer)
    return any(isinstance(getattr(part, "keys", None), torch.Tensor) for part in layers)

"""Token ids, and the placeholders among them for the images and sounds that come with a text."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from nnprof.calls.examples.transformers.call import Call

__all__ = ["MAKERS", "REQUIRED_MAKERS", "required_by_modalities", "tokens_of"]


class _Modality(NamedTuple):
    """What stands in a text for images, videos or sounds."""

    arguments: tuple[str, ...]
    #: The method of the model that makes one row for each placeholder.
    method: str
    #: How configs call the placeholder's token.
    tokens: tuple[str, ...]
    #: Its number in `mm_token_type_ids`.
    number: int


_MODALITIES = (
    _Modality(
        ("pixel_values", "image_pixel_values"),
        "get_image_features",
        ("image_token_id", "image_token_index", "media_placeholder_token_id", "image_patch_id"),
        1,
    ),
    _Modality(
        ("pixel_values_videos",),
        "get_video_features",
        ("video_token_id", "video_token_index"),
        2,
    ),
    _Modality(
        ("input_features", "input_values", "audio_input_features", "audio_input_ids"),
        "get_audio_features",
        ("audio_token_id", "audio_token_index"),
        3,
    ),
)


def tokens_of(given: Mapping[str, Any]) -> int | None:
    """How long a given text is: (batch, tokens), of embeddings (batch, tokens, channels)."""
    for name in ("input_ids", "inputs_embeds", "attention_mask", "token_type_ids"):
        value = given.get(name)
        if isinstance(value, torch.Tensor) and value.dim() == 2 + (name == "inputs_embeds"):
            return value.shape[1]
    return None


def required_by_modalities(call: Call, chosen: Iterable[str]) -> set[str]:
    """Parameters without a default of the methods that make rows of images and sounds.

    Of those methods whose images or sounds are among the `chosen` arguments.
    """
    required: set[str] = set()
    for modality in _MODALITIES:
        if set(chosen) & set(modality.arguments):
            parameters = _parameters(_method(call, modality))
            required |= {n for n, p in parameters.items() if p.default is p.empty}
    return required & call.parameters.keys()


def _method(call: Call, modality: _Modality) -> Callable[..., Any] | None:
    """That of the model inside, which says what it takes, or the model's own."""
    for holder in (*(getattr(call.model, name, None) for name in ("model", "vlm")), call.model):
        method = getattr(holder, modality.method, None)
        if method is not None and _parameters(method).keys() & set(modality.arguments):
            return method  # type: ignore[no-any-return]
    return None


def _parameters(method: Callable[..., Any] | None) -> Mapping[str, inspect.Parameter]:
    return {} if method is None else inspect.signature(method).parameters


def _placeholders(call: Call) -> Iterator[tuple[int, int, int]]:
    """For each modality: its token's id, how many of them a text has, and its number."""
    for modality in _MODALITIES:
        token = _token(call, modality)
        method = _method(call, modality)
        given = any(name in call.made for name in modality.arguments)
        if token is not None and method is not None and given:
            yield token, _rows(call, method), modality.number


def _token(call: Call, modality: _Modality) -> int | None:
    holders = [call.config, call.text]
    holders += [getattr(call.config, part, None) for part in ("thinker_config", "vlm_config")]
    for name in modality.tokens:
        for holder in holders:
            value = getattr(holder, name, None)
            if type(value) is int:
                return value
    return None


def _rows(call: Call, method: Callable[..., Any]) -> int:
    """Rows that `method` makes of what is made so far, for each text: found by a bare run."""
    keywords = {n: call.made[n] for n in _parameters(method) if n in call.made}
    for name, parameter in _parameters(method).items():
        if parameter.default is parameter.empty and name == "input_ids":  # only to know its length
            keywords[name] = call.ids(call.batch, call.tokens)
    output = call.run(method, keywords)
    return sum(tensor.numel() // tensor.shape[-1] for tensor in _features(output)) // call.batch


def _features(output: Any) -> Iterator[torch.Tensor]:
    """The tensors that take the placeholders' places."""
    for name in ("pooler_output", "last_hidden_state"):
        found = getattr(output, name, None)
        if found is not None:
            output = found
            break
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, (list, tuple)):
        for item in output:
            yield from _features(item)


def input_ids(call: Call) -> torch.Tensor:
    """(batch, placeholders and tokens of the text)."""
    rows = [call.ids(call.batch, call.tokens)]
    for token, count, _ in _placeholders(call):
        # The first token stays in front: it may be where attention begins.
        rows.insert(0, torch.full((call.batch, count), token, dtype=torch.int64, device="cpu"))
    return torch.cat(rows, dim=1)


def modality_ids(call: Call) -> torch.Tensor:
    """(batch, tokens): which modality each placeholder is of, 0 for text."""
    ids = call.made["input_ids"]
    kinds = torch.zeros_like(ids)
    for token, _, number in _placeholders(call):
        kinds[ids == token] = number
    return kinds


def decoder_ids(call: Call) -> torch.Tensor:
    """(batch, tokens) of the decoder's text."""
    decoder = getattr(call.config, "decoder", None)
    return call.ids(call.batch, call.tokens, vocabulary=getattr(decoder, "vocab_size", None))


def boxes(call: Call) -> torch.Tensor:
    """(batch, tokens, 4): left, top, right and bottom of each token on a page of 1000 by 1000."""
    tokens = call.made["input_ids"].shape[1]
    left = torch.arange(tokens, device="cpu") * 7 % 900
    box = torch.stack([left, left, left + 50, left + 50], dim=1)
    return box.expand(call.batch, tokens, 4).contiguous()


def like_ids(call: Call) -> torch.Tensor:
    """(batch, tokens), all 1: a mask, or as many of one kind."""
    return torch.ones_like(call.made["input_ids"])


#: What is passed wherever forward has a parameter of such a name.
MAKERS: dict[str, Callable[[Call], Any]] = {
    "input_ids": input_ids,
    "decoder_input_ids": decoder_ids,
    "mm_token_type_ids": modality_ids,
    "bbox": boxes,
}
#: What is passed where forward demands it.
REQUIRED_MAKERS: dict[str, Callable[[Call], Any]] = {
    "attention_mask": like_ids,
    "token_type_ids": lambda call: torch.zeros_like(call.made["input_ids"]),
    "qformer_input_ids": lambda call: call.ids(call.batch, call.tokens),
}

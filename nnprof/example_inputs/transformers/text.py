"""Token ids, and the placeholders among them for the images and sounds that come with a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from nnprof.example_inputs.transformers.call import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MAKERS", "REQUIRED_MAKERS", "placeholder_counts"]

#: What stands for each modality in a text: the arguments with it, the method that makes one row a
#: placeholder of it, how configs call the token, and its number in `mm_token_type_ids`.
_MODALITIES: tuple[tuple[tuple[str, ...], str, tuple[str, ...], int], ...] = (
    (
        ("pixel_values", "image_pixel_values"),
        "get_image_features",
        ("image_token_id", "image_token_index", "media_placeholder_token_id", "image_patch_id"),
        1,
    ),
    (("pixel_values_videos",), "get_video_features", ("video_token_id", "video_token_index"), 2),
    (
        ("input_features", "input_values", "audio_input_features"),
        "get_audio_features",
        ("audio_token_id", "audio_token_index"),
        3,
    ),
)


def _placeholders(call: Call) -> Iterator[tuple[int, int, int]]:
    """For each modality: its token's id, how many of them a text has, and its number."""
    for names, method, fields, number in _MODALITIES:
        token = next((t for t in map(call.get, fields) if type(t) is int), None)
        if token is None:
            token = next(
                (t for f in fields if type(t := getattr(call.part("thinker_config"), f, 0)) is int),
                None,
            )
        given = {name: call.made[name] for name in names if name in call.made}
        if token is None or not given or not hasattr(call.model, method):
            continue
        yield token, placeholder_counts(call, method), number


def placeholder_counts(call: Call, method: str) -> int:
    """Rows that the `method` of the model makes of what is made so far, for each text."""
    import inspect

    from nnprof.trace import trace

    make = getattr(call.model, method)
    parameters = inspect.signature(make).parameters
    keywords = {name: value for name, value in call.made.items() if name in parameters}
    with torch.no_grad(), trace(call.model, recording=False):
        output = make(**keywords)
        rows = sum(tensor.numel() // tensor.shape[-1] for tensor in _features(output))
    return rows // call.batch


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
    "qformer_input_ids": lambda call: call.ids(call.batch, call.tokens),
}

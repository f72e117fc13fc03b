"""What models of transformers take: made from forward's parameters and the config.

A text has 128 tokens, or as many as the model has positions for if these are fewer; placeholders
for images and sounds come on top. Images have the size that the config names, else 224 pixels;
sounds last 8 s, of models with Whisper's encoder as long as it demands. `special.py` has what
neither the parameters nor the config tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnprof.calls.examples.tensors import batch_of
from nnprof.calls.examples.transformers import audio, series, special, text, vision
from nnprof.calls.examples.transformers.call import Call
from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nnprof.calls.examples import Arguments, Sizes
    from nnprof.calls.examples.tensors import Runner

    Maker = Callable[[Call], Any]

__all__ = ["make"]

# In this order: the placeholders in a text are counted from the images and sounds.
_FAMILIES: tuple[Any, ...] = (vision, audio, series, text)


def make(model: Any, sizes: Sizes, given: Mapping[str, Any], run: Runner) -> Arguments:
    """The keyword arguments of one call of `model`, a `PreTrainedModel`, beside those `given`.

    `sizes.batch` defaults to that of what is given, or 1; `sizes.sequence` counts the tokens of the
    text. Floating inputs are meta tensors in the model's dtype, integers are real.

    Raises `InputError` where the inputs cannot be known, or where a sequence is asked for and the
    model takes none.
    """
    tokens = text.tokens_of(given) if sizes.sequence is None else sizes.sequence
    call = Call(model, sizes.batch or batch_of(given) or 1, tokens, run)
    makers = _fitting(call, _chosen(call), given)
    if sizes.sequence is not None and not special.SEQUENCES & makers.keys():
        raise InputError(f"{type(model).__name__} takes no sequence: leave sequence= out")
    for name, maker in makers.items():
        call.made[name] = given[name] if name in given else maker(call)
    if not call.made and not given:
        raise call.refuse()
    displaced = {name for other, names in _INSTEAD.items() if other in given for name in names}
    displaced |= given.keys()
    return (), {name: value for name, value in call.made.items() if name not in displaced}


def _fitting(call: Call, makers: dict[str, Maker], given: Mapping[str, Any]) -> dict[str, Maker]:
    """Without images and sounds where the text is given: it has no placeholders for them."""
    if "input_ids" not in given:
        return makers
    return {
        name: maker
        for name, maker in makers.items()
        if name in given or call.requires(name) or _family(name) is text
    }


#: What is not passed beside another argument.
_INSTEAD = {
    "inputs_embeds": ("input_ids",),
    "decoder_inputs_embeds": ("decoder_input_ids",),
    "encoder_outputs": ("input_ids", "pixel_values", "input_features", "input_values"),
}


def _chosen(call: Call) -> dict[str, Maker]:
    """What makes each argument, in the order to make them; raises where a required one has none."""
    known = special.CLASSES.get(type(call.model).__name__)
    if known is None:
        known = special.ARGUMENTS.get(call.model_type, {})
    known = {name: maker for name, maker in known.items() if name in call.parameters}
    usual = {n for f in _FAMILIES for n in f.MAKERS if n in call.parameters}
    usual = {n for n in usual if not _has_no_part(call, n)} | known.keys()
    demanded = {name for name in call.parameters if call.requires(name)}
    demanded |= text.required_by_modalities(call, usual | demanded)
    makers: dict[str, Maker] = {}
    for family in _FAMILIES:
        offered = {**family.MAKERS, **family.REQUIRED_MAKERS}
        makers |= {
            n: m for n, m in offered.items() if n in demanded or n in usual & family.MAKERS.keys()
        }
        makers |= {n: m for n, m in known.items() if m is not None and _family(n) is family}
    makers = {name: maker for name, maker in makers.items() if known.get(name, maker) is not None}
    makers = {name: maker for name, maker in makers.items() if _BASES.get(name, name) in makers}
    missing = [name for name in call.parameters if call.requires(name) and name not in makers]
    if missing:
        raise call.refuse(f"nothing says what {', '.join(missing)} should be")
    return makers


def _family(name: str) -> Any:
    """The family that a special argument is made with: by its name, the text's if nothing else."""
    return next((f for f, starts in _STARTS if name.startswith(starts)), text)


_STARTS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (
        vision,
        ("pixel", "image", "grid", "spatial", "target_size", "flattened", "high_res", "qformer"),
    ),
    (audio, ("input_feature", "input_values", "feature_attention", "audio", "padding_mask")),
)


def _has_no_part(call: Call, name: str) -> bool:
    """Was the model built without what would take this argument?"""
    part = _PARTS.get(name)
    return part is not None and getattr(call.config, part, call) is None


#: What an argument belongs to: it is left out where the other is.
_BASES = {
    "input_features_mask": "input_features",
    "feature_attention_mask": "input_features",
    "image_grid_thw": "pixel_values",
}
_PARTS = {
    "pixel_values": "vision_config",
    "image_grid_thw": "vision_config",
    "input_features": "audio_config",
}

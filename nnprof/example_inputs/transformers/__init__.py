"""What models of transformers take: made from forward's parameters and the config.

A text has 128 tokens, or as many as the model has positions for if these are fewer; placeholders
for images and sounds come on top. Images have the size that the config names, else 224 pixels;
sounds last 5 s, of models with Whisper's encoder as long as it demands. `special.py` has what
neither the parameters nor the config tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnprof.errors import InputError
from nnprof.example_inputs.transformers import audio, special, text, vision
from nnprof.example_inputs.transformers.call import Call

if TYPE_CHECKING:
    from nnprof.example_inputs import Arguments, Sizes

__all__ = ["make"]

# In this order: the placeholders in a text are counted from the images and sounds.
_FAMILIES = (vision, audio, text)
_MAKERS = {name: make for family in _FAMILIES for name, make in family.MAKERS.items()}
_REQUIRED_MAKERS = {
    name: make for family in _FAMILIES for name, make in family.REQUIRED_MAKERS.items()
}


def make(model: Any, sizes: Sizes) -> Arguments:
    """The keyword arguments of one call of `model`, a `PreTrainedModel`.

    `sizes.batch` defaults to 1; `sizes.sequence` counts the tokens of the text. Floating inputs are
    meta tensors in the model's dtype, integers are real.

    Raises `InputError` where the inputs cannot be known, or where a sequence is asked for and the
    model takes none.
    """
    call = Call(model, sizes.batch or 1, sizes.sequence)
    makers = _chosen(call)
    if sizes.sequence is not None and not special.SEQUENCES & makers.keys():
        raise InputError(f"{type(model).__name__} takes no sequence: leave sequence= out")
    for name, maker in makers.items():
        call.made[name] = maker(call)
    if not call.made:
        raise call.refuse()
    return (), call.made


def _chosen(call: Call) -> dict[str, Any]:
    """What makes each argument, in the order to make them; raises where a required one has none."""
    known = special.ARGUMENTS.get(call.model_type, {})
    known = special.CLASSES.get(type(call.model).__name__, known)
    left_out = {name for name, make in known.items() if make is None}
    makers = {
        name: make
        for name, make in {**_REQUIRED_MAKERS, **_MAKERS}.items()
        if call.requires(name) or (name in _MAKERS and name in call.parameters)
    }
    order = [*vision.MAKERS, *vision.REQUIRED_MAKERS, *audio.MAKERS, *audio.REQUIRED_MAKERS]
    makers = {n: makers[n] for n in sorted(makers, key=lambda n: n not in order)}
    makers |= {name: make for name, make in known.items() if make is not None}
    missing = [n for n in call.parameters if call.requires(n) and n not in makers]
    if missing:
        raise call.refuse(f"nothing says what {', '.join(missing)} should be")
    return {name: make for name, make in makers.items() if name not in left_out}

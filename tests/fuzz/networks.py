"""Small networks drawn at random: what is drawn next is tried on real tensors as it is drawn.

A network is a list of steps on a pool of tensors that are alive, so that it is any graph:
residuals, views of views, writes into views. A step that PyTorch refuses is left out, or ends a
network that is to be refused. The steps stand in three files.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import torch
from torch import Tensor

from tests.fuzz import element_steps, layer_steps, program_steps
from tests.fuzz.drawing import FLOATS, MODES, Case, Drawing, Inapplicable, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

#: In this order: what is drawn depends on it.
STEPS = (*element_steps.STEPS, *layer_steps.STEPS, *program_steps.STEPS)


@st.composite
def inputs(draw: st.DrawFn, *, floats: Sequence[torch.dtype]) -> Tensor:
    """Floats laid out in any way; integers or booleans."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    dtype = draw(st.sampled_from([*floats, torch.int64, torch.bool]))
    layout = draw(st.sampled_from(["plain", "plain", "transposed", "expanded", "part", "last"]))
    if not dtype.is_floating_point:
        # The first values count up, so that shrinking makes them simple.
        return (torch.arange(torch.Size(shape).numel()) % 3).to(dtype).reshape(shape)
    made = torch.randn(shape).to(dtype)
    if layout == "transposed":
        return made.transpose(0, -1)
    if layout == "expanded":
        return made[:1].expand(shape)
    if layout == "part":
        return torch.randn([2 * size for size in shape]).to(dtype)[
            tuple(slice(1, 1 + s) for s in shape)
        ]
    if layout == "last" and len(shape) == 4:
        return made.to(memory_format=torch.channels_last)
    return made


@st.composite
def cases(draw: st.DrawFn, *, steps: int = 12) -> Case:
    drawing = Drawing(draw)
    floats = draw(st.sampled_from([(torch.float32,), (torch.float32,), FLOATS]))
    drawing.pool = draw(st.lists(inputs(floats=floats), min_size=1, max_size=3))
    first = torch.randn(2, 3, 4)
    drawing.pool.append(first)
    drawing.known = [not tensor.is_floating_point() for tensor in drawing.pool]
    case = Case(
        list(drawing.pool),
        drawing.steps,
        drawing.layers,
        known=[],
        mode=draw(st.sampled_from(sorted(MODES, reverse=True))),
        training=draw(st.booleans()),
        autocast=draw(st.sampled_from([None, None, None, None, torch.bfloat16])),
        on_meta=draw(st.booleans()),
    )
    drawing.pool = list(case.copied_inputs(on_meta=False))
    with MODES[case.mode](), autocast(case.autocast), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pytest would raise them, the first time each
        for _ in range(draw(st.integers(1, steps))):
            _try_step(drawing, case.training)
        if draw(st.sampled_from([False, False, False, True])):
            _end_refused(drawing, case)
    case.known = [i for i, known in enumerate(drawing.known) if known]
    return case


def autocast(dtype: torch.dtype | None) -> Any:
    return torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None)


def _try_step(drawing: Drawing, training: bool) -> tuple[Step, Exception] | None:
    """Adds a step; returns one that PyTorch refuses, with its reason, instead of adding it."""
    make = drawing.choice(STEPS)
    layers = len(drawing.layers)
    try:
        step = make(drawing)
    except Inapplicable:
        return None
    for layer in drawing.layers[layers:]:
        layer.train(training)
    try:
        drawing.add(step)
    except Inapplicable:
        return None
    except Exception as error:  # whatever PyTorch raises is the expectation
        return step, error
    return None


def _end_refused(drawing: Drawing, case: Case) -> None:
    """Ends with a step that PyTorch refuses, if one is soon found."""
    for _ in range(10):
        refused = _try_step(drawing, case.training)
        if refused is not None:
            step, case.error = refused
            drawing.steps.append(step)
            return

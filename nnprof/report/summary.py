"""The layers as torchsummary 1.5.1 prints them.

Line for line the same table for a model of plain layers. Where torchsummary is wrong, the numbers
are right instead: a parameter that is used twice counts once, every parameter counts (not only
`weight` and `bias`), elements take the parameters' size (not 4 bytes), the batch size is real.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nnprof.report.options import TableOptions
    from nnprof.results.profile import Layer, Profile

__all__ = ["render"]

_MIB = 1024**2
_RULE = 64


def render(profile: Profile, options: TableOptions | None = None) -> str:
    """One line a module call in the order the calls end, then totals; containers and the model
    itself are left out. No option applies."""
    calls = list(_calls(profile))
    lines = ["-" * _RULE, _line("Layer (type)", "Output Shape", "Param #"), "=" * _RULE]
    for number, (layer, shapes) in enumerate(calls, 1):
        shape = shapes[0] if len(shapes) == 1 else shapes
        lines.append(_line(f"{layer.type}-{number}", str(shape), f"{layer.own_params:,}"))
    outputs = sum(prod(shape) for _, shapes in calls for shape in shapes)
    return "\n".join([*lines, *_totals(profile, outputs)])


def _line(layer: str, shape: str, params: str) -> str:
    return f"{layer:>20}  {shape:>25} {params:>15}"


def _calls(profile: Profile) -> Iterator[tuple[Layer, list[list[int]]]]:
    finished = profile.data.module_calls()
    for row, shapes in zip(finished["layer"], finished["output_shapes"], strict=True):
        layer = profile._layers_by_row[row]
        if layer.path and layer.type not in profile.facts.container_types:
            yield layer, [list(shape) for shape in shapes]


def _totals(profile: Profile, outputs: int) -> Iterator[str]:
    facts = profile.facts
    element = facts.parameter_bytes / facts.params if facts.params else 4
    inputs = facts.input_bytes / _MIB
    activations = 2 * outputs * element / _MIB  # each output and its gradient
    params = facts.parameter_bytes / _MIB
    yield "=" * _RULE
    yield f"Total params: {facts.params:,}"
    yield f"Trainable params: {facts.trainable_params:,}"
    yield f"Non-trainable params: {facts.params - facts.trainable_params:,}"
    yield "-" * _RULE
    yield f"Input size (MB): {inputs:.2f}"
    yield f"Forward/backward pass size (MB): {activations:.2f}"
    yield f"Params size (MB): {params:.2f}"
    yield f"Estimated Total Size (MB): {params + activations + inputs:.2f}"
    yield "-" * _RULE

"""What neither the parameters of forward nor the config tell: by model type, or by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnprof.example_inputs.transformers.call import Call

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ARGUMENTS", "CLASSES", "SEQUENCES"]

#: Arguments whose length `sequence=` sets.
SEQUENCES = frozenset({"input_ids", "decoder_input_ids", "qformer_input_ids"})

#: An argument and what makes it; None leaves it out though forward has it.
Arguments = dict[str, "Callable[[Call], Any] | None"]

#: By model type, in the order in which they are made.
ARGUMENTS: dict[str, Arguments] = {}

#: By the name of the class, where the models of one type differ.
CLASSES: dict[str, Arguments] = {}

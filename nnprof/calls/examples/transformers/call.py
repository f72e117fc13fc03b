"""What is known of one call that is to be made: the model, its config, and the sizes wanted."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from nnprof.base.modules import named_modules
from nnprof.calls.examples.tensors import floating_dtype, token_ids
from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nnprof.calls.examples.tensors import Runner

__all__ = ["TOKENS", "Call"]

#: Tokens of a text where nobody says how many, or as many as the model's positions allow.
TOKENS = 128

#: How configs call the number of positions that a model has learnt.
_POSITIONS = [
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_source_positions",
    "max_target_positions",
    "max_length",
    "seq_length",
]
#: The parts of a config that describe the text.
TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config", "decoder")


@dataclass
class Call:
    """One call of `model` in the making; `made` holds the arguments so far, by name."""

    model: Any
    batch: int
    sequence: int | None
    run: Runner
    made: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def config(self) -> Any:
        return self.model.config

    @property
    def model_type(self) -> str:
        return str(getattr(self.config, "model_type", ""))

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Those of forward that have a name, without `self`."""
        variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        found = inspect.signature(self.model.forward).parameters
        return {name: p for name, p in found.items() if p.kind not in variadic}

    def requires(self, name: str) -> bool:
        parameter = self.parameters.get(name)
        return parameter is not None and parameter.default is parameter.empty

    # The config.

    def part(self, *names: str) -> Any:
        """The first of these parts that the config has, or else the config itself.

        A dotted name is a part of a part; a part of the thinker of an omni model is as good.
        """
        thinker = getattr(self.config, "thinker_config", None)
        for holder in (self.config, thinker):
            for name in names:
                found = holder
                for step in name.split("."):
                    found = getattr(found, step, None)
                if found is not None and hasattr(found, "to_dict"):
                    return found
        return self.config

    @cached_property
    def text(self) -> Any:
        return self.part(*TEXT_PARTS)

    def get(self, name: str, default: Any = None) -> Any:
        """A field of the config or of its text part; `default` where it is missing or None."""
        for part in (self.config, self.text):
            value = getattr(part, name, None)
            if value is not None:
                return value
        return default

    # Sizes.

    @property
    def tokens(self) -> int:
        """Tokens of the text: as asked for, or 128, or what the model has positions for."""
        if self.sequence is not None:
            return self.sequence
        return min([TOKENS, *self._positions()])

    def _positions(self) -> Iterator[int]:
        for name in _POSITIONS:
            value = getattr(self.text, name, None)
            if type(value) is int and value > 0:
                yield value - self._first_position() if value < 2 * TOKENS else value

    def _first_position(self) -> int:
        """Positions of RoBERTa and its kin start behind that of the padding."""
        for name, module in named_modules(self.model):
            if name.endswith("position_embeddings"):
                padding = getattr(module, "padding_idx", None)
                return 0 if padding is None else int(padding) + 1
        return 0

    # Tensors.

    @cached_property
    def dtype(self) -> torch.dtype:
        """The model's own: of its first floating parameter."""
        return floating_dtype(self.model)

    def floats(self, *sizes: int) -> torch.Tensor:
        return torch.empty(sizes, dtype=self.dtype, device="meta")

    def ones(self, *sizes: int) -> torch.Tensor:
        return torch.ones(sizes, dtype=torch.int64, device="cpu")

    def zeros(self, *sizes: int) -> torch.Tensor:
        return torch.zeros(sizes, dtype=torch.int64, device="cpu")

    def integers(self, values: Any) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int64, device="cpu")

    def ids(self, *sizes: int, vocabulary: int | None = None) -> torch.Tensor:
        """Token ids that are not special, below `vocabulary`: by default, that of the text."""
        if vocabulary is None:
            vocabulary = self.get("vocab_size")
        return token_ids(self.model, sizes, vocabulary if type(vocabulary) is int else None)

    def refuse(self, why: str = "") -> InputError:
        """The error for a model whose inputs cannot be known."""
        required = [name for name in self.parameters if self.requires(name)]
        takes = ", ".join(required or self.parameters) or "what its documentation says"
        because = f" ({why})" if why else ""
        name = type(self.model).__name__
        return InputError(
            f"the inputs of {name} cannot be made from its config{because}: it takes {takes}; pass "
            "shape= with their sizes by name, or inputs="
        )

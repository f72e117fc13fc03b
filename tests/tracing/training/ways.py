"""A small model, and what a step of it holds: for the tests of ways to train and to serve."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
import torch

import nnprof
from nnprof.base.packages import import_torchvision
from tests.tracing.training.real import bytes_of, one_thread, real_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor, nn

transformers = pytest.importorskip("transformers")
if find_spec("torchvision"):
    import_torchvision()  # which transformers asks for where it is installed


def held_by(tensor: Tensor) -> int:
    """Bytes; of a tensor that wraps others, theirs."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return bytes_of(tensor)
    names, _ = tensor.__tensor_flatten__()
    return sum(held_by(getattr(tensor, name)) for name in names)


@one_thread()
def peaks(model: nn.Module, given: Iterable[Tensor], step: Callable[[], Any]) -> tuple[int, int]:
    """Traced, and real; ``given``: what else the step finds, such as inputs."""
    step()  # what is made once for the process is no part of it
    model.zero_grad()
    given = list(given)
    there = sum(map(held_by, [*model.parameters(), *model.buffers(), *given]))
    real = there + real_memory(step).peak
    model.zero_grad()
    with nnprof.trace(model, backward=True) as running:
        running.mark_inputs(given)
        step()
    return int(running.result.memory()["peak"]), real


def llama(**changes: Any) -> nn.Module:
    config = {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 1000,
    }
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**config | changes))


def tokens(batch: int = 2, length: int = 96) -> Tensor:
    return torch.randint(0, 1000, (batch, length), generator=torch.Generator().manual_seed(0))

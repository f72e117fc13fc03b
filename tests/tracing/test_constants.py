"""Constants made of numbers keep them, whoever makes them and on whatever device."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nnprof import measure

MAKERS: dict[str, Callable[[Tensor], Tensor]] = {
    "tensor": lambda h: torch.tensor([1, 3], device=h.device),
    "tensor elsewhere": lambda h: torch.tensor([1, 3], device="cuda" if h.is_cuda else "cpu"),
    "tensor of tensors": lambda h: torch.tensor([torch.tensor(1), torch.arange(4)[3]]),
    "as_tensor": lambda h: torch.as_tensor([1, 3], device=h.device),
    "as_tensor of an array": lambda h: torch.as_tensor(np.array([1, 3]), device=h.device),
    "asarray": lambda h: torch.asarray([1, 3], device=h.device),
    "asarray of an array": lambda h: torch.asarray(np.array([1, 3]), device=h.device),
    "asarray of a tensor": lambda h: torch.asarray(torch.tensor([1, 3]), device=h.device),
    "new_tensor": lambda h: h.new_tensor([1, 3], dtype=torch.long),
    "new_tensor of its dtype": lambda h: h.new_tensor((1.0, 3.0)).long(),
    "new_tensor of an array": lambda h: h.new_tensor(np.array([1, 3]), dtype=torch.long),
    "new_tensor of an integer's": lambda h: torch.arange(3).new_tensor([1, 3]),
    "new_tensor there": lambda h: h.new_tensor([1, 3], device=h.device, dtype=torch.long),
    "new": lambda h: h.new([1, 3]).long(),
    "new of a tuple": lambda h: h.new((1, 3)).long(),
    "from_numpy": lambda h: torch.from_numpy(np.array([1, 3])).to(h.device),
    "frombuffer": lambda h: torch.frombuffer(bytearray(b"\1\3"), dtype=torch.uint8).to(h.device),
    "legacy": lambda h: torch.LongTensor([1, 3]).to(h.device),
    "legacy float": lambda h: torch.Tensor([1, 3]).to(h.device).long(),
    "scalar_tensor": lambda h: torch.stack(
        [torch.scalar_tensor(n, dtype=torch.long, device=h.device) for n in (1, 3)]
    ),
    "full": lambda h: torch.full((2,), 1, device=h.device).cumsum(0) * 2 - 1,
    "new_full": lambda h: h.new_full((2,), 2, dtype=torch.long).cumsum(0) - 1,
}


class Levels(nn.Module):
    def __init__(self, make: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.out, self.make = nn.Linear(8, 8), nn.Linear(5, 2), make

    def forward(self, x: Tensor) -> Tensor:
        levels = self.make(self.layer(x)).tolist()
        assert levels == [1, 3], levels
        return self.out(self.layer(x[: levels[0]])[:, levels[1] :])


# Floats of constants are no more known in a graph than others: integers stand for all.
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("make", MAKERS)
def test_numbers_are_kept(make: str, device: str) -> None:
    if device == "cpu":
        Levels(MAKERS[make])(torch.randn(4, 8))
    with torch.device(device):
        model = Levels(MAKERS[make])
    assert measure(model, (4, 8)).macs == 4 * 64 + 64 + 10


@pytest.mark.parametrize(
    "make",
    [
        lambda h: torch.tensor([h.sum(), h.mean()]),
        lambda h: torch.tensor([h.sum(), h.mean()], device=h.device),
        lambda h: h.new_tensor([h.sum(), 3.0]),
        lambda h: h.new_tensor(h[0, :2]),
        lambda h: h.new(2),
        lambda h: h.new(h[0, :2]),
        lambda h: h.new(torch.Size([2])),
        lambda h: h.new(size=(2,)),
    ],
)
@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
def test_what_is_not_known_has_its_size(make: Callable[[Tensor], Tensor]) -> None:
    made: list[Any] = []
    measure(lambda x: made.append(make(x)), (64, 128))
    assert (made[-1].shape, made[-1].dtype) == ((2,), torch.float32)


def test_arguments_mean_what_they_mean() -> None:
    made: list[Any] = []

    def forward(x: Tensor) -> None:
        made.append(x.new_tensor([1.0], requires_grad=True))
        made.append(torch.tensor([1], dtype=torch.half, device=x.device))
        made.append(torch.asarray([True], device=x.device, dtype=torch.int32))

    forward(torch.randn(64, 128))
    measure(forward, (64, 128))
    as_told = [(t.dtype, t.requires_grad, t.tolist()) for t in made]
    assert as_told[:3] == as_told[3:6]

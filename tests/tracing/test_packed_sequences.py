"""Packed sequences: only steps that are no padding go through a recurrent layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
)

import nnprof
from tests.rules.differential import compare

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")

LAYERS: dict[str, Any] = {
    "lstm": nn.LSTM,
    "projected lstm": lambda *args, **kwargs: nn.LSTM(*args, proj_size=3, **kwargs),
    "gru": nn.GRU,
    "tanh": nn.RNN,
    "relu": lambda *args, **kwargs: nn.RNN(*args, nonlinearity="relu", **kwargs),
}
LENGTHS = torch.tensor([8, 2, 5])


class Tagger(nn.Module):
    def __init__(self, kind: str = "lstm", *, batch_first: bool = True, **options: Any) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.embed = nn.Embedding(50, 4)
        self.rnn = LAYERS[kind](4, 6, batch_first=batch_first, **options)
        sizes = self.rnn.proj_size or 6, 2 if self.rnn.bidirectional else 1
        self.out = nn.Linear(sizes[0] * sizes[1], 2)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.embed(ids), lengths.cpu(), batch_first=self.batch_first, enforce_sorted=False
        )
        padded, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=self.batch_first)
        out: Tensor = self.out(padded)
        return out


def ids_for(model: Tagger, batch: int = 3, steps: int = 8) -> Tensor:
    return torch.randint(0, 50, (batch, steps) if model.batch_first else (steps, batch))


def by_tokens(model: Tagger, lengths: list[int]) -> int:
    """Each token once through every matrix of the layer; all positions through the head."""
    recurrent: int = sum(
        parameter.numel()
        for _token in range(sum(lengths))
        for parameter in model.rnn.parameters()
        if parameter.dim() == 2
    )
    return recurrent + len(lengths) * max(lengths) * int(model.out.weight.numel())


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_only_real_tokens_count(kind: str, batch_first: bool, options: dict[str, Any]) -> None:
    model = Tagger(kind, batch_first=batch_first, **options)
    ids = ids_for(model)
    real = model(ids, LENGTHS)
    profile = nnprof.measure(model, inputs=(ids, LENGTHS))
    assert profile.macs == by_tokens(model, LENGTHS.tolist())
    assert list(profile["out"].output_shapes[0]) == list(real.shape)
    assert not profile.assumptions
    assert not profile.coverage.generic
    trained = nnprof.measure(model, inputs=(ids, LENGTHS), backward=True, optimizer="adamw")
    assert trained.phase("forward").macs == profile.macs
    assert trained.phase("backward").macs > profile.macs  # of the embedding's rows as well
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(model(ids, LENGTHS), real)


def test_padding_is_counted_where_it_is_computed() -> None:
    """Fewer tokens, fewer products; the head sees the longest sequence only."""
    model = Tagger()
    for lengths in ([8, 8, 8], [8, 1, 1], [3, 2, 1]):
        profile = nnprof.measure(model, inputs=(ids_for(model), torch.tensor(lengths)))
        assert profile.macs == by_tokens(model, lengths)


@pytest.mark.parametrize("lengths", [[8, 5, 2], torch.tensor([8, 5, 2])], ids=["list", "tensor"])
def test_sorted_sequences(lengths: Any) -> None:
    rnn = nn.GRU(4, 6)

    def run(x: Tensor) -> Tensor:
        data: Tensor = rnn(pack_padded_sequence(x, lengths))[0].data
        return data

    profile = nnprof.measure(run, inputs=torch.randn(8, 3, 4))
    assert profile.macs == 15 * (18 * 4 + 18 * 6)


def test_lengths_that_are_not_known() -> None:
    """All are taken to be full, and that is said."""
    model = Tagger()
    meta = torch.empty(3, dtype=torch.int64, device="meta")
    made = {"ids": (3, 8), "lengths": (3,)}
    for given in ({"inputs": (ids_for(model), meta)}, {"shape": made}):
        for training in (False, True):
            profile = nnprof.measure(model, backward=training, **given)
            assert profile.phase("forward").macs == by_tokens(model, [8, 8, 8])
            assert any("full length" in text for text in profile.assumptions)


def test_a_packed_input_and_lists_of_sequences() -> None:
    rnn = nn.LSTM(4, 6)
    sequences = [torch.randn(steps, 4) for steps in (6, 4, 1)]
    packed = pack_sequence(sequences)
    expected = 11 * (24 * 4 + 24 * 6)
    assert nnprof.measure(rnn, inputs=(packed,)).macs == expected

    class Packing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = rnn

        def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
            output, _ = self.rnn(pack_sequence([b, a, c], enforce_sorted=False))
            assert isinstance(output, PackedSequence)
            return pad_sequence(unpack_sequence(output))

    assert nnprof.measure(Packing(), inputs=tuple(sequences)).macs == expected
    assert (
        nnprof.measure(Packing(), inputs=tuple(sequences), backward=True).phase("forward").macs
        == expected
    )


def test_what_pytorch_refuses() -> None:
    pack = torch.ops.aten._pack_padded_sequence
    x = torch.randn(8, 3, 4)
    for lengths in ([8, 5, 2], [8, 2, 5], [8, 5, 0], [8, 5]):
        assert not compare("pack", pack, ((x, torch.tensor(lengths), False), {}))
        assert not compare("pack", pack, ((x.mT, torch.tensor(lengths), True), {}))
    with pytest.raises(nnprof.NnprofError):
        nnprof.measure(Tagger(), inputs=(ids_for(Tagger()), torch.tensor([9, 2, 5])))

"""Modules, losses and indexing in a training step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tracing.training.autograd.stories import Stories, assert_as_in_a_real_run, mlp

if TYPE_CHECKING:
    from collections.abc import Callable

story = Stories()


def trained(model: nn.Module, *inputs: Tensor, **kwargs: Any) -> Any:
    yield
    out = model(*inputs, **kwargs)
    out = out[0] if isinstance(out, tuple) else out
    out.square().mean().backward()
    return model, [x.grad for x in inputs]


MODULES: dict[str, Callable[[], Any]] = {
    "group norm": lambda: trained(nn.GroupNorm(2, 4), torch.randn(2, 4, 3, 3, requires_grad=True)),
    "batch norm": lambda: trained(nn.BatchNorm2d(4), torch.randn(2, 4, 3, 3, requires_grad=True)),
    "batch norm in eval": lambda: trained(
        nn.BatchNorm2d(4).eval(), torch.randn(2, 4, 3, 3, requires_grad=True)
    ),
    "instance norm": lambda: trained(
        nn.InstanceNorm2d(4, affine=True), torch.randn(2, 4, 3, 3, requires_grad=True)
    ),
    "layer norm": lambda: trained(nn.LayerNorm(4), torch.randn(2, 4, requires_grad=True)),
    "rms norm": lambda: trained(nn.RMSNorm(4), torch.randn(2, 4, requires_grad=True)),
    "weight norm": lambda: trained(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), torch.randn(2, 4)
    ),
    "spectral norm": lambda: trained(
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)), torch.randn(2, 4)
    ),
    "attention": lambda: trained(
        nn.MultiheadAttention(8, 2, batch_first=True),
        *[torch.randn(2, 5, 8, requires_grad=True)] * 3,
    ),
    "attention without weights": lambda: trained(
        nn.MultiheadAttention(8, 2),
        *[torch.randn(5, 2, 8, requires_grad=True)] * 3,
        need_weights=False,
    ),
    "transformer layer": lambda: trained(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.randn(2, 5, 8)
    ),
    "lstm": lambda: trained(nn.LSTM(4, 3, 2), torch.randn(5, 2, 4, requires_grad=True)),
    "gru": lambda: trained(
        nn.GRU(4, 3, bidirectional=True), torch.randn(5, 2, 4, requires_grad=True)
    ),
    "rnn": lambda: trained(nn.RNN(4, 3, batch_first=True), torch.randn(5, 2, 4)),
    "transposed convolution": lambda: trained(
        nn.ConvTranspose2d(3, 4, 3, stride=2), torch.randn(2, 3, 4, 4, requires_grad=True)
    ),
    "max pool": lambda: trained(nn.MaxPool2d(2), torch.randn(2, 3, 4, 4, requires_grad=True)),
    "average pool": lambda: trained(
        nn.AdaptiveAvgPool2d(2), torch.randn(2, 3, 5, 5, requires_grad=True)
    ),
    "upsample": lambda: trained(
        nn.Upsample(scale_factor=2, mode="bilinear"), torch.randn(2, 3, 4, 4, requires_grad=True)
    ),
    "prelu": lambda: trained(nn.PReLU(3), torch.randn(2, 3, 4, requires_grad=True)),
    "embedding with padding": lambda: trained(
        nn.Embedding(5, 4, padding_idx=0), torch.tensor([[0, 1, 2]])
    ),
    "embedding with a norm": lambda: trained(
        nn.Embedding(5, 4, max_norm=1.0), torch.tensor([[0, 1, 2]])
    ),
    "embedding bag": lambda: trained(nn.EmbeddingBag(5, 4), torch.tensor([[0, 1, 2]])),
}


@pytest.mark.parametrize("made_before", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_modules_train_as_in_a_real_run(name: str, made_before: bool) -> None:
    assert_as_in_a_real_run(MODULES[name], made_before=made_before)


def of_logits(loss: Callable[[Tensor], Tensor], *shape: int) -> Callable[[], Any]:
    def step() -> Any:
        logits = torch.randn(shape, requires_grad=True)
        yield
        value = loss(logits)
        value.backward()
        return value, logits.grad

    return step


CLASSES = torch.tensor([0, 2, 1, 2])

LOSSES: dict[str, Callable[[], Any]] = {
    "cross entropy": of_logits(lambda x: F.cross_entropy(x, CLASSES), 4, 3),
    "cross entropy, smoothed and weighted": of_logits(
        lambda x: F.cross_entropy(x, CLASSES, weight=torch.rand(3), label_smoothing=0.1), 4, 3
    ),
    "cross entropy of pixels": of_logits(
        lambda x: F.cross_entropy(x, torch.randint(0, 3, (2, 4, 4)), ignore_index=1), 2, 3, 4, 4
    ),
    "cross entropy of probabilities": of_logits(
        lambda x: F.cross_entropy(x, torch.rand(4, 3)), 4, 3
    ),
    "negative log likelihood": of_logits(lambda x: F.nll_loss(x.log_softmax(1), CLASSES), 4, 3),
    "mse": of_logits(lambda x: F.mse_loss(x, torch.randn(4, 3)), 4, 3),
    "l1": of_logits(lambda x: F.l1_loss(x, torch.randn(4, 3)), 4, 3),
    "smooth l1": of_logits(lambda x: F.smooth_l1_loss(x, torch.randn(4, 3)), 4, 3),
    "huber": of_logits(lambda x: F.huber_loss(x, torch.randn(4, 3)), 4, 3),
    "bce": of_logits(lambda x: F.binary_cross_entropy(x.sigmoid(), torch.rand(4, 3)), 4, 3),
    "bce with logits": of_logits(
        lambda x: F.binary_cross_entropy_with_logits(x, torch.rand(4, 3)), 4, 3
    ),
    "kl": of_logits(
        lambda x: F.kl_div(x.log_softmax(1), torch.rand(4, 3), reduction="batchmean"), 4, 3
    ),
    "ctc": of_logits(
        lambda x: F.ctc_loss(
            x.log_softmax(2),
            torch.randint(1, 5, (3, 4)),
            torch.full((3,), 8),
            torch.full((3,), 4),
        ),
        8,
        3,
        5,
    ),
    "hinge embedding": of_logits(lambda x: F.hinge_embedding_loss(x, torch.ones(4, 3)), 4, 3),
    "cosine embedding": of_logits(
        lambda x: F.cosine_embedding_loss(x, torch.randn(4, 3), torch.ones(4)), 4, 3
    ),
    "triplet margin": of_logits(
        lambda x: F.triplet_margin_loss(x, torch.randn(4, 3), torch.randn(4, 3)), 4, 3
    ),
    "multi margin": of_logits(lambda x: F.multi_margin_loss(x, CLASSES), 4, 3),
    "poisson": of_logits(lambda x: F.poisson_nll_loss(x, torch.rand(4, 3)), 4, 3),
    "contrastive": of_logits(
        lambda x: F.cross_entropy(F.normalize(x, dim=1) @ x.t() / 0.1, torch.arange(4)), 4, 3
    ),
    "logsumexp": of_logits(lambda x: x.logsumexp(1).mean(), 4, 3),
    "entropy": of_logits(
        lambda x: torch.distributions.Categorical(logits=x).entropy().mean(), 4, 3
    ),
    "reparametrised": of_logits(
        lambda x: torch.distributions.Normal(x, x.exp()).rsample().square().mean(), 4, 3
    ),
}


@pytest.mark.parametrize("made_before", [True, False])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_as_in_a_real_run(name: str, made_before: bool) -> None:
    assert_as_in_a_real_run(LOSSES[name], made_before=made_before)


INDEX = torch.tensor([[0, 1, 1], [1, 0, 1]])

INDEXING: dict[str, Callable[[Tensor], Tensor]] = {
    "gather": lambda x: x.gather(0, INDEX),
    "take_along_dim": lambda x: torch.take_along_dim(x, INDEX, 0),
    "scatter": lambda x: torch.zeros(2, 3).scatter(0, INDEX, x),
    "scatter_add": lambda x: torch.zeros(2, 3).scatter_add(0, INDEX, x),
    "scatter_reduce": lambda x: torch.zeros(2, 3).scatter_reduce(0, INDEX, x, "amax"),
    "index": lambda x: x[torch.tensor([0, 1, 1])],
    "index of two": lambda x: x[torch.tensor([0, 1]), torch.tensor([2, 2])],
    "index by mask": lambda x: x[torch.tensor([True, False])],
    "index_select": lambda x: x.index_select(1, torch.tensor([0, 0, 2])),
    "index_add": lambda x: torch.zeros(4, 3).index_add(0, torch.tensor([0, 3]), x),
    "index_put": lambda x: torch.zeros(4, 3).index_put((torch.tensor([0, 3]),), x),
    "index_put_": lambda x: torch.zeros(4, 3).index_put_((torch.tensor([0, 3]),), x),
    "index_copy": lambda x: torch.zeros(4, 3).index_copy(0, torch.tensor([0, 3]), x),
    "masked_fill": lambda x: x.masked_fill(torch.tensor([True, False, True]), 0.0),
    "where": lambda x: torch.where(torch.tensor([True, False, True]), x, 0.0),
    "topk": lambda x: x.topk(2)[0],
    "sort": lambda x: x.sort()[0],
    "max": lambda x: x.max(1)[0],
    "amax": lambda x: x.amax(1),
    "median": lambda x: x.median(1)[0],
    "cumsum": lambda x: x.cumsum(1),
    "cumprod": lambda x: x.cumprod(1),
    "repeat_interleave": lambda x: x.repeat_interleave(torch.tensor([1, 2]), 0),
    "flip and roll": lambda x: x.flip(0).roll(1, 1),
    "pad": lambda x: F.pad(x, (1, 1)),
    "unfold": lambda x: x.unfold(1, 2, 1),
    "stack and unbind": lambda x: torch.stack(x.unbind(0), 1),
    "clamp": lambda x: x.clamp(-1, 1),
    "round": lambda x: x.round() * x,
    "norm": lambda x: x.norm(),
    "std": lambda x: x.std(1),
    "svd": lambda x: torch.linalg.svdvals(x),
    "rfft": lambda x: torch.fft.rfft(x).abs(),
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
}


@pytest.mark.parametrize("made_before", [True, False])
@pytest.mark.parametrize("name", INDEXING)
def test_gradients_through_indices(name: str, made_before: bool) -> None:
    step = of_logits(lambda x: INDEXING[name](x).sum(), 2, 3)
    assert_as_in_a_real_run(step, made_before=made_before)


@story
def clip_grad_norm() -> Any:
    model = mlp()
    yield
    model(torch.randn(2, 6)).sum().backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return model, norm


@story
def clip_grad_value() -> Any:
    model = mlp()
    yield
    model(torch.randn(2, 6)).sum().backward()
    nn.utils.clip_grad_value_(model.parameters(), 1.0)
    return model


@story
def gradients_read_and_written_by_the_user() -> Any:
    model = mlp()
    yield
    model(torch.randn(2, 6)).sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.grad.mul_(0.5)
        parameter.grad = parameter.grad + 0.01 * parameter.detach()
    return model


@story
def plain_gradient_descent() -> Any:
    model = mlp()
    yield
    for _ in range(2):
        model(torch.randn(2, 6)).sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad  # type: ignore[misc,operator]
                parameter.grad = None
    return [p._version for p in model.parameters()], model


test_as_in_a_real_run, test_of_what_was_made_before = story.tests()

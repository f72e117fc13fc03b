"""Ways to train and to serve: what they hold on a CPU, against PyTorch's own allocations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tracing.training.ways import llama, peaks, tokens

transformers = pytest.importorskip("transformers")
diffusers = pytest.importorskip("diffusers")


def test_activations_that_are_offloaded() -> None:
    """To where they are already: each is there twice, the copy until the backward."""
    model, ids = llama().train(), tokens()

    def step() -> None:
        with torch.autograd.graph.save_on_cpu():
            loss = model(ids, labels=ids).loss
        loss.backward()

    traced, real = peaks(model, [ids], step)
    assert traced == pytest.approx(real, rel=0.01)


def test_mixtral() -> None:
    config = transformers.MixtralConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=1000,
        num_local_experts=4,
        output_router_logits=False,
    )
    torch.manual_seed(0)
    model, ids = transformers.MixtralForCausalLM(config).train(), tokens()
    traced, real = peaks(model, [ids], lambda: model(ids, labels=ids).loss.backward())
    assert traced == pytest.approx(real, rel=0.01)


def test_gradients_that_accumulate() -> None:
    model, ids = llama().train(), tokens()

    def step() -> None:
        for _ in range(3):
            (model(ids, labels=ids).loss / 3).backward()

    traced, real = peaks(model, [ids], step)
    assert traced == pytest.approx(real, rel=0.01)


def test_an_optimizer_in_the_backward() -> None:
    """Each gradient is used and dropped as it comes."""
    model, ids = llama().train(), tokens()
    optimizers = {p: torch.optim.SGD([p], lr=1e-3, foreach=False) for p in model.parameters()}

    def use(parameter: Tensor) -> None:
        optimizers[parameter].step()  # type: ignore[index]
        optimizers[parameter].zero_grad()  # type: ignore[index]

    handles = [p.register_post_accumulate_grad_hook(use) for p in model.parameters()]
    traced, real = peaks(model, [ids], lambda: model(ids, labels=ids).loss.backward())
    for handle in handles:
        handle.remove()
    assert traced == pytest.approx(real, rel=0.01)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_a_decode_of_twenty_tokens(options: dict[str, Any]) -> None:
    model, ids = llama().eval(), tokens(length=32)
    generate: Any = model.generate

    def step() -> None:
        generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=20,
            min_new_tokens=20,
            do_sample=False,
            pad_token_id=0,
            **options,
        )

    traced, real = peaks(model, [ids], step)
    assert traced == pytest.approx(real, rel=0.01)


@pytest.mark.parametrize("sliced", [False, True])
def test_a_unet_with_attention_in_slices(sliced: bool) -> None:
    torch.manual_seed(0)
    model = diffusers.UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=8,
    ).eval()
    if sliced:
        model.set_attention_slice(1)
    image, text = torch.randn(2, 4, 32, 32), torch.randn(2, 7, 32)

    def step() -> None:
        with torch.no_grad():
            model(image, 1, text)

    traced, real = peaks(model, [image, text], step)
    assert traced == pytest.approx(real, rel=0.01)

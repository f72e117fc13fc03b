"""`generate()` of transformers: every token that is asked for is counted, in beams too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import nnprof
from nnprof.base.packages import import_torchvision

import_torchvision()
transformers = pytest.importorskip("transformers")

SIZES = {"vocab_size": 128, "num_attention_heads": 4}


def llama() -> Any:
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        pad_token_id=0,
        attn_implementation="eager",
        **SIZES,
    )
    return transformers.LlamaForCausalLM(config)


def t5() -> Any:
    config = transformers.T5Config(
        d_model=32,
        d_ff=64,
        d_kv=8,
        num_layers=2,
        num_heads=4,
        vocab_size=128,
        decoder_start_token_id=0,
        attn_implementation="eager",
    )
    return transformers.T5ForConditionalGeneration(config)


@pytest.mark.parametrize("make", [llama, t5])
@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 1},
        {"num_beams": 4},
        {"num_beams": 4, "early_stopping": True},
        {"num_beams": 3, "early_stopping": "never", "num_return_sequences": 2},
    ],
)
def test_generate_counts_every_token(make: Any, options: dict[str, Any]) -> None:
    model = make().eval()
    ids = torch.randint(5, 100, (2, 7))
    options = {"do_sample": False, "max_new_tokens": 5, **options}
    with FlopCounterMode(display=False) as counter:
        output = model.generate(ids, eos_token_id=None, **options)
    profile = nnprof.measure(lambda ids: model.generate(ids, **options), inputs=ids)
    assert 2 * profile.macs == counter.get_total_flops()
    with nnprof.trace(model) as running:
        traced = model.generate(ids, **options)
    assert running.profile().macs == profile.macs
    assert traced.shape == output.shape
    if options["num_beams"] > 1:
        assert any("beam search goes on" in line for line in profile.assumptions)

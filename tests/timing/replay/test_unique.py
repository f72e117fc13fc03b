"""Only unique calls are measured."""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmarks.models import LlamaConfig, llama
from nnprof.timing.replay import replay
from tests.timing.replay.zoo import result_of

SMALL = LlamaConfig(hidden=64, ffn=160, heads=4, kv_heads=2, vocabulary=100, context=64)


def test_layers_do_not_multiply_what_is_timed() -> None:
    timed = {}
    for layers in (1, 32):
        with torch.no_grad():
            result = result_of(llama(replace(SMALL, layers=layers)), shape=(1, 16))
        seen: list[str] = []

        def note(done: int, of: int, op: str, seen: list[str] = seen) -> None:
            seen.append(op)

        measured = replay(result, "cpu", time_budget=20, progress=note)
        assert set(measured.status) <= {"measured", "view"}
        timed[layers] = measured.status.count("measured")
        assert len(set(seen)) <= timed[layers]
    assert timed[1] == timed[32]

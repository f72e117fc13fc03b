"""bitsandbytes: MACs and parameters of the layers it replaces, the bytes of its state dicts.

In a process of its own: once imported, its operators belong to the rules in force.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not find_spec("bitsandbytes"), reason="needs bitsandbytes")

_PROGRAM = """
import json, sys, torch, nnprof, bitsandbytes as bnb
from torch import nn

def stored(model):
    state = model.state_dict()
    return sum(t.numel() * t.element_size() for name, t in state.items()
               if "bitsandbytes__" not in name and not name.endswith("weight_format"))

def answer(model, x, warm=False, **options):
    if warm:
        model(x)
    before = stored(model)
    profile = nnprof.measure(model, inputs=x, **options)
    assert stored(model) == before
    model(x)  # it still runs
    return dict(macs=profile.macs, params=profile.params, bytes=profile.memory.parameters,
                stored=before, generic=profile.coverage.generic)

found = {}
x = torch.randn(8, 128, dtype=torch.bfloat16)
for twice in (False, True):
    layer = bnb.nn.Linear4bit(128, 256, bias=False, compute_dtype=torch.bfloat16,
                              quant_type="nf4", compress_statistics=twice)
    found[f"4 bits {twice}"] = answer(nn.Sequential(layer).to("cpu"), x)
layer = bnb.nn.Linear8bitLt(128, 256, bias=False, has_fp16_weights=False)
found["8 bits"] = answer(nn.Sequential(layer).to("cpu"), x.half(), warm=True)
layer = bnb.nn.Linear8bitLt(128, 256, bias=False, has_fp16_weights=False, threshold=6.0)
found["8 bits and outliers"] = answer(nn.Sequential(layer).to("cpu").eval(), x.half(), warm=True)
table = bnb.nn.EmbeddingNF4(100, 128).to("cpu")  # which does not save its state
profile = nnprof.measure(table, inputs=torch.arange(8))
state = table.weight.quant_state
nested = [] if state.state2 is None else [state.offset, state.state2.absmax, state.state2.code]
parts = [table.weight, state.absmax, state.code, *nested]
found["table"] = dict(macs=profile.macs, params=profile.params, bytes=profile.memory.parameters,
                      stored=sum(t.numel() * t.element_size() for t in parts), generic={})
print(json.dumps(found))
"""


def answers() -> dict[str, dict[str, Any]]:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_layers() -> None:
    found = answers()
    for name, answer in found.items():
        assert not answer["generic"], name
        if name == "table":
            assert (answer["macs"], answer["params"]) == (0, 100 * 128)
        else:
            assert answer["macs"] == 8 * 128 * 256, name
            assert answer["params"] == 128 * 256, name
        # A state dict has the mean of nested scales among its text.
        mean = 4 if name == "4 bits True" else 0
        assert answer["bytes"] == answer["stored"] + mean, name

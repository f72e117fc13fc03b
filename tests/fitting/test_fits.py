"""Whether a run fits: the verdict, by how much, what holds it, what would make it fit."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nnprof
from nnprof.base.packages import import_torchvision
from nnprof.errors import InputError
from nnprof.fitting import largest
from nnprof.hardware import Hardware, find
from nnprof.models import load_model

GIB = 1 << 30


class Net(nn.Module):
    """Two gated blocks: deep enough to be worth a checkpoint."""

    def __init__(self, width: int = 1024, depth: int = 8) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


def on_meta(**sizes: int) -> Net:
    with torch.device("meta"):
        return Net(**sizes)


def gpu(gib: float, **process: float) -> Hardware:
    """An A100 with so much memory, whose context takes nothing but what is said."""
    memory = {"total": gib * GIB, "context_low": 0.0, "context": 0.0, "context_high": 0.0}
    return replace(find("a100"), memory_bytes=round(gib * GIB), process=memory | process)


def test_the_verdict_is_where_the_process_meets_the_device() -> None:
    model = on_meta()
    needs = nnprof.fits(model, gpu(80), (512, 1024), train=True).memory.reserved / GIB
    for share, verdict in ((1.03, "yes"), (0.9, "no")):
        assert nnprof.fits(model, gpu(share * needs), (512, 1024), train=True).verdict == verdict


def test_is_too_close_to_tell_inside_the_contexts_range() -> None:
    model = on_meta()
    first = nnprof.fits(model, gpu(80), (512, 1024), train=True)
    room = first.memory.needed / GIB
    wide = gpu(room + 0.5, context_low=100.0, context=500.0, context_high=900.0)
    found = first.on(wide)
    assert found.verdict == "too close to tell"
    assert found.memory.margin >= 400 << 20
    assert abs(found.spare) < found.memory.margin


def test_says_what_holds_the_memory() -> None:
    model = on_meta()
    found = nnprof.fits(model, "a100", (4096, 1024), train=True)
    holds = found.holds
    parameters = sum(4 * p.numel() for p in model.parameters())
    assert holds["parameters"] == pytest.approx(parameters, rel=1e-3)
    assert holds["optimizer"] == pytest.approx(2 * parameters, rel=1e-3)
    assert sum(holds.values()) == found.memory.process
    text = str(found)
    assert text.startswith("yes: ")
    assert "activations" in text


def test_the_first_step_makes_the_optimizers_state() -> None:
    model = on_meta()
    profile = nnprof.fits(model, "a100", (16, 1024), train=True, optimizer="adam").profile
    parameters = sum(4 * p.numel() for p in model.parameters())
    after = profile.memory.after("optimizer")
    assert after["optimizer"] == pytest.approx(2 * parameters, rel=1e-3)
    # Three forwards of one.
    once = nnprof.measure(model, (16, 1024))
    assert profile.phase("forward").macs == 3 * once.macs


def test_proposes_the_cheapest_changes_that_fit() -> None:
    model = on_meta()
    rows = 16384
    run: dict[str, Any] = {"train": True, "optimizer": "adamw"}
    alone = nnprof.fits(model, gpu(80), (rows, 1024), **run)
    small = gpu(0.55 * alone.memory.reserved / GIB)
    found = nnprof.fits(model, small, (rows, 1024), **run)
    assert found.verdict == "no"
    assert found.memory.out_of_memory is not None
    assert "runs out at aten::" in str(found)
    changes = {change.what: change for change in found.changes}
    assert 1 <= len(changes) <= 3
    # Each as it says it is: asked for by hand, it fits, and costs what it says.
    parts = changes.get("batches of 4096, gradients of 4 added up")
    assert parts is not None
    by_hand = nnprof.fits(model, small, (rows // 4, 1024), **run)
    assert by_hand.verdict == "yes"
    assert by_hand.memory.reserved == parts.reserved
    seconds = [change.seconds for change in found.changes]
    assert seconds == sorted(seconds, key=lambda s: s or 0.0)


def test_a_checkpoint_costs_its_forward_once_more() -> None:
    model = on_meta(depth=4)
    rows = 65536
    run: dict[str, Any] = {"train": True, "optimizer": "fused adamw", "autocast": torch.bfloat16}
    alone = nnprof.fits(model, gpu(80), (rows, 1024), **run)
    # Rows are an odd number: no batch can be divided.
    tight = nnprof.fits(model, gpu(0.75 * alone.memory.reserved / GIB), (rows - 1, 1024), **run)
    change = next(c for c in tight.changes if c.what == "activation checkpointing of blocks.*")
    forward = nnprof.measure(model, (rows - 1, 1024)).macs
    # All but the last layer of each block, which recomputation does not come to.
    assert 2 * forward * 0.45 < change.flops < 2 * forward * 1.05
    assert 0.1 < change.flops_share < 0.4


def test_no_changes_where_it_fits() -> None:
    assert nnprof.fits(on_meta(), "a100", (16, 1024)).changes == []


def test_a_fit_is_no_truth_value() -> None:
    with pytest.raises(TypeError, match="ask for its verdict"):
        bool(nnprof.fits(on_meta(), "a100", (16, 1024)))


def test_leaves_model_and_optimizer_as_they_were() -> None:
    model = Net(width=32, depth=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    before = copy.deepcopy(model.state_dict())
    found = nnprof.fits(model, "8GB", (4, 32), train=True, optimizer=optimizer)
    assert found.verdict == "yes"
    assert not optimizer.state
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_number_may_be_the_name_of_a_gpu() -> None:
    assert nnprof.fits(on_meta(), "4090", (16, 1024)).hardware.name == "rtx-4090"


def test_a_size_stands_for_a_gpu_that_nobody_names() -> None:
    found = nnprof.fits(on_meta(), "24GB", (16, 1024))
    assert 0.97 * 24 * GIB < found.memory.total <= 24 * GIB
    assert found.profile.estimated_s is None


@pytest.mark.parametrize(
    ("hardware", "message"),
    [
        ("80", "without a unit: write '80GB'"),
        ("0GB", "more than 0"),
        ("-80GB", "more than 0"),
        ("80GX", "'GX' is none of the units"),
        ("x86", "is no GPU"),
        ("h1000", "no hardware is called"),
    ],
)
def test_refuses_what_is_no_gpu(hardware: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        nnprof.fits(on_meta(), hardware, (16, 1024))


def test_refuses_contradictions() -> None:
    with pytest.raises(InputError, match="pass backward=True"):
        nnprof.fits(on_meta(), "a100", (16, 1024), optimizer="adamw")
    with pytest.raises(InputError, match="train="):
        nnprof.fits(on_meta(), "a100", (16, 1024), train="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ("expandable_segments:maybe", "True or False"),
        ("max_split_size_mb:10", "above 20"),
        ("max_split_size_mb", "has no value"),
        ("garbage_collection_threshold:2", "between 0 and 1"),
        ("backend:cudaMallocAsync", "not simulated"),
        ("roundup_power2_divisions:3", "power of two"),
        ("roundup_power2_divisions:[256:x]", "power of two"),
        ("no_such_thing:1", "no option 'no_such_thing'"),
    ],
)
def test_refuses_what_torch_refuses_of_alloc_conf(conf: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        nnprof.fits(on_meta(), "a100", (16, 1024), alloc_conf=conf)


def test_alloc_conf_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    model = on_meta()
    plain = nnprof.fits(model, "a100", (512, 1024), train=True)
    wide = nnprof.fits(
        model, "a100", (512, 1024), train=True, alloc_conf="expandable_segments:True"
    )
    assert wide.memory.reserved < plain.memory.reserved
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    read = nnprof.fits(model, "a100", (512, 1024), train=True)
    assert read.memory.reserved == wide.memory.reserved
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "")  # the newer name wins
    assert nnprof.fits(model, "a100", (512, 1024)).memory.alloc_conf == ""


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    model = load_model("torchvision:resnet18").train()
    found = largest(model, gpu(2), over="batch", train=True)
    run: dict[str, Any] = {"train": True}
    assert nnprof.fits(model, gpu(2), batch=found.value, **run).verdict == "yes"
    assert nnprof.fits(model, gpu(2), batch=found.value + 1, **run).verdict != "yes"
    assert found.runs <= 24
    assert str(found).startswith(f"batch {found.value:,} fits")


def test_not_even_one() -> None:
    model = load_model("torchvision:resnet18").train()
    assert largest(model, gpu(0.05), over="batch", train=True).value == 0


def test_refuses_to_look_for_what_is_given() -> None:
    with pytest.raises(InputError, match="leave out shape="):
        largest(on_meta(), "a100", shape=(4, 1024))
    with pytest.raises(InputError, match="over="):
        largest(on_meta(), "a100", over="width")


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_the_cache_is_told_from_the_inputs(phase: str) -> None:
    """As many bytes as the keys and values of 2 layers take, counted from the configuration."""
    import_torchvision()  # which transformers asks for where it is installed
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(num_hidden_layers=2, num_key_value_heads=8)
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config).bfloat16().eval()
    fit = nnprof.fits(model, "h100", phase=phase, batch=3, context=1024)
    numbers = 3 * 1024 * 8 * (config.hidden_size // config.num_attention_heads)
    assert fit.profile.memory.kv_cache == 2 * 2 * 2 * numbers  # keys and values, layers, bytes
    assert fit.holds.get("inputs", 0) < 1 << 20
    if phase == "decode":
        assert fit.holds["kv_cache"] >= fit.profile.memory.kv_cache

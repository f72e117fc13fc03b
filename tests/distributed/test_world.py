"""A world begins and ends: what it refuses, and that the process is as it was."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import nnprof
from nnprof.errors import InputError, UnsupportedError
from nnprof.tracing.optimizers import named_optimizer
from tests.distributed.cases import CASES


def state() -> list[Any]:
    return [
        {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        dict(vars(torch.cuda)),
        dict(vars(vars(dist)["Reducer"])),
        vars(torch.distributed.device_mesh.DeviceMesh)["__init__"],
        list(dist.Backend.backend_capability["fake"]),
        dist.is_initialized(),
        sys.excepthook,
    ]


@pytest.fixture(autouse=True)
def _is_left_as_it_was() -> Any:
    with nnprof.world(2):  # what a first one imports
        pass
    before = state()
    yield
    assert state() == before


def test_the_example_prints_what_is_shown() -> None:
    page = (Path(__file__).parents[2] / "docs" / "distributed.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shown = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec("".join(code), {})
    assert printed.getvalue() == "".join(shown)


def test_ranks_and_groups() -> None:
    with nnprof.world(16, rank=11, gpus_per_node=8) as world:
        assert (dist.get_rank(), dist.get_world_size(), world.size) == (11, 16, 16)
        assert (os.environ["RANK"], os.environ["LOCAL_RANK"]) == ("11", "3")
        assert (torch.cuda.current_device(), torch.cuda.device_count()) == (3, 8)
        mesh = init_device_mesh("cuda", (2, 8), mesh_dim_names=("dp", "tp"))
        with nnprof.trace() as running:
            dist.all_reduce(torch.ones(100), group=mesh.get_group("dp"))
            dist.all_reduce(torch.ones(100), group=mesh.get_group("tp"))
    rows = [(c.dimension, c.ranks, c.nodes, c.bytes) for c in running.profile().collectives]
    assert rows == [("dp", 2, 2, 400), ("tp", 8, 1, 400)]


def test_its_device_is_on_meta() -> None:
    with nnprof.world(2):
        made = [
            torch.ones(3, device="cuda"),
            torch.empty(3).to("cuda:1"),
            torch.ones(3).cuda(),
            *nn.Linear(2, 3, device="cuda").parameters(),
            *nn.Linear(2, 3).cuda().parameters(),
        ]
        assert {tensor.device.type for tensor in made} == {"meta"}
        assert torch.ones(3).device.type == "cpu"


def test_a_model_sharded_on_its_device_is_measured() -> None:
    with nnprof.world(4):
        mesh = init_device_mesh("cuda", (4,))
        with torch.device("meta"):
            model = nn.Sequential(nn.Linear(64, 256), nn.Linear(256, 64))
        for layer in model:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        profile = nnprof.measure(model, (8, 64), backward=True, optimizer="adamw")
    whole = 2 * 64 * 256 + 256 + 64
    assert (profile.params, profile.global_params) == (whole // 4, whole)
    assert profile.macs == 8 * 64 * 256 * (2 + 3)
    gathered = sum(c.bytes for c in profile.collectives if "allgather" in c.op)
    scattered = sum(c.bytes for c in profile.collectives if "reduce_scatter" in c.op)
    # The last layer stays gathered from its forward to its backward.
    assert scattered == 4 * whole
    assert 4 * whole <= gathered <= 2 * 4 * whole


@pytest.mark.parametrize("name", ["fsdp", "tp sequence", "fsdp tp"])
def test_a_named_optimizer_steps_as_torchs_own(name: str) -> None:
    def measured(named: bool) -> nnprof.Profile:
        with nnprof.world(CASES[name].ranks):
            program = CASES[name].build("cpu")
            optimizer = "foreach adamw" if named else program.optimizer
            return nnprof.measure(
                program.model, inputs=program.inputs, backward=True, optimizer=optimizer
            )

    ours, torchs = measured(named=True), measured(named=False)
    assert [c.bytes for c in ours.collectives] == [c.bytes for c in torchs.collectives]
    assert ours.phase("optimizer").flops == torchs.phase("optimizer").flops
    # torch's counters of steps, one a parameter, are taken for the device's.
    difference = torchs.memory.at_peak["optimizer"] - ours.memory.at_peak["optimizer"]
    assert 0 <= difference <= 512 * 30
    assert difference % 512 == 0


def test_a_second_step_costs_what_the_first_one_does() -> None:
    def flops_of(steps: int) -> int:
        with nnprof.world(2):
            program = CASES["tp sequence"].build("cpu")
            optimizer = named_optimizer("adamw", program.model)
            with nnprof.trace(program.model, backward=True) as running:
                optimizer.make_state(running)
                for _ in range(steps):
                    program.model(program.inputs).sum().backward()
                    optimizer.step(running)
                    program.model.zero_grad()
        return running.profile().phase("optimizer").flops

    assert flops_of(2) == 2 * flops_of(1) > 0


def test_a_saved_profile_has_its_collectives(tmp_path: Any) -> None:
    with nnprof.world(2), nnprof.trace() as running:
        dist.all_reduce(torch.ones(100))
    profile = running.profile()
    profile.save(tmp_path / "rank.json")
    loaded = nnprof.Profile.load(tmp_path / "rank.json")
    assert loaded.collectives == profile.collectives != ()


def test_a_group_that_exists_is_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # which torch changes
    dist.init_process_group("gloo", rank=0, world_size=1, store=vars(dist)["HashStore"]())
    try:
        with nnprof.world() as world:
            assert world.size == 1
        with pytest.raises(InputError, match="there is a process group already"):
            nnprof.world(2).__enter__()
        assert dist.is_initialized()
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size= must be a whole number from 1 on, not 0"),
        ({"size": 2.0}, "size="),
        ({"size": True}, "size="),
        ({"size": 4, "rank": -1}, "rank= must be a whole number from 0 on, not -1"),
        ({"size": 4, "rank": 4}, "rank 4 is none of a world of 4: they go from 0 to 3"),
        ({"size": 4, "gpus_per_node": 0}, "gpus_per_node="),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        nnprof.world(**arguments)


def test_without_a_size_there_must_be_a_group() -> None:
    with pytest.raises(InputError, match="no process group to adopt"):
        nnprof.world().__enter__()


def test_nested_worlds_are_refused() -> None:
    with nnprof.world(2):
        with pytest.raises(InputError, match="a world inside another one"):
            nnprof.world(2).__enter__()
        assert dist.get_world_size() == 2


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_ends_it(error: type[BaseException]) -> None:
    def failing() -> None:
        with nnprof.world(8):
            init_device_mesh("cuda", (2, 4), mesh_dim_names=("dp", "tp"))
            raise error

    with pytest.raises(error):
        failing()
    assert torch.ones(3).device.type == "cpu"


def test_many_worlds_leave_nothing_behind() -> None:
    def one(size: int) -> None:
        with nnprof.world(size):
            init_device_mesh("cuda", (size,))

    for size in range(2, 9):
        one(size)
    gc.collect()
    before = len(gc.get_objects())
    for number in range(40):
        one(2 + number % 7)
    gc.collect()
    assert len(gc.get_objects()) - before < 40


def test_memory_of_the_models_own_is_not_resized_outside_of_a_world() -> None:
    class Resizing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x.untyped_storage().resize_(0)
            return x

    x = torch.ones(1000)
    with pytest.raises(UnsupportedError, match=r"inside of nnprof.world\(\)"):
        nnprof.measure(Resizing(), inputs=x)
    assert x.untyped_storage().size() == 4000

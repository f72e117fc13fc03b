"""Each collective as PyTorch's own: on a real group of one rank, and in a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch.distributed import _functional_collectives as functional

import nnprof
from nnprof import _core

# The names that torch wants to be rid of.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated.*:FutureWarning")

Calls = dict[str, Callable[[Any], Any]]


def rows(count: int = 4, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.ones(count, 3, dtype=dtype)


def into(call: Callable[..., Any], *, given: int, got: int) -> Callable[[Any], Any]:
    """A call that writes to its first argument."""

    def run(group: Any) -> Any:
        result = rows(got)
        call(result, rows(given), group=group)
        return result

    return run


def in_place(call: Callable[..., Any], *args: Any) -> Callable[[Any], Any]:
    def run(group: Any) -> Any:
        tensor = rows()
        call(tensor, *args, group=group)
        return tensor

    return run


def coalesced(call: Callable[..., Any]) -> Callable[[Any], Any]:
    def run(group: Any) -> Any:
        tensors = [rows(), rows(2)]
        return call(tensors, group)

    return run


def all_gather(group: Any) -> Any:
    results = [rows() for _ in range(dist.get_world_size(group))]
    dist.all_gather(results, rows(), group=group)
    return results


OPERATORS = torch.ops._c10d_functional

#: By operator, what reaches it on a group of one rank.
ALONE: Calls = {
    "c10d::allreduce_": in_place(dist.all_reduce),
    "c10d::broadcast_": in_place(dist.broadcast, 0),
    "c10d::reduce_": in_place(dist.reduce, 0),
    "c10d::_allgather_base_": into(dist.all_gather_into_tensor, given=4, got=4),
    "c10d::_reduce_scatter_base_": into(dist.reduce_scatter_tensor, given=4, got=4),
    "c10d::alltoall_base_": into(dist.all_to_all_single, given=4, got=4),
    "c10d::allgather_": all_gather,
    "c10d::barrier": lambda group: dist.barrier(group=group),
    "_c10d_functional::all_reduce": lambda group: OPERATORS.all_reduce(rows(), "sum", group),
    "_c10d_functional::all_reduce_": lambda group: OPERATORS.all_reduce_(rows(), "sum", group),
    "_c10d_functional::all_reduce_coalesced": lambda group: OPERATORS.all_reduce_coalesced(
        [rows(), rows(2)], "sum", group
    ),
    "_c10d_functional::broadcast": lambda group: OPERATORS.broadcast(rows(), 0, group),
    "_c10d_functional::all_gather_into_tensor": lambda group: OPERATORS.all_gather_into_tensor(
        rows().t(), 1, group
    ),
    "_c10d_functional::all_gather_into_tensor_coalesced": lambda group: (
        OPERATORS.all_gather_into_tensor_coalesced([rows(), rows(2)], 1, group)
    ),
    "_c10d_functional::reduce_scatter_tensor": lambda group: OPERATORS.reduce_scatter_tensor(
        rows(), "sum", 1, group
    ),
    "_c10d_functional::reduce_scatter_tensor_coalesced": lambda group: (
        OPERATORS.reduce_scatter_tensor_coalesced([rows(), rows(2)], "sum", 1, group)
    ),
    "_c10d_functional::all_to_all_single": lambda group: OPERATORS.all_to_all_single(
        rows(), [4], [4], group
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _alone() -> Iterator[None]:
    dist.init_process_group("gloo", rank=0, world_size=1, store=vars(dist)["HashStore"]())
    yield
    dist.destroy_process_group()


def layout(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [layout(item) for item in value]
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.stride(), value.dtype
    return value


def of_group(operator: str) -> Any:
    group = dist.group.WORLD
    assert group is not None
    return group if operator.startswith("c10d::") else group.group_name


@pytest.mark.parametrize("operator", ALONE)
def test_results_are_laid_out_as_those_of_a_real_group(operator: str) -> None:
    call, group = ALONE[operator], of_group(operator)
    really = call(group)
    expected = layout(really)
    if operator.startswith("_c10d_functional::"):
        for tensor in really if isinstance(really, list) else [really]:
            OPERATORS.wait_tensor(tensor)
    with nnprof.trace(target="cpu") as running:
        made = layout(call(group))
    assert made == expected
    assert [c.op for c in running.profile().collectives] == [operator]


def test_what_waits_for_one_moves_nothing() -> None:
    with nnprof.trace(target="cpu") as running:
        tensor = rows(1000)
        assert OPERATORS.wait_tensor(tensor).untyped_storage().size() == 12_000
        functional.all_reduce(tensor, "sum", of_group("c10d::")) + 1
    profile = running.profile()
    assert [(c.op, c.bytes) for c in profile.collectives] == [
        ("_c10d_functional::all_reduce", 12_000)
    ]
    ops = profile.ops
    moved = zip(ops["op"], ops["bytes_read"], ops["bytes_written"], strict=True)
    assert {m[1:] for m in moved if m[0].endswith("wait_tensor")} == {(0, 0)}


def test_nothing_is_sent_on_a_real_group() -> None:
    before = torch.full((4, 3), 2.0)
    with nnprof.trace(target="cpu"):
        dist.all_reduce(before)
    assert (before == 2).all()


def test_an_exchange_reads_what_it_gives_and_writes_what_it_gets() -> None:
    with nnprof.trace(target="cpu") as running:
        dist.all_gather_into_tensor(rows(8), rows(8))
    profile = running.profile()
    call = profile.collectives[0].call
    assert (profile.ops["bytes_read"][call], profile.ops["bytes_written"][call]) == (96, 96)


#: What takes more ranks than one, or a device that is not here.
ELSEWHERE = {
    "c10d::allgather_into_tensor_coalesced_",
    "c10d::allreduce_coalesced_",
    "c10d::alltoall_",
    "c10d::recv_",
    "c10d::recv_any_source_",
    "c10d::reduce_scatter_tensor_coalesced_",
    "c10d::send",
    "_c10d_functional::_wrap_tensor_autograd",
    "_c10d_functional::wait_tensor",
    "fsdp::all_gather_copy_in",
    "fsdp::chunk_cat",
    "fsdp::copy_",
    "fsdp::split_with_sizes_copy",
}


def test_no_rule_is_left_out() -> None:
    rules = {
        rule["op"]
        for rule in _core.rules()
        if rule["family"] == "collectives" and rule["status"] == "ruled"
    }
    assert rules - ELSEWHERE <= ALONE.keys()


def to_and_from(rank: int) -> None:
    tensor = rows()
    dist.send(tensor, 1 - rank)
    dist.recv(tensor, 1 - rank)
    dist.recv(tensor)


coalescing = vars(dist.distributed_c10d)["_coalescing_manager"]


def in_turn(rank: int) -> None:
    dist.all_to_all([rows(), rows(2)], [rows(2), rows()])
    dist.all_reduce_coalesced([rows(), rows(2)])
    with coalescing():
        dist.all_gather_into_tensor(rows(8), rows())
        dist.all_gather_into_tensor(rows(4), rows(2))
    with coalescing():
        dist.reduce_scatter_tensor(rows(), rows(8))
        dist.reduce_scatter_tensor(rows(2), rows(4))


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (to_and_from, ["c10d::send", "c10d::recv_", "c10d::recv_any_source_"]),
        (
            in_turn,
            [
                "c10d::alltoall_",
                "c10d::allreduce_coalesced_",
                "c10d::allgather_into_tensor_coalesced_",
                "c10d::reduce_scatter_tensor_coalesced_",
            ],
        ),
    ],
)
def test_among_ranks_that_are_not_there(
    program: Callable[[int], None], expected: list[str]
) -> None:
    dist.destroy_process_group()
    try:
        with nnprof.world(2, 1), nnprof.trace(target="cpu") as running:
            program(1)
        assert [c.op for c in running.profile().collectives] == expected
        assert all((c.ranks, c.nodes) == (2, 1) for c in running.profile().collectives)
    finally:
        dist.init_process_group("gloo", rank=0, world_size=1, store=vars(dist)["HashStore"]())

"""Parallel programs that run as they are on real ranks and in a world."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
)
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.pipelining import (
    PipelineStage,
    Schedule1F1B,
    ScheduleDualPipeV,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
    ScheduleInterleavedZeroBubble,
    ScheduleLoopedBFS,
    ScheduleZBVZeroBubble,
)
from torch.distributed.pipelining.schedules import PipelineScheduleMulti, PipelineScheduleSingle
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    loss_parallel,
    parallelize_module,
)
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

from tests.distributed.model import Decoder, Sizes

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from torch.distributed.device_mesh import DeviceMesh

BATCH = 2
BF16 = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)


@dataclass
class Program:
    """A model of this rank, and what runs one training step of it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    inputs: Tensor
    step: Callable[[], None]


@dataclass(frozen=True)
class Case:
    """Its name, how many ranks, and how to lay the model over them."""

    ranks: int
    lay_out: Callable[..., nn.Module | None]
    sizes: Sizes = field(default_factory=Sizes)
    around_loss: Callable[[], Any] | None = None
    accumulate: int = 1
    clip: bool = False
    foreach: bool = True
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW
    #: Steps before the one that is looked at.
    steps_before: int = 1
    #: Of so many steps the one with the least memory counts: see real.py.
    looks: int = 5
    #: Are its weights real in a world, too? To be offloaded they have to be.
    real: bool = False

    def build(self, device: str) -> Program:
        with torch.device("meta"):
            decoder = Decoder(self.sizes)
        model = self.lay_out(decoder, device) or decoder
        if self.real or torch.distributed.get_backend() == "gloo":
            _fill(model)
        optimizer = self.optimizer(model.parameters(), foreach=self.foreach)
        inputs = torch.ones(BATCH, self.sizes.tokens, dtype=torch.int64)
        return Program(model, optimizer, inputs, partial(_step, self, model, inputs, optimizer))


def _fill(model: nn.Module) -> None:
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            getattr(tensor, "_local_tensor", tensor).fill_(0.02)


def _loss(model: nn.Module, x: Tensor, around: Callable[[], Any] | None) -> None:
    out = model(x)
    if around is None:
        loss = F.cross_entropy(out.flatten(0, 1).float(), x.flatten(0, 1))
        del out
        loss.backward()
        return
    with around():
        loss = F.cross_entropy(out.flatten(0, 1), x.flatten(0, 1))
        del out
        loss.backward()


def _step(case: Case, model: Any, x: Tensor, optimizer: torch.optim.Optimizer) -> None:
    for number in range(case.accumulate):
        last = number == case.accumulate - 1
        if case.accumulate > 1 and isinstance(model, FSDPModule):
            model.set_requires_gradient_sync(last)
        quiet = isinstance(model, DistributedDataParallel) and not last
        with model.no_sync() if quiet else contextlib.nullcontext():
            _loss(model, x, case.around_loss)
    if case.clip:
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def _fsdp(model: Decoder, device: str, shape: tuple[int, ...], **options: Any) -> None:
    names = ("shard",) if len(shape) == 1 else ("replicate", "shard")
    _shard(model, init_device_mesh(device, shape, mesh_dim_names=names), **options)


def _shard(model: Decoder, mesh: DeviceMesh, **options: Any) -> None:
    options = {"mp_policy": BF16, **options}
    for block in model.layers.values():
        fully_shard(block, mesh=mesh, **options)
    fully_shard(model, mesh=mesh, **options)


def _checkpointed(model: Decoder, device: str, *, selective: bool = False) -> None:
    context = partial(create_selective_checkpoint_contexts, _saves_products)
    options: dict[str, Any] = {"context_fn": context} if selective else {}
    for name, block in list(model.layers.items()):
        model.layers[name] = checkpoint_wrapper(block, **options)
    _fsdp(model, device, (2,))


def _saves_products(context: Any, op: Any, *_: Any, **__: Any) -> CheckpointPolicy:
    saved = op in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
    return CheckpointPolicy.MUST_SAVE if saved else CheckpointPolicy.PREFER_RECOMPUTE


def _prefetching(model: Decoder, device: str) -> None:
    _fsdp(model, device, (2,))
    blocks: list[Any] = list(model.layers.values())
    for number, block in enumerate(blocks):
        block.set_modules_to_forward_prefetch(blocks[number + 1 : number + 3])
        block.set_modules_to_backward_prefetch(blocks[max(0, number - 2) : number][::-1])


def _ignoring(model: Decoder, device: str) -> None:
    assert model.tok_embeddings is not None
    _fsdp(model, device, (2,), ignored_params=set(model.tok_embeddings.parameters()))


def _data_parallel(model: Decoder, device: str, **options: Any) -> nn.Module:
    if torch.distributed.get_backend() == "gloo":
        _fill(model)
    return DistributedDataParallel(model, bucket_cap_mb=0.1, **options)


def _plan(sequence: bool, loss: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """For the model around the blocks, and for each block."""
    inside: Any = Shard(1) if sequence else Replicate()
    around: dict[str, Any] = {
        "tok_embeddings": RowwiseParallel(input_layouts=Replicate(), output_layouts=inside),
        "output": ColwiseParallel(
            input_layouts=inside,
            output_layouts=Shard(-1) if loss else Replicate(),
            use_local_output=not loss,
        ),
    }
    block: dict[str, Any] = {
        "attention.wq": ColwiseParallel(),
        "attention.wk": ColwiseParallel(),
        "attention.wv": ColwiseParallel(),
        "attention.wo": RowwiseParallel(output_layouts=inside),
        "feed_forward.w1": ColwiseParallel(),
        "feed_forward.w3": ColwiseParallel(),
        "feed_forward.w2": RowwiseParallel(output_layouts=inside),
    }
    if sequence:
        around["norm"] = SequenceParallel()
        block |= {
            "attention_norm": SequenceParallel(),
            "ffn_norm": SequenceParallel(),
            "attention": PrepareModuleInput(
                input_layouts=(Shard(1), None, None),
                desired_input_layouts=(Replicate(), None, None),
            ),
            "feed_forward": PrepareModuleInput(
                input_layouts=(Shard(1),), desired_input_layouts=(Replicate(),)
            ),
        }
    return around, block


def _tensor_parallel(
    model: Decoder,
    device: str,
    ranks: int,
    *,
    mesh: DeviceMesh | None = None,
    sequence: bool = False,
    loss: bool = False,
) -> None:
    mesh = mesh or init_device_mesh(device, (ranks,), mesh_dim_names=("tp",))
    around, block = _plan(sequence, loss)
    parallelize_module(model, mesh, around)
    for layer in model.layers.values():
        parallelize_module(layer, mesh, block)


def _two_dimensions(model: Decoder, device: str) -> None:
    mesh = init_device_mesh(device, (2, 2), mesh_dim_names=("shard", "tp"))
    _tensor_parallel(model, device, 2, mesh=mesh["tp"], sequence=True)
    _shard(model, mesh["shard"])


@dataclass(frozen=True)
class Pipeline:
    """Stages in turn, from the first rank on, or there and back as a V."""

    schedule: type[PipelineScheduleSingle] | type[PipelineScheduleMulti]
    ranks: int = 2
    stages_of_a_rank: int = 1
    v: bool = False
    microbatches: int = 4
    sizes: Sizes = field(default_factory=lambda: replace(Sizes(), layers=4))
    steps_before: int = 1
    looks: int = 5

    def build(self, device: str) -> Program:
        count, rank = self.ranks * self.stages_of_a_rank, torch.distributed.get_rank()
        numbers = [rank + self.ranks * turn for turn in range(self.stages_of_a_rank)]
        if self.v:
            numbers = [rank, count - 1 - rank]
        parts = [self._part(number, count) for number in numbers]
        model = nn.ModuleList(parts)
        if torch.distributed.get_backend() == "gloo":
            _fill(model)
        stages = [
            PipelineStage(part, number, count, torch.device(device), **self._ends(number, count))
            for part, number in zip(parts, numbers, strict=True)
        ]
        schedule: Any = self.schedule
        one = issubclass(self.schedule, PipelineScheduleSingle)
        runs = schedule(stages[0] if one else stages, self.microbatches, loss_fn=_token_loss)
        optimizer = torch.optim.AdamW(model.parameters(), foreach=True)
        tokens = torch.ones(self.microbatches, self.sizes.tokens, dtype=torch.int64)
        given: dict[str, Any] = {"target": tokens, "losses": []} if count - 1 in numbers else {}
        arguments = (tokens,) if 0 in numbers else ()

        def step() -> None:
            runs.step(*arguments, **{k: [] if k == "losses" else v for k, v in given.items()})
            optimizer.step()
            optimizer.zero_grad()

        return Program(model, optimizer, tokens, step)

    def _part(self, number: int, count: int) -> Decoder:
        with torch.device("meta"):
            part = Decoder(self.sizes)
        each = self.sizes.layers // count
        for name in list(part.layers):
            if int(name) // each != number:
                del part.layers[name]
        if number > 0:
            part.tok_embeddings = None
        if number < count - 1:
            part.norm = part.output = None
        return part

    def _ends(self, number: int, count: int) -> dict[str, Any]:
        """What a stage gets and gives: by these it knows sizes without asking its neighbours."""
        sizes = self.sizes
        tokens = torch.zeros(1, sizes.tokens, dtype=torch.int64, device="meta")
        inside = torch.zeros(1, sizes.tokens, sizes.width, device="meta", requires_grad=True)
        scores = torch.zeros(1, sizes.tokens, sizes.vocabulary, device="meta", requires_grad=True)
        given = tokens if number == 0 else inside
        return {"input_args": (given,), "output_args": scores if number == count - 1 else inside}


def _token_loss(out: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(out.flatten(0, 1), target.flatten(0, 1))


_SIZES = Sizes()
_UNEVEN = replace(_SIZES, hidden=161, vocabulary=257)
_OFFLOAD = CPUOffloadPolicy(pin_memory=False)

CASES: dict[str, Case | Pipeline] = {
    "fsdp": Case(2, partial(_fsdp, shape=(2,))),
    "fsdp float32": Case(2, partial(_fsdp, shape=(2,), mp_policy=MixedPrecisionPolicy())),
    "fsdp no reshard": Case(2, partial(_fsdp, shape=(2,), reshard_after_forward=False)),
    "fsdp offload": Case(2, partial(_fsdp, shape=(2,), offload_policy=_OFFLOAD), real=True),
    "fsdp accumulate": Case(2, partial(_fsdp, shape=(2,)), accumulate=2),
    "fsdp clip": Case(2, partial(_fsdp, shape=(2,)), clip=True),
    # Its norms are plain tensors, which torch's foreach refuses beside DTensors.
    "tp": Case(2, partial(_tensor_parallel, ranks=2), foreach=False),
    "tp sequence": Case(2, partial(_tensor_parallel, ranks=2, sequence=True)),
    "tp loss": Case(
        2,
        partial(_tensor_parallel, ranks=2, sequence=True, loss=True),
        around_loss=loss_parallel,
        looks=10,  # many small results that gloo's threads let go of
    ),
    "tp clip": Case(2, partial(_tensor_parallel, ranks=2, sequence=True), clip=True),
    "fsdp checkpoint": Case(2, _checkpointed),
    "fsdp selective checkpoint": Case(2, partial(_checkpointed, selective=True)),
    "fsdp prefetch": Case(2, _prefetching),
    "fsdp ignored": Case(2, _ignoring, foreach=False),
    # In the second step buckets take the place of those that were made before any step.
    "ddp first step": Case(2, _data_parallel, steps_before=0, looks=1),
    "ddp": Case(2, _data_parallel, steps_before=2),
    "ddp static graph": Case(2, partial(_data_parallel, static_graph=True), steps_before=2),
    "ddp bucket views": Case(
        2, partial(_data_parallel, gradient_as_bucket_view=True), steps_before=2
    ),
    "ddp no_sync": Case(2, _data_parallel, accumulate=2, steps_before=2),
    "ddp zero redundancy": Case(
        2,
        _data_parallel,
        steps_before=2,
        optimizer=partial(ZeroRedundancyOptimizer, optimizer_class=torch.optim.AdamW),
    ),
    "fsdp uneven": Case(4, partial(_fsdp, shape=(4,)), sizes=_UNEVEN),
    "fsdp reshard to 2": Case(4, partial(_fsdp, shape=(4,), reshard_after_forward=2)),
    "hsdp": Case(4, partial(_fsdp, shape=(2, 2))),
    "fsdp tp": Case(4, _two_dimensions),
    "gpipe": Pipeline(ScheduleGPipe),
    "1f1b": Pipeline(Schedule1F1B),
    "interleaved": Pipeline(ScheduleInterleaved1F1B, stages_of_a_rank=2),
    "looped bfs": Pipeline(ScheduleLoopedBFS, stages_of_a_rank=2),
    "zero bubble": Pipeline(ScheduleInterleavedZeroBubble, stages_of_a_rank=2),
    "zbv": Pipeline(ScheduleZBVZeroBubble, stages_of_a_rank=2, v=True),
    "dual pipe": Pipeline(ScheduleDualPipeV, stages_of_a_rank=2, v=True),
}

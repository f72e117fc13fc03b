"""Do training steps on this machine's GPU allocate what nnprof says? One command.

    python benchmarks/gpu_training.py [--device cuda] [--models resnet50 lstm]

Each model of `training_models.py` runs in a process of its own: inference, forward and backward, a
step of AdamW. What torch.cuda.max_memory_allocated() tells of each is held against
`profile.memory.peak`, workspaces of libraries apart, which nnprof does not count:

- cuBLAS takes its own once, in a first step, and keeps it: what is allocated before the step beyond
  the model, its input and the optimizer's state;
- cuDNN's come and go within a call: what a convolution or a recurrent layer takes by itself, and
  gives back before it ends, as PyTorch's profiler sees in another step.

Writes results/gpu-training-<device>.json. `--device cpu` tries the program: there the profiler
tells all, and nothing is written.

Exits with 1 if a peak is off by more than its bar, with 2 if the device is not there.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import sys
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

import nnprof
from benchmarks.bars import bar, missed, show_bars
from benchmarks.children import Result, child
from benchmarks.conditions import conditions, write
from benchmarks.training_models import TRAINING_MODELS, scalar_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Tensor, nn

MODELS = {case.name: case for case in TRAINING_MODELS}
PEAK_WITHIN = 2.0  # % of the real one, without workspaces
#: Recurrent layers make their workspace as a tensor, the others ask the allocator themselves.
RECURRENT = {"aten::_cudnn_rnn", "aten::_cudnn_rnn_backward"}
CONVOLUTIONS = {
    "aten::cudnn_convolution",
    "aten::cudnn_convolution_transpose",
    "aten::convolution_backward",
}


# In the children: what is there -------------------------------------------------------------------


@dataclass
class Training:
    """A model on the device with what a step of it needs."""

    model: nn.Module
    x: Tensor
    optimizer: torch.optim.Optimizer | None = None

    def infer(self) -> None:
        with torch.no_grad():
            self.model(self.x)

    def step(self) -> None:
        # As in a usual loop, and in `measure`, the output is there until the backward has ended.
        output = self.model(self.x)
        scalar_loss(output).backward()
        if self.optimizer is not None:
            self.optimizer.step()

    def resident(self) -> int:
        """Bytes on the device before a step; a storage that tensors share counts once."""
        tensors = [*self.model.parameters(), *self.model.buffers(), self.x]
        if self.optimizer is not None:
            state = self.optimizer.state.values()
            tensors += [value for kept in state for value in kept.values()]
        storages = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
            for tensor in tensors
            if tensor.device.type == self.x.device.type
        }
        return sum(storages.values())


def measured(name: str, device: str) -> Result:
    """Peaks of one model: counted, and really."""
    case = MODELS[name]
    training = Training(case.make(device), case.make_input(device))
    count = partial(nnprof.measure, training.model, inputs=training.x)
    training.model.eval()
    with torch.no_grad():
        inference = count()
    found = {"inference": compared(inference, training, training.infer)}
    training.model.train()
    backward = partial(count, backward=True, loss=scalar_loss)
    found["forward and backward"] = compared(backward(), training, training.step)
    stepping = backward(optimizer="adamw")
    training.optimizer = torch.optim.AdamW(training.model.parameters())
    found["step of AdamW"] = compared(stepping, training, training.step)
    return found


def compared(counted: nnprof.Profile, training: Training, step: Callable[[], None]) -> Result:
    step()  # what is made once, for the process or as the optimizer's state, is no part of it
    training.model.zero_grad()
    real = real_peak(training, step)
    training.model.zero_grad()
    events = profiled(training.x.device.type, step)
    training.model.zero_grad()
    real["seen"], real["seen_without_workspaces"] = peaks(events)
    # The profiler sees what is beyond the start.
    start = real["before"] - real["held_workspaces"]
    return {
        "nnprof": counted.memory.peak,
        "at_peak": counted.memory.at_peak,
        "real": start + real["seen_without_workspaces"],
        "allocated": real["before"] + real["seen"] if real["peak"] is None else real["peak"],
        "details": real,
    }


# In the children: what a step takes ---------------------------------------------------------------


def real_peak(training: Training, step: Callable[[], None]) -> Result:
    """What PyTorch's allocator tells of one step; on the CPU it keeps no books."""
    resident, device = training.resident(), training.x.device
    if device.type == "cpu":
        return {"before": resident, "resident": resident, "held_workspaces": 0, "peak": None}
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_stats(device)
    step()
    torch.cuda.synchronize(device)
    after = torch.cuda.memory_stats(device)
    return {
        "before": before["allocated_bytes.all.current"],
        "resident": resident,
        # Of what was asked for, that is: a block may be larger by up to 1 MB.
        "held_workspaces": before["requested_bytes.all.current"] - resident,
        "peak": torch.cuda.max_memory_allocated(device),
        "requested_peak": after["requested_bytes.all.peak"],
    }


@dataclass(frozen=True)
class Allocation:
    """An event of the profiler: memory is taken, or (`bytes` below zero) given back."""

    time_ns: int
    bytes: int
    address: int
    #: Where a library's own call asked for it: when that call ended.
    library_until_ns: int | None = None


def profiled(device: str, step: Callable[[], None]) -> list[Allocation]:
    """What a step allocates on the device, in order."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
        if device == "cuda":
            torch.cuda.synchronize()
    assert profiler.profiler is not None
    events = profiler.profiler.kineto_results.experimental_event_tree()
    return sorted(allocations(events, device), key=lambda one: one.time_ns)


def allocations(events: Iterable[Any], device: str) -> Iterator[Allocation]:
    waiting = list(events)
    while waiting:
        event = waiting.pop()
        waiting += event.children
        if event.tag.name == "Allocation" and event.extra_fields.device.type == device:
            fields, call = event.extra_fields, library_call(event)
            until = None if call is None else call.end_time_ns
            yield Allocation(event.start_time_ns, fields.alloc_size, fields.ptr, until)


def library_call(event: Any) -> Any:
    """The operator that asked for memory as one asks for a workspace; None for any other way."""
    parent = event.parent
    if parent is None or parent.name in CONVOLUTIONS:
        return parent
    if parent.name == "aten::empty" and parent.parent is not None:
        return parent.parent if parent.parent.name in RECURRENT else None
    return None


def peaks(events: Iterable[Allocation]) -> tuple[int, int]:
    """The most that is held beyond the start: of all, and without workspaces."""
    events = list(events)
    skipped = workspaces(events)
    found = []
    for left_out in (set(), skipped):
        most = now = 0
        for number, event in enumerate(events):
            now += 0 if number in left_out else event.bytes
            most = max(most, now)
        found.append(most)
    return found[0], found[1]


def workspaces(events: list[Allocation]) -> set[int]:
    """The events that take a workspace, or give it back before the library's call has ended."""
    found: set[int] = set()
    taken: dict[int, int] = {}  # by address: the event
    for number, event in enumerate(events):
        if event.bytes > 0:
            taken[event.address] = number
            continue
        first = taken.pop(event.address, None)
        until = None if first is None else events[first].library_until_ns
        if first is not None and until is not None and event.time_ns < until:
            found |= {first, number}
    return found


# In the parent ------------------------------------------------------------------------------------


def no_device(device: str) -> str | None:
    """Why nothing can be measured there."""
    if device == "cpu":
        return None
    if torch.device(device).type != "cuda":
        return "only CUDA's allocator keeps books that are read here"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    return None


def show(console: Console, results: dict[str, Result]) -> None:
    table = Table(title="Peaks of memory, MB", title_justify="left")
    for heading in ("model", "of"):
        table.add_column(heading)
    for heading in ("nnprof", "real", "off", "with workspaces", "off "):
        table.add_column(heading, justify="right")
    for name, result in results.items():
        if "note" in result:
            table.add_row(name, result["note"])
            continue
        first = name
        for kind, peak in result.items():
            ours, real, allocated = (peak[key] for key in ("nnprof", "real", "allocated"))
            numbers = [f"{ours / 1e6:,.3f}", f"{real / 1e6:,.3f}", f"{off(ours, real):+.2f} %"]
            more = [f"{allocated / 1e6:,.3f}", f"{off(ours, allocated):+.2f} %"]
            table.add_row(first, kind, *numbers, *more)
            first = ""
    console.print(table)


def off(ours: int, real: int) -> float:
    return 100 * (ours / real - 1)


def bars(results: dict[str, Result]) -> list[Result]:
    found = []
    for name, result in results.items():
        if "note" in result:
            found.append(bar(f"{name}: peaks", None, "<=", PEAK_WITHIN, " %"))
            continue
        for kind, peak in result.items():
            value = abs(off(peak["nnprof"], peak["real"]))
            found.append(bar(f"{name}: peak, {kind}, off by", value, "<=", PEAK_WITHIN, " %"))
    return found


def run_as_child(name: str, device: str) -> None:
    """Measure one model and print its result; what libraries print goes nowhere."""
    warnings.simplefilter("ignore")
    torch.backends.cudnn.benchmark = False  # it would try algorithms, each with its workspace
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        result = measured(name, device)
    print(json.dumps(result))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="where to measure (default: cuda)")
    parser.add_argument("--models", nargs="+", choices=MODELS, metavar="NAME")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one model")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_as_child(*options.child)
        return 0
    reason = no_device(options.device)
    if reason is not None:
        print(f"cannot measure on {options.device!r}: {reason}", file=sys.stderr)
        return 2

    console = Console(width=None if sys.stdout.isatty() else 120)
    result: Result = {"conditions": conditions("torchvision", "transformers"), "models": {}}
    for name in options.models or MODELS:
        with console.status(name):
            found = child(__file__, options.timeout, name, options.device)
        result["models"][name] = found
    result["bars"] = bars(result["models"])
    show(console, result["models"])
    show_bars(console, result["bars"])
    if options.device != "cpu":
        device = torch.cuda.get_device_name(options.device)
        result["conditions"] |= {"device": device, "cuda": torch.version.cuda}
        slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
        console.print(f"written: {write(f'gpu-training-{slug}', result)}")
    return int(missed(result["bars"]))


if __name__ == "__main__":
    sys.exit(main())

"""Training steps beside real ones and FlopCounterMode: `python benchmarks/training.py`.

The models of `training_models.py` really run on the CPU: what autograd keeps between forward and
backward, and the peaks of memory, are compared with PyTorch's own hooks and profiler, activation
checkpointing included. Whole steps of two Llamas on the meta device are timed and their MACs held
against FlopCounterMode's. Each model is measured in a process of its own; what is compared in time
runs there in turns.

Prints the tables, writes results/training.json, and exits with 1 if bytes or MACs differ by more
than their bars allow: times on a busy machine are told, and decide nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import statistics
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import nnprof
from benchmarks.bars import bar, missed, show_bars
from benchmarks.children import Result, child
from benchmarks.conditions import conditions, write
from benchmarks.models import LLAMA_3_8B, LLAMA_3_405B, llama
from benchmarks.training_models import SMALL_LLAMA, TRAINING_MODELS, scalar_loss
from tests.tracing.training.real import bytes_of, real_memory, saved_by_autograd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor, nn

    from benchmarks.models import LlamaConfig

MODELS = {case.name: case for case in TRAINING_MODELS}
LLAMAS: dict[str, tuple[LlamaConfig, int]] = {  # with the tokens of the step
    "Llama-3.1-8B": (LLAMA_3_8B, 4096),
    "Llama-3.1-405B": (LLAMA_3_405B, 4096),
    "small Llama": (SMALL_LLAMA, 128),  # to try the program
}
FULL_SIZE = ("Llama-3.1-8B", "Llama-3.1-405B")
#: By model: the paths of its blocks, as `checkpoint=` takes them, and the tokens of a sequence: so
#: many that not the weights alone make the peak.
BLOCKS = {"llama-2-layers": ("layers.*", 128), "gpt2": ("transformer.h.*", 256)}

ROUNDS = 9
TURNS = 7  # a round's calls of each of nnprof's, in turns; FlopCounterMode is called once

# The bars: what each number has to be.
PEAK_WITHIN = 2.0  # % of the real one
STEP_RATIO = 3.0
SPEEDUP = 30.0


# In the children: real steps ----------------------------------------------------------------------


def real_model(name: str) -> Result:
    """What steps of one model keep and allocate on the CPU: counted, and really."""
    model, x = MODELS[name].make("cpu").train(), MODELS[name].make_input("cpu")
    with saved_by_autograd() as kept:
        scalar_loss(model(x))
    profile = nnprof.measure(model, inputs=x, backward=True, loss=scalar_loss)
    forward, backward = profile.phase("forward"), profile.phase("backward")
    return {
        "saved": {"nnprof": int(profile.ops["saved_bytes"].sum()), "real": sum(kept)},
        "macs": {"forward": forward.macs, "backward": backward.macs},
        "peaks": {
            "inference": inference_peaks(model, x),
            "forward and backward": {
                "nnprof": profile.memory.peak,
                "real": training_peak(model, x),
            },
            "step of AdamW": adamw_peaks(model, x),
        },
    }


def inference_peaks(model: nn.Module, x: Tensor) -> Result:
    model.eval()
    with torch.no_grad():
        profile = nnprof.measure(model, inputs=x)
        model(x)  # what is made once for the process is no part of it
        real = resident(model, x) + real_memory(lambda: model(x)).peak
    model.train()
    return {"nnprof": profile.memory.peak, "real": real}


def training_peak(model: nn.Module, x: Tensor) -> int:
    """The real one of forward and backward, the gradients freed before."""
    one_step(model, x)
    model.zero_grad()
    peak = resident(model, x) + real_memory(lambda: one_step(model, x)).peak
    model.zero_grad()
    return peak


def adamw_peaks(model: nn.Module, x: Tensor) -> Result:
    """Of a step with the state that an earlier one has left."""
    profile = nnprof.measure(model, inputs=x, backward=True, loss=scalar_loss, optimizer="adamw")
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> None:
        one_step(model, x)
        optimizer.step()

    step()
    model.zero_grad()
    state = sum(bytes_of(value) for kept in optimizer.state.values() for value in kept.values())
    real = resident(model, x) + state + real_memory(step).peak
    model.zero_grad()
    return {"nnprof": profile.memory.peak, "real": real}


def one_step(model: nn.Module, x: Tensor) -> None:
    # As in a usual loop, and in `measure`, the output is there until the backward has ended.
    output = model(x)
    scalar_loss(output).backward()


def resident(model: nn.Module, x: Tensor) -> int:
    return sum(map(bytes_of, [*model.parameters(), *model.buffers(), x]))


# In the children: checkpointing -------------------------------------------------------------------


def checkpointing(name: str) -> Result:
    """Every block under torch.utils.checkpoint, counted and really."""
    paths, tokens = BLOCKS[name]
    model, x = MODELS[name].make("cpu").train(), torch.arange(2 * tokens).reshape(2, tokens) % 900
    counted = partial(nnprof.measure, model, inputs=x, backward=True, loss=scalar_loss)
    without, profile = counted(), counted(checkpoint=paths)
    real, products = training_peak(model, x), real_products(model, x)
    for block in blocks(model, paths):
        # An attribute of its own hides the method of the class.
        block.__dict__["forward"] = partial(checkpoint, block.forward, use_reentrant=False)
    ops = profile.ops
    again = ops["recomputed"]
    attention = attention_calls(ops["op"])
    return {
        "recomputed_flops": int(ops["flops"][again].sum()),
        "forward_flops": profile.phase("forward").flops,
        "recomputed_products": {
            "nnprof": int(ops["macs"][again & ~attention].sum()),
            "real": real_products(model, x) - products,
        },
        "peaks": {
            "without": {"nnprof": without.memory.peak, "real": real},
            "with": {"nnprof": profile.memory.peak, "real": training_peak(model, x)},
        },
    }


def blocks(model: nn.Module, pattern: str) -> Iterable[nn.Module]:
    return model.get_submodule(pattern.removesuffix(".*")).children()


def real_products(model: nn.Module, x: Tensor) -> int:
    """MACs of a real forward and backward outside attention, as FlopCounterMode counts them.

    Of attention it sees the path of products, `bmm`, that a CPU takes with dropout, and takes the
    CPU's fused one for free.
    """
    with FlopCounterMode(display=False) as counter:
        one_step(model, x)
    model.zero_grad()
    return (int(counter.get_total_flops()) - batched_flops(counter)) // 2


def batched_flops(counter: FlopCounterMode) -> int:
    by_op = counter.get_flop_counts()["Global"]
    return sum(int(flops) for op, flops in by_op.items() if "bmm" in str(op))


def attention_calls(ops: Any) -> Any:
    """Which of the operators, an array of names, are attention's own."""
    import numpy as np

    return np.char.find(ops.astype(str), "scaled_dot_product") >= 0


# In the children: full-size Llamas ----------------------------------------------------------------


def full_size(name: str) -> Result:
    """FLOPs, memory and the seconds of profiling a step on the meta device, in bfloat16."""
    config, tokens = LLAMAS[name]
    model = llama(config).train()
    ids = torch.zeros(1, tokens, dtype=torch.int64, device="meta")
    profile = nnprof.measure(model, inputs=ids, backward=True, optimizer="adamw")
    memory = profile.memory
    phases = {phase: profile.phase(phase) for phase in memory.phases}
    return {
        "tokens": tokens,
        "params": profile.params,
        "flops": {phase: costs.flops for phase, costs in phases.items()},
        "macs": {phase: costs.macs for phase, costs in phases.items()},
        "peak": memory.peak,
        "at_peak": memory.at_peak,
        "peak_op": memory.peak_op,
        "peak_of": {phase: memory.peak_of(phase) for phase in phases},
        "products": products(profile, flop_counter(model, ids)),
        "times": times(model, ids),
    }


def flop_counter(model: nn.Module, ids: Tensor) -> FlopCounterMode:
    """A forward and backward, counted; the gradients stay."""
    counter = FlopCounterMode(display=False)
    with counter:
        model(ids).sum().backward()
    return counter


def products(profile: nnprof.Profile, counter: FlopCounterMode) -> Result:
    """MACs of both. On meta attention takes the path of products, `bmm`; all else is `mm`."""
    bmm = batched_flops(counter) // 2
    ops = profile.ops
    attention, forward = attention_calls(ops["op"]), ops["phase"] == "forward"
    macs = ops["macs"]
    return {
        "elsewhere": {
            "nnprof": int(macs[~attention].sum()),
            "FlopCounterMode": int(counter.get_total_flops()) // 2 - bmm,
        },
        "attention": {
            "nnprof_forward": int(macs[attention & forward].sum()),
            "nnprof_backward": int(macs[attention & ~forward].sum()),
            "FlopCounterMode": bmm,
        },
    }


def times(model: nn.Module, ids: Tensor) -> Result:
    """Best and median seconds of whole calls, up to readable totals, and medians of ratios.

    A busy machine slows down by half from one second to the next: what is compared runs within a
    round, and the ratios are medians over the rounds.
    """
    backward = partial(nnprof.measure, model, inputs=ids, backward=True)
    calls: dict[str, Callable[[], nnprof.Profile]] = {
        "forward": torch.no_grad()(partial(nnprof.measure, model, inputs=ids)),
        "forward and backward": backward,
        "step": partial(backward, optimizer="adamw"),
    }
    taken: dict[str, list[list[float]]] = {name: [] for name in (*calls, "FlopCounterMode")}
    for call in calls.values():
        totals(call)
    for _ in range(ROUNDS):
        gc.collect()
        for of_call in taken.values():
            of_call.append([])
        for _ in range(TURNS):
            for name, call in calls.items():
                taken[name][-1].append(seconds(partial(totals, call)))
        taken["FlopCounterMode"][-1].append(seconds(partial(flop_counter, model, ids)))
        model.zero_grad()
    medians = {name: [statistics.median(one) for one in rounds] for name, rounds in taken.items()}

    def ratio(over: str, under: str) -> float:
        return statistics.median(a / b for a, b in zip(medians[over], medians[under], strict=True))

    return {
        "rounds": ROUNDS,
        "turns": TURNS,
        "best_s": {name: min(map(min, rounds)) for name, rounds in taken.items()},
        "median_s": {name: statistics.median(of_call) for name, of_call in medians.items()},
        "step_ratio": ratio("step", "forward"),
        "backward_ratio": ratio("forward and backward", "forward"),
        "speedup": ratio("FlopCounterMode", "forward and backward"),
    }


def totals(call: Callable[[], nnprof.Profile]) -> tuple[int, ...]:
    """Up to readable totals: nothing may be put off until it is asked for."""
    profile = call()
    return profile.params, profile.macs, profile.flops, profile.bytes, profile.memory.peak


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


CHILDREN: dict[str, Callable[[str], Result]] = {
    "real_model": real_model,
    "checkpointing": checkpointing,
    "full_size": full_size,
}


def run_as_child(name: str, model: str) -> None:
    """Run one of CHILDREN and print its result; what libraries print goes nowhere."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        result = CHILDREN[name](model)
    print(json.dumps(result))


# In the parent ------------------------------------------------------------------------------------


def show_real(console: Console, results: dict[str, Result]) -> None:
    table = new_table("Steps on the CPU", "model", "saved", "", "peak of", "nnprof", "real", "off")
    table.add_column("backward / forward", justify="right")
    for name, result in results.items():
        if "note" in result:
            table.add_row(name, result["note"])
            continue
        saved, macs = result["saved"], result["macs"]
        more = saved["nnprof"] - saved["real"]
        first = [name, megabytes(saved["nnprof"]), "exact" if not more else f"{more:+,} B"]
        last = [f"{macs['backward'] / macs['forward']:.3f} x MACs"]
        for kind, peak in result["peaks"].items():
            table.add_row(*first, kind, *peak_cells(peak), *last)
            first, last = [""] * 3, []
    console.print(table)


def show_checkpointing(console: Console, results: dict[str, Result]) -> None:
    table = new_table(
        "Every block checkpointed, on the CPU", "model", "recomputed", "of the forward"
    )
    for heading in ("peak", "nnprof", "real", "off"):
        table.add_column(heading, justify="right")
    for name, result in results.items():
        if "note" in result:
            table.add_row(name, result["note"])
            continue
        flops = result["recomputed_flops"]
        first = [name, f"{flops:,} FLOPs", f"{flops / result['forward_flops']:.1%}"]
        for kind, peak in result["peaks"].items():
            table.add_row(*first, kind, *peak_cells(peak))
            first = [""] * 3
        ratios = [
            f"{result['peaks']['with'][who] / result['peaks']['without'][who]:.4f}"
            for who in ("nnprof", "real")
        ]
        table.add_row(*first, "with / without", *ratios)
    console.print(table)


def peak_cells(peak: Result) -> list[str]:
    return [megabytes(peak["nnprof"]), megabytes(peak["real"]), f"{off(peak):+.2f} %"]


def off(pair: Result) -> float:
    """By how many percent nnprof is off the real number."""
    return 100.0 * (int(pair["nnprof"]) / int(pair["real"]) - 1.0)


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.3f} MB"


def show_full_size(console: Console, name: str, result: Result) -> None:
    if "note" in result:
        console.print(f"{name}: {result['note']}")
        return
    tokens = f"{result['tokens']:,} tokens"
    table = new_table(f"A step of {name}: bfloat16, {tokens}, AdamW", "", "FLOPs", "MACs", "peak")
    for phase, flops in result["flops"].items():
        peak = f"{result['peak_of'][phase] / 1e9:,.3f} GB"
        table.add_row(phase, f"{flops:,}", f"{result['macs'][phase]:,}", peak)
    console.print(table)
    kinds = ", ".join(f"{held / 1e9:,.3f} GB {kind}" for kind, held in result["at_peak"].items())
    console.print(f"At the peak, in {result['peak_op']}: {kinds}")
    attention = result["products"]["attention"]
    backward, forward = attention["nnprof_backward"], attention["nnprof_forward"]
    console.print(
        f"Attention's MACs: forward {forward:,}, backward {backward:,}; FlopCounterMode, of both, "
        f"{attention['FlopCounterMode']:,}. On meta it sees the path that keeps the scores, whose "
        "backward is 2 x the forward; the fused kernel makes them again, 2.5 x."
    )
    taken = result["times"]
    table = new_table(f"Profiling {name}", "", "best", "median", "median / forward")
    for call, median in taken["median_s"].items():
        ratio = median / taken["median_s"]["forward"]
        best = f"{taken['best_s'][call] * 1e3:,.1f} ms"
        table.add_row(call, best, f"{median * 1e3:,.1f} ms", f"{ratio:.2f}")
    console.print(table)


def new_table(title: str, first: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def bars_of_real(results: dict[str, Result]) -> list[Result]:
    found = []
    for name, result in results.items():
        known = "note" not in result
        more = abs(result["saved"]["nnprof"] - result["saved"]["real"]) if known else None
        found.append(bar(f"{name}: saved bytes, off by", more, "<=", 0, " B"))
        found += bars_of_peaks(name, result, ("inference", "forward and backward", "step of AdamW"))
    return found


def bars_of_checkpointing(results: dict[str, Result]) -> list[Result]:
    found = []
    for name, result in results.items():
        again = result.get("recomputed_products")
        more = abs(again["nnprof"] - again["real"]) if again else None
        found.append(bar(f"{name}: recomputed MACs outside attention, off by", more, "<=", 0, ""))
        title = f"{name}, checkpoints"
        found += bars_of_peaks(title, result, ("without", "with"))
    return found


def bars_of_peaks(title: str, result: Result, kinds: Iterable[str]) -> list[Result]:
    peaks = result.get("peaks", {})
    return [
        bar(
            f"{title}: peak, {kind}, off by",
            abs(off(peaks[kind])) if kind in peaks else None,
            "<=",
            PEAK_WITHIN,
            " %",
        )
        for kind in kinds
    ]


def bars_of_macs(results: dict[str, Result]) -> list[Result]:
    found = []
    for name, result in results.items():
        outside = inside = None
        if "note" not in result:
            elsewhere, attention = result["products"]["elsewhere"], result["products"]["attention"]
            outside = abs(elsewhere["nnprof"] - elsewhere["FlopCounterMode"])
            # A third of what the path of products takes is the forward's.
            inside = abs(3 * attention["nnprof_forward"] - attention["FlopCounterMode"])
        found.append(bar(f"{name}: MACs outside attention, off by", outside, "<=", 0, ""))
        found.append(bar(f"{name}: MACs of attention's forward, off by", inside, "<=", 0, ""))
    return found


def bars_of_times(results: dict[str, Result]) -> list[Result]:
    found = []
    for name, result in results.items():
        taken = result.get("times", {})
        step, speedup = taken.get("step_ratio"), taken.get("speedup")
        found.append(bar(f"{name}: profile of a step / of a forward", step, "<=", STEP_RATIO, "x"))
        found.append(
            bar(f"{name}: FlopCounterMode / nnprof, with backward", speedup, ">=", SPEEDUP, "x")
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one model")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_as_child(*options.child)
        return 0

    console = Console(width=None if sys.stdout.isatty() else 140)
    known = conditions("torchvision", "transformers") | {"load": os.getloadavg()[0]}
    result: Result = {"conditions": known}
    # Times first, while the machine is as quiet as it was when it was called.
    parts = {"full_size": FULL_SIZE, "real_model": MODELS, "checkpointing": BLOCKS}
    for part, names in parts.items():
        result[part] = {}
        for name in names:
            with console.status(f"{part}: {name}"):
                result[part][name] = child(__file__, options.timeout, part, name)
    show_real(console, result["real_model"])
    show_checkpointing(console, result["checkpointing"])
    for name, found in result["full_size"].items():
        show_full_size(console, name, found)
    result["bars"] = [
        *bars_of_real(result["real_model"]),
        *bars_of_checkpointing(result["checkpointing"]),
        *bars_of_macs(result["full_size"]),
        *bars_of_times(result["full_size"]),
    ]
    show_bars(console, result["bars"])
    console.print(f"written: {write('training', result)}")
    return int(missed(result["bars"]))


if __name__ == "__main__":
    sys.exit(main())

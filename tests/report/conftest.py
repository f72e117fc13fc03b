"""A trace made by hand: reports need neither the compiled core nor a model.

`pytest tests/report --overwrite` writes the golden files anew; read the diff before you commit it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from nnprof.results.profile import Profile
from nnprof.results.records import ModelFacts, StoredTrace
from tests.report import made_up_training

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--overwrite", action="store_true", help="write the golden reports anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Checks a text against a golden file, or writes it with --overwrite."""

    def check(name: str, text: str) -> None:
        file = GOLDEN / name
        if request.config.getoption("--overwrite", default=False):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8"), f"{name} differs: see --overwrite"

    return check


@dataclass
class Module:
    """A module of a made-up model. Costs are its own; those of its children are added."""

    type: str
    macs: int = 0
    flops: int = 0
    read: int = 0
    written: int = 0
    params: int = 0
    shape: tuple[int, ...] = (1, 8)
    calls: int = 1
    children: dict[str, Module] = field(default_factory=dict)


class FakeTrace:
    """A `TraceData` of one operator call a module that costs anything."""

    def __init__(self, root: Module, generic: dict[str, int], assumptions: list[str]) -> None:
        self.rows: list[dict[str, Any]] = []
        self.finished: list[int] = []
        self._generic = generic
        self._assumptions = assumptions
        self._add(root, "", 0, -1)

    def _add(self, module: Module, path: str, depth: int, parent: int) -> dict[str, Any]:
        own = {
            "macs": module.macs,
            "flops": module.flops,
            "flops_needed": module.flops,
            "bytes_read": module.read,
            "bytes_written": module.written,
        }
        row = {"path": path, "type": module.type, "depth": depth, "parent": parent}
        row |= {"calls": module.calls, "params": module.params, "own_params": module.params}
        row |= own | {f"own_{name}": value for name, value in own.items()}
        row |= {"input_shapes": [[1, 8]], "output_shapes": [list(module.shape)]}
        index = len(self.rows)
        self.rows.append(row)
        for name, child in module.children.items():
            added = self._add(child, f"{path}.{name}" if path else name, depth + 1, index)
            for key in ("params", *own):
                row[key] += added[key]
        self.finished += [index] * module.calls
        return row

    def totals(self, phase: str | None = None) -> dict[str, int]:
        names = ("macs", "flops", "flops_needed", "bytes_read", "bytes_written")
        ran = phase in (None, "forward")
        totals = {name: self.rows[0][name] if ran else 0 for name in names}
        executed = totals["flops"] - 2 * totals["macs"] // 10
        return totals | {
            "flops_executed": executed,
            "int_ops": 0,
            "calls": len(self._costly()) * ran,
        }

    def flops_by_kind(self, phase: str | None = None) -> dict[str, int]:
        totals = self.totals(phase)
        contraction = 2 * totals["macs"]
        return {"contraction": contraction, "add": totals["flops"] - contraction, "int_ops": 0}

    def layers(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.rows]

    def _costly(self) -> list[int]:
        return [index for index, row in enumerate(self.rows) if row["own_flops"]]

    def ops(self) -> dict[str, Any]:
        rows = self._costly()
        columns: dict[str, Any] = {
            name: np.array([self.rows[row][f"own_{name}"] for row in rows], dtype="int64")
            for name in ("macs", "flops", "flops_needed", "bytes_read", "bytes_written")
        }
        columns["flops_executed"] = columns["flops"] - columns["macs"] // 5
        return columns | {
            "op": [f"aten::{self.rows[row]['type'].lower()}" for row in rows],
            "scope": rows,
            "phase": ["forward"] * len(rows),
            "signature": self._numbers(),
            "input_shapes": [self.rows[row]["input_shapes"] for row in rows],
            "output_shapes": [self.rows[row]["output_shapes"] for row in rows],
            "dtype": ["float32"] * len(rows),
            "ruled": [True] * len(rows),
            "saved_bytes": np.zeros(len(rows), dtype="int64"),
            "recomputed": np.zeros(len(rows), dtype=bool),
        }

    def _numbers(self) -> list[int]:
        """The signature of each call: modules of one type and cost make equal calls."""
        known: dict[tuple[Any, ...], int] = {}
        names = ("type", "own_macs", "own_flops", "own_bytes_read", "own_bytes_written")
        keys = [tuple(self.rows[row][name] for name in names) for row in self._costly()]
        return [known.setdefault(key, len(known)) for key in keys]

    def call_index(self) -> dict[str, Any]:
        rows = self._costly()
        return {
            "scope": np.array(rows),
            "signature": np.array(self._numbers()),
            "phase": np.zeros(len(rows), dtype="int64"),
        }

    def signatures(self) -> dict[str, Any]:
        ops, numbers = self.ops(), self._numbers()
        first = [numbers.index(number) for number in range(max(numbers) + 1)]
        columns = {
            name: [ops[name][call] for call in first]
            for name in ("op", "input_shapes", "output_shapes", "dtype")
        }
        products = [2 * int(ops["macs"][call]) for call in first]
        return columns | {
            "contraction_flops": products,
            "contraction_flops_executed": [flops - flops // 10 for flops in products],
            "contraction_flops_model": products,
            "contraction_flops_needed": products,
        }

    def module_calls(self) -> dict[str, Any]:
        shapes = [self.rows[row]["output_shapes"] for row in self.finished]
        return {"layer": list(self.finished), "output_shapes": shapes}

    def memory(self) -> dict[str, Any]:
        """As if nothing that is written were ever freed."""
        rows = self._costly()
        written = [self.rows[row]["own_bytes_written"] for row in rows]
        held = {"parameters": 4 * self.rows[0]["params"], "inputs": 602_112}
        live = sum(held.values()) + np.cumsum(written)
        held["activations"] = sum(written)
        return {
            "peak": int(live[-1]),
            "peak_call": len(rows) - 1,
            "at_peak": held,
            "phases": {"forward": {"peak": int(live[-1]), "after": held}},
            "at_peak_by_layer": [(1, {"inputs": held["inputs"]})]
            + [(row, {"activations": bytes_}) for row, bytes_ in zip(rows, written, strict=True)],
            "kept_by_layer": [],
            "live": live,
            "highest": live,
        }

    def coverage(self) -> dict[str, dict[str, int]]:
        ruled: dict[str, int] = {}
        for op in self.ops()["op"]:
            ruled[op] = ruled.get(op, 0) + 1
        return {"ruled": ruled, "generic": self._generic}

    def requests(self) -> None:
        return None

    def collectives(self) -> dict[str, list[Any]]:
        return {}

    def assumptions(self) -> list[str]:
        return list(self._assumptions)


def make_profile(
    root: Module,
    name: str = "Net",
    generic: dict[str, int] | None = None,
    assumptions: list[str] | None = None,
    **facts: Any,
) -> Profile:
    trace = FakeTrace(root, generic or {}, assumptions or [])
    params = trace.rows[0]["params"]
    known = {"params": params, "trainable_params": params, "parameter_bytes": 4 * params}
    return Profile(trace, ModelFacts(name, **(known | facts)), trace_s=0.0015)


def convolution(macs: int = 4_000_000, params: int = 1_728) -> Module:
    return Module("Conv2d", macs, 2 * macs, 600_000, 3_200_000, params, (1, 64, 112, 112))


def relu(flops: int = 800_000) -> Module:
    return Module("ReLU", 0, flops, 4 * flops, 4 * flops, 0, (1, 64, 112, 112))


def block() -> Module:
    children = {"conv1": convolution(), "relu": relu(), "conv2": convolution()}
    return Module("Block", flops=900_000, read=7_200_000, written=3_600_000, children=children)


@pytest.fixture
def cnn() -> Profile:
    """A residual network with repeats, own work, and a module that is never called."""
    shared = relu()
    shared.calls = 2
    stages = Module("Sequential", children={str(index): block() for index in range(4)})
    head = Module("Linear", 64_000, 129_000, 260_000, 4_000, 65_000, (1, 1000))
    children = {
        "stem": convolution(118_000_000, 9_408),
        "act": shared,
        "stages": stages,
        "fc": head,
    }
    return make_profile(
        Module("Net", children=children),
        generic={"mylib::blur": 3, "mylib::warp": 1},
        assumptions=["nonzero of an unknown mask: all elements taken as true (in stages.2)"],
        never_called=("aux",),
        buffers=128,
        buffer_bytes=512,
        input_bytes=602_112,
    )


def decoder_layer(hidden: int) -> Module:
    weights = hidden * hidden
    projection = Module("Linear", 8 * weights, 16 * weights, 2 * weights, 16 * hidden, weights)
    attention = Module(
        "Attention",
        macs=64 * hidden,
        flops=130 * hidden,
        read=48 * hidden,
        written=16 * hidden,
        children=dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), projection),
    )
    up = Module("Linear", 32 * weights, 64 * weights, 8 * weights, 64 * hidden, 4 * weights)
    mlp = Module("MLP", children={"up_proj": up, "act_fn": relu(hidden), "down_proj": up})
    norm = Module("RMSNorm", 0, 32 * hidden, 32 * hidden, 16 * hidden, hidden, (1, 8, hidden))
    children = {"norm1": norm, "self_attn": attention, "norm2": norm, "mlp": mlp}
    return Module("DecoderLayer", shape=(1, 8, hidden), children=children)


@pytest.fixture
def decoder() -> Profile:
    """126 equal decoder layers under a module list, which is never called itself."""
    layer = decoder_layer(4096)
    children = {"embed": Module("Embedding", 0, 0, 64, 65_536, 4_096 * 128_256)}
    children |= {f"layers.{index}": layer for index in range(126)}
    model = Module("Model", children=children)
    head = Module("Linear", 4096 * 128_256, 2 * 4096 * 128_256, 4096, 128_256, 4096 * 128_256)
    return make_profile(Module("Llama", children={"model": model, "lm_head": head}), "Llama")


@pytest.fixture
def alternating() -> Profile:
    """Blocks of two kinds in turn, which fold, and plain layers in turn, which must not."""
    blocks = {f"blocks.{index}": decoder_layer(64 if index % 2 else 128) for index in range(8)}
    plain = {str(index): relu() if index % 2 else convolution() for index in range(6)}
    plain |= {"6": relu(), "7": relu()}
    children = blocks | {"features": Module("Sequential", children=plain)}
    return make_profile(Module("Mixed", children=children), "Mixed")


@pytest.fixture
def training(cnn: Profile) -> Profile:
    """A training step of the residual network, one of its blocks checkpointed."""
    return made_up_training.trained(cnn, "stages.1")


@pytest.fixture
def stored(cnn: Profile) -> dict[str, Any]:
    """What a trace gives to a file."""
    return StoredTrace.to_dict(cnn.data)

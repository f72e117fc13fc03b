"""Which runs fit which GPUs: each cell is what `fits` says of it, and each run is traced once."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import nnprof
from nnprof.base.packages import import_torchvision
from nnprof.errors import InputError, MissingExtraError
from nnprof.fitting import fit as fit_module
from nnprof.fitting import methods_of
from nnprof.fitting.methods import quantized
from nnprof.hardware import Hardware, find

if TYPE_CHECKING:
    from pathlib import Path

    from nnprof.fitting import Grid

transformers = pytest.importorskip("transformers")
if find_spec("torchvision"):
    import_torchvision()  # which transformers asks for where it is installed

ORDER = ("no", "too close to tell", "yes")
BATCHES, SEQUENCES = (1, 2, 4), (64, 256)
LLAMA = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def llama() -> nn.Module:
    with torch.device("meta"):
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA)).train()


def gpu(name: str, mib: float) -> Hardware:
    """An A100 with so much memory, whose context takes 4 to 12 MiB."""
    memory = {"total": mib * 2.0**20, "context_low": 4.0, "context": 8.0, "context_high": 12.0}
    return replace(find("a100"), name=name, memory_bytes=round(mib * 2**20), process=memory)


#: Of them some are too small for some of the runs.
GPUS = [gpu("small", 30), gpu("middle", 46), gpu("large", 90)]


@pytest.fixture(scope="module")
def grid() -> Grid:
    """Without checkpoints and with, on three devices."""
    methods = methods_of(llama, ["full", "full+checkpoint"])
    return nnprof.fits_grid(methods, GPUS, batch=BATCHES, sequence=SEQUENCES, train=True)


def test_each_cell_is_what_fits_says(grid: Grid) -> None:
    model = llama()
    checkpoints = {"full": None, "full+checkpoint": "model.layers.*"}
    devices = {device.name: device for device in GPUS}
    assert len(grid.cells) == len(checkpoints) * len(BATCHES) * len(SEQUENCES) * len(GPUS)
    for cell in grid.cells[::5]:  # of every method, batch, sequence and device
        alone = nnprof.fits(
            model,
            devices[cell.gpu],
            batch=cell.batch,
            sequence=cell.sequence,
            train=True,
            checkpoint=checkpoints[cell.method],
        )
        memory = alone.memory
        assert (cell.verdict, cell.spare) == (alone.verdict, alone.spare)
        assert (cell.process, cell.margin, cell.total) == (
            memory.process,
            memory.margin,
            memory.total,
        )


@pytest.mark.parametrize(
    ("along", "better"),
    [("batch", False), ("sequence", False), ("total", True)],
)
def test_verdicts_know_one_direction(grid: Grid, along: str, better: bool) -> None:
    """More asked for is no better, a larger device no worse; and there are all answers."""
    names = {"batch", "sequence", "total"} - {along} | {"method"}
    lines: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in grid.rows:
        lines.setdefault(tuple(row[name] for name in sorted(names)), []).append(row)
    for line in lines.values():
        line.sort(key=lambda row: row[along])
        for less, more in pairwise(line):
            verdicts = ORDER.index(less["verdict"]), ORDER.index(more["verdict"])
            assert verdicts == tuple(sorted(verdicts, reverse=not better))
            assert (less["spare"] < more["spare"]) is better
    assert {row["verdict"] for row in grid.rows} == set(ORDER)


def test_each_run_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    traced, built = [], []
    real = fit_module.fit_of

    def noted(plan: Any) -> Any:
        traced.append(plan)
        return real(plan)

    def build() -> nn.Module:
        built.append(llama())
        return built[-1]

    monkeypatch.setattr(fit_module, "fit_of", noted)
    methods: dict[str, Any] = {
        "one": build,
        "two": (build, {"alloc_conf": "expandable_segments:True"}),
    }
    found = nnprof.fits_grid(methods, GPUS, batch=(1, 2), sequence=[64, 128])
    assert len(traced) == 2 * 2 * 2
    assert len(built) == 2
    assert len(found.cells) == 2 * 2 * 2 * len(GPUS)
    assert [plan.alloc_conf is None for plan in traced] == [True] * 4 + [False] * 4


def test_a_model_alone_and_one_size_each() -> None:
    found = nnprof.fits_grid(llama(), "8GB", batch=2, sequence=None)
    (row,) = found.rows
    assert (row["method"], row["batch"], row["sequence"]) == ("LlamaForCausalLM", 2, None)
    assert (row["gpu"], row["verdict"]) == ("8GB", "yes")
    alone = nnprof.fits(llama(), "8GB", batch=2)
    assert (row["process"], row["spare"]) == (alone.memory.process, alone.spare)


def test_prints_a_line_for_each_run(grid: Grid) -> None:
    title, _, *lines, caption = str(grid).splitlines()
    assert title.split() == ["Method", "Sequence", "Batch", "small", "middle", "large"]
    assert [line.split()[:3] for line in lines[:4]] == [
        ["full", "64", "1"],
        ["full", "64", "2"],
        ["full", "64", "4"],
        ["full", "256", "1"],
    ]
    assert len(lines) == 2 * len(BATCHES) * len(SEQUENCES)
    assert "yes +" in lines[0]
    assert "no -" in lines[5]
    assert caption.startswith("The verdict")


def test_is_a_frame(grid: Grid) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(grid.rows)
    assert list(frame) == [
        "method",
        "batch",
        "sequence",
        "gpu",
        "verdict",
        "process",
        "spare",
        "margin",
        "total",
    ]
    wide = frame.pivot(index=["method", "batch", "sequence"], columns="gpu", values="spare")
    assert wide.shape == (12, 3)


# Methods by name.


def test_weights_in_four_bits_are_held_with_one_of_them_unpacked() -> None:
    found = nnprof.fits_grid(methods_of(llama, ["nf4"]), "8GB", batch=1, sequence=64)
    model = llama()
    beside = quantized(model, "nf4")
    alone = nnprof.fits(model, "8GB", batch=1, sequence=64, beside=beside)
    assert found.rows[0]["process"] == alone.memory.process


def test_adapters_are_put_on_each_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in of peft, which freezes what it is given."""
    asked: list[Any] = []

    def get_peft_model(model: Any, config: Any) -> Any:
        asked.append((config, model.model.layers[0].mlp.up_proj.weight.requires_grad))
        return model.requires_grad_(False)

    peft = SimpleNamespace(get_peft_model=get_peft_model, LoraConfig=lambda **config: config)
    monkeypatch.setitem(sys.modules, "peft", peft)
    methods = methods_of(llama, ["lora", "qlora+checkpoint"], lora="r=4")
    built = {name: build() for name, build in methods.items()}
    assert asked == [
        ({"target_modules": "all-linear", "r": 4}, True),
        ({"target_modules": "all-linear", "r": 4}, False),  # quantized before, and so frozen
    ]
    assert built["lora"][1] == {}
    assert built["qlora+checkpoint"][1] == {
        "checkpoint": ["model.layers.*"],
        "beside": 4 * LLAMA["vocab_size"] * LLAMA["hidden_size"],
    }


def test_refuses_methods_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no method is called 'dora': there are full, lora"):
        methods_of(llama, ["full", "dora"])
    (build,) = methods_of(lambda: nn.Linear(2, 2), ["full+checkpoint"]).values()
    with pytest.raises(InputError, match="Linear has no list of equal blocks"):
        build()
    _hide(monkeypatch, "peft")
    with pytest.raises(MissingExtraError, match="pip install peft"):
        methods_of(llama, ["full", "lora"])


def _hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"gpus": []}, "gpus= is empty"),
        ({"gpus": ["h100", "h100-sxm"]}, "gpus= has 'h100-sxm' twice"),
        ({"gpus": ["h1000"]}, "no hardware is called"),
        ({"gpus": ["80"]}, "without a unit"),
        ({"gpus": 80}, "hardware is a name"),
        ({"methods": {}}, "methods= is empty"),
        ({"methods": {"full": "llama"}}, r"methods\['full'\] is or builds a str: give a model"),
        ({"methods": {"full": (llama,)}}, "a tuple: give a model"),
        ({"methods": {"full": lambda: None}}, "a NoneType: give a model"),
        ({"methods": {"full": lambda: (llama(), {"shape": 1})}}, "shape= is no option"),
        ({"methods": {"full": (llama, {"width": 1})}}, "width= is no option"),
        ({"methods": {"full": lambda width: width}}, r"takes no arguments, but: .*'width'"),
        ({"batch": ()}, "batch= is empty"),
        ({"batch": (1, 0)}, "batch= has 0: sizes are whole"),
        ({"batch": True}, "batch= has True"),
        ({"batch": (2, 2)}, "batch= has 2 twice"),
        ({"sequence": -8}, "sequence= has -8"),
        ({"sequence": "64"}, "sequence= has '64'"),
        ({"sequence": (64, None)}, "sequence= has None"),
        ({"shape": (1, 64)}, "shape= is no option of a grid's runs: there are alloc_conf=, "),
        ({"alloc_conf": "a:b"}, "no option 'a'"),
        ({"optimizer": "adamw"}, "pass backward=True"),
    ],
)
def test_refuses_before_anything_is_traced(
    asked: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> None:
        raise AssertionError("it was traced")

    monkeypatch.setattr(fit_module, "fit_of", fail)
    methods, gpus = asked.pop("methods", llama), asked.pop("gpus", "8GB")
    with pytest.raises(InputError, match=message):
        nnprof.fits_grid(methods, gpus, **asked)


# The picture.


def test_draws_a_picture(grid: Grid, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    grid.plot(tmp_path / "grid.svg")
    text = (tmp_path / "grid.svg").read_text(encoding="utf-8")
    # Letters are paths; what they spell stands before each as a comment.
    for shown in (
        "full, batch 1",
        "full+checkpoint, batch 4",
        "large: 94.37 MB",
        "sequence",
        "256",
    ):
        assert f"<!-- {shown}" in text
    grid.plot(tmp_path / "grid.PNG")
    assert (tmp_path / "grid.PNG").read_bytes().startswith(b"\x89PNG")


def test_draws_over_the_batch_where_there_is_no_sequence(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = nnprof.fits_grid(llama, GPUS, batch=BATCHES, sequence=None)
    found.plot(tmp_path / "grid.svg")
    text = (tmp_path / "grid.svg").read_text(encoding="utf-8")
    assert "<!-- batch -->" in text
    assert "<!-- llama -->" in text


def test_refuses_to_draw(grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(InputError, match="end its name in"):
        grid.plot(tmp_path / "grid.txt")
    with pytest.raises(InputError, match="No such file") as raised:
        grid.plot(tmp_path / "nowhere" / "grid.png")
    assert isinstance(raised.value, FileNotFoundError)
    _hide(monkeypatch, "matplotlib")
    with pytest.raises(MissingExtraError, match="pip install matplotlib"):
        grid.plot(tmp_path / "grid.png")

"""The GPU benchmark: the program as a whole on the CPU, in short; its tables, from made-up numbers.

How far anything is off, and how long it took, is no matter here.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_models, gpu_report, gpu_worker
from nnprof.timing.end_to_end import forward

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PROGRAM = BENCHMARKS / "gpu.py"


@pytest.fixture
def modules() -> SimpleNamespace:
    """The program's modules."""
    return SimpleNamespace(gpu=gpu, models=gpu_models, report=gpu_report, worker=gpu_worker)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    # One thread: others that run beside this test would make each parallel region wait for them.
    return os.environ | {"OMP_NUM_THREADS": "1", "NNPROF_CACHE_DIR": str(tmp_path / "cache")}


def run(environment: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


# --- the program ---------------------------------------------------------------------------------


def test_whole_program_on_the_cpu(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(
        environment, "--device", "cpu", "--quick", "--budget", "2", "--output", tmp_path / "out/cpu"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out/cpu.json").read_text())
    page = (tmp_path / "out/cpu.md").read_text()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["cpu.json", "cpu.md"]
    assert done.stdout.strip() == page.strip()

    assert result["conditions"].keys() >= {"device_name", "torch", "date", "threads", "versions"}
    assert result["calibration"] == {"reason": "left out with --quick"}
    assert list(result["models"]) == ["tiny-cnn", "tiny-llama"]
    for row in result["models"].values():
        assert row["reason"] is None
        assert row["params"] == (row["expected_params"] or row["params"])
        assert row["estimated"]["datasheet"].keys() == {"device_s", "wall_s"}
        assert row["replay"].keys() >= {"measured_s", "device_s", "wall_s", "verdict", "unmeasured"}
        assert row["end_to_end"]["eager_s"] > 0
        assert row["memory"]["largest_operator_bytes"] > 0
        assert row["operators"]
        assert row["title"] in page
    assert result["repeats"].keys() == result["models"].keys()
    for name, again in result["repeats"].items():
        assert again["operators"] == [one["op"] for one in result["models"][name]["operators"]]
        assert len(again["seconds"]) == len(again["operators"])
    for section in ("## Models", "## Goals", *(f"| {g} |" for g in ("E0", "E1", "M1", "M5"))):
        assert section in page


def test_device_that_is_not_there(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(environment, "--device", "mtia", "--output", tmp_path / "none")
    assert done.returncode == 2
    assert "cannot measure on 'mtia'" in done.stderr
    assert not list(tmp_path.glob("none*"))


def test_interrupted_run_keeps_what_it_has(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), "--device", "cpu", "--quick", "--budget", "600"]
    command += ["--output", str(tmp_path / "cut")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while process.stderr.read(1) != ":":  # the first model is begun
            pass
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(60) == 130
    result = json.loads((tmp_path / "cut.json").read_text())
    assert result["interrupted"]
    assert "not begun" in result["models"]["tiny-llama"]["reason"]
    assert "The run was interrupted" in (tmp_path / "cut.md").read_text()


@pytest.mark.parametrize("names", ["absent", "", "resnet50,absent"])
def test_unknown_models_are_refused(modules: SimpleNamespace, names: str) -> None:
    with pytest.raises(ValueError, match="llama-405b"):
        modules.gpu.chosen(names, quick=False)


def test_models_are_chosen_by_name(modules: SimpleNamespace) -> None:
    found = modules.gpu.chosen("whisper, resnet50", quick=False)
    assert [case.name for case in found] == ["whisper", "resnet50"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; sys.stdin.readline(); sys.exit(3)", "ended with code 3"),
        ("import sys; print('half', end='', flush=True); sys.exit(4)", "ended with code 4"),
        ("import time; time.sleep(60)", "no answer within"),
    ],
)
def test_worker_that_ends_or_hangs_is_a_reason(
    modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    worker = modules.gpu.Worker("cpu")
    monkeypatch.setattr(modules.gpu, "PATIENCE_S", 1.0)
    worker._process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert reason in worker.ask("measure", 0.0, model="any")["reason"]
    assert worker._process is None


# --- the worker ----------------------------------------------------------------------------------


def test_model_that_fails_is_a_row_with_its_reason(modules: SimpleNamespace) -> None:
    def build() -> Any:
        raise RuntimeError("no such weights\nand more")

    worker = modules.worker.Worker()
    worker.cases["broken"] = modules.models.Case("broken", "Broken", build, dict)
    answer = worker.answer({"do": "measure", "model": "broken", "seconds": 1.0})
    assert answer == {"reason": "RuntimeError: no such weights"}
    row = {"title": "Broken", **answer}
    page = modules.report.markdown({"models": {"broken": row}, "repeats": {}})
    assert "| Broken | no numbers: RuntimeError: no such weights |" in page


def test_missing_or_failing_calibration_is_told(
    modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = modules.worker.Worker()
    request = {"do": "calibrate", "seconds": 1.0}
    monkeypatch.setitem(sys.modules, "nnprof.timing.calibrate", None)
    assert "there is no calibration" in worker.answer(dict(request))["reason"]

    module: Any = ModuleType("nnprof.timing.calibrate")
    module.calibrate = lambda device, time_budget: 1 / 0
    monkeypatch.setitem(sys.modules, "nnprof.timing.calibrate", module)
    assert worker.answer(dict(request)) == {"reason": "ZeroDivisionError: division by zero"}
    assert worker.calibrated is None


def test_calibrated_hardware_is_handed_on(
    modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnprof.hardware import find

    module: Any = ModuleType("nnprof.timing.calibrate")
    module.calibrate = lambda device, time_budget: find("h100")
    monkeypatch.setitem(sys.modules, "nnprof.timing.calibrate", module)
    answer = modules.worker.Worker().answer({"do": "calibrate", "seconds": 1.0})
    assert answer["hardware"]["name"] == find("h100").name
    fresh = modules.worker.Worker()
    fresh.start("cpu", calibrated=json.loads(json.dumps(answer["hardware"])))
    assert fresh.calibrated == find("h100")


@pytest.mark.filterwarnings("ignore:CUDA is not available:UserWarning")
@pytest.mark.filterwarnings("ignore:.*profil.*:UserWarning")
def test_profiler_is_asked_where_the_worker_looks(
    modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    place: Any = forward  # which imports it, and does not export it
    assert list(inspect.signature(place.busy_seconds).parameters) == ["accelerator", "run"]
    monkeypatch.setattr(forward, "busy_seconds", lambda accelerator, run: 0.5)
    asked = place.busy_seconds
    found: list[dict[str, Any]] = []
    notes: list[str] = []
    accelerator = SimpleNamespace(synchronize=lambda: None)
    with modules.worker._watched(found, notes):
        model, x = torch.nn.Linear(3, 2), torch.ones(4, 3)
        assert place.busy_seconds(accelerator, lambda: model(x)) == 0.5
    assert place.busy_seconds is asked
    assert notes == []
    assert [(one["op"], one["calls"]) for one in found] == [("aten::linear", 1)]

    with modules.worker._watched(found, notes):
        place.busy_seconds(accelerator, lambda: 1 / 0)
    assert notes == ["its operators were not profiled: ZeroDivisionError: division by zero"]


def event(name: str, shapes: list[Any], microseconds: float, parent: Any = None) -> SimpleNamespace:
    return SimpleNamespace(
        name=name, input_shapes=shapes, device_time_total=microseconds, cpu_parent=parent
    )


def test_events_are_those_of_the_outermost_operators(modules: SimpleNamespace) -> None:
    module = event("nn.Module: Linear", [], 9.0)
    outer = event("aten::linear", [[2, 3], [4, 3], [4]], 8.0, module)
    inner = event("aten::addmm", [[4], [2, 3], [3, 4], []], 8.0, outer)
    again = event("aten::linear", [[2, 3], [4, 3], [4]], 10.0)
    found = modules.worker.by_operator([module, outer, inner, again])
    assert [(one["op"], one["calls"]) for one in found] == [("aten::linear", 2)]
    assert found[0]["seconds"] == pytest.approx(9e-6)


def test_operators_are_found_again_by_name_and_sizes(modules: SimpleNamespace) -> None:
    def operator(op: str, shapes: list[Any], measured: float | None, calls: int) -> dict[str, Any]:
        return {"op": op, "input_shapes": shapes, "measured_s": measured, "calls": calls}

    operators = [
        operator("aten::add.Tensor", [[2, 3], []], 1e-6, 1),
        operator("aten::add.Tensor", [[2, 3]], 4e-6, 2),  # other strides
        operator("aten::cat", [[2, 3], [2, 5]], 5e-6, 1),
        operator("aten::relu", [[2, 3]], None, 1),
    ]
    events = [
        event("aten::add", [[2, 3], [], []], 2.0),
        event("aten::cat", [[[2, 3], [2, 5]], []], 6.0),
        event("aten::relu", [[2, 3]], 1.0),
    ]
    found = modules.worker.beside_forward(operators, modules.worker.by_operator(events))
    assert [(one["op"], one["calls"]) for one in found] == [("aten::add", 3), ("aten::cat", 1)]
    assert found[0]["replay_s"] == pytest.approx(3e-6)
    assert found[0]["kineto_s"] == pytest.approx(2e-6)


@pytest.mark.long
def test_models_have_their_published_parameters(modules: SimpleNamespace) -> None:
    for case in modules.models.CASES:
        built = case.build()
        assert sum(p.numel() for p in built.parameters()) == case.params, case.name


# --- the tables ----------------------------------------------------------------------------------


def operator_row(measured: float | None, **changed: Any) -> dict[str, Any]:
    return {
        "op": "aten::mm",
        "op_class": "matmul",
        "input_shapes": [[8, 4], [4, 2]],
        "calls": 10,
        "estimated_s": {"datasheet": 1.2e-4, "calibrated": 1.02e-4},
        "measured_s": measured,
        "warm_s": None,
        "status": "measured" if measured else "no memory",
        "note": "",
    } | changed


def model_row(title: str, device_s: float, busy_s: float, eager_s: float) -> dict[str, Any]:
    return {
        "title": title,
        "reason": None,
        "params": 7,
        "expected_params": 7,
        "estimated": {
            "datasheet": {"device_s": 1.3 * busy_s, "wall_s": eager_s},
            "calibrated": {"device_s": 1.04 * busy_s, "wall_s": eager_s},
        },
        "replay": {
            "measured_s": device_s,
            "device_s": device_s,
            "wall_s": 1.02 * eager_s,
            "verdict": "device-bound" if busy_s >= 0.8 * eager_s else "host-bound",
            "unmeasured": 0.0,
            "took_s": 40.0,
        },
        "end_to_end": {"eager_s": eager_s, "busy_s": busy_s, "graph_s": busy_s, "notes": []},
        "memory": {
            "device_peak_bytes": 11_000,
            "replay_peak_bytes": 10_000,
            "largest_operator_bytes": 10_000,
        },
        "operators": [operator_row(1e-4), operator_row(None, note="needs 3 GB | 2 GB free")],
        "operators_in_forward": [
            {"op": "aten::mm", "input_shapes": [[8, 4]], "calls": 10, "replay_s": 1e-4}
            | {"kineto_s": 1.01e-4}
        ],
    }


def made_up() -> dict[str, Any]:
    return {
        "conditions": {"device_name": "Made-up GPU", "torch": "2.13.0", "l2_bytes": 1_000},
        "calibration": {"hardware": {}},
        "models": {
            "wide": model_row("Wide", 1.01e-2, 1e-2, 1.05e-2),
            "narrow": model_row("Narrow", 1e-3, 1e-3, 4e-3),
            "llama-405b": model_row("Large", 1.0, 1.0, 1.01)
            | {"end_to_end": {"reason": "does not fit: needs 812 GB", "notes": []}},
        },
        "repeats": {
            "wide": {"operators": ["aten::mm", "aten::mm"], "seconds": [1.005e-4, None]},
            "narrow": {"reason": "the process ended with code -9"},
        },
    }


def verdicts(modules: SimpleNamespace, result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(goal.name, goal.verdict) for goal in modules.report.goals(result)]


def test_goals_are_judged(modules: SimpleNamespace) -> None:
    assert verdicts(modules, made_up()) == [
        ("E0", "MISSED"),
        ("E1", "met"),
        ("M1", "met"),
        ("M2", "met"),
        ("M3", "met"),
        ("M4", "met"),
        ("M4", "met"),
        ("M5", "met"),
    ]


def test_missed_goals_are_named(modules: SimpleNamespace) -> None:
    result = made_up()
    result["models"]["wide"]["replay"] |= {"device_s": 1.06e-2, "verdict": "host-bound"}
    result["models"]["narrow"]["replay"]["wall_s"] = 3e-3
    result["models"]["llama-405b"]["replay"]["took_s"] = 61.0
    result["repeats"]["wide"]["seconds"][0] = 1.02e-4
    missed = [name for name, verdict in verdicts(modules, result) if verdict == "MISSED"]
    assert missed == ["E0", "M1", "M2", "M4", "M4", "M5"]


def test_nothing_measured_is_not_judged(modules: SimpleNamespace) -> None:
    rows = {"any": {"title": "Any", "reason": "out of memory"}}
    result = {"models": rows, "repeats": {}, "interrupted": True}
    assert {verdict for _, verdict in verdicts(modules, result)} == {"not judged"}
    assert "no numbers: out of memory" in modules.report.markdown(result)


def test_page_has_every_table(modules: SimpleNamespace) -> None:
    page = modules.report.markdown(made_up())
    for text in (
        "# nnprof on Made-up GPU",
        "| Wide | 13 | 10.4 | 10.1 | 10 | 10.5 | 10 | 1.300 | 1.040 | 1.010 | 1.020 |",
        "device-bound (95%)",
        "does not fit: needs 812 GB",
        "| matmul | calibrated | 3 | 2.0% | 2.0% | 2.0% | +2.0% | 2.0% |",
        "needs 3 GB \\| 2 GB free",
        "## Replayed operators beside their kernels in the real forward",
        "| from 50 µs on | 1 | 100% |",
        "- Narrow: the process ended with code -9",
    ):
        assert text in page
    widths = {
        (before, line.count(" | "))
        for before, line in zip(page.splitlines(), page.splitlines()[1:], strict=False)
        if line.startswith("| ---")
    }
    assert all(before.count(" | ") == count for before, count in widths)

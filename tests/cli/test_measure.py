"""`nnprof measure`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import torch

import nnprof
from benchmarks.models import torchvision_model
from nnprof.report import REPORTS
from nnprof.timing.replay import replay

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

files = [report for report in REPORTS if report.suffix]


def test_prints_the_table(run: Callable[..., Any], models: Path) -> None:
    result = run("measure", f"{models}:Net", "--shape", "3,4")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Module")
    assert "144 MACs" in result.out
    assert "\x1b" not in result.out


@pytest.mark.parametrize("report", files, ids=lambda report: report.name)
def test_writes_files(report: Any, run: Callable[..., Any], models: Path, tmp_path: Path) -> None:
    file = tmp_path / "out"
    result = run("measure", f"{models}:Net", "--shape", "3,4", f"--{report.name}", file)
    assert result.code == 0
    assert "144 MACs" in result.out
    assert "144" in file.read_text()


@pytest.mark.parametrize("report", files, ids=lambda report: report.name)
def test_a_file_on_standard_output_stands_alone(
    report: Any, run: Callable[..., Any], models: Path
) -> None:
    result = run("measure", f"{models}:Net", "--shape", "3,4", f"--{report.name}", "-")
    assert result.code == 0
    assert result.out.startswith("{" if report.suffix == ".json" else "path,")


def test_saved_json_is_a_profile(run: Callable[..., Any], models: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    result = run("measure", f"{models}:Net", "--shape", "3,4", "--quiet", "--json", file)
    assert (result.code, result.out, result.err) == (0, "", "")
    profile = nnprof.Profile.load(file)
    assert profile.macs == 144
    assert profile["second"].params == 18


@pytest.mark.parametrize("report", [r for r in REPORTS if not r.suffix], ids=lambda r: r.name)
def test_other_reports(report: Any, run: Callable[..., Any], models: Path) -> None:
    options = ["--report", report.name, "--hardware", "h200"]
    result = run("measure", f"{models}:Net", "--shape", "3,4", *options)
    assert result.code == 0
    told = {"times": "By unique call", "memory": "activations"}
    assert told.get(report.name, "58") in result.out


# Training.


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], {}),
        (["--backward"], {"backward": True}),
        (["--optimizer", "adamw"], {"optimizer": "adamw"}),
        (
            ["--checkpoint", "layers.*", "--checkpoint", "head"],
            {"checkpoint": ["layers.*", "head"]},
        ),
    ],
)
def test_training_is_asked_of_measure(
    options: list[str],
    told: dict[str, Any],
    run: Callable[..., Any],
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}
    profile = nnprof.measure(torch.nn.Linear(4, 8), (3, 4))

    def measure(*_: Any, **keywords: Any) -> Any:
        asked.update(keywords)
        return profile

    monkeypatch.setattr(nnprof, "measure", measure)
    result = run("measure", f"{models}:Net", "--shape", "3,4", *options)
    assert result.code == 0
    assert ("measured in train mode" in result.err) is ("backward" in told)
    assert {
        name: asked[name] for name in ("backward", "optimizer", "checkpoint") if name in asked
    } == told


def test_backward_is_of_train_mode(run: Callable[..., Any]) -> None:
    """ResNet's batch norms use and update statistics then."""
    resnet = ["measure", "torchvision:resnet18", "--shape", "2,3,64,64", "--json", "-"]
    result = run(*resnet, "--backward")
    model = torchvision_model("resnet18")
    expected = nnprof.measure(model.train(), (2, 3, 64, 64), backward=True)
    assert json.loads(result.out)["totals"]["all"]["flops"] == expected.flops
    assert "train mode" in result.err
    forward = run(*resnet)
    assert json.loads(forward.out)["totals"]["all"]["flops"] < expected.phase("forward").flops
    assert forward.err == run(*resnet, "--backward", "--quiet").err == ""
    # The API leaves the mode to the caller.
    kept = nnprof.measure(model.eval(), (2, 3, 64, 64), backward=True)
    assert kept.flops < expected.flops


# Files.


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--json", "gone/out.json"], "cannot write gone/out.json: there is no folder gone"),
        (["--csv", "gone/out.csv", "--json", "-"], "cannot write gone/out.csv"),
        (["--csv", "{folder}"], "cannot write {folder}: it is a folder"),
        (["--json", "{folder}/x", "--csv", "{folder}/x"], "two reports would be written to"),
        (["--json", "-", "--csv", "-"], "two reports would be written to -"),
        (["--csv", "{file}/x.csv"], "there is no folder {file}"),
    ],
)
def test_a_file_that_cannot_be_written_is_said_before_the_model_is_built(
    options: list[str], complaint: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("kept")
    places = {"folder": str(tmp_path), "file": str(tmp_path / "file")}
    result = run("measure", "gone.py:Net", *(option.format(**places) for option in options))
    assert (result.code, result.out) == (1, "")
    assert complaint.format(**places) in result.err
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_folder_that_is_closed_is_said_too(run: Callable[..., Any], tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    result = run("measure", "gone.py:Net", "--json", tmp_path / "out.json")
    tmp_path.chmod(0o700)
    assert "writing there is not allowed" in result.err


# Times.


def test_hardware_gives_an_estimate(run: Callable[..., Any], models: Path) -> None:
    net = ["measure", f"{models}:Net", "--shape", "3,4"]
    assert "Estimated" not in run(*net).out
    result = run(*net, "--hardware", "h200", "--sort", "estimated_s")
    assert (result.code, result.err) == (0, "")
    assert "NVIDIA H200" in result.out
    assert "Measured" not in result.out


def test_device_measures(run: Callable[..., Any], models: Path, tmp_path: Path) -> None:
    words = ["measure", f"{models}:Words", "--shape", "32,2000", "--json", tmp_path / "out.json"]
    result = run(*words, "--device", "cpu", "--time-budget", "2", "--report", "times")
    assert (result.code, result.err) == (0, "")
    assert "Errors of the estimates" in result.out
    profile = nnprof.Profile.load(tmp_path / "out.json")
    assert profile.device == "cpu"
    assert profile.measured_s


def test_ctrl_c_while_measuring_keeps_the_report(
    run: Callable[..., Any], models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        def stop(*_: Any) -> None:
            raise KeyboardInterrupt

        return replay(*_, **__ | {"progress": stop})

    monkeypatch.setattr("nnprof.timing.measured.replay", interrupted)
    net = ["measure", f"{models}:Net", "--shape", "3,4", "--json", tmp_path / "out.json"]
    result = run(*net, "--device", "cpu", "--time-budget", "2")
    assert (result.code, result.err) == (130, "nnprof: interrupted\n")
    assert "; interrupted\n" in result.out
    assert nnprof.Profile.load(tmp_path / "out.json").macs == 144


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_said_before_the_model_is_built(
    run: Callable[..., Any],
) -> None:
    result = run("measure", "gone.py:Net", "--device", "cuda")
    assert result.code == 1
    assert result.err.startswith("nnprof: error: no cuda device is there to measure on: pass ")


def test_unknown_hardware_is_said_before_the_model_is_built(run: Callable[..., Any]) -> None:
    result = run("measure", "gone.py:Net", "--hardware", "h2000")
    assert result.code == 1
    assert "no hardware is called 'h2000': did you mean" in result.err


def test_depth_and_sort(run: Callable[..., Any], models: Path) -> None:
    shallow = run("measure", f"{models}:Net", "--shape", "3,4", "--depth", "0")
    assert "first" not in shallow.out
    result = run("measure", f"{models}:Words", "--shape", "1,5", "--sort", "macs")
    assert result.out.index("head") < result.out.index("embedding")


def test_inputs_by_name_with_a_dtype(run: Callable[..., Any], models: Path) -> None:
    named = ["--input", "input_ids=2,5:int32", "--input", "scale=8"]
    result = run("measure", f"{models}:Words", *named, "--json", "-")
    assert result.code == 0
    assert json.loads(result.out)["layers"][-1]["input_shapes"] == [[2, 5, 8]]


def test_a_floating_dtype_is_the_models_too(run: Callable[..., Any], models: Path) -> None:
    result = run("measure", f"{models}:Net", "--shape", "3,4", "--dtype", "bfloat16", "--json", "-")
    assert result.code == 0
    assert json.loads(result.out)["model"]["parameter_bytes"] == 2 * 58
    words = run("measure", f"{models}:Words", "--shape", "1,5", "--dtype", "bfloat16")
    assert words.code == 0


def test_a_librarys_model_needs_no_shape(run: Callable[..., Any]) -> None:
    resnet = ["measure", "torchvision:resnet50", "--json", "-"]
    assert (
        json.loads(run(*resnet, "--batch", "2").out)["totals"]["all"]["macs"] == 2 * 4_089_184_256
    )
    result = run(*resnet, "--sequence", "5")
    assert (result.code, result.err) == (
        1,
        "nnprof: error: ResNet takes images and no sequence: leave it out\n",
    )


def test_several_positional_inputs(run: Callable[..., Any], models: Path) -> None:
    result = run("measure", f"{models}:Words", "--shape", "2,5", "--shape", "8")
    assert result.code == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["measure", "Net"], "names no model"),
        (["measure", "MODELS:Nett"], "did you mean Net?"),
        (["measure", "gone.py:Net"], "no file gone.py"),
        (["measure", "MODELS:Broken"], "the model raised LookupError: a table that is not there"),
    ],
)
def test_wrong_inputs_are_one_line_and_code_1(
    arguments: list[str], complaint: str, run: Callable[..., Any], models: Path
) -> None:
    arguments = [argument.replace("MODELS", str(models)) for argument in arguments]
    result = run(*arguments, "--shape", "3,4")
    assert result.code == 1
    assert complaint in result.err
    assert result.err.startswith("nnprof: error: ")
    assert len(result.err.splitlines()) == 1
    assert result.out == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Net.forward takes x: pass shape="),
        (["--shape", "3,0"], "at least 1, not 0"),
        (["--shape", "3,5"], "first"),
        (["--shape", "3,4", "--shape", "3,4"], "2 inputs given"),
        (["--input", "y=3,4"], "'y'"),
        (["--shape", "3,4", "--json", "gone/out.json"], "cannot write gone/out.json"),
    ],
)
def test_wrong_shapes_are_named(
    arguments: list[str], complaint: str, run: Callable[..., Any], models: Path
) -> None:
    result = run("measure", f"{models}:Net", *arguments)
    assert result.code == 1
    assert complaint in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--shape", "3,4", "--batch", "2"], "leave out --shape"),
        (["--batch", "0"], "x>=1"),
        (["--shape", "3,4", "--input", "x=3,4"], "not both"),
        (["--shape", "3x4"], "write the sizes as 1,3,224,224"),
        (["--shape", "3,4:float17"], "'float17' is no dtype"),
        (["--input", "3,4"], "has no name"),
        (["--shape", "3,4", "--dtype", "wide"], "'wide' is no dtype"),
        (["--shape", "3,4", "--dtype", "int4"], "no model computes in torch.int4"),
        (["--dtype", "float8_e4m3fn"], "no model computes in torch.float8_e4m3fn"),
        (["--shape", "3,4", "--sort", "cost"], "'macs'"),
        (["--shape", "3,4", "--depth", "-1"], "depth"),
        (["--shape", "3,4", "--time-budget", "5"], "give --device too"),
        (["--shape", "3,4", "--device", "cpu", "--time-budget", "0"], "x>0"),
        (["--shape", "3,4", "--no-such-option"], "No such option"),
    ],
)
def test_a_wrong_command_line_is_code_2(
    arguments: list[str], complaint: str, run: Callable[..., Any], models: Path
) -> None:
    result = run("measure", f"{models}:Net", *arguments)
    assert result.code == 2
    assert complaint in result.err
    assert "Traceback" not in result.err


def test_strict_fails_where_something_was_not_ruled(
    run: Callable[..., Any], models: Path, tmp_path: Path
) -> None:
    assert run("measure", f"{models}:Net", "--shape", "3,4", "--strict").code == 0
    file = tmp_path / "custom_for_cli.py"
    file.write_text(
        "import torch\n"
        "torch.library.define('nnprof_cli_test::twice', '(Tensor x) -> Tensor')\n"
        "torch.library.impl('nnprof_cli_test::twice', 'CompositeExplicitAutograd')("
        "lambda x: x.clone())\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return torch.ops.nnprof_cli_test.twice(x)\n"
    )
    assert run("measure", f"{file}:Net", "--shape", "3,4").code == 0
    result = run("measure", f"{file}:Net", "--shape", "3,4", "--strict")
    assert result.code == 1
    assert "nnprof_cli_test::twice" in result.err

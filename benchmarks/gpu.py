"""Estimates, replays and real forwards side by side on this machine's GPU: one command.

    python benchmarks/gpu.py [--device cuda] [--models resnet50,llama-405b] [--budget 420]

Builds nnprof if that was not done, calibrates the time model, and measures the models of
`gpu_models.py`: each operator alone, the whole forward eager, as a CUDA graph and under Kineto,
beside the estimates from the datasheet and from the calibration. Some models' operators are timed
again in another process. Writes results/gpu-<device>.json and .md, anew after each model, so that a
run that is ended keeps what it has; Ctrl-C keeps what was measured of the model under way, too.

`--quick` takes small stand-ins and no calibration, to try the program on any device; that, like a
run on the CPU, writes only to `--output`.

Exits with 1 if a model has no numbers, with 2 if the device is not there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import gpu_report
from benchmarks.gpu_models import CASES, QUICK_CASES

if TYPE_CHECKING:
    from benchmarks.gpu_models import Case

# torch is not imported here, nor what imports it: the device belongs to the worker alone.

Result = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
WORKER = Path(__file__).with_name("gpu_worker.py")
RESULTS = Path(__file__).with_name("results")

BUDGET_S = 420.0
QUICK_BUDGET_S = 8.0
CALIBRATION_S = 60.0
#: Over a model's share of the time, in which its operators are timed again.
REPEAT_SHARE = 0.5
#: An answer may take so much longer than its request allows. Then the worker is taken to hang.
PATIENCE = 2.0
PATIENCE_S = 45.0
START_S = 120.0
#: After Ctrl-C, for the worker to tell what it has.
LAST_WORDS_S = 20.0


class NoDeviceError(Exception):
    """There is nothing to measure on."""


class Worker:
    """The process that has the device. It is started anew where it ended or hung."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._process: subprocess.Popen[bytes] | None = None
        self.calibrated: Result | None = None
        #: What the first one told of the device.
        self.known: Result = {}

    def ask(self, do: str, seconds: float, **request: Any) -> Result:
        """The answer, or the reason why there is none."""
        if self._process is None:
            self._start()
        answer = self._exchange(
            PATIENCE * seconds + PATIENCE_S, {"do": do, "seconds": seconds, **request}
        )
        if "broken" in answer:
            self.end()
        return answer

    def begin(self) -> None:
        """Starts a process, and builds the extension if it is missing."""
        if self._process is None:
            self._start()

    def _start(self, build: bool = True) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C comes here, and is passed on once
        )
        request = {"do": "start", "device": self._device, "calibrated": self.calibrated}
        answer = self._exchange(START_S, request)
        if build and "unbuilt" in answer:
            self.end()
            _build(answer["unbuilt"])
            self._start(build=False)
            return
        if answer.get("interrupted"):
            raise KeyboardInterrupt
        if "conditions" not in answer:
            self.end()
            raise NoDeviceError(answer.get("unbuilt") or answer["reason"])
        self.known = self.known or answer

    def _exchange(self, timeout: float, request: Result) -> Result:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._gone()
        try:
            return self._line(timeout)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            return self._line(LAST_WORDS_S) | {"interrupted": True}

    def _line(self, timeout: float) -> Result:
        assert self._process is not None
        output = self._process.stdout
        assert output is not None
        if not select.select([output], [], [], timeout)[0]:
            self.end()
            return {"reason": f"no answer within {timeout:.0f} s"}
        line = output.readline()
        if not line.endswith(b"\n"):
            return self._gone()
        answer: Result = json.loads(line)
        return answer

    def _gone(self) -> Result:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        self.end()
        return {"reason": f"the process ended with code {code}"}

    def end(self) -> None:
        """Ends the process, whatever it does."""
        if self._process is None:
            return
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert stream is not None
                stream.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _build(why: str) -> None:
    print(f"Building nnprof: {why}", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "install", "--no-build-isolation", "-e", str(ROOT)]
    subprocess.run(command, check=True, stdout=sys.stderr)


class Run:
    """One run of the benchmark: what it was asked for, and what it has so far."""

    def __init__(self, options: argparse.Namespace, cases: list[Case]) -> None:
        self.options = options
        self.cases = cases
        self.started = time.monotonic()
        self.worker = Worker(options.device)
        self.result: Result = {"models": {}, "repeats": {}, "calibration": None}

    def all(self) -> None:
        """Every step; the result is written after each."""
        self.worker.begin()
        self.started = time.monotonic()  # a build takes its own time
        self.result |= {
            "conditions": self.worker.known["conditions"],
            "datasheet": self.worker.known["datasheet"],
            "options": {
                "device": self.options.device,
                "quick": self.options.quick,
                "budget_s": self.options.budget,
            },
        }
        self._calibrate()
        for number, case in enumerate(self.cases):
            share = case.share / self._shares(self.cases[number:])
            self._measure(case, share * self._left())
            self._write()
        self._repeat()

    def _calibrate(self) -> None:
        if self.options.quick:
            self.result["calibration"] = {"reason": "left out with --quick"}
            return
        seconds = min(CALIBRATION_S, self.options.budget / 6)
        answer = self._told("calibration", "calibrate", seconds)
        self.worker.calibrated = answer.get("hardware")
        self.result["calibration"] = answer
        self._write()

    def _measure(self, case: Case, seconds: float) -> None:
        most = seconds if case.most_s is None else min(seconds, 1.5 * case.most_s)
        self.result["models"][case.name] = {"title": case.title, "reason": "interrupted"}
        answer = self._told(case.title, "measure", most, model=case.name)
        row = {"title": case.title, "given_s": most, "expected_params": case.params, **answer}
        self.result["models"][case.name] = row
        if row.get("interrupted"):
            raise KeyboardInterrupt

    def _repeat(self) -> None:
        """Times operators once more: in a new process, that shares nothing with the first."""
        self.worker.end()
        measured = [c for c in self.cases if c.repeated and self._has_numbers(c)]
        for number, case in enumerate(measured):
            seconds = self._left() / (len(measured) - number)
            answer = self._told(f"{case.title}, again", "replay", seconds, model=case.name)
            self.result["repeats"][case.name] = answer
            self._write()
            if answer.get("interrupted"):
                raise KeyboardInterrupt

    def _has_numbers(self, case: Case) -> bool:
        return self.result["models"][case.name].get("reason") is None

    def _shares(self, cases: list[Case]) -> float:
        again = sum(case.repeated for case in self.cases) * REPEAT_SHARE
        return again + sum(case.share for case in cases)

    def _left(self) -> float:
        """Seconds for what comes; some, even where all are spent."""
        spent = time.monotonic() - self.started
        return max(self.options.budget - spent, 1.0)

    def _told(self, what: str, do: str, seconds: float, **request: Any) -> Result:
        print(f"{what}: ", end="", file=sys.stderr, flush=True)
        start = time.monotonic()
        answer = self.worker.ask(do, seconds, **request)
        reason = f", {answer['reason']}" if answer.get("reason") else ""
        print(f"{time.monotonic() - start:.1f} s{reason}", file=sys.stderr)
        return answer

    def finish(self) -> int:
        """Ends the worker, writes what there is, and returns the exit code."""
        self.worker.end()
        self.result["took_s"] = time.monotonic() - self.started
        for case in self.cases:
            nothing = {"title": case.title, "reason": "not begun: the run was interrupted"}
            self.result["models"].setdefault(case.name, nothing)
        self._write()
        print(gpu_report.markdown(self.result))
        if (path := self._path()) is not None:
            print(f"written: {path}.json and {path.name}.md", file=sys.stderr)
        return int(not all(map(self._has_numbers, self.cases)))

    def _write(self) -> None:
        path = self._path()
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix, text in (
            (".json", json.dumps(self.result, indent=1) + "\n"),
            (".md", gpu_report.markdown(self.result)),
        ):
            # Whole or not at all, even where the run is ended meanwhile.
            target = path.parent / (path.name + suffix)
            draft = target.with_name(target.name + ".part")
            draft.write_text(text, encoding="utf-8")
            draft.replace(target)

    def _path(self) -> Path | None:
        """Without the suffix; None where nothing is to be written."""
        if self.options.output is not None:
            given: Path = self.options.output
            return given.with_suffix("") if given.suffix in (".json", ".md") else given
        if self.options.quick or self.options.device == "cpu" or "conditions" not in self.result:
            return None
        name = str(self.result["conditions"]["device_name"]).lower()
        return RESULTS / f"gpu-{re.sub(r'[^a-z0-9]+', '-', name).strip('-')}"


def chosen(names: str | None, quick: bool) -> list[Case]:
    """The cases that are named, or all; raises `ValueError` with the names there are."""
    known = {case.name: case for case in (QUICK_CASES if quick else CASES)}
    if names is None:
        return list(known.values())
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted or any(name not in known for name in wanted):
        raise ValueError(f"--models takes some of {', '.join(known)}, with commas between")
    return [known[name] for name in dict.fromkeys(wanted)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="models: " + ", ".join(case.name for case in CASES),
    )
    parser.add_argument("--device", default="cuda", help="where to measure (default: cuda)")
    parser.add_argument("--models", metavar="A,B", help="only these (default: all)")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="default: 420; quick: 8")
    parser.add_argument("--quick", action="store_true", help="small stand-ins, no calibration")
    parser.add_argument("--output", type=Path, metavar="PATH", help="of the results, no suffix")
    options = parser.parse_args(arguments)
    if options.budget is None:
        options.budget = QUICK_BUDGET_S if options.quick else BUDGET_S
    if options.budget <= 0:
        parser.error("--budget is in seconds and must be above 0")
    try:
        run = Run(options, chosen(options.models, options.quick))
    except ValueError as error:
        parser.error(str(error))
    # `timeout` and the like end a run as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run.all()
    except NoDeviceError as error:
        print(f"cannot measure on {options.device!r}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        run.result["interrupted"] = True
        run.finish()
        return 130
    except BaseException:
        run.worker.end()
        raise
    return run.finish()


if __name__ == "__main__":
    sys.exit(main())

"""What a timing depends on, written beside every result; and where results go."""

from __future__ import annotations

import datetime
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import nnprof

RESULTS = Path(__file__).parent / "results"


def cpu_name() -> str:
    """The processor's model name, as the operating system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def version(package: str) -> str | None:
    """The installed version of ``package``, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def conditions(*packages: str) -> dict[str, Any]:
    """The machine, the date, and the versions of torch, nnprof and ``packages``."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {"nnprof": nnprof.__version__}
        | {name: version(name) for name in ("torch", *packages) if version(name)},
    }


def write(name: str, result: dict[str, Any]) -> Path:
    """Write ``result`` as ``results/<name>.json`` and return the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path

"""nnprof: what a PyTorch model costs, and why, before anyone pays for it."""

from __future__ import annotations

import importlib

import torch  # the extension needs torch's libraries loaded first

from nnprof._build import check_build

check_build(torch.__version__)

from nnprof import _core, errors  # noqa: E402
from nnprof.distributed import world  # noqa: E402
from nnprof.errors import NnprofError  # noqa: E402
from nnprof.fitting import Fit, fits, fits_grid, plan_memory  # noqa: E402
from nnprof.hardware import Hardware  # noqa: E402
from nnprof.measure import measure  # noqa: E402
from nnprof.results import registry  # noqa: E402
from nnprof.results.profile import Layer, OpTable, Profile  # noqa: E402
from nnprof.rules import register_rule  # noqa: E402
from nnprof.tracing.trace import trace  # noqa: E402

_core.set_error_types(errors)


def _import_rooms() -> None:
    """Those that are of no use before a profile is there."""
    importlib.import_module("nnprof.conventions")
    importlib.import_module("nnprof.report")


registry.filled_by(_import_rooms)

__version__: str = _core.version
__all__ = [
    "Fit",
    "Hardware",
    "Layer",
    "NnprofError",
    "OpTable",
    "Profile",
    "fits",
    "fits_grid",
    "measure",
    "plan_memory",
    "register_rule",
    "trace",
    "world",
]

"""The main job: what ResNet-50 and Llama-3.1-405B cost, without running them or having weights."""

from __future__ import annotations

import sys

from models import LLAMA_3_405B, llama, torchvision_model
from rich.console import Console

import nnprof


def show(console: Console, title: str, profile: nnprof.Profile) -> None:
    """Print the table of a profile, and under it its totals and how long the trace took."""
    console.rule(title, align="left")
    console.print(str(profile), markup=False, highlight=False)
    console.print(
        f"{title}: {profile.params:,} parameters, {profile.macs:,} MACs, "
        f"{profile.flops / 1e12:,.4g} TFLOPs, {profile.bytes / 1e9:,.4g} GB moved; "
        f"traced in {profile.trace_s * 1e3:.1f} ms",
        style="bold",
        soft_wrap=True,
    )


def main() -> int:
    """Profile both models on the meta device."""
    console = Console()
    resnet = torchvision_model("resnet50")
    show(console, "ResNet-50 at (1, 3, 224, 224)", nnprof.measure(resnet, (1, 3, 224, 224)))
    model = llama(LLAMA_3_405B)
    show(console, "Llama-3.1-405B at 1 x 8192 tokens", nnprof.measure(model, (1, 8192)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The main job: what ResNet-50 and Llama-3.1-405B cost, and how long they should take on an H200.

Nothing is run, and no weights are needed.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import nnprof
from benchmarks.models import LLAMA_3_405B, llama, torchvision_model


def main() -> int:
    """Profiles both models on the meta device and prints their tables."""
    resnet = torchvision_model("resnet50")
    print("ResNet-50 at (1, 3, 224, 224)\n")
    print(nnprof.measure(resnet, (1, 3, 224, 224), hardware="h200"))
    model = llama(LLAMA_3_405B)
    print("\n\nLlama-3.1-405B at 1 x 8192 tokens\n")
    print(nnprof.measure(model, (1, 8192), hardware="h200"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

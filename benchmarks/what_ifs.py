"""A ladder of what-ifs, against real GPUs: `python benchmarks/what_ifs.py`.

torchtune publishes what Llama-3.2-3B holds of an A100 while it is fine-tuned (batch 2, 4,096 packed
tokens, bfloat16), each row with one more thing that people turn to make it fit (README of torchtune
0.5, "Memory and training speed"; GiB of `active_bytes`). Here torchtune's own modules, losses and
quantized weights, and torchao's 8-bit AdamW, run shape-only; three steps are simulated.

Not modelled: torch.compile. Its row is left out, and cross entropy is taken as Inductor fuses it in
the rows behind it: it holds no tensor as wide as the vocabulary but the gradient. So the rows from
the second to activation checkpointing are one change here. "Fused optimizer" is torchtune's
"optimizer step fused into the backward", for a fused kernel alone would save nothing that lasts.
Activations are offloaded as torchtune does without streams: all but those of the output head.

"8-bit AdamW" is no more than that in the table; the text above it says `AdamW8bit`, and torchtune's
page on memory names torchao's class of that name first (bitsandbytes' is paged there). Its step is
compiled, so it has two bounds: fused, where it holds nothing but what goes in and comes out, and
eager, where each of its operators leaves its result in memory. What really lies between the two is
not judged, for they are too far apart to be a forecast. (Inductor of torch 2.13 makes two float32
tensors of the parameter's size for it, which is no more than the backward holds: 15.9 GiB again.
Where it tries configurations, in the first step, it copies what the kernel writes besides.) LoRA is
not on top of the row above it, which has another optimizer: its change is judged from what that row
really holds.

Needs torchtune 0.6 and torchao 0.17 on PYTHONPATH; what else torchtune imports, for data sets, is
replaced.
"""

from __future__ import annotations

import sys
import types
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock, patch

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import nnprof
from benchmarks import conditions
from benchmarks.bars import bar, missed, show_bars

if TYPE_CHECKING:
    from collections.abc import Callable

GIB = 2**30
GPU = "a100"
BATCH, TOKENS, STEPS, CHUNKS = 2, 4096, 3, 8
LORA = {
    "lora_attn_modules": ["q_proj", "v_proj", "output_proj"],
    "apply_lora_to_mlp": True,
    "lora_rank": 64,
    "lora_alpha": 128,
    "lora_dropout": 0.0,
}


@dataclass(frozen=True)
class Rung:
    name: str
    published: float  #: GiB
    model: str = "llama3_2_3b"
    fused_loss: bool = True
    checkpoints: bool = True
    in_backward: bool = False
    offloads: bool = False
    eight_bits: bool = False
    on_top: bool = True  #: of the one above


RUNGS = (
    Rung("packed", 60.0, fused_loss=False, checkpoints=False),
    Rung("+ compiled chunked cross entropy, checkpoints", 24.9),
    Rung("+ optimizer in backward", 23.1, in_backward=True),
    Rung("+ activation offload", 21.8, in_backward=True, offloads=True),
    Rung("+ 8-bit AdamW", 17.6, in_backward=True, offloads=True, eight_bits=True),
    Rung("LoRA", 8.5, model="lora_llama3_2_3b", offloads=True, on_top=False),
    Rung("QLoRA", 4.6, model="qlora_llama3_2_3b", offloads=True),
)


#: What torchtune imports to read data and checkpoints.
NOT_NEEDED = (
    "datasets",
    "datasets.distributed",
    "omegaconf",
    "tiktoken",
    "tiktoken.load",
    "sentencepiece",
    "blobfile",
    "torchdata",
    "torchdata.nodes",
    "kagglehub",
)


def import_torchtune() -> None:
    """Without the packages that it takes data from, and names that torchao has dropped."""
    for name in NOT_NEEDED:
        stand_in(name)
    import torchao.quantization as quantization

    for name in ("int4_weight_only", "int8_dynamic_activation_int4_weight"):
        if not hasattr(quantization, name):
            setattr(quantization, name, MagicMock())


def stand_in(name: str) -> None:
    try:
        __import__(name)
    except ImportError:
        spec = types.SimpleNamespace(name=name)
        sys.modules[name] = MagicMock(__spec__=spec, __version__="3.0.0", __path__=[])


class FusedCrossEntropy(torch.autograd.Function):
    """What one compiled kernel each way reads, keeps and writes; shapes alone."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        sums = torch.empty(logits.shape[0], dtype=torch.float32, device=logits.device)
        ctx.save_for_backward(logits, labels, sums)
        return torch.empty((), dtype=torch.float32, device=logits.device)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, None]:
        return torch.empty_like(ctx.saved_tensors[0]), None


def loss_of(rung: Rung, model: Any) -> nn.Module:
    if not rung.fused_loss:
        return nn.CrossEntropyLoss(ignore_index=-100)
    from torchtune.modules.loss import CEWithChunkedOutputLoss

    model.set_num_output_chunks(CHUNKS)
    loss: nn.Module = CEWithChunkedOutputLoss(CHUNKS)
    loss.compute_cross_entropy = FusedCrossEntropy.apply  # type: ignore[assignment]
    return loss


def built(rung: Rung) -> Any:
    from torchtune.models import llama3_2
    from torchtune.modules.peft import get_adapter_params, set_trainable_params

    adapters = rung.model != "llama3_2_3b"
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            model = getattr(llama3_2, rung.model)(**(LORA if adapters else {}))
    finally:
        torch.set_default_dtype(torch.float32)
    if adapters:
        set_trainable_params(model, get_adapter_params(model))
    for module in model.modules():  # their tables are computed
        if hasattr(module, "rope_init") and not module.is_cache_built:
            module.rope_init()
            module.to("meta")
    return model.train()


def offloading(model: Any) -> Callable[[], Any]:
    """As torchtune's manager, which leaves out the output head, without its streams."""
    from torchtune.training._activation_offloading import NoOpManager

    as_they_are = NoOpManager()
    head = model.output.linear if hasattr(model.output, "linear") else model.output
    head.register_forward_pre_hook(lambda *_: as_they_are.__enter__())
    head.register_forward_hook(lambda *_: as_they_are.__exit__(), always_call=True)
    return torch.autograd.graph.save_on_cpu


def optimizer_of(rung: Rung, parameters: list[Any]) -> torch.optim.Optimizer:
    if not rung.eight_bits:
        return torch.optim.AdamW(parameters, lr=2e-5, fused=True)
    from torchao.optim import AdamW8bit

    made: torch.optim.Optimizer = AdamW8bit(parameters, lr=2e-5)
    return made


@dataclass(frozen=True)
class Bounds:
    """GiB: of a step that is compiled all that can be told; of others, the same twice."""

    least: float
    most: float

    def distance(self, real: float, allowed: float) -> float | None:
        """How far off `real` is; None where it lies between bounds too wide to tell."""
        off = max(self.least - real, real - self.most, 0.0)
        return off if off or self.most - self.least <= allowed else None

    def __sub__(self, other: Bounds) -> Bounds:
        return Bounds(self.least - other.most, self.most - other.least)

    def __format__(self, how: str) -> str:
        least, most = format(self.least, how), format(self.most, how)
        return least if least == most else f"{least} to {most}"


def bounds(rung: Rung) -> Bounds:
    with torch.compiler.set_stance("force_eager"):
        most = held(rung)
        if not rung.eight_bits:
            return Bounds(most, most)
        with patch("torchao.optim.adam.single_param_adam", lambda *_: None):
            return Bounds(held(rung), most)


def after_backward(rung: Rung, model: nn.Module) -> Callable[[], None]:
    """What is to be done then: nothing where hooks do it in the backward."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not rung.in_backward:
        optimizer = optimizer_of(rung, trained)

        def step_all() -> None:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return step_all
    steps = {parameter: optimizer_of(rung, [parameter]) for parameter in trained}

    def step_one(parameter: Any) -> None:
        steps[parameter].step()
        steps[parameter].zero_grad()

    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(step_one)
    return lambda: None


def held(rung: Rung) -> float:
    """GiB allocated at the most in three steps, the first of which makes the optimizer's state."""
    from torchtune.modules import TransformerSelfAttentionLayer
    from torchtune.training.memory import set_activation_checkpointing

    model = built(rung)
    loss_function = loss_of(rung, model)
    if rung.checkpoints:
        set_activation_checkpointing(model, auto_wrap_policy={TransformerSelfAttentionLayer})
    activations = offloading(model) if rung.offloads else nullcontext
    tokens = torch.zeros(BATCH, TOKENS, dtype=torch.int64, device="meta")
    labels = torch.zeros_like(tokens)
    ignored = torch.full((BATCH, 1), -100, device="meta")
    step = after_backward(rung, model)
    with nnprof.trace(model, backward=True, target="cuda") as running:
        running.mark_inputs([tokens, labels])
        for _ in range(STEPS):
            with activations():
                logits = model(tokens=tokens)
            shifted = torch.hstack((labels[..., 1:], ignored))
            if not isinstance(logits, list):
                shifted, logits = shifted.reshape(-1), logits.reshape(-1, logits.size(-1))
            loss = loss_function(logits, shifted)
            del logits
            loss.backward()
            del loss
            step()
    return running.profile().memory.on(GPU).allocated / GIB


def main() -> int:
    import_torchtune()
    console = Console(width=110)
    table = Table("what is turned on", "published", "nnprof", "change", "really", title="GiB")
    found, bars = [], []
    above: tuple[float, Bounds] | None = None
    for rung in RUNGS:
        own = bounds(rung)
        found.append(
            {
                "name": rung.name,
                "published_gib": rung.published,
                "nnprof_gib": own.least,
                "nnprof_most_gib": own.most,
            }
        )
        cells = [f"{rung.published:.1f}", f"{own:.2f}"]
        if above is not None:
            published, before = above
            if not rung.on_top:
                before = Bounds(published, published)
            change, really = own - before, rung.published - published
            cells += [f"{change:+.2f}", f"{really:+.1f}"]
            allowed = max(0.5, 0.2 * abs(really))
            off = change.distance(really, allowed)
            bars.append(bar(rung.name, off, "<=", round(allowed, 2), " GiB"))
        table.add_row(rung.name, *cells)
        above = rung.published, own
    console.print(table)
    show_bars(console, bars)
    result = conditions.conditions("torchtune", "torchao")
    conditions.write("what_ifs", result | {"rungs": found, "bars": bars})
    return int(missed(bars))


if __name__ == "__main__":
    raise SystemExit(main())

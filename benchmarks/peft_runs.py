"""The training runs that huggingface/peft publishes, built shape-only from their configurations.

Two suites, both on one L40S: `method_comparison/MetaMathQA` fine-tunes Llama-3.2-3B, and
`method_comparison/image-gen` FLUX.2-klein-base-4B. A run is `experiments/<method>/<name>/` there,
with its adapter_config.json. What the runs of a suite have in common is in its run.py and its
default_training_params.json, and is written down here. Needs peft, transformers and diffusers.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import nnprof
from nnprof import _core
from nnprof.base.packages import import_torchvision
from nnprof.hardware import find
from nnprof.hardware.process_memory import process_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nnprof.results.profile import Profile

GPU = "l40s"


@dataclass(frozen=True)
class Published:
    """One run, as it was published."""

    suite: str
    name: str  #: method--experiment
    reserved: int  #: bytes, the most that the allocator held while it trained
    trainable: int  #: parameters

    def experiment(self, suites: Path) -> Path:
        """The folder of its configuration."""
        method, _, name = self.name.partition("--")
        return suites / self.suite / "experiments" / method / name


def read(table: Path) -> list[Published]:
    """The runs of a CSV with the columns run (suite/name), max_reserved_bytes, trainable_params."""
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = []
    for row in rows:
        suite, _, name = row["run"].partition("/")
        reserved, trainable = int(row["max_reserved_bytes"]), int(row["trainable_params"])
        found.append(Published(suite, name, reserved, trainable))
    return found


# What the suites train, and how.


@dataclass(frozen=True)
class Suite:
    name: str
    calibration: str  #: the run to which the others' memory is compared
    base: Callable[[], nn.Module]
    #: Modules that lie on the GPU too, put there before the model.
    beside: Callable[[], list[nn.Module]]
    #: Steps of training: of the model, what lies beside it, its optimizer, a batch's tokens.
    train: Callable[[Any, list[nn.Module], torch.optim.Optimizer, int, int], None]
    #: A batch's tokens; None: they are not published, and chosen so that the calibration is right.
    tokens: int | None
    #: Steps until the cache is emptied, and how often that is done, until no more changes.
    steps: int
    rounds: int
    #: Are adapters made on the CPU? A tensor that moves does not keep what it was cut out of.
    moved: bool


LLAMA_3B = {
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
LLAMA_BATCH = 4


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    model: nn.Module = LlamaForCausalLM(LlamaConfig(**LLAMA_3B))
    return model.to(torch.bfloat16)


def train_llama(
    model: Any, _: list[nn.Module], optimizer: torch.optim.Optimizer, tokens: int, steps: int
) -> None:
    ids = torch.zeros(LLAMA_BATCH, tokens, dtype=torch.int64, device="meta")
    mask = torch.ones(LLAMA_BATCH, tokens, dtype=torch.int64)
    mask[0, -4:] = 0  # batches are sorted by length, and padded
    real = LLAMA_BATCH * tokens - 4
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        outputs = model(
            input_ids=ids, attention_mask=mask, labels=ids.clone(), num_items_in_batch=real
        )
        outputs.loss.backward()
        finish_step(model, optimizer, step)


#: The rest are defaults of Flux2Transformer2DModel; the parameters are as many as published.
FLUX_KLEIN_4B = {
    "num_layers": 5,
    "num_single_layers": 20,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}
#: 512 pixels are 32 latents of 128 channels; of 20 images, 6 are kept for validation and test.
FLUX_BATCH, IMAGES, PROMPT, CHANNELS, SIDE = 2, 14, 512, 128, 32


def flux() -> nn.Module:
    from diffusers import Flux2Transformer2DModel

    model = Flux2Transformer2DModel(**FLUX_KLEIN_4B).to(torch.bfloat16)
    model.enable_gradient_checkpointing()
    made: nn.Module = model
    return made


class FluxData(nn.Module):
    """What is computed of all images and prompts first, and stays; their encoders do not."""

    def __init__(self) -> None:
        super().__init__()
        width = FLUX_KLEIN_4B["joint_attention_dim"]
        prompts = torch.empty(IMAGES, PROMPT, width, dtype=torch.bfloat16)
        latents = torch.empty(IMAGES, CHANNELS, SIDE, SIDE, dtype=torch.bfloat16)
        self.register_buffer("prompts", prompts)
        self.register_buffer("prompt_ids", torch.empty(IMAGES, PROMPT, 4, dtype=torch.int64))
        self.register_buffer("latents", latents)

    def forward(self, chosen: Tensor) -> list[Tensor]:
        return [buffer.index_select(0, chosen) for buffer in self.buffers()]


def beside_flux() -> list[nn.Module]:
    """The data; and before it, what judges the images (facebook/dinov2-base, in float32)."""
    from transformers import Dinov2Config, Dinov2Model

    return [Dinov2Model(Dinov2Config(image_size=518)), FluxData()]


def train_flux(
    model: Any, beside: list[nn.Module], optimizer: torch.optim.Optimizer, tokens: int, steps: int
) -> None:
    data, losses = beside[-1], []
    with torch.device("meta"):
        for step in range(1, steps + 1):
            prompts, prompt_ids, latents = data(torch.zeros(FLUX_BATCH, dtype=torch.int64))
            ids = torch.zeros(FLUX_BATCH, tokens, 4, dtype=torch.int64)
            noise = torch.randn_like(latents)
            sigmas = torch.rand(FLUX_BATCH, 1, 1, 1, dtype=latents.dtype)
            noisy = (1.0 - sigmas) * latents + sigmas * noise
            optimizer.zero_grad(set_to_none=True)
            (predicted,) = model(
                hidden_states=noisy.flatten(2).permute(0, 2, 1),
                timestep=torch.rand(FLUX_BATCH),
                encoder_hidden_states=prompts,
                txt_ids=prompt_ids,
                img_ids=ids,
                return_dict=False,
            )
            predicted = unpacked(predicted)
            target = noise - latents
            squares = torch.ones_like(sigmas).float() * (predicted.float() - target.float()) ** 2
            loss = squares.flatten(1).mean(1).mean()
            loss.backward()
            losses.append(loss)  # as there
            finish_step(model, optimizer, step)


def unpacked(tokens: Tensor) -> Tensor:
    """Tokens as images, put in their places as the pipeline does."""
    places = torch.zeros(tokens.shape[1], 1, dtype=torch.int64).expand(-1, CHANNELS)
    images = [torch.zeros_like(image).scatter_(0, places, image) for image in tokens]
    return torch.stack([image.view(SIDE, SIDE, CHANNELS).permute(2, 0, 1) for image in images])


def finish_step(model: Any, optimizer: torch.optim.Optimizer, step: int) -> None:
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if hasattr(model.base_model, "update_and_allocate"):  # of AdaLoRA
        model.base_model.update_and_allocate(step)


SUITES = {
    suite.name: suite
    for suite in (
        # Every second time that the cache is emptied, the longest batch of 20 comes next.
        Suite(
            name="MetaMathQA",
            calibration="lora--llama-3.2-3B-rank32",
            base=llama,
            beside=list,
            train=train_llama,
            tokens=None,
            steps=1,
            rounds=2,
            moved=False,
        ),
        # It is emptied after each 100 steps, and images are made before.
        Suite(
            name="image-gen",
            calibration="delora--flux2-klein-default",
            base=flux,
            beside=beside_flux,
            train=train_flux,
            tokens=SIDE * SIDE,
            steps=2,
            rounds=3,
            moved=True,
        ),
    )
}


# Methods that look at values where they are made or run, and what does the same to shapes.


class BlockDiagonal(torch.autograd.Function):
    """torch.block_diag as its kernel does it; on meta it is made of other operators."""

    @staticmethod
    def forward(ctx: Any, *blocks: Tensor) -> Tensor:
        ctx.sizes = [block.shape for block in blocks]
        rows, columns = (sum(sizes) for sizes in zip(*ctx.sizes, strict=True))
        return blocks[0].new_zeros(rows, columns)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (whole,) = gradients
        found, row, column = [], 0, 0
        for height, width in ctx.sizes:
            found.append(whole[row : row + height, column : column + width])
            row, column = row + height, column + width
        return tuple(found)


def permutation(_: nn.Module, order: Tensor) -> Tensor:
    return torch.zeros(len(order), len(order))


# A run, built and traced.


def adapted(suite: Suite, experiment: Path) -> Any:
    """The model with the adapters that a run's configuration says, on meta."""
    import_torchvision()  # which transformers asks for where it is installed
    import peft
    from peft.tuners.boft.layer import BOFTLayer

    config = json.loads((experiment / "adapter_config.json").read_text(encoding="utf-8"))
    settings = peft.PeftConfig.from_peft_type(
        **{key: value for key, value in config.items() if value is not None}
    )
    with torch.device("meta"), patch.object(BOFTLayer, "perm2mat", permutation):
        try:
            model = peft.get_peft_model(suite.base(), settings)
        except (NotImplementedError, RuntimeError):
            # What makes its start of real weights: shapes are all that matters here.
            model = peft.get_peft_model(suite.base(), settings, low_cpu_mem_usage=True)
    if suite.moved:
        model = model.to_empty(device="meta")
    else:
        leave_on_cpu(model)
    return model.train()


def leave_on_cpu(model: nn.Module) -> None:
    """What peft makes on the CPU and does not move beside a layer on the GPU: it is no adapter."""
    for module in model.modules():
        if "boft_P" in module._buffers:
            shape = module.get_buffer("boft_P").shape
            del module.boft_P
            module.boft_P = torch.zeros(shape, device="cpu")


def traced(suite: Suite, model: Any, tokens: int) -> Profile:
    """All its steps, with an optimizer that has no state yet."""
    with torch.device("meta"):
        beside = suite.beside()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    there = nn.ModuleList([*beside, model])
    with (
        patch.object(torch, "block_diag", BlockDiagonal.apply),
        nnprof.trace(there, backward=True, optimizer=optimizer, target="cuda") as running,
    ):
        suite.train(model, beside, optimizer, tokens, suite.steps * suite.rounds)
    return running.profile()


def step_starts(phases: list[int]) -> list[int]:
    """The calls with which steps begin: the first forward's, and those behind an optimizer's."""
    return [
        call
        for call, phase in enumerate(phases)
        if phase == 0 and (call == 0 or phases[call - 1] == 2)
    ]


def reserved(profile: Profile, steps: int) -> int:
    """Bytes: the most that the allocator holds where its cache is emptied every so many `steps`.

    `profile.memory` knows of no `torch.cuda.empty_cache()`, which the published scripts call.
    """
    data: Any = profile.data
    requests = data.requests().columns()
    emptied = step_starts(data.call_index()["phase"].tolist())[steps::steps]
    workspace = process_memory(find(GPU)).blas_workspace
    allocator = _core.CachingAllocator()
    for there in (*requests["parameters"], *requests["others"]):
        if there:
            allocator.allocate(int(there))
    held: dict[int, int] = {}
    rows = zip(*(requests[name].tolist() for name in ("block", "call", "bytes")), strict=True)
    for block, call, asked in rows:
        while emptied and call >= emptied[0]:
            emptied.pop(0)
            allocator.empty_cache()
        if asked:
            held[block] = _address(allocator.allocate(asked if asked > 0 else workspace))
        elif block in held:
            allocator.free(held.pop(block))
    return allocator.peak_reserved


def _address(made: int | None) -> int:
    assert made is not None, "a device without a limit has always more"
    return made


def tokens_for(suite: Suite, model: Any, wanted: int) -> int:
    """The tokens with which the calibration reserves as much as it did, if there is a choice."""
    if suite.tokens is not None:
        return suite.tokens
    low, high = 64, 1024
    while high - low > 1:
        middle = (low + high) // 2
        if reserved(traced(suite, model, middle), suite.steps) <= wanted:
            low = middle
        else:
            high = middle
    return low

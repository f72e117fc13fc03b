"""What adapters reserve, against public runs: `python benchmarks/peft_memory.py --runs CSV ...`.

huggingface/peft publishes what each of its methods reserved while it fine-tuned Llama-3.2-3B on one
L40S (method_comparison/MetaMathQA: results, and experiments/ with each run's adapter_config.json).
Each is built here from its own configuration, shape-only, and two steps are simulated. The batches
that they drew are not published: one number of tokens is chosen so that plain LoRA comes out right,
and what is judged is by how much the others differ from it. Needs peft.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from rich.console import Console
from rich.table import Table

import nnprof
from benchmarks import conditions
from benchmarks.bars import bar, missed, show_bars
from nnprof.base.packages import import_torchvision

GPU = "l40s"
CALIBRATION = "lora--llama-3.2-3B-rank32"
SUITE = "MetaMathQA/"
BATCH = 4
#: Of the difference to the calibration, from which on its sign is asked for.
MATTERS = 0.05

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


def adapted(directory: Path) -> torch.nn.Module:
    """The model with the adapters that a run's configuration says, on the meta device."""
    import_torchvision()  # which transformers asks for where it is installed
    import peft
    from transformers import LlamaConfig, LlamaForCausalLM

    config = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
    settings = peft.PeftConfig.from_peft_type(
        **{key: value for key, value in config.items() if value is not None}
    )
    with torch.device("meta"):
        base = LlamaForCausalLM(LlamaConfig(**LLAMA_3B)).to(torch.bfloat16)
        try:
            model = peft.get_peft_model(base, settings, autocast_adapter_dtype=True)
        except (NotImplementedError, RuntimeError):
            # What makes its start of real weights: shapes are all that matters here.
            base = LlamaForCausalLM(LlamaConfig(**LLAMA_3B)).to(torch.bfloat16)
            model = peft.get_peft_model(
                base, settings, autocast_adapter_dtype=True, low_cpu_mem_usage=True
            )
    return model.train()


def reserved(model: torch.nn.Module, tokens: int) -> int:
    """Bytes that two training steps reserve, as the published script runs them."""
    with torch.device("meta"):
        ids = torch.zeros(BATCH, tokens, dtype=torch.int64)
    mask = torch.ones(BATCH, tokens, dtype=torch.int64)
    mask[0, -4:] = 0  # batches are sorted by length, and padded
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1)
    with nnprof.trace(model, backward=True, optimizer=optimizer) as running:
        for _ in range(2):
            optimizer.zero_grad()
            outputs = model(
                input_ids=ids,
                attention_mask=mask,
                labels=ids.clone(),
                num_items_in_batch=BATCH * tokens - 4,
            )
            outputs.loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return running.profile().memory.on(GPU).reserved


def tokens_for(model: torch.nn.Module, wanted: int) -> int:
    """How many tokens make it reserve as much as it did."""
    low, high = 64, 1024
    while high - low > 1:
        middle = (low + high) // 2
        if reserved(model, middle) <= wanted:
            low = middle
        else:
            high = middle
    return low


def experiment_of(experiments: Path, run: str) -> Path:
    method, _, name = run.removeprefix(SUITE).partition("--")
    return experiments / method / name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="run,max_reserved_bytes,...")
    parser.add_argument("--experiments", type=Path, required=True, help="a folder a method")
    parser.add_argument("--only", nargs="*", help="runs whose names contain one of these")
    arguments = parser.parse_args()
    with arguments.runs.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["run"].startswith(SUITE)]
    real = {row["run"].removeprefix(SUITE): int(row["max_reserved_bytes"]) for row in rows}
    trained = {row["run"].removeprefix(SUITE): int(row["trainable_params"]) for row in rows}
    start = adapted(experiment_of(arguments.experiments, CALIBRATION))
    tokens = tokens_for(start, real[CALIBRATION])
    base = reserved(start, tokens)
    found = []
    for run in real:
        if run == CALIBRATION or (
            arguments.only and not any(part in run for part in arguments.only)
        ):
            continue
        found.append(one(run, arguments.experiments, tokens, real, trained))
        print(found[-1], file=sys.stderr, flush=True)
    return report(found, tokens, base, real[CALIBRATION])


def one(
    run: str, experiments: Path, tokens: int, real: dict[str, int], trained: dict[str, int]
) -> dict[str, Any]:
    result: dict[str, Any] = {"run": run}
    try:
        model = adapted(experiment_of(experiments, run))
        count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        result |= {"reserved": reserved(model, tokens), "as_published": count == trained[run]}
    except Exception as error:  # one that cannot be built is told, not hidden
        return result | {"error": f"{type(error).__name__}: {str(error)[:160]}"}
    return result | {"real": real[run]}


def report(found: list[dict[str, Any]], tokens: int, base: int, real_base: int) -> int:
    console = Console(width=130)
    table = Table(title=f"Reserved beside plain LoRA's, {tokens} tokens", title_justify="left")
    for heading in ("run", "really", "predicted", "off by", ""):
        table.add_column(heading, justify="left" if heading in ("run", "") else "right")
    errors, signs, whole = [], [], []
    for result in found:
        if "error" in result:
            table.add_row(result["run"], "", "", "", result["error"])
            continue
        really, predicted = result["real"] - real_base, result["reserved"] - base
        whole.append(abs(really) / result["real"])
        result |= {"difference": predicted, "off": abs(predicted - really) / max(abs(really), 1)}
        errors.append(result["off"])
        matters = abs(really) > MATTERS * real_base
        if matters:
            signs.append((really > 0) == (predicted > 0))
        note = "" if result["as_published"] else "other parameters than published"
        table.add_row(
            result["run"],
            f"{really / 2**20:+,.0f} MiB",
            f"{predicted / 2**20:+,.0f} MiB",
            f"{result['off']:.0%}",
            note,
        )
        result.pop("real")  # theirs, not ours to publish
    console.print(table)
    bars = [
        bar("differences of the wrong sign, of those over 5 %", signs.count(False), "<=", 0, ""),
        bar("median error of the difference", 100 * statistics.median(errors), "<=", 25, " %"),
        bar(
            "for comparison: all taken as plain LoRA, of the whole",
            100 * statistics.median(whole),
            ">=",
            0,
            " %",
        ),
    ]
    show_bars(console, bars)
    result = conditions.conditions("peft", "transformers")
    conditions.write("peft_memory", result | {"tokens": tokens, "runs": found, "bars": bars})
    return int(missed(bars))


if __name__ == "__main__":
    sys.exit(main())

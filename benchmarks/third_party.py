"""nnprof on models of third-party packages: `python benchmarks/third_party.py`.

Forward and backward of each model are counted on a real run (FlopCounterMode, and by the formulas
below what it takes for free or counts wrongly), and compared with what nnprof says of the same
model; afterwards the model must be as before, and give the same output. `make bench-third-party`
installs the packages without the torch that they ask for. Prints a table by package and what is
not right, writes results/third_party.json, and exits with 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import nnprof
from benchmarks import (
    conditions,
    third_party_small,  # noqa: F401  (adds its cases)
    zoo_oracle,
)
from benchmarks.children import child
from benchmarks.third_party_models import CASES
from nnprof.base.packages import import_torchvision
from nnprof.tracing.training import default_loss

Result = dict[str, Any]
aten = torch.ops.aten
SECONDS = 300.0  # for one model

Sizes = tuple[int, ...]


# What FlopCounterMode 2.13 counts as nothing, or wrongly, in a backward: two FLOPs for each
# multiplication whose product is added to others.


def _convolution_backward(gradient: Sizes, x: Sizes, weight: Sizes, *rest: Any, **_: Any) -> int:
    transposed, mask = rest[4], rest[7]
    # Each element of the gradient (of the input, where it is transposed) met a filter of a group.
    meets = math.prod(x) * weight[1] if transposed else math.prod(gradient) * weight[1]
    return 2 * meets * math.prod(weight[2:]) * (mask[0] + mask[1])


def _attention_backward(
    _: Sizes, query: Sizes, key: Sizes, value: Sizes, *__: Any, **___: Any
) -> int:
    *batch, queries, channels = query
    products = 3 * channels + 2 * value[-1]  # the scores again, and four gradients
    return 2 * math.prod(batch) * queries * key[-2] * products


def _lstm_backward(steps: Sizes, inputs: Sizes, recurrent: Sizes, *_: Any, **__: Any) -> int:
    return 2 * 2 * steps[0] * steps[1] * (math.prod(inputs) + math.prod(recurrent))


_BY_HAND = zoo_oracle._BY_HAND | {
    aten.convolution_backward: _convolution_backward,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    aten.mkldnn_rnn_layer_backward: _lstm_backward,
}


#: What only a real run knows: whether two roundings of the same numbers are equal.
_ASSUME = {"deep_kernel": True}
#: MACs of outer products in a backward: they run as plain multiplications, which FlopCounterMode
#: takes for free. The gradient of a matrix that was multiplied by a vector is one.
_OUTER_PRODUCTS = {"local_transformer": 65_536}


def _arguments(given: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return ((), given) if isinstance(given, dict) else (given, {})


def _counted(run: Any) -> tuple[int, Any]:
    counter = FlopCounterMode(display=False, custom_mapping=dict(_BY_HAND))
    with counter:
        output = run()
    return counter.get_total_flops() // 2, output


def real_macs(model: nn.Module, given: Any) -> tuple[int, int | None]:
    """Of a real forward and its backward; None where nothing in it needs a gradient."""
    args, kwargs = _arguments(given)
    forward, output = _counted(lambda: model(*args, **kwargs))
    if not any(isinstance(x, Tensor) and x.requires_grad for x in tree_leaves(_plain(output))):
        return forward, None
    loss = default_loss(output)
    backward, _ = _counted(loss.backward)
    model.zero_grad()
    return forward, backward


def _plain(output: Any) -> Any:
    return dict(output) if hasattr(output, "keys") else output


def picture(model: nn.Module) -> dict[str, Any]:
    """All that a model holds, as far as it can be compared."""
    seen: dict[str, Any] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_") and "hooks" in name:
                seen[f"{path}.{name}"] = len(value)
            elif isinstance(value, (bool, int, float, str)):
                seen[f"{path}.{name}"] = value
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        attributes = sorted(vars(tensor))
        values = tensor.detach().clone() if type(tensor.data) is Tensor else str(type(tensor))
        seen[f"{name}="] = (tensor.device.type, tensor.requires_grad, attributes, values)
        seen[f"{name}.grad"] = tensor.grad is None
    return seen


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(n for n in before.keys() | after.keys() if not _same(before.get(n), after.get(n)))


def said(name: str, model: nn.Module, given: Any, *, backward: bool) -> nnprof.Profile:
    args, kwargs = _arguments(given)
    return nnprof.measure(
        model,
        inputs=args or None,
        kwargs=kwargs or None,
        backward=backward,
        assume=_ASSUME.get(name),
    )


def result_of(name: str) -> Result:
    package, make = CASES[name]
    torch.manual_seed(0)
    try:
        model, given = make()
    except ImportError as error:
        return {"package": package, "not_installed": str(error)[:200]}
    result: Result = {"package": package, "version": conditions.version(package.replace("_", "-"))}
    # What a first call makes (caches, lazy parts) is no business of nnprof's.
    args, kwargs = _arguments(given)
    model(*args, **kwargs)
    before = picture(model)
    try:
        profile = said(name, model, given, backward=False)
        result |= {"forward": profile.macs, "assumptions": profile.assumptions}
        result["generic"] = dict(profile.coverage.generic)
    except Exception as error:
        result["failed"] = _cause(error)
    result["changed"] = changed(before, picture(model))[:5]
    result["real_forward"], result["real_backward"] = real_macs(model, given)
    if result["real_backward"] is not None:
        result["real_backward"] += _OUTER_PRODUCTS.get(name, 0)
        before = picture(model)
        try:
            step = said(name, model, given, backward=True)
            result["forward_in_training"] = step.phase("forward").macs
            result["backward"] = step.phase("backward").macs
        except Exception as error:
            result["training_failed"] = _cause(error)
        result["changed"] += changed(before, picture(model))[:5]
    model(*args, **kwargs)  # it still runs
    return result


def _cause(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:250]}"


def verdict(result: Result) -> str:
    if "not_installed" in result:
        return "not installed"
    if "note" in result or "failed" in result or "training_failed" in result:
        return "failed"
    if result["changed"]:
        return "changed"
    right = result["forward"] == result["real_forward"]
    if result["real_backward"] is not None:
        right = right and result["forward_in_training"] == result["real_forward"]
        right = right and result["backward"] == result["real_backward"]
    return "right" if right else "wrong"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", action="append", choices=CASES, help="only these")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        import_torchvision()  # some import it, and would fail where it is built for another torch
        print(json.dumps(result_of(arguments.child)))
        return 0
    names = arguments.name or list(CASES)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        found = pool.map(lambda name: child(__file__, SECONDS, name), names)
        results = {
            name: {"package": CASES[name][0]} | one for name, one in zip(names, found, strict=True)
        }
    report(results)
    if not arguments.name:
        packages = sorted({one["package"] for one in results.values()})
        versions = conditions.conditions(*(name.replace("_", "-") for name in packages))
        models = {name: one | {"verdict": verdict(one)} for name, one in results.items()}
        path = conditions.write("third_party", {"conditions": versions, "models": models})
        print(f"written to {path}")
    return int(any(verdict(one) not in ("right", "not installed") for one in results.values()))


def report(results: dict[str, Result]) -> None:
    table = Table(title="Models of third-party packages", title_justify="left")
    columns = ("right", "wrong", "failed", "changed", "not installed")
    for title in ("package", *columns):
        table.add_column(title, justify="left" if title == "package" else "right")
    counts: dict[str, Counter[str]] = {}
    for one in results.values():
        counts.setdefault(one["package"], Counter())[verdict(one)] += 1
    counts["all"] = sum(counts.values(), Counter())
    for package, found in counts.items():
        table.add_row(package, *(str(found[name] or "") for name in columns))
    Console().print(table)
    for name, one in results.items():
        if verdict(one) not in ("right", "not installed"):
            print(name, verdict(one), {k: v for k, v in one.items() if k != "package"})


if __name__ == "__main__":
    sys.exit(main())

"""Every name that the loaders list, built once by its name: `python benchmarks/names.py`.

Its parameters must equal those of the class that the library itself makes directly, on the meta
device. Runs in child processes of some names each; prints a line a source and what cannot be built,
with the cause, and writes results/names.json. Exits with 1 where a model is not the right one.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import subprocess
import sys
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks import conditions
from nnprof.base.packages import import_torchvision
from nnprof.models import load_model
from nnprof.models.transformers_names import DEFAULTS, ON_CPU, TYPES, model_class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = dict[str, Any]

BATCH = 40  # names a child process
SECONDS = 1200.0  # for a batch


def _torchvision() -> tuple[list[str], Callable[[str], torch.nn.Module]]:
    models = import_torchvision().models

    def build(name: str) -> torch.nn.Module:
        options = {"weights": None}
        if name in models.list_models(module=models.detection) + models.list_models(
            module=models.segmentation
        ):
            options["weights_backbone"] = None
        return models.get_model(name, **options)

    return models.list_models(), build


def _timm() -> tuple[list[str], Callable[[str], torch.nn.Module]]:
    import_torchvision()
    import timm

    return timm.list_models(), timm.create_model


def _transformers() -> tuple[list[str], Callable[[str], torch.nn.Module]]:
    import_torchvision()
    import transformers

    transformers.logging.set_verbosity_error()

    def build(name: str) -> torch.nn.Module:
        config_class = transformers.CONFIG_MAPPING[TYPES.get(name, name)]
        config = config_class(**DEFAULTS.get(name, {}))
        with torch.device("cpu" if name in ON_CPU else "meta"):
            return model_class_of(config)(config)

    return list(transformers.CONFIG_MAPPING), build


def _diffusers() -> tuple[list[str], Callable[[str], torch.nn.Module]]:
    import_torchvision()
    import diffusers

    names = [
        name
        for name in diffusers._import_structure["models"]
        if isinstance(found := getattr(diffusers, name, None), type)
        and issubclass(found, diffusers.ModelMixin)
    ]
    return names, lambda name: getattr(diffusers, name)()


SOURCES = {
    "torchvision": _torchvision,
    "timm": _timm,
    "transformers": _transformers,
    "diffusers": _diffusers,
}


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def cause(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def directly(build: Callable[[str], torch.nn.Module], name: str) -> torch.nn.Module:
    try:
        with torch.device("meta"):
            return build(name)
    except NotImplementedError:  # it computes sizes with tensors, as torchvision's RegNet does
        return build(name)


def result_of(source: str, name: str, build: Callable[[str], torch.nn.Module]) -> Result:
    result: Result = {"source": source, "name": name}
    try:
        model = load_model(f"{source}:{name}")
    except Exception as error:
        return result | {"not_built": cause(error)}
    result |= {"class": type(model).__name__, "params": parameters(model)}
    try:
        direct = directly(build, name)
    except Exception as error:
        return result | {"not_direct": cause(error)}
    return result | {"direct_class": type(direct).__name__, "direct_params": parameters(direct)}


def run_as_child(source: str, names: list[str]) -> None:
    warnings.simplefilter("ignore")
    _, build = SOURCES[source]()
    for name in names:
        print(json.dumps(result_of(source, name, build)), flush=True)


def batch(source: str, names: list[str]) -> list[Result]:
    """One child's results; a name that it died at is not built, and the rest is tried again."""
    results: list[Result] = []
    while len(results) < len(names):
        rest = names[len(results) :]
        command = [sys.executable, __file__, "--child", source, *rest]
        try:
            done = subprocess.run(
                command, timeout=SECONDS, capture_output=True, text=True, check=False
            )
            said, note = done.stdout, f"the process died: {done.stderr.strip()[-200:]}"
        except subprocess.TimeoutExpired as expired:
            said = (expired.stdout or b"").decode()
            note = f"more than {SECONDS:.0f} s for a batch"
        results += [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        if len(results) < len(names):
            results.append({"source": source, "name": names[len(results)], "not_built": note})
    return results


def batches(sources: list[str], pattern: str) -> Iterator[tuple[str, list[str]]]:
    for source in sources:
        names = [name for name in SOURCES[source]()[0] if fnmatch.fnmatchcase(name, pattern)]
        for start in range(0, len(names), BATCH):
            yield source, names[start : start + BATCH]


def verdict(result: Result) -> str:
    if "not_built" in result:
        return "not built"
    if "not_direct" in result:
        return "not comparable"
    same = all(result[f"direct_{what}"] == result[what] for what in ("class", "params"))
    return "right" if same else "wrong"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", action="append", choices=SOURCES, help="only these")
    parser.add_argument("--name", default="*", help="only names that match this glob")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_as_child(arguments.child[0], arguments.child[1:])
        return 0
    work = list(batches(arguments.source or list(SOURCES), arguments.name))
    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = [one for those in pool.map(lambda one: batch(*one), work) for one in those]
    counts: dict[str, Counter[str]] = {}
    for one in results:
        counts.setdefault(one["source"], Counter())[verdict(one)] += 1
        if verdict(one) != "right":
            print(f"{one['source']}:{one['name']}: {verdict(one)}: ", end="")
            print(one.get("not_built") or one.get("not_direct") or one)
    for source, found in counts.items():
        print(source, *(f"{count} {name}" for name, count in found.most_common()), sep=", ")
    path = conditions.write(
        "names",
        {
            "conditions": conditions.conditions("torchvision", "timm", "transformers", "diffusers"),
            "counts": counts,
            "not right": {
                f"{one['source']}:{one['name']}": one.get("not_built")
                or one.get("not_direct")
                or one
                for one in results
                if verdict(one) != "right"
            },
        },
    )
    print(f"written to {path}")
    return int(any(found["wrong"] for found in counts.values()))


if __name__ == "__main__":
    sys.exit(main())

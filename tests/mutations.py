"""Does the suite notice? Draws faults into the rules, and runs the tests on each.

    python tests/mutations.py --python python3.12    # one that has torch, and the tests' extras

The faults are built into one copy of the repository, each behind a number; NNPROF_MUTANT=7 has the
seventh happen. The tests of the fault's family run first, then the everyday suite. What no test
notices is printed as a survivor.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "mutations.json"

HEADER = """\
// Faults that tests/mutations.py draws.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <c10/util/Exception.h>

#include <cstdlib>

#include "rules/rule.h"

namespace nnprof {

inline bool mutated(int number) {
  static const char* const chosen = std::getenv("NNPROF_MUTANT");
  static const int wanted = chosen == nullptr ? 0 : std::atoi(chosen);
  return number == wanted;
}

inline at::Tensor with_other_strides(const at::Tensor& made) {
  if (!made.defined() || made.dim() < 2) return made;
  std::vector<int64_t> strides(made.sizes().size());
  int64_t stride = 1;
  for (size_t i = 0; i < strides.size(); ++i) {
    strides[i] = stride;
    stride *= made.size(static_cast<int64_t>(i));
  }
  return at::empty_strided(made.sizes(), strides, made.options());
}

inline at::Tensor with_a_row_less(const at::Tensor& made) {
  if (!made.defined() || made.dim() == 0 || made.size(0) == 0) return made;
  std::vector<int64_t> sizes = made.sizes().vec();
  --sizes[0];
  return at::empty(sizes, made.options());
}

template <int number, auto outputs, auto change>
void with_changed_outputs(Stack& stack) {
  outputs(stack);
  if (!mutated(number)) return;
  for (c10::IValue& value : stack) {
    if (value.isTensor() && value.toTensor().defined() && value.toTensor().is_meta()) {
      value = change(value.toTensor());
    }
  }
}

}  // namespace nnprof

#define NNPROF_CHECK_OF_CLASS(number, KIND, ...) \\
  do {                                           \\
    if (nnprof::mutated(number)) {               \\
      TORCH_CHECK(__VA_ARGS__);                  \\
    } else {                                     \\
      TORCH_CHECK_##KIND(__VA_ARGS__);           \\
    }                                            \\
  } while (false)
"""


@dataclass(frozen=True)
class Kind:
    """One way to go wrong: where in the sources, and what stands there instead."""

    name: str
    share: int  #: how many are drawn
    pattern: re.Pattern[str]
    fault: Callable[[re.Match[str], int], str]
    files: str = "*.cpp"


def _changed(change: str) -> Callable[[re.Match[str], int], str]:
    return lambda found, n: f"with_changed_outputs<{n}, &{found[0]}, &{change}>"


KINDS = (
    Kind("an output's strides", 7, re.compile(r"boxed<&\w+>"), _changed("with_other_strides")),
    Kind(
        "a gradient's shape",
        4,
        re.compile(r"boxed<&\w+>"),
        _changed("with_a_row_less"),
        "*_backward.cpp",
    ),
    Kind("an output's shape", 4, re.compile(r"boxed<&\w+>"), _changed("with_a_row_less")),
    Kind(
        "a cost's factor",
        7,
        re.compile(r"cost\.add_macs\("),
        lambda found, n: f"cost.add_macs((mutated({n}) ? 2 : 1) * ",
    ),
    Kind(
        "bytes left out",
        4,
        re.compile(r"^(\s*)(cost\.bytes_(?:read|written) \+= [^;]*;)", re.MULTILINE),
        lambda found, n: f"{found[1]}if (!mutated({n})) {found[2]}",
    ),
    Kind(
        "an exception's class",
        4,
        re.compile(r"TORCH_CHECK_(INDEX|VALUE|TYPE|NOT_IMPLEMENTED)\("),
        lambda found, n: f"NNPROF_CHECK_OF_CLASS({n}, {found[1]}, ",
    ),
    Kind(
        "a check left out",
        4,
        re.compile(r"TORCH_CHECK\((?!false)"),
        lambda found, n: f"TORCH_CHECK(mutated({n}) || ",
    ),
)

#: Operators whose saved bytes are lost: outside of the rules, where the graph is recorded.
SAVED = ("aten::gelu", "aten::native_layer_norm", "aten::mul.Tensor", "aten::linear")
SAVED_SITE = "saved_bytes_ = run_in_graph(op_, stack_, kernel);"


@dataclass(frozen=True)
class Mutant:
    number: int
    kind: str
    file: str
    line: int
    text: str


def sites(folder: Path, kind: Kind) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in sorted((folder / "csrc" / "rules").glob(kind.files)):
        yield from ((path, found) for found in kind.pattern.finditer(path.read_text()))


def drawn(folder: Path, seed: int) -> list[tuple[Kind, Path, re.Match[str]]]:
    """Of each kind its share, no two of one kind in one file while there are others."""
    generator = random.Random(seed)
    chosen: list[tuple[Kind, Path, re.Match[str]]] = []
    for kind in KINDS:
        by_file: dict[Path, list[re.Match[str]]] = {}
        for path, found in sites(folder, kind):
            taken = any(p == path and m.span() == found.span() for _, p, m in chosen)
            if not taken:
                by_file.setdefault(path, []).append(found)
        files = generator.sample(sorted(by_file), min(kind.share, len(by_file)))
        chosen += [(kind, path, generator.choice(by_file[path])) for path in files]
    return chosen


def plant(folder: Path, seed: int) -> list[Mutant]:
    """Writes the faults into the sources of `folder`."""
    (folder / "csrc" / "rules" / "mutant.h").write_text(HEADER)
    mutants: list[Mutant] = []
    edits: dict[Path, list[tuple[tuple[int, int], str]]] = {}
    for number, (kind, path, found) in enumerate(drawn(folder, seed), 1):
        text = path.read_text()
        line = text.count("\n", 0, found.start()) + 1
        shown = text.splitlines()[line - 1].strip()
        mutants.append(Mutant(number, kind.name, path.name, line, shown))
        edits.setdefault(path, []).append((found.span(), kind.fault(found, number)))
    for path, faults in edits.items():
        text = path.read_text()
        for (start, end), fault in sorted(faults, reverse=True):
            text = text[:start] + fault + text[end:]
        path.write_text('#include "rules/mutant.h"\n' + text)
    call = folder / "csrc" / "dispatch" / "call.cpp"
    lost = []
    for operator in SAVED:
        number = len(mutants) + 1
        mutants.append(Mutant(number, "saved bytes dropped", call.name, 0, operator))
        lost.append(f'(mutated({number}) && op_.name == "{operator}")')
    text = call.read_text()
    assert SAVED_SITE in text, "call.cpp has changed: mend SAVED_SITE"
    text = text.replace(
        SAVED_SITE, f"{SAVED_SITE}\n      if ({' || '.join(lost)}) saved_bytes_ = 0;"
    )
    call.write_text('#include "rules/mutant.h"\n' + text)
    return mutants


def tests_near(mutant: Mutant, folder: Path) -> list[str]:
    """Those of the family, then those that go over all rules, which take longer."""
    family = mutant.file.removesuffix(".cpp")
    own = f"tests/rules/test_{family}.py"
    kin = [f"tests/rules/{test.name}" for test in _of_kin(folder, family)]
    near = [own, *kin, "tests/rules/test_macs.py", "tests/rules/test_rule_coverage.py"]
    if mutant.kind == "saved bytes dropped":
        near = ["tests/tracing/training/test_saved_tensors.py"]
    return [test for test in dict.fromkeys(near) if (folder / test).exists()]


def _of_kin(folder: Path, family: str) -> list[Path]:
    """`recurrent_kernels` is tested with `recurrent`, `bitsandbytes` by itself."""
    return sorted((folder / "tests" / "rules").glob(f"test_{family.partition('_')[0]}*.py"))


def notices(folder: Path, mutant: Mutant, tests: list[str]) -> str | None:
    """The first test that fails; None where all pass."""
    command: list[str | Path] = [
        *(folder / ".venv" / "bin" / "python", "-m", "pytest", "-q", "-x", "-n", "auto"),
        *(
            "--maxprocesses=8",
            "-m",
            "not long",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:benchmark",
            *tests,
        ),
    ]
    environment = os.environ | {"NNPROF_MUTANT": str(mutant.number)}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if run.returncode == 0:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE)
    return failed[1] if failed else run.stdout[-300:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="one that has torch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the copy goes, and stays")
    parser.add_argument("--whole", action="store_true", help="run all tests on what survives")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp()) / "nnprof"
    if not folder.exists():
        left_out = shutil.ignore_patterns(".git", ".venv*", "build", ".hypothesis", "__pycache__")
        shutil.copytree(ROOT, folder, ignore=left_out)
        mutants = plant(folder, asked.seed)
        (folder / "mutants.json").write_text(json.dumps([vars(one) for one in mutants]))
        make = ["make", f"PYTHON={asked.python}", "WERROR=OFF"]
        subprocess.run([*make, "build", ".venv/.nnprof/extra-test"], cwd=folder, check=True)
    mutants = [Mutant(**one) for one in json.loads((folder / "mutants.json").read_text())]
    found = []
    for mutant in mutants:
        stages = [[test] for test in tests_near(mutant, folder)] + [[]] * asked.whole
        noticed = (notices(folder, mutant, stage) for stage in stages)
        caught = next((test for test in noticed if test is not None), None)
        found.append(vars(mutant) | {"caught by": caught})
        where = f"{mutant.file}:{mutant.line}"
        print(f"{mutant.number:3} {mutant.kind}, {where}: {caught}", flush=True)  # noqa: T201
    survivors = sum(one["caught by"] is None for one in found)
    print(f"{len(found) - survivors} of {len(found)} are caught")  # noqa: T201
    RESULTS.write_text(json.dumps({"seed": asked.seed, "mutants": found}, indent=1) + "\n")
    return int(len(found) - survivors < 28)


if __name__ == "__main__":
    raise SystemExit(main())

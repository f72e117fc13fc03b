# Everything runs from a virtual environment that the first target makes; later calls re-use it and rebuild the
# extension only when its sources changed.
#
#   PYTHON=python3.12      the interpreter that the environment is made with
#   TORCH=torch==2.11.0    the torch to build against; else the one that PYTHON has, else torch==2.13.0
#   VENV=.venv             where the environment goes; one per torch lets several live side by side
#   PYTEST_ARGS="-k conv"  what `make test` hands to pytest; "-m long" is the sweeps that everyday runs do in short

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
TORCH ?=
PYTEST_ARGS ?= -n auto --maxprocesses=8 --dist=worksteal -m "not long"
WERROR ?= $(if $(filter-out 0 false no,$(CI)),ON,OFF)

OLDEST_TORCH := 2.11
DEFAULT_TORCH := torch==2.13.0

python := $(VENV)/bin/python
stamps := $(VENV)/.nnprof
constraints := $(stamps)/constraints.txt
clang_format := PATH="$(abspath $(VENV))/bin:$$PATH" xargs -r clang-format
pip_install := $(python) -m pip install -qq --disable-pip-version-check --constraint $(constraints)
sources := pyproject.toml CMakeLists.txt $(shell find csrc -name '*.cpp' -o -name '*.h')

export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: help build demo test bench bench-large bench-training bench-third-party bench-gpu lint format clean distclean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' Makefile

demo: $(stamps)/built-$(WERROR) $(stamps)/torchvision  ## profile ResNet-50 and Llama-3.1-405B on this machine, without weights
	@$(python) benchmarks/demo.py

build: $(stamps)/built-$(WERROR)  ## set up the environment and build nnprof in it, editable

test: $(stamps)/built-$(WERROR) $(stamps)/models $(stamps)/extra-test  ## run every test, the long sweeps in their short form
	@$(python) -m pytest $(PYTEST_ARGS)

bench: $(stamps)/built-$(WERROR) $(stamps)/models $(stamps)/extra-bench  ## compare with the other profilers
	@$(python) benchmarks/peers.py

bench-large: $(stamps)/built-$(WERROR) $(stamps)/models  ## hold full-size models against their published numbers
	@$(python) benchmarks/large.py

bench-training: $(stamps)/built-$(WERROR) $(stamps)/models  ## hold training steps against real ones on the CPU, and time them
	@$(python) benchmarks/training.py

bench-third-party: $(stamps)/built-$(WERROR) $(stamps)/models $(stamps)/third-party  ## hold models of other packages against real steps (give it an environment of its own: VENV=.venv-third-party)
	@$(python) benchmarks/third_party.py

bench-gpu: $(stamps)/built-$(WERROR) $(stamps)/models $(stamps)/extra-calibrate  ## estimates, replays, real forwards and training steps side by side on this machine's GPU (10 min)
	@$(python) benchmarks/gpu.py
	@$(python) benchmarks/gpu_training.py

lint: $(stamps)/requirements $(stamps)/extra-dev $(stamps)/models $(stamps)/extra-test  ## check style and types, those of the tests too
	@$(python) -m ruff check
	@$(python) -m ruff format --check
	@$(python) -m mypy
	@find csrc -name '*.cpp' -o -name '*.h' | $(clang_format) --dry-run -Werror

format: $(stamps)/requirements $(stamps)/extra-dev  ## rewrite the sources in the project's style
	@$(python) -m ruff check --fix-only
	@$(python) -m ruff format
	@find csrc -name '*.cpp' -o -name '*.h' | $(clang_format) -i

clean:  ## remove what was built; the environment stays
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis $(stamps)/built-*
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean  ## remove the environment as well
	@rm -rf '$(VENV)'

# --- the environment ---------------------------------------------------------------------------------------------

# Names every missing prerequisite at once, each with the line that installs it on Debian or Ubuntu.
define check_machine
missing=0; \
lacks() { echo "missing: $$1; on Debian or Ubuntu: apt-get install -y $$2" >&2; missing=1; }; \
if command -v "$(PYTHON)" >/dev/null; then \
  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || lacks "Python 3.11 or newer ($(PYTHON) is $$("$(PYTHON)" --version))" python3.11; \
  "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || lacks "the venv module of $(PYTHON)" python3-venv; \
  "$(PYTHON)" -c 'import os, sys, sysconfig as s; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))' \
    || lacks "the C headers of $(PYTHON) (Python.h)" python3-dev; \
else \
  lacks "$(PYTHON)" "python3 python3-venv python3-dev"; \
fi; \
if command -v "$(CXX)" >/dev/null; then \
  echo '#include <vector>' | "$(CXX)" -std=c++20 -fsyntax-only -x c++ - 2>/dev/null \
    || lacks "a C++20 compiler with its library ($(CXX) cannot compile C++20)" g++; \
else \
  lacks "the C++ compiler $(CXX)" g++; \
fi; \
[ $$missing = 0 ] || { echo "Install what is missing, then run make again." >&2; exit 1; }
endef

# Prints the folder of a torch that PYTHON has and nnprof can use; nothing if there is none.
define find_torch
import os, sys
if sys.prefix == "$(abspath $(VENV))":
    sys.exit()
try:
    import torch
    new_enough = tuple(map(int, torch.__version__.split(".")[:2])) >= tuple(map(int, "$(OLDEST_TORCH)".split(".")))
except Exception:
    sys.exit()
if new_enough:
    print(os.path.dirname(os.path.dirname(torch.__file__)))
endef

# Prints the requirements of the named tables of pyproject.toml ("build", "run", or an extra), one a line.
define read_requirements
import sys, tomllib
with open("pyproject.toml", "rb") as file:
    config = tomllib.load(file)
tables = config["project"]["optional-dependencies"] | {
    "build": config["build-system"]["requires"],
    "run": config["project"]["dependencies"],
}
print(*(line for name in sys.argv[1:] for line in tables[name]), sep="\n")
endef

# torch 2.x goes with torchvision 0.(x + 15).
define matching_torchvision
from importlib.metadata import version
major, minor = version("torch").split(".")[:2]
print(f"torchvision~=0.{int(minor) + 15}.0")
endef

export find_torch read_requirements matching_torchvision

# Another TORCH than the one last asked for starts the environment afresh: everything in it was chosen for that torch.
ifneq ($(TORCH),)
ifneq ($(TORCH),$(shell cat $(stamps)/torch 2>/dev/null))
.PHONY: $(stamps)/torch
endif
endif

$(stamps)/torch:
	@$(check_machine)
	@torch='$(TORCH)'; found=; \
	if [ -z "$$torch" ]; then found="$$('$(PYTHON)' -c "$$find_torch" 2>/dev/null)"; fi; \
	echo "Making $(VENV) with $$('$(PYTHON)' --version)"; \
	if [ -n "$$found" ]; then \
	  echo "Re-using the torch in $$found"; \
	  '$(PYTHON)' -m venv --clear --system-site-packages '$(VENV)'; \
	  $(python) -c 'import torch' 2>/dev/null \
	    || echo "$$found" > "$$($(python) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/environment.pth"; \
	else \
	  torch="$${torch:-$(DEFAULT_TORCH)}"; \
	  echo "Installing $$torch (some minutes the first time)"; \
	  '$(PYTHON)' -m venv --clear '$(VENV)'; \
	  $(python) -m pip install -qq --disable-pip-version-check "$$torch"; \
	fi; \
	mkdir -p $(stamps); \
	$(python) -c 'from importlib.metadata import version; print("torch==" + version("torch"))' > $(constraints); \
	echo "$$torch" > $@

$(stamps)/requirements: $(stamps)/torch pyproject.toml
	@echo "Installing nnprof's requirements"
	@$(python) -c "$$read_requirements" build run > $(stamps)/requirements.txt
	@$(pip_install) cmake ninja -r $(stamps)/requirements.txt
	@touch $@

$(stamps)/built-$(WERROR): $(stamps)/requirements $(sources)
	@echo "Building nnprof against $$(cat $(constraints)) (some minutes the first time)"
	@$(pip_install) --no-build-isolation --no-deps --editable . \
	  --config-settings=build-dir="build/{wheel_tag}/$$(sed 's/==/-/' $(constraints))" \
	  --config-settings=cmake.define.NNPROF_WERROR=$(WERROR)
	@touch $@

# The model zoos. torchvision and timm come without their dependencies: they name a torch, and the index's CUDA builds
# would replace the one that is there.
$(stamps)/torchvision: $(stamps)/requirements
	@echo "Installing torchvision"
	@$(pip_install) pillow
	@$(pip_install) --no-deps "$$($(python) -c "$$matching_torchvision")"
	@touch $@

$(stamps)/models: $(stamps)/torchvision
	@echo "Installing timm, transformers and diffusers"
	@$(pip_install) transformers pyyaml huggingface_hub safetensors importlib_metadata requests
	@$(pip_install) --no-deps timm diffusers
	@touch $@

$(stamps)/third-party: $(stamps)/models benchmarks/third_party.txt benchmarks/third_party_needs.txt
	@echo "Installing other packages with models"
	@$(pip_install) -r benchmarks/third_party_needs.txt
	@$(pip_install) --no-deps -r benchmarks/third_party.txt
	@touch $@

$(stamps)/extra-%: $(stamps)/requirements
	@echo "Installing the tools of the '$*' extra"
	@$(python) -c "$$read_requirements" $* > $(stamps)/extra-$*.txt
	@$(pip_install) -r $(stamps)/extra-$*.txt
	@touch $@

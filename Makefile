# SPDX-License-Identifier: Apache-2.0
# Every target makes the environment that it needs: .venv, from $(PYTHON), renewed when pyproject.toml or setup.py
# changes; the native engine is compiled again, without the network, when what it is made of changes. The demo needs
# few packages and the code for this machine's processor; tests need developers' tools and the code for all.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Modules are compiled to bytecode when they are first imported, as most of them never are.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile
# What the native engine is made of.
NATIVE := $(wildcard cpu_fallback/*.cpp gpu_bt/law/*.h) cpu_fallback/native_build.py gpu_bt/law/layout.py gpu_bt/config.py
# One worker per processor; JOBS=0 runs the tests in one process.
JOBS ?= auto
# Options of benchmarks.run, such as BENCH=--quick; stages (smoke, measure, rest) and options of benchmarks.gpu_check, such
# as GPU_CHECK="smoke --out FOLDER".
BENCH ?=
GPU_CHECK ?=
# -rs names what was skipped, and why. Workers that are done take tests from the others.
PYTEST := $(BIN)/python -m pytest -rs -n $(JOBS) --dist worksteal

# The prerequisites of what developers do.
DEV := $(VENV)/.installed $(VENV)/.native

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check docs notebook fuzz bench gpu-check peers packages clean

help:
	@echo "make demo       two runs, on real prices and on 5,000 made-up stocks: summaries, Parquet and PNG under out/"
	@echo "make test       tests in minutes: some of the drawn scenarios, a witness of each long proof"
	@echo "make check      lint, types, engines against each other, all tests and proofs, none left out for want of a tool"
	@echo "make docs       the site of docs/, with the reference of the API, in out/site/"
	@echo "make notebook   runs examples/analysis.ipynb and keeps its outputs in the file"
	@echo "make fuzz       drawn scenarios, tables, settings, grids, orders and state files, FUZZ_EXAMPLES=2000 of each"
	@echo "make bench      verify, time, write benchmarks/results/ and the tables of docs/"
	@echo "make gpu-check  the CUDA engine against the others, on a machine with a GPU"
	@echo "make peers      gpu_bt beside vectorbt, bt, backtrader, cvxportfolio, ml4t-backtest, zipline; the tables of docs/peers.md"
	@echo "make packages   sdist and wheel in bare environments of every Python here, and with the lowest versions; the network"
	@echo "make clean      remove what was made, $(VENV) aside"
	@echo
	@echo "They need Python 3.11 or newer (PYTHON=$(PYTHON)) and, the first time, the network."

demo: $(VENV)/.demo $(VENV)/.native-here $(VENV)/.data
	@echo
	$(BIN)/python examples/real_momentum.py
	@echo
	$(BIN)/python examples/large_universe.py

test: $(DEV) $(VENV)/.data $(VENV)/.cuda
	$(PYTEST)

check: $(DEV) $(VENV)/.data $(VENV)/.cuda docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/gpu-bt verify
	$(PYTEST) --exhaustive --require-tools

# Warnings are errors, dead links among them. Every page is read anew: a docstring is no file that Sphinx would look at.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -W -E --keep-going -b html docs out/site
	@echo "out/site/index.html"

notebook: $(DEV)
	$(BIN)/python tests/house/notebook.py

# What a case found is kept in .hypothesis, and tried first the next time.
fuzz: $(DEV) $(VENV)/.data
	$(PYTEST) tests/fuzz/fuzz_all.py

bench: $(DEV) $(VENV)/.data
	$(BIN)/python -m benchmarks.run $(BENCH)
	$(BIN)/python -m benchmarks.tables

# Without .venv, so that it runs where nothing can be installed: $(PYTHON) has NumPy and CuPy.
gpu-check:
	PYTHONPATH=. $(PYTHON) -m benchmarks.gpu_check $(GPU_CHECK)

# Peers do not share an environment, nor is any of them wanted in .venv. ml4t needs Python 3.12.
PEERS := shared cvxportfolio ml4t zipline
PEERS_PYTHON ?= python3.12
peers: $(PEERS:%=.venv-peers-%/.installed)
	set -e; for peers in $(PEERS); do \
		PYTHONPATH=. .venv-peers-$$peers/bin/python tests/peers/agree.py --out out/peers/$$peers.json; done
	$(PEERS_PYTHON) tests/peers/page.py $(PEERS:%=out/peers/%.json)

.venv-peers-%/.installed: tests/peers/requirements/%.txt
	$(PEERS_PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	@touch $@

# Bare environments, each made anew.
packages:
	$(PYTHON) tests/packages/check.py

clean:
	rm -rf out build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call STEP,what,command): says what goes on, and the seconds that it took.
STEP = @printf '%s ... ' "$(1)"; begun=$$(date +%s); { $(2); } && echo "$$(($$(date +%s) - begun)) s" || { echo; exit 1; }

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is no Python 3.11 or newer: pass another, as in make PYTHON=python3.12" >&2; exit 1; }
	$(call STEP,making $(VENV),$(PYTHON) -m venv $(VENV) && touch $@)

# The native engine is a step of its own, which says how it went.
INSTALL = GPU_BT_LEVELS=none $(PIP) --editable

$(VENV)/.demo: pyproject.toml setup.py | $(VENV)/.made
	$(call STEP,installing gpu_bt and what the demo needs,$(INSTALL) ".[plot]" && touch $@)

$(VENV)/.installed: pyproject.toml setup.py | $(VENV)/.made
	$(call STEP,installing gpu_bt and the tools of developers,$(INSTALL) ".[dev]" && touch $@ $(VENV)/.demo)

$(VENV)/.docs: pyproject.toml setup.py | $(VENV)/.made
	$(call STEP,installing gpu_bt and what makes the site,$(INSTALL) ".[docs]" && touch $@)

# $(call COMPILE,here,stamps): the library that runs here, or (False) those of all levels; tried again the next time where
# there is no compiler.
COMPILE = $(BIN)/python -c 'from pathlib import Path; from cpu_fallback.native_build import build; \
	reason = build(Path("cpu_fallback"), here=$(1)); \
	reason and print(f"none: {reason}; runs go on in NumPy, many times slower", end=" ... ")' && { test -e cpu_fallback/_native_reason.txt || touch $(2); }

$(VENV)/.native-here: $(NATIVE) | $(VENV)/.demo
	$(call STEP,compiling the native engine for this processor,rm -f $(VENV)/.native && $(call COMPILE,True,$@))

$(VENV)/.native: $(NATIVE) | $(VENV)/.installed
	$(call STEP,compiling the native engine for every processor,$(call COMPILE,False,$@ $(VENV)/.native-here))

# NVIDIA's compiler for kernels, the oldest that is supported and the newest, and its disassembler, for tests that read what
# they make of the CUDA engine; where there are none for this system, those tests say so.
$(VENV)/.cuda: | $(VENV)/.made
	@$(call CUDA,nvrtc-oldest,nvidia-cuda-nvrtc==13.0.88) && $(call CUDA,nvrtc-newest,nvidia-cuda-nvrtc>=13.5) \
		&& $(call CUDA,tools,nvidia-cuda-nvdisasm>=13.5) || echo "no NVRTC for this system: its tests are left out" >&2
	@touch $@

CUDA = $(PIP) --no-deps --upgrade --target $(VENV)/cuda/$(1) "$(2)"

# Real prices for the demo and for one test. Only a data file of the package is read, so its dependencies are left out.
$(VENV)/.data: | $(VENV)/.made
	$(call STEP,installing real prices,$(PIP) --no-deps "skfolio>=0.9" && touch $@)

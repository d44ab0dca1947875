# Everything a newcomer needs: `make demo` shows it, `make test` checks it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
SITE_STAMP := $(VENV)/.installed-docs

# The library that MuJoCo can draw with when there is no screen; nothing is printed when there is none.
FIND_GL := import ctypes.util as u; print(next((n.lower() for n in ("EGL", "OSMesa") if u.find_library(n)), ""))

DRAW_OFF_SCREEN = gl="$${MUJOCO_GL:-$$($(BIN)/python -c '$(FIND_GL)')}"; \
	if [ -n "$$gl" ]; then export MUJOCO_GL="$$gl"; fi

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types tests instruction-sets slow chaos format site bench diagnostics clean

help:
	@echo "make install  create $(VENV) with everything needed"
	@echo "make demo     train a small agent for about three minutes, evaluate it, plot it, film it: runs/demo"
	@echo "make test     lint, types, tests"
	@echo "make instruction-sets  the numerical tests as on CPUs with other vector units"
	@echo "make slow     the tests that take longer"
	@echo "make chaos    two hundred faults and ten thousand bad inputs"
	@echo "make format   put the code into the house layout"
	@echo "make site     make a site of the documentation: build/site/index.html"
	@echo "make bench    measure the speed of everything: results/benchmarks"
	@echo "make diagnostics  measure what single steps of MAML keep"
	@echo "make clean    remove what the tools left behind; runs/ and $(VENV) stay"

install: $(STAMP)

$(STAMP): pyproject.toml setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("maml_rl needs Python 3.10 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

$(SITE_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

demo: $(STAMP)
	@$(DRAW_OFF_SCREEN); \
	if [ -z "$$gl$$DISPLAY" ]; then \
		echo "demo: no GIF without libEGL or libOSMesa; to get it: sudo apt-get install libegl1"; fi; \
	$(BIN)/python -m maml_rl.demo --output-folder runs/demo

test: $(STAMP)
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory tests

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

tests: $(STAMP)
	@$(DRAW_OFF_SCREEN); $(BIN)/python -m pytest -q --numprocesses auto --dist worksteal

# Library calls round otherwise on other vector units; where a variable has no effect the tests run as usual.
NUMERICAL := $(BIN)/python -m pytest -q -m 'numerical and not slow and not gpu and not chaos' --numprocesses auto --dist worksteal

instruction-sets: $(STAMP)
	ATEN_CPU_CAPABILITY=avx2 DNNL_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 $(NUMERICAL)
	ATEN_CPU_CAPABILITY=default $(NUMERICAL)

slow: $(STAMP)
	@$(DRAW_OFF_SCREEN); $(BIN)/python -m pytest -q -m slow --numprocesses auto --dist worksteal

chaos: $(STAMP)
	@$(DRAW_OFF_SCREEN); $(BIN)/python -m pytest -q -m chaos --numprocesses auto --dist worksteal

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# A warning is an error; all of them are shown.
site: $(SITE_STAMP)
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html -c docs -d build/doctrees . build/site
	@echo "build/site/index.html"

BENCHMARKS := foundation memory rl2 ensemble atari evolution_scale episodic scaling

bench: $(BENCH_STAMP)
	for name in $(BENCHMARKS); do \
		$(BIN)/python -m benchmarks.$$name --output results/benchmarks/$$name.json || exit; done

DIAGNOSTICS := curvature features gradient_signal held_out_step

diagnostics: $(STAMP)
	for name in $(DIAGNOSTICS); do $(BIN)/python -m benchmarks.diagnostics.$$name || exit; done

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

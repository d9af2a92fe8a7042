# Everything runs in .venv, made from $(PYTHON) the first time. Each set of dependencies is installed once
# and again when pyproject.toml changes.

PYTHON ?= python3
WORKERS ?= 2
TESTS ?= tests
# Those that need no data; the others take a folder as an argument.
BENCHMARKS := render psf simulate
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# Compared with lenstronomy once more, as users' programs are compiled; see tests/conftest.py.
NUMBERS := tests/test_render.py tests/test_mass.py tests/test_light.py
# A few minutes' worth: import, profiles, render, files of a fit, a training step. With the demonstration, cut short.
PART := tests/test_house.py tests/test_mass.py::test_reference tests/test_light.py::test_reference tests/test_render.py tests/test_diagnostics.py \
	tests/test_checkpoint.py tests/test_results.py tests/test_train.py::test_a_step_is_that_of_optax_on_the_mean_loss
SHORT := n_screen=16 n_starts=4 n_finalists=4 map_steps=3 map_rounds=2 vi_steps=2 vi_samples=8 n_chains=4 n_block=10 \
	n_pilot=1 min_iterations=10 max_iterations=10
# One thread a test process: WORKERS processes fill the cores by themselves.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NPROC=1

.DEFAULT_GOAL := help
.PHONY: help demo check test part lint docs bench clean

help:
	@echo "make demo    simulate a lens, fit it, and leave pictures and a report in runs/demo"
	@echo "make check   ruff, pyright and the quick tests: for daily work"
	@echo "make test    the whole test suite, slow tests and doctests included"
	@echo "make part    a few minutes of it, for another Python: make part PYTHON=python3.13 VENV=.venv-3.13"
	@echo "make lint    ruff and pyright"
	@echo "make docs    the pages in docs/_build/html, warnings as errors"
	@echo "make bench   the benchmarks, JSON in benchmarks/results"
	@echo "make clean   remove .venv, .venv-* and all that was built; runs/ stays"

demo: $(VENV)/.installed
	$(BIN)/giga demo --out runs/demo --overwrite

test: $(VENV)/.installed-dev
	$(ONE_THREAD) $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal $(TESTS) --doctest-modules --ignore tests/reference giga
	$(ONE_THREAD) AS_USERS=1 $(BIN)/python -m pytest -q -n $(WORKERS) $(NUMBERS) -k "reference or lenstronomy"

part: $(VENV)/.installed-dev
	$(BIN)/giga doctor
	$(ONE_THREAD) $(BIN)/python -m pytest -q $(PART)
	$(BIN)/giga demo --out runs/part --overwrite $(SHORT:%=--set inference.%)

check: lint
	$(ONE_THREAD) $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "quick and not slow" $(TESTS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/pyright

docs: $(VENV)/.installed-docs
	JAX_PLATFORMS=cpu $(BIN)/python -m sphinx -q -W --keep-going -E -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.installed-dev
	@for name in $(BENCHMARKS); do echo "benchmarks/$$name.py"; \
	$(BIN)/python benchmarks/$$name.py --out benchmarks/results/$$name.json || exit 1; done

clean:
	rm -rf $(VENV) .venv-* build dist docs/_build .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit("giga needs Python 3.11 or newer, $(PYTHON) is %d.%d: set PYTHON=..." % v)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml | $(BIN)/python
	$(PIP) -e '.[docs]'
	@touch $@ $(VENV)/.installed

# make demo   tags examples/article.txt; needs Python 3.11 or newer and a package registry, no GPU, no hub
# make test   lint, types and tests
# make bench  speed beside transformers.pipeline, written to benchmarks/inference.json
# Each sets itself up in .venv on first use.

PYTHON ?= python3
# A version, and not just "torch": an unpinned name fetches gigabytes of CUDA on some machines. Any CPU
# build of this version or newer that is installed already is kept.
TORCH ?= torch==2.13.0
BIN := .venv/bin

.PHONY: demo test lint bench wheel clean

demo: .venv/core.stamp
	$(BIN)/tasrih tag examples/article.txt
	@mkdir -p demo
	@$(BIN)/tasrih tag examples/article.txt --format csv > demo/article.csv
	@$(BIN)/tasrih tag examples/article.txt --format json > demo/article.json
	@echo "written: demo/article.csv, demo/article.json"

test: lint
	$(BIN)/pytest

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: .venv/dev.stamp
	$(BIN)/python training/bench.py --output benchmarks/inference.json

wheel: .venv/dev.stamp
	$(BIN)/python -m hatchling build -t wheel

.venv/core.stamp: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/dev.stamp: pyproject.toml .venv/core.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

clean:
	rm -rf .venv demo dist build

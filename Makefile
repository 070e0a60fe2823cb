# make demo   tags examples/article.txt; needs Python 3.11 or newer and a package registry, no GPU, no hub
# make test   lint, types and tests
# make nightly, fuzz, golden  the tests with large counts, fuzzing, and the scores that tests expect
# make bench  speed beside transformers.pipeline, written to benchmarks/inference.json
# Each sets itself up in .venv on first use.

PYTHON ?= python3
# A version, and not just "torch": an unpinned name fetches gigabytes of CUDA on some machines. Any CPU
# build of this version or newer that is installed already is kept.
TORCH ?= torch==2.13.0
BIN := .venv/bin

.PHONY: demo test nightly fuzz golden lint bench wheel wheel-test licences audit clean

demo: .venv/core.stamp
	$(BIN)/tasrih tag examples/article.txt
	@mkdir -p demo
	@$(BIN)/tasrih tag examples/article.txt --format csv > demo/article.csv
	@$(BIN)/tasrih tag examples/article.txt --format json > demo/article.json
	@echo "written: demo/article.csv, demo/article.json"

test: lint
	$(BIN)/pytest

# All tests with their large counts: 20,000 examples a property, text of a million characters.
nightly: .venv/dev.stamp
	TASRIH_NIGHTLY=1 $(BIN)/pytest --durations=20

# Coverage-guided fuzzing, MINUTES for each target. What it finds lands in fuzz/findings, which `make test` tries.
MINUTES ?= 10
fuzz: .venv/dev.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[fuzz]"
	for target in splitter normaliser checkpoint; do \
		$(BIN)/python fuzz/fuzz.py $$target --minutes $(MINUTES) || exit 1; done

# The scores that tests/test_golden.py holds the code against, written anew on purpose.
golden: .venv/dev.stamp
	$(BIN)/python tests/test_golden.py

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: .venv/dev.stamp
	$(BIN)/python training/bench.py --output benchmarks/inference.json

wheel: .venv/dev.stamp
	$(BIN)/python -m hatchling build -t wheel

# The wheel alone, on every python3.11 and newer on PATH, with the newest and the lowest allowed versions.
wheel-test: .venv/dev.stamp
	TASRIH_NIGHTLY=1 $(BIN)/pytest -rsP tests/test_wheel.py

licences: .venv/dev.stamp
	$(BIN)/python scripts/licences.py --update docs/licences.md

# Known vulnerabilities of what inference needs, at the versions installed here; asks a public database.
audit: .venv/dev.stamp
	$(PYTHON) -m venv .venv/audit  # apart: what audits is not to be what is audited
	.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/python scripts/licences.py --requirements > .venv/audit/inference.txt
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement .venv/audit/inference.txt

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

# imagekit. `make` lists the targets; all of them work in a fresh checkout and set up what they need.
# PYTHON: the interpreter of the virtual environment (3.11 or later). ARGS: passed on to pytest. JOBS: processes that run
# tests side by side. TREE: a folder to list.

PYTHON ?= python3
ARGS ?=
JOBS ?= auto
TREE ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.imagekit-setup
INTEROP_STAMP := $(VENV)/.imagekit-setup-interop
PIP := -m pip --disable-pip-version-check --quiet
export PIP_PROGRESS_BAR := off

.DEFAULT_GOAL := help
.PHONY: help setup check fix test interop bench demo wheel-smoke clean ci

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with imagekit and everything its checks need

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "imagekit needs Python 3.11 or later: make setup PYTHON=python3.13" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) install --upgrade "pip>=25.1"
	$(BIN)/python $(PIP) install -c constraints.txt -e . --group dev
	@touch $@

check: setup ## Check style and types; writes nothing
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/mypy --cache-dir=/dev/null

fix: setup ## Repair what the style checks can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# the tests of a file stay together: they share what a fixture built
test: setup ## Run the tests; ARGS="-k crop" picks some, JOBS=0 runs them one after another
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

$(INTEROP_STAMP): $(STAMP)
	$(BIN)/python $(PIP) install -c constraints.txt --group interop
	@touch $@

# a library that cannot be imported is a failing test here, never a skipped one
interop: $(INTEROP_STAMP) ## Read our files with the programs of others: polars, duckdb, mlcroissant, webdataset
	$(BIN)/python -m pytest -m interop tests/interop $(ARGS)

bench: setup ## Measure discovery; TREE=/a/folder instead of 100,000 files made for it (scripts/ has the others)
	@set -eu; tree="$(TREE)"; if [ -z "$$tree" ]; then \
	  tree=$$(mktemp -d); trap 'rm -rf "$$tree"' EXIT; \
	  $(BIN)/python scripts/make_tree.py "$$tree" --folders 100 --files 1000; \
	fi; $(BIN)/python scripts/bench_discover.py "$$tree"

demo: setup ## Draw a small data set and take it through every step, offline
	$(BIN)/imagekit demo

# A wheel that only works beside its own sources is found here: a clean environment, another folder, no dev packages.
wheel-smoke: setup ## Build the wheel, install it elsewhere, run the demo there
	set -eu; work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	$(BIN)/python -m build --no-isolation --wheel --outdir "$$work/dist" .; \
	$(BIN)/python -m venv "$$work/venv"; \
	"$$work/venv/bin/python" $(PIP) install -c constraints.txt "$$work"/dist/*.whl; \
	mkdir "$$work/elsewhere"; cd "$$work/elsewhere"; \
	../venv/bin/imagekit --version; \
	../venv/bin/imagekit recipes; \
	../venv/bin/imagekit demo

clean: ## Remove everything that the other targets made
	rm -rf $(VENV) build dist imagekit-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find imagekit tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

ci: check test interop wheel-smoke ## Everything that a change must pass

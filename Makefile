# make bench   the default grid and its report, set-up included
# make test    the quick tests, at most 8 minutes on two cores
# make test-slow  those that take long or multiply what a quick test shows once
# make test-all   both
# make benchmark   the short benchmarks and the table of all; NAMES="soak start_up" for others,
#                  MEASURED=FOLDER for another than the committed figures
# make gpu     all that needs a GPU, logged in results/gpu.md; call it again to continue
# make check   lint, format and types

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

MEASURED ?= results/reference/amd-epyc-2-cores_cifar10_cpu
NAMES ?= suite_steps grid_overhead native_memory start_up

.PHONY: bench test test-slow test-all benchmark gpu check format clean

bench: $(READY)
	$(BIN)/bench run --grid default --report $(ARGS)

test: $(READY)
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: $(READY)
	$(PYTEST) -m slow $(ARGS)

test-all: $(READY)
	$(PYTEST) $(ARGS)

gpu: $(READY)
	$(BIN)/python tests/gpu/check.py $(ARGS)

benchmark: $(READY)
	for name in $(NAMES); do \
		$(BIN)/python -m tests.benchmarks.$$name > $(MEASURED)/$$name.json.new && \
		mv $(MEASURED)/$$name.json.new $(MEASURED)/$$name.json || exit 1; \
	done
	$(BIN)/python -m tests.benchmarks.table $(MEASURED)

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pipeline-bench needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf .venv build dist *.egg-info

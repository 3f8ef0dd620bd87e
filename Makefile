# What a person runs and what CI runs are the same.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find connectors backend recipes -name '*.py' -not -path '*/__pycache__/*' 2>/dev/null)

.PHONY: setup demo test test-fast test-all test-docker check format bench bench-labels clean

setup: $(VENV)/installed

# Two steps, so that an edit of ours does not ask the package index about a hundred libraries again.
$(VENV)/dependencies: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=24" "setuptools>=77"
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]" --config-settings editable_mode=strict
	touch $@

# A strict editable install links file by file: a new file needs the install again.
FILELIST := $(shell printf '%s\n' $(SOURCES) | sort | cksum | tr ' ' '-')
$(VENV)/installed: $(VENV)/dependencies $(VENV)/filelist-$(FILELIST)
	touch $@
$(VENV)/filelist-$(FILELIST): $(VENV)/dependencies
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --no-deps --no-build-isolation --editable . --config-settings editable_mode=strict
	rm -f $(VENV)/filelist-*
	touch $@

demo: setup
	$(BIN)/nextlabel demo $(DEMO)

# A file's tests run in one process, which starts each server once. tests/conftest.py says what comes first.
JOBS ?= 2
PYTEST = $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --durations 20

test: setup
	$(PYTEST) $(TEST)

test-fast: setup
	NEXTLABEL_TESTS=fast $(PYTEST) -m "not (live or crash or train)" $(TEST)

test-all: setup
	NEXTLABEL_TESTS=all $(PYTEST) $(TEST)

# The compose stack in a Docker engine that runs here. CONTRIBUTING.md has its variables.
test-docker: setup
	NEXTLABEL_TESTS=docker $(BIN)/python -m pytest --durations 20 tests/docker $(TEST)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python -m benchmarks $(BENCH)

bench-labels: setup
	$(BIN)/python -m benchmarks labels $(if $(BENCH),-- $(BENCH))

clean:
	rm -rf $(VENV) build dist *.egg-info

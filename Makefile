# Needs make and Python 3.11 or newer. Everything else goes into .venv, which `make clean` removes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# A release of torch, as in `make TORCH=2.6.0 test`; otherwise the newest that the other packages leave.
TORCH ?=

.PHONY: survey test lint format docs coverage examples benchmark chromium clean help

help:
	@echo 'make survey     survey the embedded network and say where the report is'
	@echo 'make test       everything that CI runs'
	@echo 'make lint       style and types only'
	@echo 'make format     put the style right'
	@echo 'make docs       build the site of guides and reference into build/site'
	@echo 'make coverage   measure which branches the tests take: modules below 90 %'
	@echo 'make examples   run the scripts of examples/'
	@echo 'make benchmark  run the scripts of benchmarks/'
	@echo 'make clean      remove .venv and caches; runs stay'

# The package is installed in place, so that a change of a source file needs no new installation.
$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("equiscope needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	@# Without a GPU the much smaller CPU build; where no source offers it, the next line takes what there is.
ifeq ($(TORCH),)
	@command -v nvidia-smi >/dev/null || $(PIP) install 'torch==2.13.0+cpu' 2>/dev/null || true
else
	$(PIP) install 'torch==$(TORCH)'
endif
	$(PIP) install --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install --editable '.[dev,docs]'
	@touch $@

survey: $(VENV)/installed
	$(BIN)/equiscope survey mini --out equiscope-runs/mini

test: $(VENV)/installed-dev chromium lint docs examples
	@# Two processes on one thread each: torch's threads would wait for each other.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Twice the time of the tests, therefore no part of `make test`.
coverage: $(VENV)/installed-dev chromium
	rm -rf build/coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)
	$(BIN)/python -m coverage combine --quiet
	@echo 'modules of which less than 90 % of lines and branches were taken:'
	@$(BIN)/python -m coverage report --sort=cover | awk '/%$$/ && ($$NF + 0 < 90 || /^TOTAL/)'

# Their runs are removed first: a survey of another state of the package would go on from them.
examples: $(VENV)/installed
	@rm -rf equiscope-runs/examples
	@for script in examples/*.py; do echo "$$script"; $(BIN)/python "$$script" || exit 1; done

benchmark: $(VENV)/installed-dev
	@for script in benchmarks/*.py; do echo "$$script"; $(BIN)/python "$$script" || exit 1; done

# Best effort: without it the browser's tests are skipped, and pytest says so.
chromium:
	@command -v chromium >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq \
	     && DEBIAN_FRONTEND=noninteractive apt-get install -qq chromium >/dev/null; } \
	|| echo 'chromium is not here and could not be installed: the browser tests will be skipped'

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests examples reproduce benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

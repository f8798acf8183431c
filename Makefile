# Everything a visitor or a developer runs. `make demo` and `make test` set themselves up: they need Linux, make and
# Python >= 3.11, and nothing else. What is installed comes from the two lock files, with hashes.

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed-runtime
DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet

.PHONY: help demo test lint format bench mutants soak lock image-cache clean

help:
	@echo 'make demo         a moving sample session, the exporter on it, its metrics (ends on Ctrl-C or after DEMO_SECONDS)'
	@echo 'make test         lint, unit tests, and the integration tests where a Docker engine answers'
	@echo 'make lint         ruff, mypy and the import rule'
	@echo 'make format       lets ruff rewrite what it can'
	@echo 'make bench        measures what the documentation promises'
	@echo 'make mutants      plants small bugs in a copy and counts those that the tests see (some minutes)'
	@echo 'make soak         the long test of the shipper against a real Loki'
	@echo 'make lock         refreshes the lock files (UPGRADE=1: every version)'
	@echo 'make image-cache  builds Prometheus and Loki for the integration tests, where no registry answers'
	@echo 'make clean        removes everything that make made'

demo: $(RUNTIME)
	@exec $(BIN)/python bench/demo.py

test: lint
	@sh integration/prepare
	$(BIN)/pytest tests integration

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(RUNTIME)
	$(BIN)/python bench/run.py

# No part of `make test`: it takes ten minutes or more.
mutants: $(DEV)
	$(BIN)/python bench/mutants.py

soak: $(DEV)
	@sh integration/prepare
	TALLYSHIP_SOAK=1 TALLYSHIP_REQUIRE_INTEGRATION=1 $(BIN)/pytest -s integration/test_ledger.py

image-cache:
	integration/images/make binaries

# The build backend stands in both lock files: it makes the editable install there, with no download of its own.
LOCK = printf '%s\n' hatchling editables | $(BIN)/uv pip compile --quiet --universal --generate-hashes \
  --python-version 3.11 --no-annotate $(if $(UPGRADE),--upgrade) pyproject.toml -
lock: export UV_CUSTOM_COMPILE_COMMAND := make lock
lock: $(BIN)/pip
	$(PIP) uv
	$(LOCK) --output-file requirements-dev.lock --extra dev
	$(LOCK) --output-file requirements.lock --constraints requirements-dev.lock

clean:
	rm -rf $(VENV) .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/pip:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && found=$$python && break; \
	done; \
	test -n "$$found" || { echo 'make: no Python >= 3.11 is here (Debian, Ubuntu: apt-get install python3 python3-venv)' >&2; exit 1; }; \
	"$$found" -c 'import venv, ensurepip' 2>/dev/null || { \
	  name=$$("$$found" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	  echo "make: $$found cannot make virtual environments (Debian, Ubuntu: apt-get install $$name)" >&2; exit 1; }; \
	"$$found" -m venv $(VENV)

$(RUNTIME): requirements.lock pyproject.toml | $(BIN)/pip
	@echo 'installing what the programs need, from requirements.lock'
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# The development lock holds the runtime one, so this is the runtime installation as well.
$(DEV): requirements-dev.lock pyproject.toml | $(BIN)/pip
	@echo 'installing what tests and lint need, from requirements-dev.lock'
	@$(PIP) --require-hashes -r requirements-dev.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $(RUNTIME) $@

# make demo: set up, then run the whole pipeline on sample clips, or on VIDEOS=DIR
# make test: set up, then lint, types and tests
# make quick: the tests that take no models, servers or seconds: under a minute
# make bench: extraction, drawing and loading beside plain loops, red or green; by hand, never in CI
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VIDEOS ?=
WORK ?= work/demo$(if $(VIDEOS),-$(notdir $(patsubst %/,%,$(VIDEOS))))

.PHONY: demo test quick bench lint setup clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed (make PYTHON=python3.12 …)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/fye demo --work '$(WORK)' $(if $(VIDEOS),--videos '$(VIDEOS)')

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

quick: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
		-m 'not slow and not mediapipe and not prefect and not gpu'

bench: setup
	$(BIN)/python -m tests.benchmarks.gate

clean:
	rm -rf $(VENV) work

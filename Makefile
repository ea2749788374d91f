# make demo: set up, then run the whole pipeline on sample clips, or on VIDEOS=DIR
# make test: set up, then lint, types and tests
# make quick: the tests that take no models, servers or seconds: under a minute
# make bench: extraction, drawing and loading beside plain loops, red or green; by hand, never in CI
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VIDEOS ?=
WORK ?= work/demo$(if $(VIDEOS),-$(notdir $(patsubst %/,%,$(VIDEOS))))

.PHONY: demo test quick bench lint style types suite setup clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed (make PYTHON=python3.12 …)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/fye demo --work '$(WORK)' $(if $(VIDEOS),--videos '$(VIDEOS)')

lint: style types

style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

suite: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# types are looked at while the first tests wait for servers and processes
test: style
	@$(MAKE) --no-print-directory -j 2 types suite

quick: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
		-m 'not slow and not mediapipe and not prefect and not gpu'

bench: setup
	$(BIN)/python -m tests.benchmarks.gate

clean:
	rm -rf $(VENV) work

# Everything runs in .venv, which `make` builds from pyproject.toml when it is missing or out of date;
# tests against a trainer in one of its own, .venvs/TRAINER, since each pulls gigabytes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TRAINER ?= verl
WANTED := tests/trainers/requirements
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-slow test-trainer lint format docs notebooks figure clean

demo: $(VENV)/.core ## quick horizon study: a table, the rows and the figure, under results/
	$(BIN)/casim demo --out results

test: $(VENV)/.test ## the fast test suite
	$(BIN)/pytest -m "not slow" -n 2 --dist worksteal

test-slow: $(VENV)/.test ## the tests that take long
	# Types are checked by the fast tests: here that would take a tenth of the time.
	JAXTYPING_DISABLE=1 $(BIN)/pytest -m slow -n 2 --dist worksteal

test-trainer: .venvs/$(TRAINER)/.made ## a trainer's own functions against casim's recipes: TRAINER=verl, trl, openrlhf or skyrl
	.venvs/$(TRAINER)/bin/pytest tests/trainers/test_$(TRAINER).py

lint: $(VENV)/.dev ## the checks that pre-commit runs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs ## the pages of docs/ as HTML
	$(BIN)/sphinx-build -W -q docs docs/_build

notebooks: $(VENV)/.core ## the exercises of the lessons, from their sources
	$(BIN)/casim teach $$($(BIN)/python -c "from casim.lessons import COURSE; print(*(x.number for x in COURSE.lessons))") --to notebooks --no-open

figure: $(VENV)/.core ## the full horizon study and its figure in the docs
	$(BIN)/casim demo --full --out results
	$(BIN)/casim figure casim/examples/horizon.py results/horizon.jsonl --out docs/horizon.png
	$(BIN)/python docs/figures/kept.py docs/horizon.png

clean:
	rm -rf $(VENV) .venvs results

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(PIP) -e ".[test]"
	touch $@

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(PIP) -e ".[docs]"
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(PIP) -e ".[dev]"
	touch $@

.venvs/%/.made: $(WANTED)/%.txt $(wildcard $(WANTED)/*.alone.txt) pyproject.toml
	$(PYTHON) -m venv .venvs/$*
	.venvs/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $< -e ".[test]"
	# Some are installed without what they ask for, which other requirements contradict.
	if [ -f $(WANTED)/$*.alone.txt ]; then \
		.venvs/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
			-r $(WANTED)/$*.alone.txt; fi
	touch $@

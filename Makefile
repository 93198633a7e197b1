# `make demo` shows the product, `make test` checks it; both build their own environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
# strict: type checkers see the real files; it hides new files until it runs again, so it always runs
EDITABLE := --editable . --config-settings editable_mode=strict

.PHONY: demo test browser-test docs dist fuzz format clean

demo: $(BIN)/python
	$(PIP) $(EDITABLE)
	$(BIN)/pvq-bound benchmarks/instances/efficientnet_lite0.blocks.4.expand.npz --method quant --bits 4 --compare all
	$(BIN)/pvq-bound benchmarks/instances/efficientnet_lite0.blocks.4.expand.npz --method prune --sparsity 0.75 --compare all

test: $(BIN)/python
	$(PIP) --editable '.[extract,scip,gurobi,sdp,plot,report,cluster,zoo,docs,dev]' --config-settings editable_mode=strict
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(SITE)
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# the report in a browser: Chromium of the system, else one that playwright fetches
browser-test: $(BIN)/python
	$(PIP) --editable '.[plot,report,dev]' --config-settings editable_mode=strict
	command -v chromium chromium-browser google-chrome || $(BIN)/playwright install chromium
	$(BIN)/pytest -rs -m browser tests/app/test_report.py

# the site, with its tutorials run; every warning is an error, nothing is fetched
SITE = $(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --fresh-env docs build/docs
docs: $(BIN)/python
	$(PIP) --editable '.[extract,docs]' --config-settings editable_mode=strict
	$(SITE)
	@echo open build/docs/index.html

# wheel and source archive into dist/, each installed and used under every Python of these that is there
PYTHONS ?= python3.11 python3.12 python3.13
dist: $(BIN)/python
	$(PIP) 'build>=1.2'
	$(BIN)/python tests/helpers/distributions.py $(PYTHONS)

# make fuzz N=200000 [SEED=0] [JOBS=1]: made rows, layers (a twentieth as many) and proofs against their optimum in
# rational arithmetic
N ?= 20000
SEED ?= 0
JOBS ?= 1
fuzz: $(BIN)/python
	$(BIN)/python tests/fuzz/problems.py $(N) $(SEED) $(JOBS)
	$(BIN)/python tests/fuzz/layer_problems.py $$(( $(N) / 20 )) $(SEED) $(JOBS)
	$(BIN)/python tests/fuzz/proofs.py $(N) $(SEED) $(JOBS)

format: $(BIN)/python
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist docs/generated *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Everything a newcomer, a colleague and CI type. All of it needs Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
CHECK_EXPORT := import sys, pathlib; from cd4ml_nb.planning.exports import check_before_export as check; sys.exit(check(pathlib.Path.cwd()))

.PHONY: help run test test-slow nightly models audit faults gpu bench bench-sweep bench-coverage bench-scale bench-parts bench-quality bench-workbench lab lint export clear setup upgrade lock clean
help:          ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

run: $(READY)  ## set up, run the pipeline on the built-in market, say where the report is
	$(BIN)/cd4ml run

test: lint     ## set up, check style and sync, run every notebook's examples and every test
	$(BIN)/nbdev-test
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: $(READY)  ## the rare tests alone, among them whole runs on the real data sets
	$(BIN)/pytest -m slow

nightly: lint  ## all of it: slow tests too, every example of every property, the kill harness
	BIN=$(BIN) .ci/nightly

models: $(READY)  ## what your branch does to the models: make models [BASE=main] [PAGE=page.md]
	BIN=$(BIN) .ci/models "$(or $(BASE),main)" "$(or $(PAGE),page.md)"

audit: $(READY)  ## a list of all that is locked (sbom.json), and whether any of it is known to be vulnerable
	BIN=$(BIN) .ci/dependencies sbom.json

faults: $(READY)  ## the kill harness: 200 kills, full disks, two runs at once, 60 kills in sweeps
	$(BIN)/python tests/fault_harness.py --kills 200 --worker-kills 50 --coordinator-kills 10

gpu: $(READY)  ## with a CUDA GPU: its tests and the sweep's benchmark, in under eight minutes
	BIN=$(BIN) .ci/gpu

bench: $(READY)  ## what a run costs, against a plain script and Ploomber
	$(BIN)/python benchmarks/pipeline.py

bench-sweep: $(READY)  ## what a sweep costs, against the usual loop
	$(BIN)/python benchmarks/sweep.py $(ARGS)

bench-parts: $(READY)  ## what single parts cost, each against a peer in the same run
	$(BIN)/python benchmarks/parts.py $(ARGS)

lint: $(READY) ## style, types, and whether the package is what the notebooks export
	$(BIN)/ruff check .
	$(BIN)/mypy

bench-coverage: $(READY)  ## how often ranges hold on six real data sets, and what they cost
	$(BIN)/python benchmarks/coverage.py $(ARGS)

bench-scale: $(READY)  ## where time and memory go from 100 thousand to 10 million rows
	$(BIN)/python benchmarks/scale.py $(ARGS)

bench-quality: $(READY)  ## how good models are, against FLAML and AutoGluon in the same time (ARGS="--data FOLDER")
	$(BIN)/python benchmarks/quality.py $(ARGS)

bench-workbench: $(READY)  ## a scientist's day with cd4ml_nb, PyCaret and skore: lines, seconds, what is shown, what a kill takes
	$(BIN)/python benchmarks/workbench.py $(ARGS)

lab: $(READY)  ## JupyterLab on the same environment
	$(BIN)/cd4ml lab

export: $(READY)  ## notebooks -> package, outputs cleared; stops where it would lose an edit in cd4ml_nb/ (FORCE=1: loses it)
	@$(if $(FORCE),,$(BIN)/python -c "$(CHECK_EXPORT)")
	@$(MAKE) --no-print-directory -o $(READY) clear
	$(BIN)/nbdev-export

clear: $(READY) ## notebooks without outputs, counts and what a machine added; tags stay
	@$(BIN)/jupyter-nbconvert --clear-output --inplace --log-level=ERROR $(wildcard notebooks/*.ipynb notebooks/*/*.ipynb)
	$(BIN)/nbdev-clean

setup: $(READY)  ## the locked environment in .venv, and nothing more

# uv itself comes from the lock, with its hashes; where it cannot work, pip installs the same lock.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11')"
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@echo 'installing what requirements.lock names: a minute or two, the first time'
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	$(BIN)/uv pip sync -q --python $(BIN)/python --compile-bytecode --require-hashes requirements.lock \
	  || $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $(READY)

upgrade: $(READY)  ## merge a newer tool underneath your work: make upgrade FROM=<repository, folder or archive> [REF=…]
	$(BIN)/cd4ml upgrade $(if $(REF),--ref "$(REF)") $(if $(BASE),--base "$(BASE)") -- "$(FROM)"
	$(MAKE) setup
	$(BIN)/cd4ml doctor

lock:          ## resolve the newest versions that pyproject.toml admits
	$(BIN)/uv pip compile pyproject.toml --extra lab --extra team --extra ploomber --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --upgrade -q -o requirements.lock

clean:         ## remove what runs have left; the environment stays
	rm -rf products mlartifacts mlflow.db .models page.md page_files sbom.json build dist .pytest_cache .ruff_cache .mypy_cache

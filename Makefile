# On a fresh machine (Python 3.10 or newer, and make): `make demo`, `make test`. `make help` prints the lines with ##.
## demo           install, then solve 25 real tasks on the CPU (the default)
## quick          install, then the fast tests: run them while editing
## test           install, then all tests except those that need a browser
## browser-test   the tests of the report in headless Chromium
## lint           ruff and mypy
## gpu-check      test and measure a card, in under 9 minutes; writes docs/gpu.json and docs/gpu.md
## docs           regenerate docs/how-it-works.md and docs/gpu.md
## notebooks      regenerate notebooks/*.ipynb from notebooks/sources
## package-check  build a Kaggle package and run its notebook offline
## clean          remove .venv, out and build
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: demo test quick browser-test gpu-check lint notebooks package-check clean

demo: $(READY)
	$(BIN)/arc-trm demo

# One process per core, each with one thread. Leaves out the tests that need Chromium.
test: $(READY)
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto -m "not browser"

# What to run while editing: under a minute on 2 cores. Leaves out the slow tests as well.
quick: $(READY)
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto -m "not slow and not browser"

# The report's page in headless Chromium; fails where there is none.
browser-test: $(READY)
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest -q -m browser tests/solver/report/test_report_in_browser.py

# The page is drawn also where a part failed. With a torch that is installed elsewhere: make gpu-check READY= BIN=DIR
gpu-check: $(READY)
	$(BIN)/python -m benchmarks.gpu_check; code=$$?; $(BIN)/python -m docs.gpu && exit $$code

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A test compares the page with the script's output.
.PHONY: docs
docs: $(READY)
	$(BIN)/python docs/how_it_works.py
	$(BIN)/python -m docs.gpu

# A test compares the notebooks with their sources.
notebooks: $(READY)
	for name in submission train explore; do \
		$(BIN)/jupytext --quiet --update --to ipynb --output notebooks/$$name.ipynb notebooks/sources/$$name.py \
		|| exit 1; \
	done

# Packs all wheels, then runs the notebook on small tasks in a fresh environment without network: with the Python of
# Kaggle's image where that is installed.
CHECK_PYTHON ?= $(shell python3.12 -c "" 2>/dev/null && echo python3.12 || echo $(BIN)/python)
package-check: $(READY)
	$(BIN)/arc-trm package --out build/package --image bare --python-version \
		$$($(CHECK_PYTHON) -c "import sys; print('%d.%d' % sys.version_info[:2])")
	$(BIN)/python -m submission.package.check build/package --python $(CHECK_PYTHON) --challenges tests/submission/tiny_challenges.json \
		--solutions tests/submission/tiny_solutions.json --budget 2m --rehearsal-budget 2m \
		--options="--fit-steps 4 --augmentations 4 --supervision-steps 4"

# Installs once, and again when the requirements change.
$(READY): setup.cfg pyproject.toml constraints-cpu.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints-cpu.txt -e '.[data,dev,hub,train]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'reasoning-gym>=0.1.19'
	touch $@

clean:
	rm -rf $(VENV) out build *.egg-info

.PHONY: help
help:
	@sed -n 's/^## /make /p' Makefile

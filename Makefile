# demo: train on MNIST, evaluate, and leave a report.   test: lint, types, all tests.
# docs: the documentation site.   dist: wheel and sdist.   pythons, bounds: before a release.
# Each makes its own virtual environment, .venv, with the first of these that is 3.11 to 3.14.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
	&& echo "$$p" && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
# Every version comes from the file, also of what builds the package; older pip reads the first.
INSTALL = PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	$(BIN)/python -m pip install -q --disable-pip-version-check

.PHONY: demo test docs dist pythons bounds pins tables models clean

demo: $(VENV)/.demo
	@$(BIN)/python examples/demo.py

test: $(VENV)/.dev $(VENV)/.axe $(VENV)/.web
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --maxprocesses 4 --dist worksteal

# Trains as the pages do, some minutes on two cores: wants MNIST on this machine, or a network.
docs: $(VENV)/.docs
	$(BIN)/sphinx-build -q -E -W --keep-going -c docs . build/docs
	@$(BIN)/python tools/check_site.py build/docs
	@echo build/docs/index.html

dist: $(VENV)/.dev
	rm -rf dist
	$(BIN)/hatchling build -d dist

# All tests under each Python, then the wheel in a bare environment of it.
PYTHONS ?= python3.11 python3.12 python3.13 python3.14
pythons: dist
	@for p in $(PYTHONS); do \
	$(MAKE) test PYTHON=$$p VENV=.venv-$$p && \
	$(BIN)/python tools/try_wheel.py dist/*.whl --python $$p || exit 1; done

# The lowest and the newest version of every dependency, and what came of each for the README's table.
# TORCH=2.13.0 takes this one in place of both.
bounds: | $(BIN)/python
	$(BIN)/python tools/try_bounds.py lowest --record $(if $(TORCH),--torch $(TORCH))
	$(BIN)/python tools/try_bounds.py newest --record $(if $(TORCH),--torch $(TORCH))

# The newest versions of everything but torch into constraints.txt; then the tests have to pass.
pins: | $(BIN)/python
	$(BIN)/python tools/pin_versions.py

tables: $(VENV)/.dev
	$(BIN)/python benchmarks/tables.py
	$(BIN)/python benchmarks/curves.py

# Half an hour on two cores; says whether the models in the box come out the same to the bit.
models: $(VENV)/.dev
	$(BIN)/python tools/make_models.py

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "firstlight needs Python 3.11, 3.12, 3.13 or 3.14; none was found. Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# Another build of the same torch can be installed into .venv before.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[docs]'
	@touch $@

# For the page's accessibility test, which is skipped where npm is not to be had.
$(VENV)/.axe: | $(BIN)/python
	@if command -v npm >/dev/null; then \
		npm install --silent --no-save --no-audit --no-fund --prefix $(VENV)/axe axe-core@4.10.3 \
			&& touch $@ || echo "axe-core cannot be fetched; its test is skipped" >&2; \
	else echo "there is no npm; the test with axe-core is skipped" >&2; fi

# For the test that opens an exported file as a browser would, likewise.
$(VENV)/.web: | $(BIN)/python
	@if command -v npm >/dev/null; then \
		npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix $(VENV)/web \
			onnxruntime-web@1.30.0 \
			&& touch $@ || echo "onnxruntime-web cannot be fetched; its test is skipped" >&2; \
	else echo "there is no npm; the test with onnxruntime-web is skipped" >&2; fi

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache

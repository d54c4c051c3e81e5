# Each target makes its own virtual environment, .venv, with the first of these that is 3.11 to
# 3.14. `make` alone lists the targets: those with a sentence behind ##.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
	&& echo "$$p" && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
# Every version comes from the file, also of what builds the package; older pip reads the first.
INSTALL = PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	$(BIN)/python -m pip install -q --disable-pip-version-check

PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --maxprocesses 4 --dist worksteal

.PHONY: help demo test lint quick litert docs dist pythons bounds pins tables models clean

help: ## List the targets.
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/\1 \2/p' Makefile | while read -r name words; do \
		printf '  make %-8s %s\n' "$$name" "$$words"; done

demo: $(VENV)/.demo ## Train on MNIST, evaluate, and leave a report.
	@$(BIN)/python examples/demo.py

test: lint $(VENV)/.axe $(VENV)/.web ## Lint, types, all tests.
	$(PYTEST)

lint: $(VENV)/.dev ## Lint and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

QUICK := tests/augment tests/evaluate tests/models tests/runs \
	tests/test_recipe.py tests/test_reads.py tests/test_layout.py
quick: $(VENV)/.dev ## Lint, and the tests of the small parts: under a minute.
	$(BIN)/ruff check .
	$(PYTEST) $(QUICK)

# Beside the environment, as tests/export/litert.txt says: 0.8 GB.
litert: $(VENV)/.litert ## The tests of exports to LiteRT.
	PYTHONPATH=$(abspath $(VENV)/litert) $(PYTEST) tests/export/test_litert.py tests/export/test_several_labels_exported.py

# Trains as the pages do, some minutes on two cores: wants MNIST on this machine, or a network.
docs: $(VENV)/.docs ## The documentation site.
	$(BIN)/sphinx-build -q -E -W --keep-going -c docs . build/docs
	@$(BIN)/python tools/check_site.py build/docs
	@echo build/docs/index.html

dist: $(VENV)/.dev ## Wheel and sdist.
	rm -rf dist
	$(BIN)/hatchling build -d dist

PYTHONS ?= python3.11 python3.12 python3.13 python3.14
pythons: dist ## All tests under each Python, then the wheel in a bare environment of it.
	@for p in $(PYTHONS); do \
	$(MAKE) test PYTHON=$$p VENV=.venv-$$p && \
	$(BIN)/python tools/try_wheel.py dist/*.whl --python $$p || exit 1; done

# Records the result for the README's table. TORCH=2.13.0 takes this one in place of both.
bounds: | $(BIN)/python ## Try the lowest and the newest version of every dependency.
	$(BIN)/python tools/try_bounds.py lowest --record $(if $(TORCH),--torch $(TORCH))
	$(BIN)/python tools/try_bounds.py newest --record $(if $(TORCH),--torch $(TORCH))

pins: | $(BIN)/python ## The newest versions of all but torch into constraints.txt; then run the tests.
	$(BIN)/python tools/pin_versions.py

tables: $(VENV)/.dev ## The tables and curves of the documents, from the result files.
	$(BIN)/python benchmarks/tables.py
	$(BIN)/python benchmarks/curves.py

# Half an hour on two cores.
models: $(VENV)/.dev ## Train the bundled models again, and say whether they are the same to the bit.
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

# For the tests that open an exported file as a browser would and check the types of the page's
# modules, likewise.
$(VENV)/.web: | $(BIN)/python
	@if command -v npm >/dev/null; then \
		npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix $(VENV)/web \
			onnxruntime-web@1.30.0 typescript@5.9.3 \
			&& touch $@ || echo "onnxruntime-web and TypeScript cannot be fetched; their tests are skipped" >&2; \
	else echo "there is no npm; the test with onnxruntime-web is skipped" >&2; fi

$(VENV)/.litert: tests/export/litert.txt $(VENV)/.dev
	$(INSTALL) --no-deps --upgrade --target $(VENV)/litert -r tests/export/litert.txt
	@touch $@

clean: ## Remove the environment and what was built.
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache

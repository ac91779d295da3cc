# Everything runs in a virtual environment of its own, made on first use.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PYTHONS := 3.13 3.12 3.11
# The engine, configs, events and the board, in about a minute.
FAST := $(addprefix tests/test_,$(addsuffix .py,board_connections board_live board_rest board_store config config_file \
  convolutions engine events independence optimizers packaging projection registry sweep traced versions wrapped_names))

# Images for containers often set it; every process that a test starts would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test test-fast coverage test-all test-newest test-python check types hooks bench docs site page page-tools clean

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo "  ARGS=… is handed on to run, test, test-fast, coverage, test-all, test-newest and bench; VENV=… and PYTHON=… choose the environment."

run: $(VENV)/.installed ## the example study: a grid search on handwritten digits
	$(BIN)/python -m mlgym_jax.run --config=configs/gs.py $(ARGS)

# What is compiled is kept in ~/.cache/mlgym_jax/tests, so that later runs take about half as long as the first one.
test: $(VENV)/.installed page-tools ## the whole suite, with everything it needs
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-fast: $(VENV)/.installed ## a minute's selection of it, for between two edits
	$(BIN)/python -m pytest -n 2 --dist worksteal $(FAST) $(ARGS)

coverage: $(VENV)/.installed page-tools ## lines and branches that the suite does not run, its processes included
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist worksteal $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-all: ## all tests but the page's, on each supported Python that is here
	@failed=; for version in $(PYTHONS); do \
	  if python=$$(.ci/python $$version); then \
	    echo "== Python $$version: $$python"; \
	    $(MAKE) --no-print-directory test-python VENV=.venv-$$version PYTHON=$$python || failed="$$failed $$version"; \
	  else echo "== Python $$version is not here: neither on the PATH nor among pyenv's"; fi; \
	done; test -z "$$failed" || { echo "failed on Python$$failed"; exit 1; }

test-newest: $(VENV)/.installed ## a minute's selection, on the newest supported Python that is here beside VENV's
	@own=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); for version in $(PYTHONS); do \
	  if test $$version != $$own && python=$$(.ci/python $$version); then \
	    echo "== Python $$version: $$python"; \
	    exec $(MAKE) --no-print-directory test-python VENV=.venv-$$version PYTHON=$$python ARGS="$(FAST) $(ARGS)"; fi; \
	done; echo "no supported Python is here beside $$own; nothing more is tested"

test-python: $(VENV)/.installed ## all tests but the page's, in VENV alone, compiled as for users
	XLA_FLAGS= $(BIN)/python -m pytest -n 2 --dist worksteal --ignore-glob='tests/test_page*.py' $(ARGS)

check: $(VENV)/.installed page-tools types site ## format, lint and types, of the page, too, and the site's links
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	cd board_server/page && npm run --silent check

types: $(VENV)/.installed ## types, and that the public API has them all
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python .ci/public_types.py

hooks: $(VENV)/.installed ## let each commit be checked first
	$(BIN)/pre-commit install

bench: $(VENV)/.installed ## what recording, groups, devices and the page cost, as ratios
	$(BIN)/python -m benchmarks.compare $(ARGS)
	$(BIN)/python -m benchmarks.groups
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.page

docs: $(VENV)/.installed ## the pages that are made from code, and the site of all pages
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/reference.py
	@$(MAKE) --no-print-directory site

# A link that leads nowhere, a page that no other leads to and a docstring that cannot be read are errors.
site: $(VENV)/.installed ## the site alone, in build/docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --fresh-env --quiet docs build/docs
	@echo "build/docs/index.html"

page: $(VENV)/.installed ## the board's page, as a wheel carries it
	$(BIN)/python hatch_build.py

# What only its tests need: a browser, and the packages of its own checks. What cannot be had is skipped with a word.
page-tools: $(VENV)/.installed ## what only the page's tests need: a browser, npm packages
	@$(BIN)/python hatch_build.py || true
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || ! command -v apt-get >/dev/null || \
	  (apt-get update -qq && apt-get install -y -qq chromium >/dev/null) || echo "no browser: the page's tests are skipped"
	@test -e board_server/page/node_modules/axe-core || ! command -v npm >/dev/null || \
	  (cd board_server/page && npm ci --silent) || echo "no npm packages: the page's checks are skipped"

clean: ## remove what was built and installed here
	rm -rf .venv .venv-* $(VENV) build dist *.egg-info

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

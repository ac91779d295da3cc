# Everything runs in a virtual environment of its own, made on first use.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: run test check bench docs page page-tools clean
run: $(VENV)/.installed
	$(BIN)/python -m mlgym_jax.run --config=configs/gs.py $(ARGS)

test: $(VENV)/.installed page-tools
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

# The board's page, as a wheel carries it.
page: $(VENV)/.installed
	$(BIN)/python hatch_build.py

# What only its tests need: a browser, and the packages of its own checks. What cannot be had is skipped with a word.
page-tools: $(VENV)/.installed
	@$(BIN)/python hatch_build.py || true
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || ! command -v apt-get >/dev/null || \
	  (apt-get update -qq && apt-get install -y -qq chromium >/dev/null) || echo "no browser: the page's tests are skipped"
	@test -e board_server/page/node_modules/axe-core || ! command -v npm >/dev/null || \
	  (cd board_server/page && npm ci --silent) || echo "no npm packages: the page's checks are skipped"

check: $(VENV)/.installed page-tools
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	cd board_server/page && npm run --silent check

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.compare $(ARGS)
	$(BIN)/python -m benchmarks.groups
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.page

docs: $(VENV)/.installed
	$(BIN)/python docs/generate.py

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info

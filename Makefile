# `make demo` shows the whole path on generated chests, `make demo TRACK=ct` on CTs; `make check test` is what CI runs. Needs Python 3.11 or newer, nothing else.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SUPPLY := $(VENV)/supply
PAGE := platform/chestseg/serving/page
VIEWER := $(PAGE)/static/vendor/niivue.js
# cxr or ct
TRACK ?= cxr
PYTHONS ?= python3 python3.13 python3.12 python3.11
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help setup web demo test check format bench drill sbom audit

help:
	@echo "make setup | web | demo | test | check | format | bench | drill | sbom | audit"

setup: $(INSTALLED)

demo: setup
	$(BIN)/chestseg demo jobs/configs/$(TRACK)_demo.yaml

# The viewer of volumes, by npm (the system's, or that of the development packages); the page of radiographs needs none.
web: setup $(VIEWER)

$(VIEWER): $(PAGE)/package.json $(PAGE)/viewer.py | $(INSTALLED)
	$(BIN)/python -m chestseg.serving.page.viewer
	@touch $@

# Two processes beside each other: one has all that needs Ray, since a machine has ports for one head, the other the rest, shown at the end.
test: setup web
	@mkdir -p build
	@$(BIN)/pytest -m "not ray and not drill" > build/tests.log 2>&1 & rest=$$!; \
	$(BIN)/pytest -m "ray and not drill"; ray=$$?; \
	wait $$rest; rest=$$?; cat build/tests.log; exit $$((ray | rest))

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

bench: setup
	$(BIN)/python -m benchmarks.precision
	$(BIN)/python -m benchmarks.loading
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.prepare

# Disks that fill up, buckets and servers that go away, workers, nodes, heads and drivers that are killed; a sweep killed ten times, one
# trial at a time and two; what a sweep adds to its trainings. More than two hours on two cores.
drill: setup
	$(BIN)/chestseg drill
	$(BIN)/pytest -m drill
	$(BIN)/python -m benchmarks.fifty_kills
	$(BIN)/python -m benchmarks.kill_sweep
	$(BIN)/python -m benchmarks.kill_sweep --at-once 2
	$(BIN)/python -m benchmarks.tuning_overhead

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What is installed, for whoever must know: CycloneDX, and a table of licences.
sbom: setup $(SUPPLY)/.installed
	@mkdir -p build
	$(SUPPLY)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --mc-type application --output-reproducible \
	  --output-file build/sbom.cdx.json
	$(SUPPLY)/bin/pip-licenses --python $(BIN)/python --from=mixed --format=markdown --output-file=build/licences.md

audit: $(SUPPLY)/.installed
	$(SUPPLY)/bin/python .ci/audit.py constraints.txt

# Tools of their own environment, so that what they bring is not counted among what is shipped.
$(SUPPLY)/.installed: constraints.txt $(INSTALLED)
	$(BIN)/python -m venv $(SUPPLY)
	$(SUPPLY)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt cyclonedx-bom pip-audit pip-licenses
	@touch $@

$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/pip || { \
	  for python in $(PYTHONS); do \
	    $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && found=$$python && break; \
	  done; \
	  test -n "$$found" || { \
	    echo "chestseg needs Python 3.11 or newer with its venv module; tried: $(PYTHONS)." >&2; \
	    echo "Install one (on Debian: apt-get install python3 python3-venv) or name it: make setup PYTHONS=/path/to/python3.12" >&2; \
	    exit 1; \
	  }; \
	  echo "Making $(VENV) with $$($$found --version)"; \
	  $$found -m venv $(VENV); \
	}
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev,lite0]'
	@touch $@

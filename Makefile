# Everything a contributor runs. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
export CLUSTER ?= local
CLUSTER_CMD := $(PYTHON) dev/cluster/main.py
IN_CLUSTER := $(CLUSTER_CMD) exec
PYTEST := $(PY) -m pytest
export PYTHONPATH := operator:runtime:.
PYTEST_ARGS ?=

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2} /^## / {printf "\n%s\n", substr($$0, 4)}' $(MAKEFILE_LIST)
	@printf '\n  CLUSTER=local (default) | kind | current chooses the cluster; PYTEST_ARGS="-k name" narrows a test run.\n'

## The two commands

.PHONY: demo
demo: release ## A good version rolled out, a bad one undone, under live traffic
	@$(IN_CLUSTER) $(PY) -m dev.demo

.PHONY: test
test: lint release ## Everything: linters, types, unit, adapters, chart, real cluster, end to end
	@$(IN_CLUSTER) $(PYTEST) tests/unit tests/adapters tests/chart tests/cluster tests/e2e $(PYTEST_ARGS)

## Inner loop

.PHONY: setup
setup: $(VENV)/.installed ## The virtual environment with everything that is pinned

$(VENV)/.installed: requirements/dev.txt requirements/bootstrap.txt pyproject.toml
	@echo "setting up $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] else "Python 3.11 or newer is needed: set PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing: apt-get install python3-venv"; exit 1; }
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@$(VENV)/bin/uv pip install -q --python $(PY) --require-hashes -r requirements/dev.txt
	@$(VENV)/bin/uv pip install -q --python $(PY) --no-deps -e .
	@touch $@

.PHONY: lint
lint: setup ## ruff, mypy --strict, import contracts
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports

.PHONY: format
format: setup ## Format and fix what can be fixed
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

.PHONY: unit
unit: setup ## Unit tests and simulations; no process is started
	@$(PYTEST) tests/unit $(PYTEST_ARGS)

.PHONY: adapters
adapters: setup prerequisites ## Adapters against a real MLflow, Prometheus and Envoy
	@$(PYTEST) tests/adapters $(PYTEST_ARGS)

.PHONY: chart
chart: cluster ## The chart: templates, schema, rights
	@$(IN_CLUSTER) $(PYTEST) tests/chart $(PYTEST_ARGS)

.PHONY: e2e
e2e: release ## Scenarios under continuous traffic on the real cluster
	@$(IN_CLUSTER) $(PYTEST) tests/cluster tests/e2e $(PYTEST_ARGS)

## Cluster

.PHONY: prerequisites
prerequisites:
	@dev/prerequisites.sh

.PHONY: cluster
cluster: setup prerequisites ## A real Kubernetes; CLUSTER=kind or current uses another
	@$(CLUSTER_CMD) up

.PHONY: cluster-down
cluster-down: ## Remove the cluster and all that belongs to it
	@$(CLUSTER_CMD) down

.PHONY: images
images: cluster ## Build the images and load them into the cluster
	@$(PY) dev/images.py

.PHONY: release
release: images ## Install the chart with these images
	@$(PY) dev/release.py

## Generated files

.PHONY: generate
generate: setup ## Write CRDs, chart copies, references and diagrams from their sources
	@$(PY) -m penstock.api.generate
	@$(PY) -m dev.chart_readme
	@$(PY) -m dev.phases

.PHONY: lock
lock: setup ## Pin the requirements anew
	@cd requirements && for extra in dev operator runtime envoy mlflow-server; do \
	  constraint=$$([ $$extra = dev ] || echo "-c dev.txt"); \
	  ../$(VENV)/bin/uv pip compile -q ../pyproject.toml --extra $$extra $$constraint --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --python-version 3.11 --custom-compile-command "make lock" -o $$extra.txt; done
	@echo 'hatchling>=1.27' | $(VENV)/bin/uv pip compile -q - --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 -o images/build-requirements.txt
	@echo 'uv' | $(VENV)/bin/uv pip compile -q - --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -o requirements/bootstrap.txt

## Measurements

SPEC ?= examples/careful.yaml
RATE ?= 0.03
.PHONY: simulate
simulate: setup ## What SPEC=file would do to a good version and to one that fails RATE=0.03 of its requests
	@$(PY) -m penstock.cli.main simulate -f $(SPEC) --candidate-error-rate $(RATE) $(SIMULATE_ARGS)

.PHONY: bench
bench: release ## Runtime against mlflow, router latency, rollout times; writes benchmarks/results/
	@$(PY) -m benchmarks.runtime_vs_mlflow
	@$(PY) -m benchmarks.runtime_ring
	@$(PY) -m benchmarks.router_latency
	@$(IN_CLUSTER) $(PY) -m benchmarks.rollout

# Lastgood: everything goes into .venv, and every target sets up what it needs by itself.
# Needed on the machine: make, and Python 3.11 or newer with its venv module.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCK_TOOL := $(VENV)/.lock-tool
UV_VERSION := 0.13.8

# What `make demo` plays; the scenarios are listed in the README.
SCENARIO ?= error-spike
# Handed to pytest by `make test`, e.g. make test ARGS="-k blame".
ARGS ?=
# How many tests run at a time. They wait for servers half of the time, so one more than there are cores.
JOBS ?= $(shell echo $$(($$(nproc 2>/dev/null || echo 1) + 1)))
# worksteal: who has done its share takes from the others, and a module's servers are seldom started twice.
PYTEST = $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

TYPED := daemon handlers config deploy/sandbox tests

.PHONY: help setup check test test-real test-controlplane demo bench bench-blame mutants render lock clean

help: ## say what there is to run
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 18

setup: $(READY) ## make .venv with the locked packages
	@echo "setup: ready ($$($(BIN)/python --version), $(VENV))"

# One recipe, one stamp: set-up runs once, and again when a lock or the package's description changes.
$(READY): requirements-dev.lock pyproject.toml .ci/setup
	@.ci/setup $(VENV)
	@touch $@

check: $(READY) ## style, types, import layers, locks: what CI checks before the tests
	@echo "check: ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "check: mypy"
	@$(BIN)/mypy $(TYPED)
	@echo "check: import layers"
	@$(BIN)/lint-imports --no-logo
	@echo "check: locks"
	@$(BIN)/python .ci/lock.py check
	@echo "check: references"
	@$(BIN)/python .ci/references.py check

test: $(READY) ## all tests, and every branch of daemon/core
	@$(PYTEST) --cov --cov-report=term $(ARGS)

test-real: $(READY) ## only the tests with real servers and processes
	@$(PYTEST) -m real $(ARGS)

# Exit code 3: this machine can have no control plane, and has said why. A strict run (CI) fails then: what was not run has not passed.
test-controlplane: $(READY) ## the same promises on a real kube-apiserver (builds it once)
	@code=0; $(BIN)/python -m tests.controlplane.builds || code=$$?; \
	case "$${LASTGOOD_TEST_STRICT:-0}" in 0) strict=;; *) strict=1;; esac; \
	if [ $$code = 3 ] && [ -z "$$strict" ]; then echo "test-controlplane: not run"; exit 0; \
	elif [ $$code != 0 ]; then echo "test-controlplane: failed, not run (exit code $$code)"; exit $$code; fi; \
	$(PYTEST) --controlplane --timeout 180 tests/controlplane tests/contract/test_cluster_*.py $(ARGS)

demo: $(READY) ## play a scenario against the real daemon: make demo SCENARIO=error-spike
	@$(BIN)/python -m deploy.sandbox.demo --scenario $(SCENARIO)

bench: $(READY) ## measure, where there is something to measure
	@if compgen -G 'tests/bench/test_*.py' > /dev/null; then $(BIN)/python -m pytest tests/bench --no-looptime $(ARGS); \
	else echo "bench: this version has no benchmarks (none in tests/bench/)"; fi

bench-blame: $(READY) ## blame the right rollout, against every baseline: make bench-blame ARGS="--half tune --wrong"
	@$(BIN)/python -m tests.bench.blame_table $(ARGS)

mutants: $(READY) ## plant bugs, and see that the tests catch each: make mutants ARGS="no-hold"
	@$(BIN)/python -m tests.mutants $(ARGS)

render: $(READY) ## render deploy/kubernetes from the chart anew (needs helm)
	@$(BIN)/python .ci/render.py write

lock: $(READY) $(LOCK_TOOL)/bin/uv ## resolve pyproject.toml anew into the lock files (needs the network)
	@PATH="$(LOCK_TOOL)/bin:$$PATH" $(BIN)/python .ci/lock.py write

# The resolver has an environment of its own: only who changes a dependency needs it.
$(LOCK_TOOL)/bin/uv: $(READY)
	@echo "lock: installing the resolver"
	@$(BIN)/python -m venv $(LOCK_TOOL)
	@$(LOCK_TOOL)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

clean: ## remove what set-up and the tools left behind
	rm -rf $(VENV) .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

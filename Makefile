# Encore. Needs Python 3.11 or newer, make and gcc; everything else is installed into .venv, pinned by hash.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python
# Processes that share the tests, a file at a time, each with servers of its own; 0: one after the other, in one.
WORKERS ?= 2

# LightFM would compile for this very processor; we want wheels that run on any.
export LIGHTFM_NO_CFLAGS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install dev demo test check format bench bench-quality proofs outages clients chaos mutants servers stack lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## The environment alone: .venv with the `encore` command

dev: $(VENV)/.developed ## … and everything that tests and checks need

demo: install ## A running service with a small catalog, from nothing
	@$(BIN)/encore demo

test: dev ## Every test, with branch coverage; WORKERS=0 runs them one after the other
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
		--cov --cov-report=term:skip-covered --durations=30

check: dev ## Format, lint, types, layers, dependencies, requirements, sizes
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/deptry app
	@$(BIN)/python -m scripts.requirements_in_step
	@$(BIN)/python -m scripts.sizes

format: dev ## Format and fix what can be fixed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: dev ## Speed: one JSON line per figure, with machine facts
	@$(BIN)/python -m benchmarks

bench-quality: dev ## Quality of lists on the data in ENCORE_BENCH_DATA
	@$(BIN)/python -m benchmarks.quality

stack: dev ## All processes on all servers: the topology of docker-compose.yml without Docker; Ctrl-C stops it
	@$(BIN)/python -m tests.servers.stack

load: dev ## Load by locust, with thresholds that fail: make load SECONDS=30
	@$(BIN)/python -m benchmarks.locust_load $(SECONDS)

chaos: dev ## Kill, crash and freeze what takes in events: make chaos SEED=7 SECONDS=540 FAULTS=300
	@$(BIN)/python -m benchmarks.chaos $(SEED:%=--seed %) $(SECONDS:%=--seconds %) $(FAULTS:%=--faults %)

mutants: dev ## Break the code on purpose, one way after the other: every way must be noticed
	@$(BIN)/python -m benchmarks.mutants

proofs: dev ## Damaged artifacts, killed trainings, 10,000 requests from the document, 100 swaps
	@$(BIN)/python -m benchmarks.damage --count 2000
	@$(BIN)/python -m benchmarks.kill_training --points 10
	@$(BIN)/python -m benchmarks.fuzz
	@$(BIN)/python -m benchmarks.swaps 100

outages: dev ## Servers killed and frozen under load, SIGTERM under load, freshness through Kafka (docs/real-servers.md)
	@$(BIN)/python -m benchmarks.outages $(SECONDS:%=--seconds %)
	@$(BIN)/python -m benchmarks.stops
	@$(BIN)/python -m benchmarks.broker_restarts
	@$(BIN)/python -m benchmarks.two_beats
	@$(BIN)/python -m benchmarks.broker_faults
	@$(BIN)/python -m benchmarks.poison
	@$(BIN)/python -m benchmarks.rate_limit
	@$(BIN)/python -m benchmarks.bounded_caches
	@$(BIN)/python -m benchmarks.database_outages
	@$(BIN)/python -m benchmarks.kafka_freshness

servers: dev ## Real PostgreSQL, Redis, Kafka and S3 for trying; Ctrl-C stops them
	@$(BIN)/python -m tests.servers

COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	--python-version 3.11 --universal

# All extras but `torch`, which is installed by hand where it is wanted (scripts/requirements_in_step.py leaves out the same).
LOCKED := train files postgres redis kafka s3 celery otel

# The image that serves: every adapter, no training library (scripts/requirements_in_step.py has the same list).
SERVING := postgres redis kafka s3 celery otel

lock: dev ## Compile requirements/*.txt anew (needs a package index)
	@$(COMPILE) pyproject.toml $(LOCKED:%=--extra %) --output-file requirements/runtime.txt
	@$(COMPILE) pyproject.toml $(LOCKED:%=--extra %) --group dev --constraint requirements/runtime.txt --output-file requirements/dev.txt
	@$(COMPILE) pyproject.toml $(SERVING:%=--extra %) --constraint requirements/runtime.txt --output-file requirements/serving.txt
	@$(COMPILE) requirements/bootstrap.in --constraint requirements/dev.txt --output-file requirements/bootstrap.txt

clients: dev ## The clients in TypeScript, NestJS and Python: build, check, test against the real service, pack
	@command -v npm > /dev/null || { echo "make clients needs Node.js 20 or newer with npm" >&2; exit 1; }
	@cd clients && npm ci --silent --prefer-offline
	@cd clients/typescript && npm run --silent build && npm run --silent check && npm run --silent test
	@cd clients/nestjs && npm run --silent build && npm run --silent check && npm run --silent test
	@node clients/pack-test.mjs
	@$(MAKE) --no-print-directory client-python

client-python: dev
	@cd clients/python && { [ -x .venv/bin/python ] || ../../$(BIN)/uv venv --quiet --python ../../$(BIN)/python .venv; }
	@cd clients/python && ../../$(BIN)/uv pip install --quiet --python .venv/bin/python --editable . --group dev
	@cd clients/python && .venv/bin/mypy && .venv/bin/python -m pytest -q --cov

clean: ## Remove the environment, caches and the demo's data
	@rm -rf $(VENV) var/demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.bootstrapped: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Encore needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1 || echo missing). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/bootstrap.txt
	@touch $@

$(VENV)/.installed: $(VENV)/.bootstrapped requirements/runtime.txt pyproject.toml
	@echo "installing Encore (once; some minutes without a package cache)"
	@$(UV) --require-hashes --no-build-isolation-package rectools-lightfm --requirement requirements/runtime.txt
	@$(UV) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q app # the environment may forbid Python to write bytecode, and each command would compile anew
	@touch $@

$(VENV)/.developed: $(VENV)/.installed requirements/dev.txt
	@echo "installing what tests and checks need"
	@$(UV) --require-hashes --no-build-isolation-package rectools-lightfm --requirement requirements/dev.txt
	@touch $@

# Questline: `make up` starts everything, `make help` lists the rest. Needs Python 3.11+, make and a C library.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Packages as the lock files have them, by hash; then Questline itself, from this folder.
LOCKED := $(PIP) install --require-hashes -r
ITSELF := $(PIP) install --no-deps -e .
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --quiet \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

# Each stamp stands for an installation that matches pyproject.toml and a lock file.
RUNTIME := $(VENV)/.installed-embedded
DEV := $(VENV)/.installed-dev
# An environment of its own: the tool shall not choose versions for the product.
AUDIT := .venv-audit

# Two processes side by side, each file in one of them.
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder
PYTEST := $(BIN)/pytest $(SPREAD)

.DEFAULT_GOAL := help
# Two pips in one environment would disturb each other; pytest and the checks are one process each anyway.
.NOTPARALLEL:
.PHONY: help up test test-unit test-fast test-integration test-integration-setup test-integration-run \
	test-integration-teardown test-coverage test-long test-servers fuzz chaos lint docs-tables docs bench advisories lock protos clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sort | awk -F ':.*## ' '{printf "  make %-25s %s\n", $$1, $$2}'

up: $(RUNTIME) ## Install what is missing, then start everything until Ctrl-C
	@exec $(BIN)/questline up

test: $(DEV) lint ## Run every check and every test
	$(PYTEST) --durations=15

test-unit: $(DEV) ## Run the tests of single modules
	$(PYTEST) tests/unit

test-fast: $(DEV) ## Run what tells most in two minutes, and say what is left out
	$(PYTEST) --fast tests/unit tests/integration

test-integration: $(DEV) ## Run the tests on a Redis and a PostgreSQL, which they start and stop
	$(PYTEST) tests/integration

test-integration-setup: $(DEV) ## Start a Redis and a PostgreSQL that stay up for test-integration-run
	$(BIN)/python -m tests.support.standing_servers start

test-integration-run: test-integration-setup ## Run the integration tests on those
	env $$(cat .test-servers/environment) $(BIN)/pytest tests/integration

test-integration-teardown: $(DEV) ## Stop them and delete their data
	$(BIN)/python -m tests.support.standing_servers stop

test-coverage: $(DEV) ## Run every test and print which lines of the product none has run
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(SPREAD); code=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/coverage report; exit $$code

test-long: $(DEV) ## Try the properties on ten times as many random examples
	TEST_LONG=1 $(BIN)/pytest --timeout=3600 tests/integration/models/state/test_two_engines.py tests/integration/models/state/test_order_free.py tests/integration/models/state/test_planted_faults.py tests/acceptance tests/chaos

test-servers: $(DEV) ## Test on Debian's Redis with Sentinel and PostgreSQL behind pgbouncer, by TLS
	$(BIN)/python -m tests.support.managed

fuzz: $(DEV) ## Send 20,000 bad inputs to the receiver, over HTTP and gRPC
	TEST_LONG=1 $(BIN)/pytest -s --timeout=3600 tests/fuzz

lint: $(DEV) ## Run the checks: ruff, mypy, import contracts, tables of the docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.docs_tables --check

docs-tables: $(DEV) ## Write the tables of docs/reference from the code
	$(BIN)/python -m tools.docs_tables

docs: $(DEV) ## Build the documentation site into build/docs; a broken link is an error
	NO_COLOR=1 $(BIN)/zensical build --strict

chaos: $(DEV) ## Break an installation for ten minutes and prove that nothing was lost or doubled
	@exec $(BIN)/questline chaos --minutes 10

bench: $(DEV) ## Measure throughput and freshness next to the naive design
	@exec $(BIN)/python -m benchmarks.run

advisories: $(BIN)/python ## Look for known vulnerabilities of the pinned dependencies
	@test -x $(AUDIT)/bin/pip-audit || { $(BIN)/python -m venv $(AUDIT) && $(AUDIT)/bin/python -m pip --disable-pip-version-check -q install pip-audit; } || echo "pip-audit cannot be installed from here"
	@$(AUDIT)/bin/pip-audit -r constraints.txt --no-deps --disable-pip --progress-spinner off -f json 2>/dev/null | $(BIN)/python deploy/advisories.py

lock: $(DEV) ## Bring the lock files to pyproject.toml; with UPGRADE=1 to the newest versions
	$(COMPILE) $(if $(UPGRADE),--upgrade) --all-extras --generate-hashes -o requirements/dev.txt
	$(COMPILE) --generate-hashes -c requirements/dev.txt -o requirements/product.txt
	$(COMPILE) --extra embedded --generate-hashes -c requirements/dev.txt -o requirements/embedded.txt
	$(COMPILE) --all-extras -c requirements/dev.txt -o constraints.txt

protos: $(DEV) ## Make the gRPC code from the .proto files
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. ingest/protos/*.proto

clean: ## Remove the virtual environment and all caches; data in .questline stays
	rm -rf $(VENV) $(AUDIT) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Questline needs Python 3.11 or newer, set PYTHON" if sys.version_info < (3, 11) else 0)'
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml requirements/embedded.txt | $(BIN)/python
	@echo "installing Questline and its embedded servers into $(VENV)"
	@$(LOCKED) requirements/embedded.txt
	@$(ITSELF)
	@touch $@

$(DEV): pyproject.toml requirements/dev.txt | $(BIN)/python
	@echo "installing Questline, its embedded servers and the tools for development into $(VENV)"
	@$(LOCKED) requirements/dev.txt
	@$(ITSELF)
	@touch $(RUNTIME) $@

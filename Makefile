# Needs git, make and Python 3.11 or newer with pip. Everything else goes into $(VENV), once.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?=
PYTEST_ARGS ?=

# The first that runs, is new enough and has pip: a name on the path may be a shim for nothing.
find-python = for p in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	if $$p -c 'import sys, venv, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then echo "$$p"; exit 0; fi; done; \
	echo 'pelton needs Python 3.11 or newer with pip and venv: install one, or name it: make PYTHON=…' >&2; exit 1

## demo: kill an agent in the middle of its work and watch the answer arrive whole
demo: $(VENV)/.ready
	@$(BIN)/python -m pelton.adapters.cli demo

## conformance-agent: serve the agent of the A2A suites: PORT=9999 STREAMING=0 PUSH=0 EXTENDED=0 A2A03=1 REQUIRED_EXTENSION=uri AUTH=1
export STREAMING EXTENDED REQUIRED_EXTENSION
ifneq ($(filter 1 anyone,$(AUTH)),)
conformance-agent: export PELTON_AUTH_TEST_TOKENS = itk-valid-token=client,itk-insufficient-token
conformance-agent: export PELTON_AUTH_ACCEPT = $(filter anyone,$(AUTH))
endif
conformance-agent: $(VENV)/.ready
	@data=$$(mktemp -d); trap 'rm -rf "$$data"' EXIT; trap : INT TERM; \
	PELTON_PUSH_ALLOW=http://localhost,http://127.0.0.1 $(if $(filter 0,$(PUSH)),PELTON_PUSH_ENABLED=false) \
	$(BIN)/python -m pelton.adapters.cli dev examples/conformance_agent.py --profile relaxed \
		--data "$$data" --http 127.0.0.1:$(or $(PORT),9999) --grpc 127.0.0.1:$(or $(GRPC_PORT),0) \
		$(if $(filter 1,$(A2A03)),--a2a-0.3)

## test: run all tests, in parallel (WORKERS=3: they wait more than they compute) and in random order
test: $(VENV)/.ready
	@$(BIN)/python -m pytest -n $(or $(WORKERS),3) --dist worksteal $(PYTEST_ARGS)

## test-slow: the tests that `make test` leaves out: of elections, kills and recovery (minutes)
test-slow: $(VENV)/.ready
	@$(BIN)/python -m pytest -m slow -o faulthandler_timeout=1000 $(PYTEST_ARGS)

## test-frameworks: the suite on frameworks that are not here, installed below build/ (1.7 GB): ONLY=claude,codex,gemini,hermes,crewai
FRAMEWORKS := build/frameworks
ONLY ?= claude,codex,gemini,hermes,crewai
test-frameworks: $(VENV)/.ready
	@for name in $$(echo $(ONLY) | tr , ' '); do case $$name in \
		claude) $(BIN)/uv pip install --quiet --python $(BIN)/python --target $(FRAMEWORKS)/claude \
			--require-hashes -r requirements-claude.lock;; \
		crewai|hermes) $(BIN)/python -m pelton.adapters.cli adapters install $$name --into $(FRAMEWORKS);; \
		codex|gemini) mkdir -p $(FRAMEWORKS); cp -R deploy/programs/$$name $(FRAMEWORKS); \
			npm ci --prefix $(FRAMEWORKS)/$$name --ignore-scripts --no-audit --no-fund --loglevel error;; \
		*) echo "no framework is called $$name" >&2; exit 2;; \
		esac; done
	@bin=node_modules/.bin; where=$(CURDIR)/$(FRAMEWORKS); \
		PATH="$$where/codex/$$bin:$$where/gemini/$$bin:$$PATH" TEST_FRAMEWORKS=$(ONLY) \
		PYTHONPATH="$(if $(findstring claude,$(ONLY)),$(CURDIR)/$(FRAMEWORKS)/claude)" \
		PELTON_EXECUTOR_ENVIRONMENTS=$(CURDIR)/$(FRAMEWORKS) $(BIN)/python -m pytest --timeout 300 \
		-o faulthandler_timeout=1000 -n 2 -k "$$(echo $(ONLY) | sed 's/,/ or /g')" \
		tests/adapters/frameworks tests/acceptance/test_examples.py $(PYTEST_ARGS)

## node: the packages of the examples in JavaScript, without which their tests are skipped
node:
	@for name in js-client node-agent; do \
		npm ci --prefix examples/$$name --ignore-scripts --no-audit --no-fund --loglevel error; done

## test-browser: what pages in a real browser can do, and cannot; needs Chromium (CHROMIUM=/usr/bin/chromium)
export CHROMIUM
test-browser: $(VENV)/.ready
	@$(BIN)/python -m pytest -m browser tests/browser $(PYTEST_ARGS)

## check: what must pass before a commit: lint, imports, types, test
check: lint imports types test

## lint: style and format, changing nothing
lint: $(VENV)/.ready
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

## format: put the code into shape
format: $(VENV)/.ready
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

## imports: the direction of imports between the folders
imports: $(VENV)/.ready
	@$(BIN)/lint-imports --no-logo

## types: mypy and pyright, both strict, over source and tests; with -j2 at the same time
types: mypy pyright

## mypy: the one
mypy: $(VENV)/.ready
	@$(BIN)/mypy

## pyright: and the other, as basedpyright
pyright: $(VENV)/.ready
	@$(BIN)/basedpyright --pythonpath $(BIN)/python

## cov: the tests with branch coverage, as a table and in htmlcov/
cov: $(VENV)/.ready
	@$(BIN)/python -m pytest -n auto --cov --cov-report=term --cov-report=html $(PYTEST_ARGS)

## cov-core: the tests of events and projections, which fail if these are covered less than they were
cov-core: $(VENV)/.ready
	@$(BIN)/python -m pytest -n $(or $(WORKERS),3) --dist worksteal tests/events tests/projections \
		--cov=events --cov=projections --cov-report=term --cov-fail-under=92 $(PYTEST_ARGS)

## accepted: which acceptance statements are proved, and by which tests
accepted: $(VENV)/.ready
	@$(BIN)/python -m pytest --accepted -q

## simulate: play many seeds of the simulation: make simulate SEEDS=20000 FIRST=0
simulate: $(VENV)/.ready
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0)

## chaos: kill executors at every boundary, and every occurrence of it (5 minutes)
chaos: $(VENV)/.ready
	@$(BIN)/python -m pytest -m slow -o faulthandler_timeout=1000 -s tests/runtime/test_kills.py $(PYTEST_ARGS)

## fuzz: try what nobody means on decoders and APIs: make fuzz MINUTES=10
fuzz: $(VENV)/.ready
	@$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10)

## recovery: kill each part KILLS=20 times and print how soon work goes on (a minute for three)
recovery: $(VENV)/.ready
	@$(BIN)/python -m tests.recovery --kills $(or $(KILLS),20)

## soak: load and kill for hours, and fail if something grows: make soak MINUTES=480 RATE=50 (G14)
soak: $(VENV)/.ready
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),480) --rate $(or $(RATE),50)

## bench: measure requests, appends and rebuilds against their yardsticks (minutes)
bench: $(VENV)/.ready
	@$(BIN)/python -m benchmarks

## bench-turns: durable turns beside DBOS and Restate, and their bytes (ARGS=--short, --growth)
bench-turns: $(VENV)/.ready
	@$(BIN)/python -m benchmarks.turns $(ARGS)

## bench-fold: how long one session of 1,000 events takes to fold, and to be met with and without its kept fold
bench-fold: $(VENV)/.ready
	@$(BIN)/python -m benchmarks.fold $(ARGS)

## bench-fairness: how long one tenant waits while another asks ten times what it may
bench-fairness: $(VENV)/.ready
	@$(BIN)/python -m benchmarks.fairness

## bench-redaction: what it costs to look for secrets in what is stored
bench-redaction: $(VENV)/.ready
	@$(BIN)/python -m benchmarks.redaction

## bench-gateway: what the model gateway adds to a call of a model
bench-gateway: $(VENV)/.ready
	@$(BIN)/python -m benchmarks.gateway $(ARGS)

## bench-telemetry: what it costs to be counted, measured and traced
bench-telemetry: $(VENV)/.ready
	@$(BIN)/python -m benchmarks.telemetry

## bench-streams: one task to 200 subscribers beside the SDK's server, and 10,000 idle streams (ARGS=--dry)
bench-streams: $(VENV)/.ready
	@$(BIN)/python -m benchmarks.streams $(ARGS)

## schemas: write the published contract anew from the types, and the docs' generated parts
schemas: $(VENV)/.ready
	@$(BIN)/python -m pelton.adapters.contract
	@$(BIN)/python -m tests.docs.generate

## lock: write the locks anew (UPGRADE=--upgrade for the newest versions)
compile = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile $(UPGRADE) \
	--universal --python-version 3.11 --generate-hashes --no-config --quiet
lock: $(VENV)/.ready
	@$(compile) pyproject.toml --group dev --group fuzz --group build --output-file requirements.lock
	@$(compile) --group claude --constraint requirements.lock --output-file requirements-claude.lock
	@for name in crewai hermes; do $(compile) --group $$name \
		--output-file adapters/pelton/adapters/frameworks/locks/$$name.lock; done
	@if command -v npm >/dev/null; then for name in codex gemini; do npm $(if $(UPGRADE),update,install) \
		--prefix deploy/programs/$$name --package-lock-only --ignore-scripts --no-audit --no-fund --loglevel error; done; fi

## image: build the container image `pelton`, or that of adapters: ADAPTER=langgraph, ADAPTER="codex mcp"
PROGRAM := $(filter codex gemini,$(ADAPTER))
ISOLATED := $(filter crewai hermes,$(ADAPTER))
image:
	@$(if $(word 2,$(PROGRAM) $(ISOLATED)),echo 'each has an image of its own: $(PROGRAM) $(ISOLATED)' >&2; exit 2)
	@docker build --tag "$$(echo pelton $(ADAPTER) | tr ' ' -)" \
		$(if $(PROGRAM),--target program --build-arg PROGRAM=$(PROGRAM)) \
		$(if $(ISOLATED),--target isolated --build-arg FRAMEWORK=$(ISOLATED)) \
		--build-arg EXTRAS="$(strip $(filter-out $(PROGRAM) $(ISOLATED),$(ADAPTER)) \
		$(if $(PROGRAM)$(ISOLATED),gateway))" .

## test-image: run the tests inside the image, as its user and without a network: PYTEST_ARGS=tests/contract
test-image:
	@docker build --tag pelton-test --target test .
	@docker run --rm --network none pelton-test python -m pytest -n auto -p no:cacheprovider $(PYTEST_ARGS)

## secrets: write .env with random passwords for docker-compose.yml, once
secrets:
	@test ! -e .env || { echo '.env is there: delete it first for new passwords' >&2; exit 1; }
	@umask 077; grep -oh '{NATS_[A-Z_]*_PASSWORD' docker-compose.yml | tr -d '{' | sort -u \
		| while read -r name; do echo "$$name=$$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"; done > .env

## setup: make or refresh the environment and do nothing else
setup: $(VENV)/.ready

## clean: remove the environment and everything that was made
clean:
	@rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache \
		.pytest_cache .hypothesis .import_linter_cache

## help: this list
help:
	@sed -n 's/^## \([a-z-]*\): \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

# uv first, for it installs the lock in seconds where pip takes a minute; pip, should uv not run
# here. Both check every file against the hashes in the lock.
$(VENV)/.ready: requirements.lock pyproject.toml
	@set -eu; python=$$($(find-python)); \
	echo "pelton: setting up $(VENV) with $$($$python --version) (once; a minute or less)"; \
	$$python -m venv --without-pip $(VENV); \
	sed -n '/^uv==/,/# via/p' requirements.lock > $(VENV)/uv.lock; \
	pip() { $$python -m pip --python $(BIN)/python install -qq --disable-pip-version-check "$$@"; }; \
	if pip --require-hashes -r $(VENV)/uv.lock && $(BIN)/uv pip install --quiet \
		--python $(BIN)/python --require-hashes -r requirements.lock; \
	then $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else echo 'pelton: uv could not, so pip does it'; \
		pip --require-hashes -r requirements.lock; pip --no-deps --no-build-isolation -e .; fi
	@touch $@

.PHONY: demo conformance-agent test test-slow test-frameworks test-browser node check lint format imports types mypy pyright cov cov-core accepted simulate chaos fuzz recovery soak bench bench-turns bench-fold bench-fairness bench-redaction bench-gateway bench-telemetry bench-streams schemas lock image test-image secrets setup clean help

# Needs only make and Python >= 3.11; everything else is installed into .venv from requirements.lock.

PYTHON ?= python3
VENV   := .venv
PEERS  := .venv-peers
AUDIT  := .venv-audit
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
# The long ones first: the last worker to end has nothing long left.
SUITES := $(wildcard $(addprefix tests/,simulation acceptance scenarios integration contract unit))
# Tests wait a good deal, so two cores have time for four.
WORKERS ?= 4
# Every start of the program would be compiled anew without its byte code.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest
# The lock must hold what the public index serves, so local pip settings are left out when it is made.
# An index named in PIP_INDEX_URL is still asked: a mirror serves the same files.
PLAIN_PIP := env -u PIP_EXTRA_INDEX_URL -u PIP_FIND_LINKS -u PIP_NO_INDEX PIP_CONFIG_FILE=/dev/null
PIP_COMPILE := $(PLAIN_PIP) CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --all-build-deps --generate-hashes \
	--allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

.DEFAULT_GOAL := help
.PHONY: help demo test nightly matrix lint bench bench-peers audit crash drill simulate corpus soak reader contract lock venv clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: venv ## the whole product on this machine: embedded Postgres, the vendor's sandbox, proof at the end
	@$(BIN)/stp-etl demo $(ARGS)

test: lint ## lint, then every test but the nightly ones; ARGS go to pytest
	@$(PYTEST) $(SUITES) -n $(WORKERS) --dist worksteal -m "not nightly" $(ARGS)

nightly: venv ## what is too slow for every change: nightly tests, the matrix, long simulations, kills and stops; six hours
	@$(PYTEST) $(SUITES) -n $(WORKERS) --dist worksteal -m "nightly and not matrix" $(ARGS)
	@$(PYTEST) tests/unit tests/integration -n $(WORKERS) --dist worksteal --hypothesis-profile=searching $(ARGS)
	@$(MAKE) --no-print-directory simulate RUNS=2000 SEED=1000
	@$(MAKE) --no-print-directory crash RUNS=1000 SEED=1
	@$(MAKE) --no-print-directory drill RUNS=200 SEED=1
	@$(MAKE) --no-print-directory matrix
	@$(MAKE) --no-print-directory soak

lint: venv ## style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict

bench: venv ## benchmarks; ARGS go to them
	@$(BIN)/python -m tests.benchmarks $(ARGS)

bench-peers: venv $(PEERS)/.installed ## beside dlt, Singer and an ORM loop: speed, and what a kill loses; ARGS go to it
	@$(BIN)/python -m tests.benchmarks.peers $(PEERS) $(ARGS)

$(PEERS)/.installed: tests/benchmarks/peers.txt
	@echo "making $(PEERS) with the programs to compare with; this takes a minute"
	@$(PYTHON) -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip --quiet --disable-pip-version-check install --requirement tests/benchmarks/peers.txt
	@touch $@

audit: venv $(AUDIT)/.installed ## known weaknesses of every locked version; says so when nobody could be asked; ARGS go to pip-audit
	@$(BIN)/python -m tests.audit $(AUDIT)/bin/pip-audit $(ARGS)

$(AUDIT)/.installed: tests/audit.txt
	@echo "making $(AUDIT) with the audit tool; this takes a minute"
	@$(PYTHON) -m venv --clear $(AUDIT)
	@$(AUDIT)/bin/python -m pip --quiet --disable-pip-version-check install --requirement tests/audit.txt
	@touch $@

matrix: venv ## each fault, then a kill at each named point: 816 pairs, over an hour; ONCE=1: one point for each fault
	@$(PYTEST) tests/simulation/test_kill_points.py -n $(WORKERS) --dist worksteal -m "matrix$(if $(ONCE), and once)" $(ARGS)

crash: venv ## kill the daemon at random instants, heal, count what is lost: make crash RUNS=50 SEED=1
	@$(BIN)/python -m tests.simulation.crash --runs $(or $(RUNS),50) --seed $(or $(SEED),1)

reader: venv ## a reader of the incremental feed through fifty kills of the daemon
	@$(BIN)/python -m pytest tests/simulation/test_reader.py -q -s -m nightly $(ARGS)

contract: venv ## deploy/REPORTING.md and the list of reporting columns anew, after a column was added
	@$(BIN)/python -m tests.reporting_page

drill: venv ## end the daemon by SIGTERM at random instants, twice in a row, with the database away: make drill RUNS=50 SEED=1
	@$(BIN)/python -m tests.simulation.drill --runs $(or $(RUNS),50) --seed $(or $(SEED),1)

simulate: venv ## play seeded worlds on virtual time: make simulate RUNS=300 SEED=1; TRACE=1 shows all that happens
	@$(BIN)/python -m tests.simulation.simulate --runs $(or $(RUNS),300) --seed $(or $(SEED),1) \
		$(if $(TRACE),--trace) $(if $(BREAK),--break $(BREAK))

corpus: venv ## seeded worlds with known errors; what reconciliation finds of them: make corpus RUNS=300 SEED=1
	@$(BIN)/python -m tests.simulation.corpus --runs $(or $(RUNS),300) --seed $(or $(SEED),1)

soak: venv ## a day at ten times the usual volume in 29 minutes, everything flat: make soak MINUTES=2 for 100 minutes of it
	@$(BIN)/python -m tests.simulation.soak --minutes $(or $(MINUTES),29)

lock: venv ## write both lock files anew from pyproject.toml; ARGS="--upgrade" for newer versions
	@$(PIP_COMPILE) --extra dev --output-file requirements.lock $(ARGS) pyproject.toml
	@$(PIP_COMPILE) --constraint requirements.lock --output-file deploy/requirements.lock pyproject.toml
	@echo "requirements.lock and deploy/requirements.lock are written; run: make test"

venv: $(STAMP) ## .venv with exactly what requirements.lock names

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "stp-etl needs Python 3.11 or newer, and '$(PYTHON)' is not; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "'$(PYTHON)' cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "making $(VENV) from requirements.lock; this takes a minute"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

clean: ## remove .venv, caches and built files; var/ stays
	@rm -rf $(VENV) $(PEERS) $(AUDIT) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

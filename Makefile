# The README's two commands are `make run` and `make test`; `make help` lists the rest.

VENV := .venv
BIN := $(VENV)/bin
# The first Python on the path that is new enough; override with make PYTHON=...
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.PHONY: run dev test test-fast check fix contract seed bench chaos help install install-dev

help:
	@echo "make run       start the server (embedded database, nothing else needed); WEB=4: four processes on one port"
	@echo "make dev       the same, started again whenever a source changes, with asyncio's debug mode"
	@echo "make test      install what the tests need and run them all"
	@echo "make test-fast the rules and most of the domain, in about a minute"
	@echo "make check     lint, types, import rules, stale documents"
	@echo "make fix       mend what ruff can mend, and format"
	@echo "make contract  write the documents and types made from contract/"
	@echo "make seed      fill a running server with a cast and their negotiations"
	@echo "make bench     measure beside Node, with a picture (45 minutes; python -m bench --quick: minutes)"
	@echo "make chaos     kill, freeze and cut everything under load for ten minutes, and prove that nothing is lost"

$(VENV)/.installed: requirements.txt
	@test -n "$(PYTHON)" || { echo "Parley needs Python 3.11 or newer"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

WEB ?= 1
run: install
	@exec $(BIN)/python $(if $(filter 1,$(WEB)),server.py,formation.py --web $(WEB))

dev: install-dev
	PYTHONASYNCIODEBUG=1 $(BIN)/watchfiles --filter python --sigint-timeout 10 "$(BIN)/python server.py" \
		contract handlers models ops providers realtime rest security storage workers domain.py server.py settings.py

fix: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m contract --check
	$(BIN)/python -m pytest tests/tidy

# More than there are processors, since most tests wait for something. One to read along: make test AT_ONCE=0
AT_ONCE ?= 4
test: install-dev
	@tests/install.sh
	$(BIN)/python -m pytest -n $(AT_ONCE) --dist worksteal

# The tidy rules, and what needs no clients: most of the domain.
test-fast: install-dev
	$(BIN)/python -m pytest -q -n $(AT_ONCE) tests/tidy tests/contract/test_text.py tests/models

contract: install
	$(BIN)/python -m contract

seed: install-dev
	$(BIN)/python -m bench.seed

bench: install-dev
	$(BIN)/python -m bench

chaos: install-dev
	$(BIN)/python -m bench.chaos

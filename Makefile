# Everything runs in .venv, which is made when it is missing and renewed when the dependencies change.

VENV := .venv
# The newest Python from 3.11 on that this machine has; choose another with `make PYTHON=/path/to/python3 ...`.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3.14 python3; do \
	"$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; \
	done)
PIP_INSTALL := $(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
TESTS ?= guestguard_dagster_tests
HAS_BROWSER := command -v chromium >/dev/null || command -v google-chrome >/dev/null
HAS_PGBOUNCER := command -v pgbouncer >/dev/null || test -x /usr/sbin/pgbouncer
APT_INSTALL := test "$$(id -u)" = 0 && apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends

.PHONY: help install demo up test fuzz browser pgbouncer lint honesty bench bench-quick clean

help:
	@echo "make demo     install, then watch one broadcast leave on time (make demo KEEP=1 leaves it running)"
	@echo "make up       install, then run everything on this machine until Ctrl-C"
	@echo "make test     install with the development tools, then run the tests (make test TESTS=path)"
	@echo "make fuzz     the tests of properties, with new random examples each time"
	@echo "make lint     formatting, lint, types and layers"
	@echo "make honesty  pull every plug with every provider, some minutes long, and write docs/honesty.md"
	@echo "make bench    measure against yardsticks, half an hour long, and write docs/benchmarks.md (bench-quick: a minute)"
	@echo "make install  only install, with the development tools"
	@echo "make clean    remove .venv and caches; .guestguard, with the local data, stays"

demo: $(VENV)/installed
	@$(VENV)/bin/guestguard demo $(if $(KEEP),--keep)

up: $(VENV)/installed
	@$(VENV)/bin/guestguard up

# Most tests wait for servers most of the time: four at once, whatever the number of cores.
test: $(VENV)/installed-dev browser pgbouncer
	$(VENV)/bin/python -m pytest -n 4 --dist loadfile $(TESTS) \
		$(if $(shell $(HAS_BROWSER) && echo yes),,--ignore=guestguard_dagster_tests/browser) \
		$(if $(shell $(HAS_PGBOUNCER) && echo yes),,--ignore=guestguard_dagster_tests/storage/test_pgbouncer.py)

# The two things that no Python package brings.
browser:
	@$(HAS_BROWSER) || { $(APT_INSTALL) chromium >/dev/null; } || \
		echo "No Chromium here: the browser tests are left out. On Debian and Ubuntu: apt install chromium" >&2

pgbouncer:
	@$(HAS_PGBOUNCER) || { $(APT_INSTALL) pgbouncer >/dev/null; } || \
		echo "No PgBouncer here: its tests are left out. On Debian and Ubuntu: apt install pgbouncer" >&2

# The tests of properties with examples drawn at random, which are new ones each time.
fuzz: $(VENV)/installed-dev
	$(VENV)/bin/python -m pytest -n 4 -m hypothesis --hypothesis-profile fuzz $(TESTS)

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

honesty: $(VENV)/installed-dev
	$(VENV)/bin/python -m guestguard_dagster_tests.crash.honesty

bench: $(VENV)/installed-bench
	$(VENV)/bin/python -m benchmarks

bench-quick: $(VENV)/installed-bench
	$(VENV)/bin/python -m benchmarks --quick

install: $(VENV)/installed-dev

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { \
		echo "GuestGuard needs Python 3.11 or newer with its venv module (on Debian and Ubuntu: apt install python3-venv)." >&2; \
		exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# Each stamp is written last: an interrupted installation is taken up again by the next `make`.
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing GuestGuard and what it needs; that takes a minute or two"
	@$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing GuestGuard, what it needs, and the development tools; that takes a minute or two"
	@$(PIP_INSTALL) --editable '.[ses,dev]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-bench: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing GuestGuard, what it needs, and what draws the bench's chart"
	@$(PIP_INSTALL) --editable '.[ses,bench]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# The commands of this project; `make help` lists them.
#
# Everything is installed in .venv and tests/javascript/node_modules.  Stamp files in them remember
# that, until setup.cfg or package.json change.

PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 5000

bin := $(VENV)/bin
npm := tests/javascript/node_modules
without_gil := build/venvs/free-threaded
code := engineio async_drivers tests examples bench deploy

# The test plugins are loaded with -p, which pytest does before it reads `pythonpath`.
# Tests wait for servers more than they compute, so there are more processes than cores.
pytest = PYTHONPATH="$(CURDIR)/tests/plugins" $(1) -m pytest -p strict_skips -n 4 $(PYTEST)

# What setup.py puts into a wheel, pip leaves out of an editable installation.
hook := $(wildcard deploy/gunicorn/hook/*.p*)
site_packages = $$($(bin)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
install_hook = cp $(hook) "$(site_packages)"

.PHONY: help run test test-deploy soak conformance hostile faults stress free-threaded fuzz test-all bench docs lint format system clean
.DEFAULT_GOAL := help

help:
	@echo "make run       the demo on http://$(HOST):$(PORT)/ (HOST=... PORT=...), under gunicorn and eventlet"
	@echo "make test      check style and types, run all tests (PYTEST='-k name' for some of them)"
	@echo "make test-deploy  only the tests of servers and deployment files (COMPATIBILITY=write: their table)"
	@echo "make soak      clients that come and go in every way (ARGS='gunicorn-gevent --hours 4 --clients 100')"
	@echo "make conformance  play WebSocket's rules against every server and client; writes docs/conformance.md"
	@echo "make hostile   attack every server with bad input; writes docs/hostile.md (ARGS='uvicorn --floor')"
	@echo "make faults    break what is around servers and clients; processes stand still for a minute (PYTEST=...)"
	@echo "make stress    everything at once, with a switch of threads between any two operations (ARGS='--minutes 10')"
	@echo "make free-threaded  the threading mode on a CPython without the GIL, which is built if there is none"
	@echo "make fuzz      look for input that breaks a parser (ARGS='--minutes 10', default 2)"
	@echo "make test-all  run the tests on every CPython from 3.10 on that this machine has"
	@echo "make bench     measure against python-engineio and the JavaScript server (ARGS='gevent --quick')"
	@echo "make docs      the documentation as a site, build/docs/index.html"
	@echo "make lint      check style and types"
	@echo "make format    rewrite the code in this style"
	@echo "make clean     remove everything that these commands have made"

run: $(VENV)/.installed-run
	@$(bin)/python -c 'import socket; socket.create_server(("$(HOST)", $(PORT))).close()' 2>/dev/null || \
	    { echo "Cannot listen on $(HOST):$(PORT); is it taken?  Try: make run PORT=$$(($(PORT) + 1))"; exit 1; }
	@echo "Open http://$(HOST):$(PORT)/ in a browser.  Ctrl-C stops the server."
	@exec $(bin)/python -m gunicorn -k eventlet -w 1 -b $(HOST):$(PORT) \
	    -c deploy/gunicorn/gunicorn.conf.py --no-control-socket --chdir examples/server/wsgi demo:app

test: system lint $(npm)/.installed
	$(call pytest,$(bin)/python)

test-deploy: system $(VENV)/.installed-test $(npm)/.installed
	COMPATIBILITY=$(COMPATIBILITY) $(call pytest,$(bin)/python) tests/test_deploy*.py \
	    tests/test_gunicorn_worker.py tests/contract/test_deployments.py

soak: system $(VENV)/.installed-test
	$(bin)/python tests/soak/run_soak.py $(ARGS)

conformance: system $(VENV)/.installed-test $(npm)/.installed
	@rm -rf build/conformance
	CONFORMANCE=full $(call pytest,$(bin)/python) tests/conformance; status=$$?; \
	    $(bin)/python tests/conformance/conformance_report.py && exit $$status

hostile: system $(VENV)/.installed-test
	$(bin)/python tests/hostile/run.py $(ARGS)

faults: system $(VENV)/.installed-test
	FAULTS=full $(call pytest,$(bin)/python) tests/faults

stress: system $(VENV)/.installed-test
	$(bin)/python tests/stress/run_stress.py $(ARGS)

# Without what needs greenlets, and the tests that read the memory of a process: they know the
# allocator of a CPython with the GIL.
free-threaded: $(without_gil)/.installed
	PYTHON_GIL=0 $(call pytest,$(without_gil)/bin/python) --rig threading --rig gunicorn-gthread \
	    -k 'not in_a_hub and not memory_comes_back and not ends_disconnects' tests/contract tests/stress/free_threaded.py \
	    tests/stress/test_schedules.py tests/test_threading_driver.py tests/test_server.py tests/test_socket.py
	PYTHON_GIL=0 $(without_gil)/bin/python tests/stress/run_stress.py --threads $(ARGS)

$(without_gil)/.installed: setup.cfg tests/stress/build_free_threaded
	python=$$(tests/stress/build_free_threaded "$(CURDIR)/build/free-threaded") && \
	    $$python -m venv --clear $(without_gil)
	$(without_gil)/bin/python -m pip install -q --disable-pip-version-check -e . gunicorn packaging \
	    pytest pytest-timeout pytest-xdist requests websocket-client werkzeug
	@touch $@

fuzz: $(VENV)/.installed-test
	$(bin)/python tests/fuzz/run_fuzzers.py $(ARGS)

# A version manager has shims for Pythons that do not run, so each is tried.
test-all: system lint $(npm)/.installed
	@tested=; for version in 3.10 3.11 3.12 3.13 3.14; do \
	    for python in python$$version $$HOME/.pyenv/versions/$$version.*/bin/python; do \
	        $$python -c 'import ensurepip' 2>/dev/null || continue; \
	        echo "== Python $$version"; \
	        venv=build/venvs/test-$$version; \
	        $(MAKE) --no-print-directory PYTHON=$$python VENV=$$venv $$venv/.installed-test || exit 1; \
	        $(call pytest,$$venv/bin/python) || exit 1; \
	        tested="$$tested $$version"; break; \
	    done; \
	done; echo "Tested on Python$$tested"; test -n "$$tested"

bench: $(VENV)/.installed-bench
	$(bin)/python bench/run.py $(ARGS)

docs: $(VENV)/.installed-docs
	$(bin)/python -m sphinx -q -W --keep-going docs build/docs
	@echo "Open build/docs/index.html"

lint: $(VENV)/.installed-test
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy

format: $(VENV)/.installed-test
	$(bin)/ruff check --fix
	$(bin)/ruff format

system:
	@.ci/debian-packages $(PYTHON)

clean:
	rm -rf .venv build dist *.egg-info $(npm) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find $(code) -name __pycache__ -prune -exec rm -rf {} +

# A venv that could not be made whole is removed: the next run would take it for complete.
$(VENV)/.made:
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "Cannot make a virtual environment.  On Debian: apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.installed-run: $(VENV)/.made setup.cfg pyproject.toml $(hook)
	$(bin)/python -m pip install -q --disable-pip-version-check -e '.[eventlet,gunicorn]'
	@$(install_hook)
	@touch $@

$(VENV)/.installed-test: $(VENV)/.made setup.cfg pyproject.toml $(hook)
	$(bin)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@$(install_hook)
	@touch $@ $(VENV)/.installed-run

$(VENV)/.installed-bench: $(VENV)/.made setup.cfg pyproject.toml
	$(bin)/python -m pip install -q --disable-pip-version-check -e '.[bench]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.made setup.cfg pyproject.toml
	$(bin)/python -m pip install -q --disable-pip-version-check -e '.[docs]'
	@touch $@

# npm is missing where it may not be installed: those tests are skipped then.
$(npm)/.installed: tests/javascript/package.json tests/javascript/package-lock.json | system
	@if command -v npm >/dev/null; then \
	    cd tests/javascript && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.installed; \
	fi

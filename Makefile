# The whole developer interface. Every target installs what it needs first; see README.md and CONTRIBUTING.md.
#   make run        the demo; DEVICE=0 listens to a microphone, ARGS=... goes to the command
#   make test       the tests, the same in each run; ARGS=... goes to pytest, JOBS=0 runs them in one process
#   make test-all   adds the slow tests, and hypothesis searches at random
#   make coverage   the tests, and which lines they reached (htmlcov/index.html)
#   make check      ruff and mypy
#   make fmt        formats the code and fixes what ruff can fix
#   make bench      the benchmarks, as ratios to a reference layer
#   make docs       the documentation with the Python reference, into site/
#   make audit      known vulnerabilities of the pinned dependencies

VENV ?= .venv
PYTHON ?= python3
PY := $(VENV)/bin/python
ARGS ?=
# Tests at a time: one more than there are cores, since many of them wait; five at most, since each process holds torch.
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n + 1 : 5)))
SHELL := /bin/bash

.PHONY: run test test-all coverage check fmt bench clean system system-test node-test audit docs

run: $(VENV)/run.ready system
ifdef DEVICE
	$(VENV)/bin/streamcab listen --device "$(DEVICE)" $(ARGS)
else
	$(VENV)/bin/streamcab demo $(ARGS)
endif

# The tests start hundreds of processes, each of which would compile what it imports, were that not kept.
PYTEST = PYTHONDONTWRITEBYTECODE= $(PY) -m pytest -n $(JOBS) --dist loadfile --durations 15

test: $(VENV)/dev.ready system-test node-test
	$(PYTEST) $(ARGS)

test-all: $(VENV)/dev.ready system-test node-test
	$(PYTEST) -m "slow or not slow" --hypothesis-profile random $(ARGS)

coverage: $(VENV)/dev.ready system-test node-test
	$(PYTEST) --cov --cov-report term --cov-report html $(ARGS)

check: $(VENV)/dev.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

fmt: $(VENV)/dev.ready
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(VENV)/dev.ready
	$(PY) benchmarks/inference.py $(ARGS)

# apt packages: what for, and asking nobody who is not asked already (tools/system.sh says the line where it may not).
system:
	@tools/system.sh run
system-test:
	@tools/system.sh test

# The packages of the Node example and of a test, where npm is there; without them the tests are skipped and say so.
node-test:
	@[ -d examples/node_modules/zeromq -a -d examples/node_modules/ws ] || ! command -v npm >/dev/null || \
	  npm install --prefix examples --no-package-lock --no-fund --no-audit --silent || echo "npm could not install zeromq and ws; going on without"

# TORCH_INDEX=URL takes torch from another index: on machines where PyPI's build is the CUDA one.
PIP = $(PY) -m pip install -q --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt

$(VENV)/bin/python:
	@tools/system.sh venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing streamcab and what it needs into $(VENV) (torch is 200 MB; a minute or two)"
	$(PIP) -e '.[torch,web]'
	@touch $@

$(VENV)/dev.ready: $(VENV)/run.ready
	$(PIP) -e '.[torch,codecs,health,web,store,postgres,redis,nats,otel,dev]'
	@touch $@

docs: $(VENV)/dev.ready
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict

# Known vulnerabilities of the exact versions, from PyPI's advisories; in an environment of its own.
audit: $(VENV)/bin/python
	[ -x $(VENV)/audit/bin/pip-audit ] || { $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip install -q pip-audit; }
	$(VENV)/audit/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

clean:
	rm -rf $(VENV) examples/node_modules build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis htmlcov .coverage*

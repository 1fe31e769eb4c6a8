# make bench   time the hand-written gradients against autodiff (under a minute; BENCH=--full for the whole grid)
# make gpu     checks and times everything on a GPU, in ten minutes (SECONDS=300 for less; DEVICE=cpu rehearses it)
# make test    the test suite, on all cores (TESTS="tests/training -x": what pytest is to be told)
# make test-deep  the searches ten times deeper, the long lists in full, and the whole grids of the reference
# make check   formatting, lint, types
# Each makes the environment first. PYTHON and VENV choose the interpreter and where the environment goes.

PYTHON ?= python3
VENV ?= .venv
BENCH ?=
DEVICE ?= gpu
SECONDS ?= 600
TESTS ?=

.PHONY: environment bench gpu test test-deep check clean

bench: $(VENV)/installed
	$(VENV)/bin/python -m benchmarks $(BENCH)

gpu: $(VENV)/installed $(if $(filter gpu,$(DEVICE)),$(VENV)/installed-cuda)
	$(VENV)/bin/python -m benchmarks gpu --device $(DEVICE) --seconds $(SECONDS)

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest -n auto --dist worksteal $(TESTS)

test-deep: $(VENV)/installed
	$(VENV)/bin/python -m pytest -n auto --dist worksteal --deep $(TESTS)
	$(VENV)/bin/python -m reference
	$(VENV)/bin/python -m reference quantities
	$(VENV)/bin/python -m reference published
	$(VENV)/bin/python -m reference checker

check: $(VENV)/installed
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

environment: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is %s: make PYTHON=python3.12" % sys.version.split()[0])'
	@echo "Making the environment in $(VENV): about a minute"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(VENV)/bin/python -m pip install --quiet --editable '.[sklearn,train,bench,privacy]' --group dev
	@touch $@

$(VENV)/installed-cuda: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --editable '.[cuda13]'
	@touch $@

clean:
	rm -rf .venv* .jax_cache .hypothesis

# make bench   time the hand-written gradients against autodiff (under a minute; BENCH=--full for the whole grid)
# make gpu     checks and times everything on a GPU, in ten minutes (SECONDS=300 for less; DEVICE=cpu rehearses it)
# make test    the test suite, on all cores (TESTS="tests/training -x": what pytest is to be told)
# make test-deep  the searches ten times deeper, the long lists in full, and the whole grids of the reference
# make check   formatting, lint, types
# make gpu-check  compile for an H100, on any Linux machine, and check the programs (in an environment of its own, .venv-gpu)
# make gpu-page  write the tables of docs/gpu.md
# Each makes the environment first. PYTHON and VENV choose the interpreter and where the environment goes.

PYTHON ?= python3
VENV ?= .venv
BENCH ?=
DEVICE ?= gpu
SECONDS ?= 600
TESTS ?=

# What is imported is compiled once and kept, so that a process starts in a third of the time
unexport PYTHONDONTWRITEBYTECODE

.PHONY: environment bench gpu test test-deep check gpu-check gpu-page clean

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

# JAX computes on the CPU, and only compiles for the GPU
gpu-check gpu-page: export JAX_PLATFORMS = cpu
gpu-check gpu-page: export JAX_SKIP_CUDA_CONSTRAINTS_CHECK = 1

gpu-check: .venv-gpu/installed
	.venv-gpu/bin/python -m pytest -n auto --dist worksteal tests/gpu

gpu-page: .venv-gpu/installed
	PYTHONPATH=.:tests .venv-gpu/bin/python -m gpu.page

environment: $(VENV)/installed

define check_python
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is %s: make PYTHON=python3.12" % sys.version.split()[0])'
endef

$(VENV)/installed: pyproject.toml
	$(check_python)
	@echo "Making the environment in $(VENV): less than a minute"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(VENV)/bin/python -m pip install --quiet --no-compile --editable '.[sklearn,train,bench,privacy]' --group dev
	@touch $@

# The compiler comes with jax's plugin of the same version. Of NVIDIA's libraries, which take gigabytes, it needs none but
# the kernel's compiler, in the version that made the table of registers in docs/gpu.md
.venv-gpu/installed: pyproject.toml
	$(check_python)
	@echo "Making the environment in .venv-gpu: about a minute"
	$(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	.venv-gpu/bin/python -m pip install --quiet --no-compile --editable . --group test
	jax=$$(.venv-gpu/bin/python -c 'import jax; print(jax.__version__)') && .venv-gpu/bin/python -m pip install --quiet --no-compile --no-deps \
	  jax-cuda13-plugin==$$jax jax-cuda13-pjrt==$$jax nvidia-cuda-nvrtc==13.5.37
	@touch $@

$(VENV)/installed-cuda: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --editable '.[cuda13]'
	@touch $@

clean:
	rm -rf .venv* .jax_cache .hypothesis

"""These tests need JAX's CUDA plugin, which `make gpu-check` installs. Elsewhere they are left out."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("jax_cuda13_plugin") else ["test_*.py"]

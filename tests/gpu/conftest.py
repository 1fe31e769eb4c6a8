"""What is compiled for a GPU needs JAX's CUDA plugin, which `make gpu-check` installs: elsewhere it is left out."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("jax_cuda13_plugin") else ["test_*.py"]

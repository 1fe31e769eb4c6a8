import os

import jax
import pytest

# Before any backend starts. Compiling is most of what a test takes, and half of that is LLVM's optimization, which
# comes after everything that depends on the program: what is fused, simplified or folded stays as users have it.
os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=0 {os.environ.get('XLA_FLAGS', '')}"
# Meshes need more devices than a CPU has
jax.config.update("jax_num_cpu_devices", 8)
# On an accelerator the default precision of a float32 product is lower than float32
jax.config.update("jax_default_matmul_precision", "highest")


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield

import jax
import pytest

# Before any backend starts: meshes need more devices than a CPU has
jax.config.update("jax_num_cpu_devices", 8)
# On an accelerator the default precision of a float32 product is lower than float32
jax.config.update("jax_default_matmul_precision", "highest")


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield

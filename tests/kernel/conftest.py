from typing import Any

import jax
import jax.numpy as jnp
import pytest
from emulated_kernel import HOPPER, written

from manual_bp._kernel import fused


class EmulatedGPU:
    """A GPU whose kernel the emulation runs.

    Attributes:
        called: the forms that were called, one for each program.
        how: further arguments of the emulation.
    """

    def __init__(self) -> None:
        self.called, self.how = [], {}

    def kernel(self, form: Any, chip: Any) -> Any:
        def run(W, b, X, Y, weights):
            assert not form.indices or Y.dtype == jnp.int32
            self.called.append(form)
            blocks = min(-(-X.shape[1] // form.tile), 2)

            def emulated(W, b, X, Y, weights):
                return written(form, (W, b), X, Y, weights, blocks, **self.how)

            return jax.pure_callback(emulated, fused.results(form, blocks, X), W, b, X, Y, weights)

        return run


@pytest.fixture
def gpu(monkeypatch):
    """A machine that has a GPU."""
    found = EmulatedGPU()
    monkeypatch.setattr(fused, "chip_here", lambda: HOPPER)
    monkeypatch.setattr(fused, "on_cpu", lambda by_xla, by_kernel, *args: by_kernel(*args))
    monkeypatch.setattr(fused, "_kernel", found.kernel)
    # what was traced without a GPU, and later with this one
    jax.clear_caches()
    yield found
    jax.clear_caches()

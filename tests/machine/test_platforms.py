"""The form of a program follows the platform that it is compiled for, whatever platforms this machine has."""

import jax
import jax.numpy as jnp
import pytest

import manual_bp as bp
from manual_bp._machine import blocks

# A CPU's forms in them: the transposes of both products, the barrier that keeps A, the scatter of class indices
NETWORK = bp.Network((700, 300, 130, 10))


def program(platform: str, m: int) -> str:
    like = jax.ShapeDtypeStruct
    params = jax.eval_shape(lambda key: bp.init(NETWORK, key, "float32"), jax.random.key(0))
    gradient = jax.jit(bp.value_and_grad(NETWORK))
    traced = gradient.trace(params, like((700, m), jnp.float32), like((m,), jnp.int32))
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("m", [20, 600])
def test_only_a_cpu_gets_its_forms(m):
    """The 20 examples are in rows inside, where each platform transposes; a product of cuBLAS takes that in."""
    on_cpu, on_gpu = (program(platform, m) for platform in ("cpu", "cuda"))
    assert "optimization_barrier" in on_cpu and "stablehlo.scatter" in on_cpu
    assert "optimization_barrier" not in on_gpu and "stablehlo.scatter" not in on_gpu
    # as many products, and from columns none of a factor that was transposed first
    assert on_cpu.count("stablehlo.dot_general") == on_gpu.count("stablehlo.dot_general") == 8
    assert "stablehlo.transpose" in on_cpu and (m == 20 or "stablehlo.transpose" not in on_gpu)


@pytest.mark.parametrize(("m", "on_a_gpu"), [(20_000, False), (3_378_378, False), (3_378_379, True)])
def test_a_gpu_takes_blocks_later_than_a_cpu(m, on_a_gpu, monkeypatch):
    monkeypatch.setattr(blocks, "is_spread", lambda X, platform: False)
    on_cpu, on_gpu = (program(platform, m) for platform in ("cpu", "cuda"))
    assert "stablehlo.while" in on_cpu and ("stablehlo.while" in on_gpu) == on_a_gpu


def test_the_default_platform_decides_nothing(monkeypatch):
    before = program("cpu", 600)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    jax.clear_caches()
    assert program("cpu", 600) == before

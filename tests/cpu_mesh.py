"""A mesh of CPU devices, whatever JAX computes on by default."""

import math
from typing import Any

import jax


def cpu_mesh(shape: tuple[int, ...], axes: tuple[str, ...], **options: Any) -> jax.sharding.Mesh:
    return jax.make_mesh(shape, axes, devices=jax.devices("cpu")[: math.prod(shape)], **options)

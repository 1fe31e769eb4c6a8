"""Planted mistakes in gradients that are formed block by block and shared out over devices.

As in tests/test_planted_mistakes.py: (module, the line as it is, the line made wrong).
"""

import jax
import jax.numpy as jnp
from cpu_mesh import cpu_mesh
from jax.sharding import AxisType
from planted import check_table
from problems import CLASSES, arrays, by_autodiff

from reference.compare import largest_error

MISTAKES = {
    "each block a mean of its own": ("_gradient", "share = normalizer * (X.shape[1] if weights is None else jnp.sum(weights))", "share = 1.0"),
    "weights forgotten": ("_gradient", "jnp.sum(weights))", "X.shape[1])"),
    "cost of a block for its share": ("_gradient", "return share * c, cost_backward", "return c, cost_backward"),
    "one block forgotten": ("_machine/blocks", "jnp.arange((m - first) // size)", "jnp.arange((m - first) // size - 1)"),
    "one block twice": ("_machine/blocks", "of_block(i * size, size)", "of_block(jnp.maximum(i, 1) * size, size)"),
    "every shard from the beginning": ("_machine/devices", "lax.axis_index(DATA) * share", "0 * share"),
    "a part from the beginning": ("_machine/blocks", "at = origin + start", "at = start"),
    "the rest once for each shard": ("_machine/devices", "lambda s: s / shards", "lambda s: s"),
    "the rest forgotten": ("_machine/devices", "        if rest:", "        if False:"),
    "shards not added up": ("_machine/devices", "unravel(lax.psum(flat, DATA))", "unravel(flat)"),
}  # fmt: skip


def _noticed(bp) -> bool:
    model, (_, params, X, Y, weights) = CLASSES.model, arrays(CLASSES)
    args = params, jnp.tile(X, 2)[:, :11], jnp.tile(Y, 2)[..., :11], jnp.tile(weights, 2)[:11]
    mesh = cpu_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    network, expected = bp.Network(*model), jax.tree.leaves(by_autodiff(model, *args))

    def wrong(**options):
        own = tuple(bp.Layer(*layer) for layer in params), *args[1:]
        return largest_error(jax.tree.leaves(bp.value_and_grad(network, **options)(*own)), expected) > 1e-11

    return wrong(block_size=4) or wrong(block_size=3, mesh=mesh)


test_a_faithful_copy_passes, test_mistake_is_noticed = check_table(MISTAKES, _noticed)

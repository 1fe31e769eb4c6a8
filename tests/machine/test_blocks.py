"""The gradient block by block: the same as at once, in the memory of a block; and which blocks "auto" takes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cpu_mesh import cpu_mesh
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from problems import BY_NAME, CLASSES, DEEP, FLOAT64, REGRESSION, arrays, by_autodiff, if_deep

import manual_bp as bp
from manual_bp._machine import blocks, sharding
from reference.compare import largest_error


@pytest.mark.parametrize(
    ("problem", "weighted", "sizes"),
    # one by one, several and a rest of one, one and a rest of one, one and a rest of several, more than there are
    [
        (CLASSES, True, (1, 3, 6, 4, 8)),
        (BY_NAME["two layers, multilabel"], False, (1, 4)),
        *(if_deep(DEEP, weighted, (1, 9, 3, 5, 11)) for weighted in (True, False)),
        *(if_deep(REGRESSION, weighted, (1, 4, 3, 6)) for weighted in (True, False)),
    ],
    ids=["classes", "columns", "deep, weighted", "deep", "regression, weighted", "regression"],
)
def test_blocks_give_the_gradient_of_autodiff(problem, weighted, sizes):
    network, params, X, Y, weights = arrays(problem)
    args = params, X, Y, weights if weighted else None
    expected = by_autodiff(problem.model, *args)
    for size in sizes:
        assert largest_error(bp.value_and_grad(network, block_size=size)(*args), expected) <= FLOAT64
    assert largest_error(bp.grad(network, block_size=3)(*args), expected[1]) <= FLOAT64


def test_a_block_without_weight():
    """Absent examples, NaN included, may fill a block, the first, the last, or all of them."""
    network, params, X, Y, _ = arrays(CLASSES)
    X, Y, weights = jnp.tile(X, 2)[:, :12], jnp.tile(Y, 2)[..., :12], np.ones(12)
    in_blocks = bp.value_and_grad(network, block_size=4)
    for absent in (slice(0, 4), slice(8, 12), slice(4, 5)):
        some = weights.copy()
        some[absent] = 0
        held = X.at[:, absent].set(jnp.nan)
        expected = bp.value_and_grad(network, block_size=None)(params, X, Y, some)
        assert largest_error(in_blocks(params, held, Y, some), expected) <= FLOAT64
    for leaf in jax.tree.leaves(in_blocks(params, X, Y, 0 * weights)):
        assert not np.any(leaf)


def test_sums_of_bfloat16_are_in_float32():
    network, params, *_ = arrays(BY_NAME["digits classifier"], dtype=jnp.bfloat16)
    X = jax.random.normal(jax.random.key(0), (64, 4096), jnp.bfloat16)
    Y = jnp.arange(4096) % 10
    expected = bp.value_and_grad(network)(jax.tree.map(lambda p: p.astype(float), params), X.astype(float), Y)
    found, whole = (bp.value_and_grad(network, block_size=size)(params, X, Y) for size in (16, None))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}
    assert largest_error(found, expected) <= 2 * largest_error(whole, expected)


def test_memory_does_not_grow():
    network = bp.Network((20, 40, 30, 5))
    params = bp.init(network, jax.random.key(0), jnp.float32)

    def temporary(block_size, m):
        X, Y = jnp.zeros((20, m), jnp.float32), jnp.zeros(m, int)
        compiled = jax.jit(bp.value_and_grad(network, block_size=block_size)).lower(params, X, Y).compile()
        memory = compiled.memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    assert temporary(32, 6400) < temporary(32, 640) + 2000 < 0.03 * temporary(None, 6400)


def test_in_an_ensemble():
    network, params, X, Y, weights = arrays(CLASSES)
    several = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)
    found, expected = (
        jax.vmap(bp.value_and_grad(network, block_size=size), in_axes=(0, None, None, None))(several, X, Y, weights)
        for size in (4, None)
    )
    assert largest_error(found, expected) <= FLOAT64


def test_shards_are_added_up_once():
    """Inside shard_map every shard adds up its own blocks, and one sum over the shards follows."""
    network, params, X, Y, _ = arrays(BY_NAME["digits classifier"])
    X, Y = jnp.tile(X, 8), jnp.tile(Y, 8)
    mesh = cpu_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def sum_of_shards(block_size):
        mapped = jax.shard_map(
            lambda *args: jax.tree.map(lambda d: d / 8, bp.grad(network, block_size=block_size)(*args)),
            mesh=mesh,
            in_specs=(P(), P(None, "data"), P("data")),
            out_specs=P(),
        )
        return jax.jit(mapped)

    assert largest_error(sum_of_shards(3)(params, X, Y), bp.grad(network)(params, X, Y)) <= FLOAT64
    program = str(jax.make_jaxpr(sum_of_shards(3))(params, X, Y))
    at_once = str(jax.make_jaxpr(sum_of_shards(None))(params, X, Y))
    assert program.count("scan[") == 1 and program.count("psum") == at_once.count("psum") > 0


def test_training_takes_blocks(monkeypatch):
    """A batch beyond what "auto" takes at once; but under dropout, whose units are drawn for the whole batch."""
    network = bp.Network((3, 700, 2))
    X, Y = jax.random.normal(jax.random.key(1), (3, 6000), jnp.float32), jnp.arange(6000) % 2
    monkeypatch.setattr(blocks, "is_spread", lambda X, platform: False)

    def loops(dropout):
        optimizer = optax.sgd(0.1)
        step = bp.train_step(network, optimizer, dropout=dropout)
        state = bp.train_state(network, optimizer, jax.random.key(0), dtype=jnp.float32)
        return str(jax.make_jaxpr(step)(state, X, Y)).count("scan[")

    assert (loops(0.0), loops(0.5)) == (1, 0)


# network, m, itemsize -> examples at a time
CHOICES = [
    ((64, 64, 64, 64, 64, 10), 16384, 4, 16384),  # 20.6 MiB of activations
    ((64, 64, 64, 64, 64, 10), 65536, 4, 8192),
    ((64, 64, 64, 64, 64, 10), 16384, 8, 4096),
    ((784, 128, 10), 32768, 4, 2048),
    ((784, 512, 512, 10), 4096, 4, 4096),
    ((784, 512, 512, 10), 8192, 4, 1024),
    ((1024, 1024, 1024, 1024), 65536, 4, 1024),
    ((256, 256, 32768), 4096, 4, 64),  # logits and their derivative in 32 MiB at the most
    ((8, 10**7), 2, 4, 1),
]


@pytest.mark.parametrize(("sizes", "m", "itemsize", "expected"), CHOICES)
def test_auto(sizes, m, itemsize, expected):
    assert blocks.auto((sizes[0], m), sizes[1:], itemsize) == expected


ON_A_GPU = [
    ((64, 64, 64, 64, 64, 10), 7_575_757, 4, 7_575_757),  # 10 GB of activations
    ((64, 64, 64, 64, 64, 10), 7_575_758, 4, 65_536),
    ((64, 64, 64, 64, 64, 10), 7_575_758, 2, 7_575_758),
    ((4096, 4096, 4096, 4096), 400_000, 2, 4_096),
    ((8, 10**8), 20, 8, 1),
]


@pytest.mark.parametrize(("sizes", "m", "itemsize", "expected"), ON_A_GPU)
def test_auto_on_a_gpu(sizes, m, itemsize, expected):
    assert blocks.auto_on_gpu((sizes[0], m), sizes[1:], itemsize) == expected


def test_auto_takes_all_at_once_of_what_may_be_spread(monkeypatch):
    X = jax.ShapeDtypeStruct((3, 10**5), jnp.float32)

    def is_spread(X):
        """On CPUs and on GPUs."""
        found = []
        jax.eval_shape(lambda X: found.extend(sharding.is_spread(X, p) for p in ("cpu", "gpu")) or X, X)
        return found

    def shard(X):
        inside.append(sharding.is_spread(X, "cpu"))
        return X

    inside, mesh = [], cpu_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    jax.eval_shape(jax.shard_map(shard, mesh=mesh, in_specs=P(None, "data"), out_specs=P(None, "data")), X)
    assert inside == [False]
    for cpus, gpus in ((8, 1), (1, 8)):
        monkeypatch.setattr(jax, "device_count", {"cpu": cpus, "gpu": gpus}.__getitem__)
        assert is_spread(X) == [cpus > 1, gpus > 1]
    monkeypatch.undo()
    assert is_spread(X) == [jax.device_count("cpu") > 1, False]


@pytest.mark.parametrize("spread", [False, True])
def test_auto_takes_the_blocks_of_the_platform(spread, monkeypatch):
    """A stand-in for each function tells how it was called, on this machine's platform."""
    monkeypatch.setattr(blocks, "is_spread", lambda X, platform: spread)
    X = jnp.zeros((3, 10**5), jnp.float32)
    taken = blocks.in_blocks_or_at_once("auto", (700, 2), X, lambda size, x: x + size, lambda x: x)
    assert taken(jnp.zeros((), int)) == (0 if spread else 2048)


def test_the_same_function():
    network = bp.Network((3, 2))
    assert bp.value_and_grad(network) is bp.value_and_grad(network, block_size="auto")
    assert bp.value_and_grad(network, block_size=4) is bp.value_and_grad(bp.Network([3, 2]), block_size=4)
    assert bp.value_and_grad(network, block_size=4) is not bp.value_and_grad(network, block_size=None)


@pytest.mark.parametrize(
    ("block_size", "error", "message"),
    [
        (0, ValueError, "block_size is 0; expected 1 or more, 'auto' or None"),
        (-3, ValueError, "block_size is -3; expected 1 or more"),
        (2.5, TypeError, "block_size is 2.5; expected an integer, 1 or more, 'auto' or None"),
        (True, TypeError, "block_size is True; expected an integer"),
        ("all", ValueError, "block_size is 'all'; expected an integer, 'auto' or None"),
    ],
)
@pytest.mark.parametrize("entry", [bp.value_and_grad, bp.grad])
def test_no_block_size(entry, block_size, error, message):
    with pytest.raises(error, match=message):
        entry(bp.Network((3, 2)), block_size=block_size)

"""The gradient under vmap, scan, donation, shard_map, and on meshes with Auto and with Explicit axes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cpu_mesh import cpu_mesh
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from problems import FLOAT64

import manual_bp as bp
from manual_bp import _equations as equations
from manual_bp import _output as output
from reference.compare import largest_error

NETWORK = bp.Network((5, 6, 4, 2), ("tanh", "relu"))
M = 16
EVERY_DERIVATIVE = jax.jit(jax.grad(lambda *args: bp.cost(NETWORK, *args), argnums=(0, 1, 2, 3)))


@pytest.fixture
def data():
    """(params, X, Y, weights) on one device."""
    X = jnp.asarray(np.random.default_rng(0).normal(size=(5, M)))
    return members(1)[0], X, jnp.arange(M) % 2, jnp.arange(M) % 5 * 0.5


def members(k):
    """The parameters of several networks."""
    rng, sizes = np.random.default_rng(1), list(zip(NETWORK.sizes[:-1], NETWORK.sizes[1:], strict=True))
    return [
        tuple(bp.Layer(*map(jnp.asarray, (rng.normal(size=(n, k)), rng.normal(size=(n, 1))))) for k, n in sizes)
        for _ in range(k)
    ]


def stacked(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def test_jit_and_eager_agree(data):
    params, X, Y, _ = data
    with jax.disable_jit():
        eager = bp.value_and_grad(NETWORK)(params, X, Y)
    assert largest_error(eager, bp.value_and_grad(NETWORK)(params, X, Y)) <= FLOAT64


def test_equations_under_strict_promotion(data):
    params, X, Y, _ = data

    @jax.jit
    def sums(params, X, Y):
        A, Z = equations.forward(NETWORK.activations, params, X)
        _, dZ_L = output.output_derivatives(NETWORK, A, Z, Y)
        dA, dZ = equations.backward(NETWORK.activations, params, A, Z, dZ_L)
        return equations.gradient_sums(params, A, dZ)

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        found = sums(params, X, Y)
    assert largest_error(jax.tree.map(lambda d: d / M, found), bp.value_and_grad(NETWORK)(params, X, Y)[1]) <= FLOAT64


def test_the_same_network_compiles_once():
    again = bp.Network([5, 6, 4, 2], ["tanh", "relu"], "softmax", "cross_entropy")
    assert again == NETWORK and hash(again) == hash(NETWORK)
    assert bp.value_and_grad(again) is bp.value_and_grad(NETWORK)


def test_ensemble(data):
    """vmap over parameters: many networks in one program, each with its own gradient."""
    _, X, Y, weights = data
    ensemble = stacked(members(3))
    expected = stacked([bp.value_and_grad(NETWORK)(params, X, Y, weights) for params in members(3)])
    by_hand = jax.vmap(bp.value_and_grad(NETWORK), in_axes=(0, None, None, None))
    by_grad = jax.vmap(jax.value_and_grad(lambda *args: bp.cost(NETWORK, *args)), in_axes=(0, None, None, None))
    for found in jax.jit(lambda *args: (by_hand(*args), by_grad(*args)))(ensemble, X, Y, weights):
        assert largest_error(found, expected) <= FLOAT64


def test_vmap_over_examples_gives_their_gradients(data):
    params, X, Y, _ = data
    each = jax.vmap(lambda x, y: bp.grad(NETWORK)(params, x[:, None], y[None]))(np.asarray(X).T, Y)
    mean = jax.tree.map(lambda d: np.mean(d, axis=0), each)
    assert largest_error(mean, bp.value_and_grad(NETWORK)(params, X, Y)[1]) <= FLOAT64


def test_scan_with_donated_state_and_optax(data):
    params, X, Y, weights = data
    optimizer = optax.adam(0.01)

    def step(state, _):
        params, opt_state = state
        c, grads = bp.value_and_grad(NETWORK)(params, X, Y, weights)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), c

    state = (jax.tree.map(jnp.copy, params), optimizer.init(params))
    run = jax.jit(lambda state: lax.scan(step, state, length=50), donate_argnums=0)
    (_, _), costs = run(state)
    loop = (params, optimizer.init(params))
    for i in range(3):
        loop, c = step(loop, None)
        np.testing.assert_allclose(costs[i], c, rtol=1e-9)
    assert costs[-1] < 0.5 * costs[0]


@jax.jit
def quantities(params, X, Y, weights):
    """Those of the network of the first layers."""
    network = bp.Network(NETWORK.sizes[: len(params) + 1], "tanh")
    record = bp.backpropagate(network, params, X, Y, weights)
    private = bp.private_value_and_grad(network, 0.5, 0.0, 8)(params, X, Y, jax.random.key(0), weights != 0)
    return {
        "norms": bp.per_example_norms(record),
        "gradients": bp.per_example_gradients(record),
        "Gram": bp.gram_matrix(record),
        "clipped": bp.clipped_gradients(record, 0.5),
        "clipped by layer": bp.clipped_gradients(record, [0.5] * len(params)),
        "variance": bp.variance(record),
        "noise scale": bp.noise_scale(record),
        "output": bp.output_gradient(record, 1),
        "diagonal": bp.gauss_newton_diagonal(record),
        "K-FAC": bp.kfac_factors(record),
        "Hessian": bp.hessian_product(record, params),
        "Gauss-Newton": bp.gauss_newton_product(record, params),
        "private": tuple(private),
    }


def put(mesh, x, spec):
    return jax.device_put(x, NamedSharding(mesh, spec))


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit], ids=str)
class TestMesh:
    def place(self, data, axis_type, params_spec=lambda shape: P()):
        mesh = cpu_mesh((4, 2), ("data", "model"), axis_types=(axis_type,) * 2)
        params, X, Y, weights = data
        params = jax.tree.map(lambda p: put(mesh, p, params_spec(p.shape)), params)
        return mesh, (params, put(mesh, X, P(None, "data")), put(mesh, Y, P("data")), put(mesh, weights, P("data")))

    @staticmethod
    @jax.jit
    def every_way(params, X, Y, weights):
        """The gradient by each entry point, weighted and not, in one program."""
        return {
            "weighted": bp.value_and_grad(NETWORK)(params, X, Y, weights),
            "mean": bp.value_and_grad(NETWORK)(params, X, Y),
            "by_grad": jax.grad(lambda p: bp.cost(NETWORK, p, X, Y, weights))(params),
            "by_record": bp.gradients(bp.backpropagate(NETWORK, params, X, Y, weights)),
        }

    # Rows of W and b over "model" is one way to shard a layer, columns of W the other; 5 inputs can't be halved
    @pytest.mark.parametrize(
        "params_spec",
        [
            lambda shape: P(),
            lambda shape: P("model", None),
            lambda shape: P("model", None) if shape[1] > 1 else P(),
            lambda shape: P(None, "model") if shape[1] % 2 == 0 else P(),
        ],
        ids=["replicated", "rows", "rows of W", "columns"],
    )
    def test_sharded_batch_and_parameters(self, data, axis_type, params_spec):
        params, X, Y, weights = data
        # enough examples for another form of the products than the other tests meet
        data = params, jnp.tile(X, 10), jnp.tile(Y, 10), jnp.tile(weights, 10)
        _, placed = self.place(data, axis_type, params_spec)
        found = self.every_way(*placed)
        assert largest_error(found, self.every_way(*data)) <= FLOAT64
        if axis_type == AxisType.Explicit:
            for grads in (found["weighted"][1], found["mean"][1]):
                for d, p in zip(jax.tree.leaves(grads), jax.tree.leaves(placed[0]), strict=True):
                    assert jax.typeof(d).sharding.spec == jax.typeof(p).sharding.spec

    def test_float_targets_and_every_derivative(self, data, axis_type):
        params, X, Y, weights = data
        data = params, X, jax.nn.one_hot(Y, 2, axis=0, dtype=float), weights
        mesh, placed = self.place((params, X, Y, weights), axis_type)
        placed = (*placed[:2], put(mesh, data[2], P(None, "data")), placed[3])
        assert largest_error(EVERY_DERIVATIVE(*placed), EVERY_DERIVATIVE(*data)) <= FLOAT64

    def test_parameters_not_placed(self, data, axis_type):
        _, placed = self.place(data, axis_type)
        found = bp.value_and_grad(NETWORK)(data[0], *placed[1:])
        assert largest_error(found, bp.value_and_grad(NETWORK)(*data)) <= FLOAT64

    def test_quantities_of_sharded_examples(self, data, axis_type, deep):
        data = data[0][: 3 if deep else 2], *data[1:]
        _, placed = self.place(data, axis_type)
        assert largest_error(quantities(*placed), quantities(*data)) <= 1e-11

    def test_shard_map(self, data, axis_type):
        """Parameters replicated, examples sharded: what `jax.grad` of the same sum gives, with check_vma on."""
        mesh, placed = self.place(data, axis_type)
        expected = bp.value_and_grad(NETWORK)(*data)

        def by_grad(params, X, Y, weights):
            total = lax.psum(jnp.sum(weights), "data")

            # the shard's share of the cost: a mean of means would be wrong, its weights have their own sum
            def share(params):
                return bp.cost(NETWORK, params, X, Y, weights) * jnp.sum(weights) / total

            c, grads = jax.value_and_grad(share)(params)
            return lax.psum(c, "data"), grads

        def by_hand(params, X, Y, weights):
            c, grads = bp.value_and_grad(NETWORK)(params, X, Y)
            shards = lax.axis_size("data")
            return lax.pmean(c, "data"), jax.tree.map(lambda d: d / shards, grads)

        def by_record(params, X, Y, weights):
            record = bp.backpropagate(NETWORK, params, X, Y)
            shards = lax.axis_size("data")
            return lax.pmean(record.cost, "data"), jax.tree.map(lambda d: d / shards, bp.gradients(record))

        def each_way(*args):
            return by_grad(*args), by_hand(*args), by_record(*args)

        unweighted = bp.value_and_grad(NETWORK)(*data[:3])
        mapped = jax.shard_map(
            each_way, mesh=mesh, in_specs=(P(), P(None, "data"), P("data"), P("data")), out_specs=P()
        )
        assert largest_error(jax.jit(mapped)(*placed), (expected, unweighted, unweighted)) <= FLOAT64

    def test_shard_map_of_parameters_that_differ(self, data, axis_type):
        """One network on each shard, replicated examples: gradients stay apart."""
        mesh, _ = self.place(data, axis_type)
        _, X, Y, weights = data
        ensemble = stacked(members(4))
        expected = stacked([bp.value_and_grad(NETWORK)(params, X, Y)[1] for params in members(4)])

        def body(params, X, Y):
            grads = bp.grad(NETWORK)(jax.tree.map(lambda p: p[0], params), X, Y)
            return jax.tree.map(lambda d: d[None], grads)

        placed = jax.tree.map(lambda p: put(mesh, p, P("data")), ensemble)
        mapped = jax.shard_map(body, mesh=mesh, in_specs=(P("data"), P(), P()), out_specs=P("data"))
        assert largest_error(jax.jit(mapped)(placed, put(mesh, X, P()), put(mesh, Y, P())), expected) <= FLOAT64

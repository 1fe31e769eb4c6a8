"""Training on the devices of a mesh ends where training on one device ends."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cpu_mesh import cpu_mesh
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from problems import if_deep
from small_mesh import ADAM, AGREE, NETWORK, OPTIONS, SGD, M, examples, fitted, start, validation

import manual_bp as bp
from manual_bp._devices import place
from manual_bp._machine.meshes import spread_in_blocks
from manual_bp._training.dataset import batch_of_rows
from manual_bp._training.evaluate import evaluate_blocks, metric_of
from reference.compare import largest_error

pytestmark = pytest.mark.usefixtures("on_cpu")
AUTO, EXPLICIT = AxisType.Auto, AxisType.Explicit
both_kinds = pytest.mark.parametrize("kind", [AUTO, EXPLICIT], ids=str)
both_placements = pytest.mark.parametrize("model_axis", [None, "model"])


def dataset(size=M) -> bp.Dataset:
    """The first examples, in NumPy."""
    return bp.Dataset(*(x[..., :size].T for x in examples()))


def mesh_of(*kinds):
    return cpu_mesh((4, 2), ("data", "model"), axis_types=kinds if len(kinds) == 2 else kinds * 2)


def put(x, mesh, *spec):
    return jax.device_put(x, NamedSharding(mesh, P(*spec)))


def specs(tree):
    """The axes over which the arrays lie; P() and P(None, None) are the same place."""
    return [tuple(axis for axis in x.sharding.spec if axis) for x in jax.tree.leaves(tree)]


def same(found, expected):
    """Assert that two states agree to rounding."""
    assert int(found.step) == int(expected.step)
    assert largest_error(found[:2], expected[:2]) <= AGREE


@both_kinds
class TestPlace:
    def test_rows_of_layers_and_moments_and_all_else_whole(self, kind):
        mesh, state = mesh_of(kind), start()
        assert specs(place(state, mesh)) == [()] * len(jax.tree.leaves(state))
        placed = place(state, mesh, "model")
        moments = placed.optimizer_state[0]
        for params in (placed.params, moments.mu, moments.nu):
            assert specs(params) == [("model",), ("model",), (), ()]
        assert specs((placed.step, placed.key, moments.count)) == [(), (), ()]
        W = placed.params[0].W
        assert {shard.data.shape for shard in W.addressable_shards} == {(3, 5)}
        whole = place(placed, mesh)
        assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), whole, state))
        assert specs(whole) == specs(place(state, mesh))

    def test_many_networks_and_numpy(self, kind):
        mesh = mesh_of(kind)
        params = bp.Layer(jnp.zeros((9, 4, 5)), jnp.zeros((9, 4, 1)))
        assert [x.sharding.spec for x in jax.tree.leaves(place(params, mesh, "data"))] == [P(None, "data")] * 2
        assert specs(place(dataset(20), mesh, "data")) == [(), (), ()]


@pytest.mark.parametrize("kinds", [(AUTO, AUTO), (EXPLICIT, EXPLICIT), (AUTO, EXPLICIT), (EXPLICIT, AUTO)], ids=str)
def test_a_batch_is_spread_and_filled_up_with_absent_examples(kinds):
    mesh, (X, Y, weights) = mesh_of(*kinds), examples()
    data = place(dataset(), mesh)
    rows, present = jnp.array([3, 1, 5, 6, 7, 0, 0, 0]), jnp.arange(8) < 5
    found = jax.jit(lambda data: batch_of_rows(data, rows, present, mesh))(data)
    for x, expected in zip(found, (X[:, rows], Y[rows], np.where(present, weights[rows], 0)), strict=True):
        np.testing.assert_array_equal(x, expected)
        assert {shard.data.shape for shard in x.addressable_shards} == {(*x.shape[:-1], 2)}


@both_kinds
@both_placements
def test_fit(kind, model_axis):
    """With weights, a partial last batch, and validation data that do not divide by the devices either."""
    mesh = mesh_of(kind)
    state = place(start(), mesh, model_axis) if model_axis else None
    found = bp.fit(NETWORK, *examples(), **OPTIONS, validation_data=validation(), mesh=mesh, state=state)
    same(found.state, fitted().state)
    columns: Any = [
        [h.cost, h.gradient_norm, h.validation_cost, h.validation_metric] for h in (found.history, fitted().history)
    ]
    np.testing.assert_allclose(*columns, rtol=AGREE)
    assert specs(found.state) == specs(place(start(), mesh, model_axis))


# both kinds and both placements, whose combinations test_fit has
@pytest.mark.parametrize(
    ("kind", "model_axis"),
    [(AUTO, "model"), (EXPLICIT, None), if_deep(AUTO, None), if_deep(EXPLICIT, "model")],
    ids=str,
)
def test_train_epoch(kind, model_axis):
    """With float targets and no weights; the second call finds the state where the first one found it."""
    mesh = mesh_of(kind)
    network = bp.Network((5, 6, 3), "tanh", "identity", "squared_error")
    arrays: Any = [np.random.default_rng(1).normal(size=(M, n)) for n in (5, 3)]
    data = bp.Dataset(*arrays)
    expected = start(SGD, network)
    state, run = place(expected, mesh, model_axis), bp.train_epoch(network, SGD, 7, mesh=mesh)
    for _ in range(2):
        expected, expected_costs = bp.train_epoch(network, SGD, 7)(expected, data)
        state, costs = run(state, data)
        same(state, expected)
        np.testing.assert_allclose(costs, expected_costs, rtol=AGREE)
        assert specs(state) == specs(place(expected, mesh, model_axis))
    assert run is bp.train_epoch(network, SGD, 7, mesh=mesh_of(kind))


@both_kinds
def test_step_and_evaluate(kind):
    mesh, (X, Y, weights) = mesh_of(kind), (jnp.asarray(x[..., :16]) for x in examples())
    spread = put(X, mesh, None, "data"), put(Y, mesh, "data"), put(weights, mesh, "data")
    step, expected = bp.train_step(NETWORK, SGD, dropout=0.3), start(SGD)
    # a step donates its state, and what was placed does not take the state it was made of with it
    state = place(expected, mesh, "model")
    for _ in range(2):
        state, _ = step(state, *spread)
        expected, _ = step(expected, X, Y, weights)
    same(state, expected)
    found = bp.evaluate(NETWORK, state.params, *spread, block_size=12)
    assert largest_error(found, bp.evaluate(NETWORK, expected.params, X, Y, weights)) <= AGREE


def test_dropout_penalty_and_compute_dtype():
    """In products of float32, from a state and data that lie on the host."""
    data, options = dataset(), {"dropout": 0.3, "l2": 0.1, "compute_dtype": "float32"}
    found, _ = bp.train_epoch(NETWORK, SGD, 8, mesh=mesh_of(AUTO), **options)(start(SGD), data)
    expected, _ = bp.train_epoch(NETWORK, SGD, 8, **options)(start(SGD), data)
    assert largest_error(found.params, expected.params) <= 1e-6
    assert found.params[0].W.dtype == jnp.float64


def test_no_batch_is_filled_up_under_dropout():
    with pytest.raises(ValueError, match="a batch has size 7, under dropout; expected a multiple of 4"):
        bp.fit(NETWORK, *examples(), batch_size=7, dropout=0.3, mesh=mesh_of(EXPLICIT))


def test_batches_from_elsewhere():
    """Batches of 6 examples, the last one of 4."""
    batches = [tuple(x[..., i : i + 6] for x in examples()) for i in range(0, M, 6)]
    meshes = mesh_of(EXPLICIT), None
    found, expected = (bp.fit(NETWORK, batches, optimizer=SGD, epochs=2, mesh=mesh) for mesh in meshes)
    same(found.state, expected.state)
    np.testing.assert_allclose(found.history.cost, expected.history.cost, rtol=AGREE)


def test_data_spread_over_the_devices():
    data, mesh = dataset(20), mesh_of(EXPLICIT)
    spread = jax.tree.map(lambda x: put(x, mesh, "data"), data)
    found, _ = bp.train_epoch(NETWORK, SGD, 8, mesh=mesh)(start(SGD), spread)
    same(found, bp.train_epoch(NETWORK, SGD, 8)(start(SGD), data)[0])


def test_validation_in_blocks():
    """Blocks of 8 examples, the second without weight, the last of 5."""
    X, Y, weights = map(jnp.asarray, validation())
    weights, params, monitor = weights.at[8:16].set(0), start().params, metric_of(NETWORK, "auto")
    blocks = spread_in_blocks((X, Y, weights), mesh_of(EXPLICIT), 11)
    assert [block[0].shape for block in blocks] == [(5, 8), (5, 8), (5, 8)]
    found: Any = evaluate_blocks(NETWORK, params, blocks, monitor)
    expected: Any = bp.evaluate(NETWORK, params, X, Y, weights)
    np.testing.assert_allclose(found, expected, rtol=AGREE)


XY = "the axes 'x', 'y'"
NO_DATA = f"mesh has {XY}; expected an axis 'data'"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda mesh: bp.train_epoch(NETWORK, ADAM, 8, mesh=mesh), ValueError, NO_DATA),
        (lambda mesh: bp.fit(NETWORK, *examples(), mesh=mesh), ValueError, NO_DATA),
        (lambda mesh: place(start(), mesh, "z"), ValueError, f"model_axis is 'z'; expected None or .*, which has {XY}"),
        (lambda mesh: place(start(), mesh.devices), TypeError, "mesh is an array of .* expected a jax.sharding.Mesh"),
    ],
)  # fmt: skip
def test_bad_mesh(call, error, message):
    with pytest.raises(error, match=message):
        call(cpu_mesh((4, 2), ("x", "y")))

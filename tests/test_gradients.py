"""Whole networks against every oracle: autodiff, scalar loops, central differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from problems import (
    BY_NAME,
    CLASSES,
    DEEP,
    FLOAT64,
    REGRESSION,
    arrays,
    by_autodiff,
    by_grad,
    columns,
    every_way,
    float_arguments,
    if_deep,
    layers,
    random_network,
)

import manual_bp as bp
from reference import autodiff, loops
from reference.autodiff import Model
from reference.commands.cross_check import cross_check
from reference.compare import largest_error
from reference.finite_differences import central_differences
from reference.grid import PROBLEMS, Problem, draw

# Layers of one activation differ in nothing but g and g': here several stand in one network
MIXED = [
    Problem("leaky_relu, elu", Model((5, 9, 7, 3), ("leaky_relu", "elu")), 12, "indices"),
    Problem("softplus, silu, identity", Model((5, 9, 7, 6, 3), ("softplus", "silu", "identity")), 12, "indices"),
]
ONE_ACTIVATION = {"leaky_relu", "elu", "softplus", "silu", "gelu", "identity layers"}
SMALL = [if_deep(p) if p.name in ONE_ACTIVATION else p for p in PROBLEMS if sum(p.model.sizes) < 40] + MIXED
EVERY_QUANTITY = ["two layers, soft binary", "many neurons, squared error", "softmax under absolute error"]


@pytest.mark.parametrize("problem", [DEEP, *map(BY_NAME.get, EVERY_QUANTITY)], ids=lambda problem: problem.name)
def test_every_quantity_against_autodiff(problem):
    """Cost, gradient, dX, every dA and dZ, weighted and not, in both dtypes; `make test-deep` takes all problems."""
    for case in cross_check(problem, seeds=(0,)):
        assert case.passed, str(case)


@pytest.mark.parametrize("problem", [*SMALL, BY_NAME["deep tanh, 8 layers"]], ids=lambda problem: problem.name)
def test_against_scalar_loops(problem):
    network, params, X, Y, weights = arrays(problem)
    data = draw(problem, 0)
    C, grads, dX = loops.cost_and_gradient(problem.model, data.params, data.X, columns(problem, data), data.weights)
    c, (found, found_dX, *_) = by_grad(network, params, X, Y, weights, argnums=float_arguments(problem))
    assert largest_error((c, found, found_dX), (np.array(C), layers(grads), dX)) <= FLOAT64


@pytest.mark.parametrize("problem", [DEEP, REGRESSION, BY_NAME["two layers, multilabel"]], ids=lambda p: p.name)
def test_against_central_differences(problem):
    network, params, X, Y, weights = arrays(problem)
    flat, unravel = ravel_pytree(params)
    cost = jax.jit(lambda v: bp.cost(network, unravel(v), X, Y, weights))
    _, (dparams, *_) = by_grad(network, params, X, Y, weights, argnums=float_arguments(problem))
    found, _ = ravel_pytree(dparams)
    # a central difference is good to about 1e-10 of the cost
    assert largest_error(found, central_differences(lambda v: float(cost(v)), np.asarray(flat))) <= 1e-8


def test_gradient_as_one_vector_is_in_layer_order():
    _, (grads, *_) = by_grad(*arrays(DEEP), argnums=float_arguments(DEEP))
    vector, _ = ravel_pytree(grads)
    np.testing.assert_array_equal(vector, np.concatenate([np.ravel(d) for dW, db in grads for d in (dW, db)]))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.bfloat16])
@pytest.mark.parametrize("problem", [DEEP, REGRESSION], ids=lambda problem: problem.name)
def test_gradient_is_like_its_parameter(problem, dtype):
    """The dimension rule: foo and dfoo always have the same shape; and type, structure and dtype."""
    network, params, X, Y, weights = arrays(problem, dtype=dtype)
    record = jax.eval_shape(bp.backpropagate, network, params, X, Y, weights)
    by_hand = jax.eval_shape(bp.grad(network), params, X, Y, weights)
    for grads in (by_hand, jax.eval_shape(bp.gradients, record)):
        assert jax.tree.structure(grads) == jax.tree.structure(params)
        for d, p in zip(jax.tree.leaves(grads), jax.tree.leaves(params), strict=True):
            assert (d.shape, d.dtype) == (p.shape, p.dtype)
    assert record.Z[0] is None and record.dZ[0] is None
    for l, n in enumerate(network.sizes):
        assert record.A[l].shape == record.dA[l].shape == (n, X.shape[1])
        assert l == 0 or record.Z[l].shape == record.dZ[l].shape == (n, X.shape[1])
    assert record.losses.shape == (X.shape[1],) and record.weights.shape == (1, X.shape[1])


def test_record_gives_the_same_gradient(deep):
    for problem, weighted in ((CLASSES, [True]), (REGRESSION, [True, False]), *[(DEEP, [True, False])] * deep):
        network, params, X, Y, weights = arrays(problem)
        for w in (weights if given else None for given in weighted):
            ways, record = every_way(network, params, X, Y, w)
            c, _ = ways["value_and_grad"]
            for way in ("cost", "record"):
                assert largest_error(ways[way], ways["value_and_grad"]) <= FLOAT64
            np.testing.assert_allclose(np.sum(record.weights), 1, rtol=1e-15)
            np.testing.assert_allclose(np.sum(record.weights[0] * np.asarray(record.losses)), c, rtol=1e-14)


@pytest.mark.parametrize("problem", [BY_NAME["two layers, multilabel"], if_deep(DEEP)], ids=lambda p: p.name)
def test_examples_do_not_meet(problem):
    """Column i of the record is what example i alone would give: no 1/m in dA or dZ."""
    network, params, X, Y, _ = arrays(problem)
    whole, alone = bp.backpropagate(network, params, X, Y), bp.backpropagate(network, params, X[:, 3:4], Y[..., 3:4])
    for a, b in zip(whole.dA + whole.dZ[1:], alone.dA + alone.dZ[1:], strict=True):
        np.testing.assert_allclose(a[:, 3:4], b, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    "problem", [CLASSES, REGRESSION, BY_NAME["tanh absolute error"], if_deep(DEEP)], ids=lambda p: p.name
)
def test_an_example_of_weight_zero_is_absent(problem, bad):
    network, params, X, Y, weights = arrays(problem)
    absent = np.asarray(weights) == 0
    assert absent.any() and not absent.all()
    data, keep = draw(problem, 0), np.flatnonzero(~absent)
    kept = data.X[:, keep], columns(problem, data)[:, keep], data.weights[keep]
    C, grads, _ = loops.cost_and_gradient(problem.model, data.params, *kept)
    X_bad = X.at[:, absent].set(bad)
    Y_bad = Y.at[absent].set(999) if Y.ndim == 1 else Y.at[:, absent].set(bad)
    ways, _ = every_way(network, params, X_bad, Y_bad, weights)
    for found in ways.values():
        assert largest_error(found, (np.array(C), layers(grads))) <= FLOAT64
    _, (_, dX, *_) = by_grad(network, params, X_bad, Y_bad, weights, argnums=float_arguments(problem))
    np.testing.assert_array_equal(np.asarray(dX)[:, absent], 0)


def _sqrt_prime(Z, A):
    return 0.5 / A


def test_an_absent_example_meets_no_infinite_slope():
    """It is a column of zeros in A[0], where this g' is infinite: 0 times infinity must not get into dW."""
    network = bp.Network((3, 4, 2), bp.Activation(jnp.sqrt, _sqrt_prime), "identity", "squared_error")
    _, params, _ = random_network(Model(network.sizes), 5)
    params = tuple(bp.Layer(abs(W), 0 * b) for W, b in params)
    X, Y, weights = jnp.ones((3, 5)), jnp.ones((2, 5)), jnp.array([1.0, 1.0, 0.0, 1.0, 1.0])
    expected = bp.value_and_grad(network)(params, X[:, :4], Y[:, :4])
    assert largest_error(bp.value_and_grad(network)(params, X, Y, weights), expected) <= FLOAT64


def test_derivative_by_a_cotangent_of_zero():
    """The gradient is linear in the cotangent of the cost, at zero too: no example is absent there."""
    network, params, X, Y, weights = arrays(REGRESSION)
    _, vjp = jax.vjp(lambda X: bp.cost(network, params, X, Y, weights), X)
    dX = vjp(jnp.array(1.0))[0]
    slope = jax.jacfwd(lambda dC: vjp(dC)[0])(jnp.array(0.0))
    assert largest_error(slope, dX) <= FLOAT64


def test_forward_mode_over_the_gradient_is_a_hessian_vector_product():
    network, params, X, Y, _ = arrays(REGRESSION)
    v = jax.tree.map(jnp.ones_like, params)
    _, product = jax.jvp(lambda p: bp.grad(network)(p, X, Y), (params,), (v,))
    _, expected = jax.jvp(lambda p: by_autodiff(REGRESSION.model, p, X, Y)[1], (params,), (v,))
    assert largest_error(product, expected) <= FLOAT64


@pytest.mark.parametrize(
    ("problem", "dtype"),
    [
        (CLASSES, jnp.float64),
        (BY_NAME["softmax regression"], jnp.bfloat16),
        if_deep(DEEP, jnp.float64),
        if_deep(DEEP, jnp.bfloat16),
    ],
)
def test_all_weights_zero_gives_zero(problem, dtype):
    network, params, X, Y, weights = arrays(problem, dtype=dtype)
    ways, _ = every_way(network, params, X, Y, 0 * weights)
    for leaf in jax.tree.leaves(ways):
        np.testing.assert_array_equal(leaf, 0)


@pytest.mark.parametrize("problem", [BY_NAME["softmax regression"], if_deep(DEEP)], ids=lambda p: p.name)
def test_weights_count_as_repetitions(problem):
    network, params, X, Y, _ = arrays(problem)
    times = np.arange(X.shape[1]) % 3
    for dtype in (int, bool):
        found = bp.value_and_grad(network)(params, X, Y, times.astype(dtype))
        assert largest_error(found, bp.value_and_grad(network)(params, X, Y, times.astype(dtype).astype(float))) == 0
    repeated = np.repeat(np.arange(X.shape[1]), times)
    found = bp.value_and_grad(network)(params, X, Y, jnp.asarray(times, float)[None, :])
    assert largest_error(found, bp.value_and_grad(network)(params, X[:, repeated], Y[repeated])) <= FLOAT64


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.targets != "indices"] + [DEEP], ids=lambda p: p.name)
def test_derivatives_by_targets_and_weights(problem):
    argnums, (network, *args) = float_arguments(problem), arrays(problem)
    _, (_, _, *found) = by_grad(network, *args, argnums=argnums)
    # an absent example's loss counts in the derivative by its own weight, as in autodiff of 0 * loss
    _, expected = by_autodiff(problem.model, *args, argnums=argnums[2:])
    assert largest_error(tuple(found), expected) <= FLOAT64


def _log_cosh(A, Y):
    return jnp.sum(jnp.log(jnp.cosh(A - Y)), axis=0)


def _log_cosh_dA(A, Y):
    return jnp.tanh(A - Y)


def _swish3(Z):
    return Z * jax.nn.sigmoid(3 * Z)


def _swish3_prime(Z, A):
    s = jax.nn.sigmoid(3 * Z)
    return s + 3 * A * (1 - s)


def test_own_activation_and_cost():
    network = bp.Network((4, 6, 3), bp.Activation(_swish3, _swish3_prime), "identity", bp.Cost(_log_cosh, _log_cosh_dA))
    _, params, X = random_network(Model(network.sizes), 5)
    Y = jnp.ones((3, 5))

    def cost(params, X):
        (W1, b1), (W2, b2) = params
        return jnp.mean(_log_cosh(W2 @ _swish3(W1 @ X + b1) + b2, Y))

    found = jax.jit(jax.grad(bp.cost, argnums=(1, 2)))(network, params, X, Y)
    assert largest_error(found, jax.jit(jax.grad(cost, argnums=(0, 1)))(params, X)) <= FLOAT64
    with pytest.raises(TypeError, match="derivative with respect to Y was asked for, and cost _log_cosh has no dY"):
        jax.grad(bp.cost, argnums=3)(network, params, X, Y)


def test_dead_relu_layers():
    """Every hidden unit off: gradients of the dead layers are exactly zero, those of the output's bias are not."""
    model, Y = Model((4, 6, 5, 3)), jnp.arange(7) % 3
    network, params, X = random_network(model, 7)
    params = (*(layer._replace(b=jnp.full_like(layer.b, -1e4)) for layer in params[:2]), params[2])
    found = _, grads = bp.value_and_grad(network)(params, X, Y)
    assert largest_error(found, by_autodiff(model, params, X, Y)) <= FLOAT64
    for d in (*grads[0], grads[1].W, grads[2].W):
        np.testing.assert_array_equal(d, 0)
    assert np.linalg.norm(grads[2].b) > 0.01


@pytest.mark.parametrize("m", [1, 2, 31, 32, 33, 100])
def test_every_form_of_the_products(m):
    """dA is formed in one of several ways, by the number of examples and the width."""
    model = Model((6, 130, 9, 140, 3), "tanh")
    network, params, X = random_network(model, 100)
    Y, first_m = jnp.arange(100) % 3, jnp.arange(100) < m
    # one program for every m: the other examples have weight zero
    expected = by_autodiff(model, params, X, Y, first_m.astype(float))
    assert largest_error(bp.value_and_grad(network)(params, X[:, :m], Y[:m]), expected) <= FLOAT64


def test_second_derivative_is_reverse_over_reverse():
    """Along a random direction, which sees every element of the Hessian."""
    network, params, X, Y, weights = arrays(REGRESSION)
    rng = np.random.default_rng(0)
    v = jax.tree.map(lambda p: rng.normal(size=p.shape), params)

    def product(cost, network):
        dcost = jax.grad(lambda p: cost(network, p, X, Y, weights))
        return jax.jit(lambda p, v: jax.vjp(dcost, p)[1](v)[0])(params, v)

    assert largest_error(product(bp.cost, network), product(autodiff.cost, REGRESSION.model)) <= FLOAT64


def test_forward_mode_says_that_it_is_not_there():
    network, params, X, Y, _ = arrays(REGRESSION)
    for forward_mode in (
        lambda: jax.jacfwd(bp.cost, argnums=1)(network, params, X, Y),
        lambda: jax.jvp(lambda X: bp.cost(network, params, X, Y), (X,), (X,)),
    ):
        with pytest.raises(TypeError, match="forward-mode.*custom_vjp"):
            forward_mode()

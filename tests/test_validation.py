"""Every refused argument: what came, what was expected, and which layer."""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import pytest

import manual_bp as bp
from manual_bp._activations import SIGMOID
from manual_bp._checks import arguments as checks

NETWORK = bp.Network((784, 256, 10))
REGRESSION = bp.Network((3, 4, 2), "tanh", "identity", "squared_error")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((784,),), ValueError, r"sizes is \(784,\); expected at least two sizes"),
        (((784, 0, 10),), ValueError, r"sizes is \(784, 0, 10\); expected .* each 1 or more"),
        (((784, 2.5, 10),), TypeError, r"sizes is \(784, 2.5, 10\); expected a sequence of integers"),
        ((7,), TypeError, "sizes is 7; expected a sequence of integers"),
        (((4, 3, 2), "rely"), ValueError, r"hidden\[0\] is 'rely'; expected one of identity, sigmoid, tanh, relu"),
        (((4, 3, 2), None), TypeError, "hidden is None; expected the name of an activation"),
        (((4, 3, 3, 2), ("relu",)), ValueError, "hidden has length 1; expected 2, one for each hidden layer"),
        (((4, 3, 3, 2), ("relu", 3)), TypeError, r"hidden\[1\] is 3; expected the name of an activation"),
        (((4, 3, 3, 2), ("relu", "softmax")), ValueError, r"hidden\[1\] is softmax; .* at the output only"),
        (((4, 2), (), "logistic"), ValueError, "output is 'logistic'; expected one of"),
        (((4, 2), (), "relu"), ValueError, "cross_entropy has output relu; expected 'sigmoid' or 'softmax'"),
        (((4, 2), (), "identity", "mse"), ValueError, "cost is 'mse'; expected one of squared_error, absolute_error"),
        (((4, 2), (), "identity", 3), TypeError, "cost is 3; expected the name of a cost or a bp.Cost"),
        (
            ((4, 2), (), "identity", NETWORK.cost),
            ValueError,
            "categorical_cross_entropy has output identity; .* softmax",
        ),
    ],
)
def test_network(arguments, error, message):
    with pytest.raises(error, match=message):
        bp.Network(*arguments)


def good(network=NETWORK, m=5):
    params = bp.init(network, jax.random.key(0), jnp.float32)
    Y = jnp.zeros(m, int) if network is NETWORK else jnp.zeros((network.sizes[-1], m), jnp.float32)
    return [params, jnp.zeros((network.sizes[0], m), jnp.float32), Y, None]


def replaced(layer, **arrays):
    return lambda params: tuple(p._replace(**arrays) if l == layer else p for l, p in enumerate(params, start=1))


BAD = [
    (NETWORK, 1, jnp.zeros((60000, 784)), ValueError, r"X has shape \(60000, 784\); expected \(784, m\): columns are examples, so pass X.T(\n|$)"),
    (NETWORK, 1, jnp.zeros((5, 783)), ValueError, r"X has shape \(5, 783\); expected \(784, m\): columns are examples(\n|$)"),
    (NETWORK, 1, jnp.zeros(784), ValueError, r"X has shape \(784,\); .* pass X\[:, None\] for one example"),
    (NETWORK, 1, jnp.zeros((784, 0)), ValueError, r"X has shape \(784, 0\); expected at least one example"),
    (NETWORK, 1, jnp.zeros((784, 5), int), TypeError, r"X has dtype int\d+; expected a float array: pass X.astype\(float\)"),
    (NETWORK, 1, [[1.0]], TypeError, r"X is a list; expected an array of shape \(784, m\)"),
    (NETWORK, 2, jnp.zeros(4, int), ValueError, r"Y has shape \(4,\) and dtype int\d+; expected \(5,\), the class index"),
    (NETWORK, 2, jnp.zeros((1, 5), int), ValueError, r"Y has shape \(1, 5\) and dtype int\d+; expected \(5,\)"),
    (NETWORK, 2, jnp.zeros((5, 10)), ValueError, r"Y has shape \(5, 10\); expected \(10, 5\), or .*so pass Y.T"),
    (NETWORK, 2, jnp.zeros((10, 5), bool), TypeError, "Y has dtype bool; expected a float array"),
    (REGRESSION, 2, jnp.zeros((2, 5), int), TypeError, r"Y has dtype int\d+; expected a float array"),
    (REGRESSION, 2, jnp.zeros(5), ValueError, r"Y has shape \(5,\); expected \(2, 5\)(\n|$)"),
    (REGRESSION, 3, jnp.zeros(4), ValueError, r"weights has shape \(4,\); expected \(5,\), one weight for each example"),
    (REGRESSION, 3, jnp.zeros((5, 1)), ValueError, r"weights has shape \(5, 1\); expected \(5,\)"),
    (REGRESSION, 3, jnp.zeros(5, complex), TypeError, "weights has dtype complex.*; expected numbers, or booleans"),
    (NETWORK, 0, lambda p: p[:1], ValueError, r"params has length 1; expected 2 layers, as network.sizes is \(784, 256, 10\)"),
    (NETWORK, 0, list, TypeError, r"params is a list; expected a tuple of 2 bp.Layer\(W, b\)"),
    (NETWORK, 0, lambda p: p[0], TypeError, r"params is a Layer; expected a tuple of 2 bp.Layer"),
    (NETWORK, 0, lambda p: (p[0], tuple(p[1])), TypeError, r"layer 2 of params is a tuple; expected a bp.Layer"),
    (NETWORK, 0, replaced(2, W=jnp.zeros((256, 10))), ValueError, r"W\[2\] has shape \(256, 10\); expected \(10, 256\): transpose"),
    (NETWORK, 0, replaced(1, b=jnp.zeros(256)), ValueError, r"b\[1\] has shape \(256,\); expected \(256, 1\)"),
    (NETWORK, 0, replaced(1, b=0.0), ValueError, r"b\[1\] has shape \(\); expected \(256, 1\)"),
    (NETWORK, 0, replaced(1, b=None), TypeError, r"b\[1\] is a NoneType; expected an array of shape \(256, 1\)"),
    (NETWORK, 0, replaced(2, W=jnp.zeros((10, 256), int)), TypeError, r"W\[2\] has dtype int\d+; expected float32 or float64 or bf"),
    (NETWORK, 0, replaced(2, b=jnp.zeros((10, 1), jnp.bfloat16)), TypeError, r"b\[2\] has dtype bfloat16; expected float32, the dtype of W\[1\]"),
]  # fmt: skip


@pytest.mark.parametrize(("network", "position", "bad", "error", "message"), BAD)
@pytest.mark.parametrize("entry", ["cost", "value_and_grad", "grad", "backpropagate"])
def test_arguments(entry, network, position, bad, error, message):
    arguments = good(network)
    arguments[position] = bad(arguments[position]) if callable(bad) else bad
    call = getattr(bp, entry)
    with pytest.raises(error, match=message):
        call(network)(*arguments) if "grad" in entry else call(network, *arguments)


def test_network_is_not_forgotten():
    params, X, Y, _ = good()
    with pytest.raises(TypeError, match="network is a tuple; expected a bp.Network"):
        bp.cost(params, params, X, Y)


@pytest.mark.parametrize("entry", ["value_and_grad", "grad"])
def test_another_number_of_arguments(entry):
    """Python's own text, with the name that users know."""
    params, X, Y, _ = good()
    for options in ({}, {"mesh": jax.make_mesh((1,), ("data",))}):
        function = getattr(bp, entry)(NETWORK, **options)
        with pytest.raises(TypeError, match=rf"^{entry}\(\) missing 1 required positional argument: 'Y'"):
            function(params, X)
        with pytest.raises(TypeError, match=rf"^{entry}\(\) takes from 3 to 4 positional arguments but 5 were given"):
            function(params, X, Y, None, 3)


def test_initialisation_wants_a_network():
    with pytest.raises(TypeError, match="network is a tuple; expected a bp.Network"):
        bp.init((4, 2), jax.random.key(0))  # pyright: ignore[reportArgumentType]


def test_activation_wants_its_derivative():
    """None selects the softmax's Jacobian: with another g it would be silently wrong."""
    with pytest.raises(TypeError, match="g_prime of activation sin is None; expected the function"):
        bp.Activation(jnp.sin, None)
    with pytest.raises(ValueError, match="init of activation sin is 'xavier'; expected 'he' or 'glorot'"):
        bp.Activation(jnp.sin, lambda Z, A: jnp.cos(Z), "xavier")


def _no_sum(A, Y):
    return (A - Y) ** 2


def _scalar(A, Y):
    return jnp.sum((A - Y) ** 2)


def _first(A, Y):
    return A[0]


def _zeros(Z, A, Y):
    return jnp.zeros_like(A)


def _wrong_shape(Z, A):
    return jnp.ones(3)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            bp.Network((3, 2), output="identity", cost=bp.Cost(_no_sum, _no_sum)),
            r"cost _no_sum: loss\(A, Y\) returns shape \(2, 5\) and dtype float32; expected shape \(5,\)",
        ),
        (
            bp.Network((3, 2), output="identity", cost=bp.Cost(lambda A, Y: jnp.sum(A - Y, axis=0), _scalar)),
            r"dA\(A, Y\) returns shape \(\) and dtype float32; expected shape \(2, 5\)",
        ),
        (
            bp.Network(
                (3, 2), (), "sigmoid", bp.Cost(_first, _no_sum, None, bp.MatchedLoss(SIGMOID, _no_sum, _zeros, _no_sum))
            ),
            r"matched.loss\(Z, Y\) returns shape \(2, 5\)",
        ),
        (
            bp.Network((3, 4, 2), bp.Activation(jnp.sin, _wrong_shape)),
            r"activation sin of layer 1: g_prime\(Z, A\) returns shape \(3,\)",
        ),
    ],
)
def test_own_functions_are_checked(network, message):
    params, X, _, _ = good(network)
    with pytest.raises(ValueError, match=message):
        bp.cost(network, params, X, jnp.zeros((2, 5), jnp.float32))


def test_narrow_class_indices():
    """300 classes do not fit int8, whose indices are still indices."""
    network = bp.Network((2, 300))
    params, X = bp.init(network, jax.random.key(0)), jnp.ones((2, 3))
    for dtype in (jnp.int8, jnp.uint8):
        found = bp.cost(network, params, X, jnp.array([0, 5, 100], dtype))
        np.testing.assert_array_equal(found, bp.cost(network, params, X, jnp.array([0, 5, 100])))


def test_checks_are_static(monkeypatch):
    """They run when a shape is first seen, and never read a value: a second call runs none of them."""
    calls = []
    monkeypatch.setattr(checks, "_inputs", lambda *args: calls.append(args))
    network = bp.Network((3, 5, 2))
    params, X, Y, _ = good(network)
    for _ in range(3):
        bp.value_and_grad(network)(params, X, Y)
    assert len(calls) == 1
    assert all(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(calls[0][1]))

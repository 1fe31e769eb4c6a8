"""Searches for a network, batch, weights or blocks whose gradient is not that of the scalar loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from problems import FLOAT64, arrays, by_grad, columns, layers

import manual_bp as bp
from reference import loops
from reference.autodiff import Model
from reference.compare import largest_error
from reference.grid import Problem, draw

# output, cost, and how the targets are drawn
OUTPUTS = [
    ("softmax", "cross_entropy", "indices"),
    ("softmax", "cross_entropy", "distributions"),
    ("softmax", "squared_error", "distributions"),
    ("sigmoid", "cross_entropy", "probabilities"),
    ("sigmoid", "absolute_error", "probabilities"),
    ("identity", "squared_error", "real"),
    ("tanh", "absolute_error", "real"),
]
WEIGHT = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))


@st.composite
def problems(draw):
    """A problem of any sizes and activations, with weights or none, and a seed for its numbers."""
    sizes = tuple(draw(st.lists(st.integers(1, 5), min_size=2, max_size=5)))
    hidden = tuple(draw(st.sampled_from(sorted(loops.SCALAR))) for _ in sizes[1:-1])
    # a softmax of one unit is refused
    output, cost, targets = draw(st.sampled_from(OUTPUTS[3 * (sizes[-1] == 1) :]))
    m = draw(st.integers(1, 6))
    weights = draw(st.none() | st.lists(WEIGHT, min_size=m, max_size=m).filter(any))
    return Problem("any", Model(sizes, hidden, output, cost), m, targets), weights, draw(st.integers(0, 2**16))


def prepared(case):
    """(network, params, X, Y, weights) of a case, and the cost, gradient and dX by the loops."""
    problem, weights, seed = case
    network, params, X, Y, _ = arrays(problem, seed)
    data, w = draw(problem, seed), None if weights is None else np.array(weights)
    C, grads, dX = loops.cost_and_gradient(problem.model, data.params, data.X, columns(problem, data), w)
    return (network, params, X, Y, w), (np.array(C), layers(grads), dX)


@given(problems())
def test_any_network(case):
    args, (C, grads, dX) = prepared(case)
    c, found = by_grad(*args, argnums=(0, 1))
    assert largest_error((c, *found), (C, grads, dX)) <= FLOAT64


@given(problems(), st.integers(1, 7))
def test_any_block(case, block_size):
    (network, *args), (C, grads, _) = prepared(case)
    assert largest_error(bp.value_and_grad(network, block_size=block_size)(*args), (C, grads)) <= FLOAT64


CLASSES = Problem("classes", Model((3, 4, 5), "tanh"), 6, "indices")


@functools.cache
def _classes():
    network, params, X, _, _ = arrays(CLASSES)
    return bp.value_and_grad(network), params, X


@given(
    st.lists(st.integers(-7, 7), min_size=6, max_size=6),
    st.lists(st.one_of(st.just(0.0), st.floats(1e-300, 1e300)), min_size=6, max_size=6),
)
def test_any_class_and_weight(Y, weights):
    """A class that is not there gives NaN, but in an example of weight zero, which is absent."""
    call, params, X = _classes()
    c, grads = call(params, X, jnp.array(Y), jnp.array(weights))
    present = np.array(weights) > 0
    if any(not 0 <= y < 5 for y in np.array(Y)[present]):
        assert np.isnan(c)
    elif not present.any():
        assert c == 0 and not any(leaf.any() for leaf in jax.tree.leaves(grads))
    else:
        data = draw(CLASSES, 0)
        one_hot = np.eye(5)[:, np.where(present, Y, 0)]
        C, expected, _ = loops.cost_and_gradient(CLASSES.model, data.params, data.X, one_hot, np.array(weights))
        assert largest_error((c, grads), (np.array(C), layers(expected))) <= FLOAT64

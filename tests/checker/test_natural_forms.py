"""The forms in which costs, passes and parameters are handed in."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from two_layers import PARAMS, X, Y, gradient, untapped

import manual_bp as bp

IN_ORDER = {name: PARAMS[name] for name in ("W1", "b1", "W2", "b2")}  # JAX sorts the keys: W1, W2, b1, b2


def in_numpy(params, X, Y):
    return np.asarray(untapped(params, X, Y))


def flat(params, found):
    return np.concatenate([found[name].ravel() for name in params])


FORMS = {
    "a flat vector": lambda params, found: ravel_pytree(found)[0],
    "a flat vector in the order of the keys": flat,
    "a column": lambda params, found: ravel_pytree(found)[0][:, None],
    "a list of numbers": lambda params, found: ravel_pytree(found)[0].tolist(),
    "the cost and a flat vector": lambda params, found: (1.0, ravel_pytree(found)[0]),
    "a tuple in the order of the keys": lambda params, found: tuple(found[name] for name in params),
    "a list in the order of JAX": lambda params, found: [found[name] for name in sorted(params)],
    "an array of arrays": lambda params, found: np.array([found[name] for name in params], dtype=object),
}


@pytest.fixture(scope="module", params=[untapped, in_numpy], ids=["in JAX", "in NumPy"])
def cost(request):
    return request.param


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_gradients(cost, form):
    for sign, verdict in ((1, "right"), (-1, "wrong")):

        def backward(params, X, Y, sign=sign):
            return FORMS[form](params, {n: sign * d for n, d in gradient(params, X, Y).items()})

        report = bp.check_gradients(cost, backward, IN_ORDER, X, Y)
        assert report.verdict == verdict and [line.line for line in report.lines if line.returned] != []
        assert bool(report.conventions) == (verdict == "right" and "flat vector in" in form)


def squares(params):
    return sum(jnp.sum(p**2) for p in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("params", "returned", "message"),
    [
        ({"b": X, "a": X}, (X, X), "do not tell which entry belongs"),
        ({"a": X, "b": Y}, np.zeros(5), r"it returned ndarray of shape \(5,\)"),
        ({"a": X}, None, "is a `return` missing"),
        ({"a": X}, "gradient", "it returned str"),
    ],
)
def test_refused(params, returned, message):
    with pytest.raises(TypeError, match=message):
        bp.check_gradients(squares, lambda params: returned, params)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Affine:
    W: object
    b: object


@pytest.mark.parametrize("form", [Affine, lambda W, b: (W, b), lambda W, b: {"W": W, "b": b}])
@pytest.mark.parametrize(("factor", "verdict"), [(2, "right"), (3, "wrong")])
def test_a_dataclass(form, factor, verdict):
    params = Affine(PARAMS["W1"], PARAMS["b1"])
    assert bp.check_gradients(squares, lambda p: form(factor * p.W, 2 * p.b), params).verdict == verdict


@pytest.mark.parametrize("none", [None, np.zeros((), jax.dtypes.float0)])
def test_no_derivative_by_integers_and_keys(none):
    def cost(params):
        return jnp.sum((params["W"] * params["n"]) ** 2) * jax.random.uniform(params["key"])

    def backward(params):
        u = jax.random.uniform(params["key"])
        return {"W": 2 * params["W"] * params["n"] ** 2 * u, "n": none, "key": none}

    params = {"W": X, "n": np.int64(3), "key": jax.random.key(0)}
    assert bp.check_gradients(cost, backward, params).verdict == "right"
    assert bp.check_gradients(cost, lambda p: backward(p) | {"W": p["W"]}, params).verdict == "wrong"


@pytest.mark.parametrize(("factor", "verdict"), [(2, "right"), (3, "wrong")])
def test_numbers_and_nested_lists(factor, verdict):
    numbers = {"a": 1.5, "b": 2.5}
    report = bp.check_gradients(squares, lambda p: (factor * p["a"], 2 * p["b"]), numbers)
    assert report.verdict == verdict and report["db"].verdict == "right"
    assert bp.check_gradients(squares, lambda p: (factor * p).tolist(), X).verdict == verdict


def test_a_tuple_with_a_wrong_shape():
    report = bp.check_gradients(squares, lambda p: (2 * p["a"], 2 * p["b"][:, None]), {"a": X, "b": X[0]})
    assert (report["da"].verdict, report["db"].mistake) == ("right", "wrong shape")


def test_other_costs():
    report = bp.check_gradients(lambda p: {"loss": squares(p)}, lambda p: 2 * p, X)
    assert report.verdict == "right"
    with pytest.raises(ValueError, match=r"one number; it returned an array of shape \(7,\)"):
        bp.check_gradients(lambda p: np.sum(np.asarray(p) ** 2, axis=0), lambda p: 2 * p, X)

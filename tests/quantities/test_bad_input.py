"""Arguments that the quantities refuse, and a record in print."""

import functools
import inspect
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from problems import DEEP, arrays

import manual_bp as bp

OF_RECORD = [
    name
    for name, value in vars(bp).items()
    if inspect.isroutine(value) and next(iter(inspect.signature(value).parameters), "") == "record"
]
# not typed: what is not allowed is the point
untyped: Any = bp
BAD = [
    (lambda r: untyped.clipped_gradients(r, 0), ValueError, "max_norm is 0; expected a finite number above 0"),
    (lambda r: untyped.clipped_gradients(r, float("nan")), ValueError, "max_norm is nan; expected a finite number"),
    (lambda r: untyped.clipped_gradients(r, float("inf")), ValueError, "max_norm is inf; expected a finite number"),
    (lambda r: untyped.clipped_gradients(r, "1"), TypeError, "max_norm is '1'; expected a number"),
    (lambda r: untyped.clipped_gradients(r, jnp.ones((4, 1))), TypeError, r"max_norm is an array of shape \(4, 1\); expected a number"),
    (lambda r: untyped.clipped_gradients(r, [1.0, 1.0]), ValueError, "max_norm has length 2; expected a number, or 4, one for each layer"),
    (lambda r: untyped.clipped_gradients(r, [1.0, 0.0, 1.0, 1.0]), ValueError, "max_norm of layer 2 is 0.0; expected a finite number above 0"),
    (lambda r: untyped.clipped_gradients(r, 1.0, "average"), ValueError, "reduction is 'average'; expected 'mean' or 'sum'"),
    (lambda r: untyped.second_moment(r, "none"), ValueError, "reduction is 'none'; expected 'mean' or 'sum'"),
    (lambda r: untyped.kfac_factors(r, "mc"), ValueError, "fisher is 'mc'; expected 'exact' or 'empirical'"),
    (lambda r: untyped.output_gradient(r, 3), ValueError, "k is 3; expected the index of an output, 0 to 2"),
    (lambda r: untyped.output_gradient(r, 1.5), TypeError, "k is 1.5; expected one integer; for several outputs use jax.vmap"),
    (lambda r: untyped.output_gradient(r, jnp.arange(3)), TypeError, r"k is \[0 1 2\]; expected one integer; for several"),
    (lambda r: untyped.clipped_gradients(r, r.params), TypeError, "max_norm of layer 1 is a Layer; expected a number"),
    (lambda r: untyped.output_gradient(r, -1), ValueError, "k is -1; expected the index of an output, 0 to 2"),
    (lambda r: untyped.accumulate("norms", r.network, 4), TypeError, "function_of_record is a str; expected a function of a bp.Record"),
    (lambda r: untyped.accumulate(bp.gradients, r.network, 0), ValueError, "block_size is 0; expected 1 or more"),
    (lambda r: untyped.accumulate(bp.gradients, r.network, 2.5), TypeError, "block_size is 2.5; expected an integer, 1 or more"),
    (lambda r: untyped.accumulate(bp.gradients, (4, 3), 2), TypeError, "network is a tuple; expected a bp.Network"),
]  # fmt: skip


@functools.cache
def record():
    network, params, X, Y, _ = arrays(DEEP)
    return bp.backpropagate(network, params, X, Y)


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(record())


@pytest.mark.parametrize("name", OF_RECORD)
def test_what_is_no_record_is_refused(name):
    rest = {"clipped_gradients": (1.0,), "output_gradient": (0,), "hessian_product": (1,), "gauss_newton_product": (1,)}
    with pytest.raises(TypeError, match="record is a tuple; expected a bp.Record, as bp.backpropagate gives"):
        getattr(bp, name)(arrays(DEEP)[1], *rest.get(name, ()))


@pytest.mark.parametrize(("L", "lines"), [(2, 4), (10, 12), (40, 12)])
def test_a_record_prints_its_shapes(L, lines):
    network = bp.Network((4, *[3] * (L - 1), 2), output="sigmoid")
    params = tuple(bp.Layer(jnp.zeros((n, k)), jnp.zeros((n, 1))) for k, n in itertools.pairwise(network.sizes))
    X, Y, texts = jnp.zeros((4, 5)), jnp.zeros((2, 5)), []
    jax.eval_shape(lambda X: texts.append(str(bp.backpropagate(network, params, X, Y))), X)
    with jax.disable_jit():
        record = bp.backpropagate(network, params, X, Y)
    first, *rest = str(record).splitlines()
    assert first == "Record of 5 examples, cost 1.38629" and len(rest) == lines - 1
    assert rest[-1] == f"  layer {L}: W (2, 3), A, Z, dA, dZ (2, 5), sigmoid"
    assert texts == ["\n".join(["Record of 5 examples", *rest])]
    for placeholder in (None, 0):
        assert "Record object" in repr(jax.tree.map(lambda x, p=placeholder: p, record))

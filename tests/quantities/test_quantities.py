"""Quantities of a record in addition to the gradient: against autodiff, by their own laws, and block by block."""

import dataclasses
import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import BY_NAME, DEEP, REGRESSION, arrays

import manual_bp as bp
from reference import __main__ as command
from reference.commands import quantities
from reference.compare import largest_error
from reference.grid import PROBLEMS

FLOAT64 = quantities.BOUND
ONE = BY_NAME["two layers, one example"]
PER_EXAMPLE = {
    "losses": lambda record: record.losses,
    "norms": bp.per_example_norms,
    "norms by layer": bp.per_example_layer_norms,
    "gradients": bp.per_example_gradients,
    "output's gradient": lambda record: bp.output_gradient(record, 0).T,
}
SUMS = {
    "gradients": bp.gradients,
    "clipped": lambda record: bp.clipped_gradients(record, 0.3),
    "clipped by layer": lambda record: bp.clipped_gradients(record, [0.2] * len(record.params)),
    "second moment": bp.second_moment,
    "variance": bp.variance,
    "Gauss-Newton diagonal": bp.gauss_newton_diagonal,
    "K-FAC": bp.kfac_factors,
    "K-FAC, empirical": lambda record: bp.kfac_factors(record, "empirical"),
    "Gauss-Newton product": lambda record: bp.gauss_newton_product(record, record.params),
    "Hessian product": lambda record: bp.hessian_product(record, record.params),
    "signal to noise": bp.signal_to_noise,
    "noise scale": bp.noise_scale,
}
NOT_SUMS = ("variance", "signal to noise", "noise scale")


def record_of(problem, weighted=False, **options):
    network, params, X, Y, weights = arrays(problem, **options)
    return bp.backpropagate(network, params, X, Y, weights if weighted else None)


@functools.partial(jax.jit, static_argnums=0)
def all_of(network, params, X, Y, weights=None):
    record = bp.backpropagate(network, params, X, Y, weights)
    return tuple({name: f(record) for name, f in table.items()} for table in (PER_EXAMPLE, SUMS))


@pytest.mark.parametrize(
    ("problem", "weighted"),
    [(problem, i % 2 == 0) for i, problem in enumerate(PROBLEMS[5::12])] + [(ONE, False), (DEEP, True)],
    ids=str,
)
def test_every_quantity_against_autodiff(problem, weighted):
    """A few of the grid, and more in test_planted_mistakes.py: `python -m reference quantities` takes it all."""
    found = quantities.errors(problem, 0, weighted)
    assert len(found) == 21 + 2 * (problem.m > 1)
    assert max(found.values()) <= FLOAT64, found


def test_command_says_what_failed(monkeypatch, capsys):
    assert command.main(["--only", "logistic regression, one", "quantities"]) == 0
    assert "0 cases failed" in capsys.readouterr().out
    right = bp.second_moment
    monkeypatch.setattr(bp, "second_moment", lambda *args: jax.tree.map(lambda x: x * (1 + 1e-9), right(*args)))
    quantities._program.cache_clear()
    assert command.main(["--only", "logistic regression, one", "quantities"]) == 1
    out = capsys.readouterr().out
    assert "FAILED: second moment 1.0e-09, second moment, sum 1.0e-09" in out
    assert "2 cases failed" in out
    quantities._program.cache_clear()


@pytest.mark.parametrize("problem", [DEEP, REGRESSION, ONE], ids=lambda p: p.name)
def test_per_example_gradients_average_to_the_gradient(problem):
    network, params, X, Y, weights = arrays(problem)
    record = bp.backpropagate(network, params, X, Y, weights)
    average = jax.tree.map(lambda g: jnp.tensordot(record.weights[0], g, 1), bp.per_example_gradients(record))
    assert largest_error(average, bp.grad(network)(params, X, Y, weights)) <= FLOAT64


@pytest.mark.parametrize("max_norm", [1e-6, 0.5, 1.7, 1e6])
def test_a_clipped_gradient_is_within_its_bound_and_points_the_same_way(max_norm):
    record = record_of(DEEP)
    norms, L = bp.per_example_norms(record), len(record.params)
    alone = [dataclasses.replace(record, weights=w[None]) for w in jnp.eye(len(norms))]
    assert min(norms) < 1.7 < max(norms) < 1e6
    for i, record in enumerate(alone):
        g, clipped = bp.gradients(record), bp.clipped_gradients(record, max_norm)
        assert _norm(clipped) <= max_norm * (1 + 1e-14)
        assert largest_error(clipped, jax.tree.map(lambda g, i=i: g * min(1, max_norm / norms[i]), g)) <= FLOAT64
        for layer in bp.clipped_gradients(record, [max_norm] * L):
            assert _norm(layer) <= max_norm * (1 + 1e-14)


def _norm(tree):
    return float(jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree))))


@pytest.mark.parametrize("problem", [DEEP, BY_NAME["two layers, multilabel"]], ids=lambda p: p.name)
def test_a_nan_example_meets_no_other(problem):
    """Its per-example values are its own, whatever its weight. With weight zero it is absent from every sum."""
    network, params, X, Y, _ = arrays(problem)
    X, m = X.at[:, 3].set(jnp.nan), X.shape[1]
    others, weights = np.arange(m) != 3, jnp.where(jnp.arange(m) == 3, 0.0, 1.0)
    per_example, _ = all_of(network, params, X, Y)
    absent_per_example, sums = all_of(network, params, X, Y, weights)
    expected_per_example, expected = all_of(network, params, X[:, others], Y[..., others])
    for found in (per_example, absent_per_example):
        found = jax.tree.map(lambda x: x[others], found)
        assert largest_error(found, expected_per_example) <= FLOAT64
    assert bool(jnp.isnan(per_example["norms"][3]))
    assert largest_error(sums, expected) <= FLOAT64
    gram = bp.gram_matrix(bp.backpropagate(network, params, X, Y))
    assert jnp.isfinite(gram[others][:, others]).all()


def test_weights_count_as_repetitions():
    network, params, X, Y, _ = arrays(DEEP)
    times = np.arange(X.shape[1]) % 3
    repeated = np.repeat(np.arange(X.shape[1]), times)
    _, found = all_of(network, params, X, Y, jnp.asarray(times, float))
    _, expected = all_of(network, params, X[:, repeated], Y[repeated])
    # copies of an example are no independent draws, as the noise scale takes examples to be
    assert found.pop("noise scale") != expected.pop("noise scale")
    assert largest_error(found, expected) <= FLOAT64
    # so they do in sums, where an example has the weight that was given
    records = [bp.backpropagate(network, params, X, Y, jnp.asarray(times, float))]
    records.append(bp.backpropagate(network, params, X[:, repeated], Y[repeated]))
    clipped = functools.partial(bp.clipped_gradients, max_norm=1)
    for f in (bp.second_moment, bp.variance, bp.gauss_newton_diagonal, clipped):
        found, expected = (f(record, reduction="sum") for record in records)
        assert largest_error(found, expected) <= FLOAT64
        mean = f(records[1])
        assert largest_error(found, jax.tree.map(lambda x: x * times.sum(), mean)) <= FLOAT64


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes(dtype):
    """Trees like the parameters have their dtype, norms and factors are in float32 at least."""
    network, params, X, Y, weights = arrays(DEEP, dtype=dtype)
    per_example, sums = jax.eval_shape(functools.partial(all_of, network), params, X, Y, weights)
    for name in ("norms", "norms by layer", "losses"):
        assert per_example[name].dtype == jnp.float32
    for name, tree in sums.items():
        wanted = jnp.float32 if name in ("noise scale", "K-FAC", "K-FAC, empirical") else dtype
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype(wanted)}, name


def test_bfloat16_norms_are_those_of_the_rounded_pass():
    """A and dZ are in bfloat16, sums over them are not."""
    record = record_of(DEEP, dtype=jnp.bfloat16)
    wide = jax.tree.map(lambda x: x.astype(float) if x.dtype == jnp.bfloat16 else x, record)
    np.testing.assert_allclose(bp.per_example_norms(record), bp.per_example_norms(wide), rtol=1e-6)


def test_one_backward_pass_serves_them_all():
    """In one program norms and losses need no products of their own, and second moments one for each layer."""
    network, params, X, Y, _ = arrays(DEEP, dtype=jnp.float32)

    def products(*functions):
        program = jax.jit(lambda *args: [f(bp.backpropagate(network, *args)) for f in functions])
        text = program.lower(params, X, Y).compile().as_text()
        assert text
        return text.count(" dot(")

    gradient = products(bp.gradients)
    assert gradient >= 3 * len(params) - 1
    assert products(bp.gradients, bp.per_example_norms, lambda record: record.losses) == gradient
    assert products(bp.gradients, lambda record: bp.clipped_gradients(record, 1)) == gradient + len(params)
    assert products(bp.gradients, bp.second_moment, bp.variance, bp.signal_to_noise) == gradient + len(params)


@pytest.mark.parametrize(("block_size", "weighted"), [(3, True), (5, False), (64, True)])
def test_accumulated_is_whole(block_size, weighted):
    network, params, X, Y, weights = arrays(DEEP)
    weights = weights if weighted else None
    names = [name for name in SUMS if name not in NOT_SUMS]

    def function(record):
        sums = {name: SUMS[name](record) for name in names}
        per_example = {name: f(record) for name, f in PER_EXAMPLE.items()}
        return sums, per_example, (record.cost, record.dA[0], jnp.sum(record.losses > 1))

    found = bp.accumulate(function, network, block_size)(params, X, Y, weights)
    expected = jax.jit(function)(bp.backpropagate(network, params, X, Y, weights))
    assert largest_error(found, expected) <= FLOAT64
    kinds = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (found, expected)]
    assert kinds[0] == kinds[1]


def test_accumulated_memory_does_not_grow():
    network = bp.Network((20, 40, 30, 5))
    params = bp.init(network, jax.random.key(0), jnp.float32)
    accumulated = bp.accumulate(lambda r: (bp.gradients(r), bp.second_moment(r), r.losses), network, 32)

    def temporary(function, m):
        X, Y = jnp.zeros((20, m), jnp.float32), jnp.zeros(m, int)
        return function.lower(params, X, Y).compile().memory_analysis().temp_size_in_bytes

    small, large = temporary(accumulated, 330), temporary(accumulated, 6600)
    # what is returned for each example, losses and weights, is all that m adds
    assert large - small <= 4 * 4 * (6600 - 330)
    assert temporary(bp.value_and_grad(network), 6600) > 10 * large


def test_accumulated_keeps_float32_sums_of_bfloat16():
    network, params, _, _, _ = arrays(BY_NAME["digits classifier"], dtype=jnp.bfloat16)
    X = jax.random.normal(jax.random.key(0), (64, 4096), jnp.bfloat16)
    Y = jnp.arange(4096) % 10
    found = bp.accumulate(bp.gradients, network, 16)(params, X, Y)
    wide = jax.tree.map(lambda p: p.astype(float), params)
    expected = bp.grad(network)(wide, X.astype(float), Y)
    whole = bp.grad(network)(params, X, Y)
    assert found[0].W.dtype == jnp.bfloat16
    assert largest_error(found, expected) <= 2 * largest_error(whole, expected)


def test_what_does_not_add_up_is_refused():
    network, params, X, Y, _ = arrays(DEEP)
    for name in NOT_SUMS:
        with pytest.raises(ValueError, match="holds a block of examples, and the .* of blocks cannot be added up"):
            bp.accumulate(SUMS[name], network, 4)(params, X, Y)
    for size in (4, 64):
        with pytest.raises(ValueError, match=r"of shape \(\d+, \d+\) for m = \d+; expected at most one axis"):
            bp.accumulate(bp.gram_matrix, network, size)(params, X, Y)


def test_noise_scale_is_without_bias():
    """The means of both its parts over many batches meet the trace and the square norm of a population."""
    network = bp.Network((3, 2), output="identity", cost="squared_error")
    params = bp.init(network, jax.random.key(0))
    X, Y = jax.random.normal(jax.random.key(1), (5, 64))[:3], jax.random.normal(jax.random.key(2), (2, 64))
    population = bp.backpropagate(network, params, X, Y)
    trace = sum(float(jnp.sum(v)) for v in jax.tree.leaves(bp.variance(population)))
    square = _norm(bp.gradients(population)) ** 2
    drawn = jax.random.choice(jax.random.key(3), 64, (20_000, 5))

    def scale(batch):
        record = bp.backpropagate(network, params, X[:, batch], Y[:, batch])
        g2 = sum(jnp.sum(g**2) for g in jax.tree.leaves(bp.gradients(record)))
        noise = (jnp.mean(bp.per_example_norms(record) ** 2) - g2) / (1 - 1 / 5)
        return bp.noise_scale(record), noise, g2 - noise / 5

    scales, noise, signal = jax.jit(jax.vmap(scale))(drawn)
    np.testing.assert_allclose(scales, noise / signal, rtol=1e-9)
    assert abs(np.mean(noise) / trace - 1) < 0.02 and abs(np.mean(signal) / square - 1) < 0.05


def test_one_example_has_no_noise():
    record = record_of(ONE)
    assert _norm(bp.variance(record)) <= 1e-15 * _norm(bp.gradients(record))
    assert jnp.isnan(bp.noise_scale(record)) or abs(bp.noise_scale(record)) < 1e-10


@pytest.mark.parametrize("problem", [DEEP, BY_NAME["softmax under squared error"]], ids=lambda p: p.name)
def test_jacobian_by_vmap_over_outputs(problem):
    network, params, X, Y, _ = arrays(problem)
    record, n = bp.backpropagate(network, params, X, Y), network.sizes[-1]
    jacobian = jax.vmap(functools.partial(bp.output_gradient, record))(jnp.arange(n))
    expected = jax.vmap(jax.jacfwd(lambda x: bp.predict(network, params, x[:, None])[:, 0]), 1, 2)(X)
    assert largest_error(jacobian, expected) <= FLOAT64


def test_ensembles():
    network, params, X, Y, weights = arrays(DEEP)
    several = jax.tree.map(lambda p: jnp.stack([p, -p, 2 * p]), params)
    found = jax.vmap(lambda p: all_of(network, p, X, Y, weights)[1])(several)
    for i, scale in enumerate((1, -1, 2)):
        expected = all_of(network, jax.tree.map(lambda p, s=scale: s * p, params), X, Y, weights)[1]
        assert largest_error(jax.tree.map(lambda x, i=i: x[i], found), expected) <= FLOAT64


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


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(record_of(DEEP))


@pytest.mark.parametrize("name", OF_RECORD)
def test_what_is_no_record_is_refused(name):
    rest = {"clipped_gradients": (1.0,), "output_gradient": (0,), "hessian_product": (1,), "gauss_newton_product": (1,)}
    with pytest.raises(TypeError, match="record is a tuple; expected a bp.Record, as bp.backpropagate gives"):
        getattr(bp, name)(arrays(DEEP)[1], *rest.get(name, ()))


@pytest.mark.parametrize(("L", "lines"), [(2, 4), (10, 12), (40, 12)])
def test_a_record_prints_its_shapes(L, lines):
    network = bp.Network((4, *[3] * (L - 1), 2), output="sigmoid")
    params, texts = bp.init(network, jax.random.key(0)), []
    X, Y = jnp.zeros((4, 5)), jnp.zeros((2, 5))
    jax.jit(lambda X: texts.append(str(bp.backpropagate(network, params, X, Y))))(X)
    record = bp.backpropagate(network, params, X, Y)
    first, *rest = str(record).splitlines()
    assert first == "Record of 5 examples, cost 1.38629" and len(rest) == lines - 1
    assert rest[-1] == f"  layer {L}: W (2, 3), A, Z, dA, dZ (2, 5), sigmoid"
    assert texts == ["\n".join(["Record of 5 examples", *rest])]
    for placeholder in (None, 0):
        assert "Record object" in repr(jax.tree.map(lambda x, p=placeholder: p, record))

"""Quantities of a record in addition to the gradient: by their own laws, and block by block."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import BY_NAME, DEEP, arrays, if_deep

import manual_bp as bp
from reference.autodiff import Model
from reference.compare import largest_error
from reference.grid import Problem

FLOAT64 = 1e-11
ONE = BY_NAME["two layers, one example"]
MULTILABEL = BY_NAME["two layers, multilabel"]
SMALL = Problem("softmax", Model((6, 5, 3), "gelu"), 11, "indices")
PER_EXAMPLE = {
    "losses": lambda record: record.losses,
    "norms": bp.per_example_norms,
    "norms by layer": bp.per_example_layer_norms,
    "gradients": bp.per_example_gradients,
    "output's gradient": lambda record: bp.output_gradient(record, 0).T,
}
# those of a reduction
REDUCED = {
    "clipped": functools.partial(bp.clipped_gradients, max_norm=0.3),
    "second moment": bp.second_moment,
    "variance": bp.variance,
    "Gauss-Newton diagonal": bp.gauss_newton_diagonal,
}
SUMS = REDUCED | {
    "gradients": bp.gradients,
    "clipped by layer": lambda record: bp.clipped_gradients(record, [0.2] * len(record.params)),
    "K-FAC": bp.kfac_factors,
    "K-FAC, empirical": lambda record: bp.kfac_factors(record, "empirical"),
    "Gauss-Newton product": lambda record: bp.gauss_newton_product(record, record.params),
    "Hessian product": lambda record: bp.hessian_product(record, record.params),
    "signal to noise": bp.signal_to_noise,
    "noise scale": bp.noise_scale,
}
NOT_SUMS = ("variance", "signal to noise", "noise scale")


@functools.partial(jax.jit, static_argnums=0)
def all_of(network, params, X, Y, weights):
    """All in one program, for most tests the same: compiling is most of a test."""
    record = bp.backpropagate(network, params, X, Y, weights)
    per_example = {name: f(record) for name, f in PER_EXAMPLE.items()}
    sums = {name: f(record) for name, f in SUMS.items()}
    by_sum = {name: f(record, reduction="sum") for name, f in REDUCED.items()}
    return per_example, sums, by_sum, bp.gram_matrix(record)


def norm(tree):
    return np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree)))


@pytest.mark.parametrize("problem", [SMALL, MULTILABEL, if_deep(DEEP)], ids=lambda p: p.name)
def test_a_nan_example_meets_no_other(problem):
    """Its per-example values are its own, whatever its weight. With weight zero it is absent from every sum."""
    network, params, X, Y, _ = arrays(problem)
    others = np.arange(problem.m) != 3
    broken, absent, ones = np.where(others, X, np.nan), others.astype(float), np.ones(problem.m)
    expected_per_example, expected, expected_by_sum, _ = all_of(network, params, X, Y, absent)
    per_example, _, _, gram = all_of(network, params, broken, Y, ones)
    absent_per_example, sums, by_sum, absent_gram = all_of(network, params, broken, Y, absent)
    for found in (per_example, absent_per_example):
        found, wanted = (jax.tree.map(lambda x: x[others], tree) for tree in (found, expected_per_example))
        assert largest_error(found, wanted) <= FLOAT64
        assert np.isnan(per_example["norms"][3])
    assert largest_error((sums, by_sum), (expected, expected_by_sum)) <= FLOAT64
    for found in (gram, absent_gram):
        assert np.isfinite(found[others][:, others]).all()


@pytest.mark.parametrize("problem", [SMALL, MULTILABEL, if_deep(DEEP)], ids=lambda p: p.name)
def test_weights_count_as_repetitions(problem):
    network, params, X, Y, _ = arrays(problem)
    # as many copies as there are examples, so that one program computes both
    times = np.arange(problem.m) % 3
    times[-1] += problem.m - times.sum()
    assert {0, 1, 2} <= set(times)
    repeated = np.repeat(np.arange(problem.m), times)
    per_example, found, found_by_sum, _ = all_of(network, params, X, Y, times.astype(float))
    _, expected, expected_by_sum, _ = all_of(network, params, X[:, repeated], Y[..., repeated], np.ones(problem.m))
    average = jax.tree.map(lambda g: np.tensordot(times / problem.m, g, 1), per_example["gradients"])
    assert largest_error(average, found["gradients"]) <= FLOAT64
    # copies of an example are no independent draws, as the noise scale takes examples to be
    assert found.pop("noise scale") != expected.pop("noise scale")
    assert largest_error(found, expected) <= FLOAT64
    # so they do in sums, where an example has the weight that was given
    assert largest_error(found_by_sum, expected_by_sum) <= FLOAT64
    means = {name: jax.tree.map(lambda x: np.asarray(x) * problem.m, expected[name]) for name in REDUCED}
    assert largest_error(found_by_sum, means) <= FLOAT64


@pytest.mark.parametrize("problem", [SMALL, if_deep(DEEP)], ids=lambda p: p.name)
def test_ensembles(problem):
    network, params, X, Y, weights = arrays(problem)
    several = jax.tree.map(lambda p: np.stack([p, -p, 2 * p]), params)
    found = jax.vmap(lambda p: all_of(network, p, X, Y, weights)[1])(several)
    for i, scale in enumerate((1, -1, 2)):
        _, expected, _, _ = all_of(network, jax.tree.map(lambda p, s=scale: s * np.asarray(p), params), X, Y, weights)
        assert largest_error(jax.tree.map(lambda x, i=i: x[i], found), expected) <= FLOAT64


@pytest.mark.parametrize("problem", [SMALL, if_deep(DEEP)], ids=lambda p: p.name)
@pytest.mark.parametrize("max_norm", [1e-6, 0.5, 1.7, 1e6])
def test_a_clipped_gradient_is_within_its_bound_and_points_the_same_way(problem, max_norm):
    network, params, X, Y, _ = arrays(problem)
    norms, *alone = clipped_alone(network, params, X, Y, max_norm)
    assert min(norms) < 1.7 < max(norms) < 1e6
    for i in range(problem.m):
        g, clipped, by_layer = jax.tree.map(lambda x, i=i: np.asarray(x[i]), alone)
        assert norm(clipped) <= max_norm * (1 + 1e-14)
        assert largest_error(clipped, jax.tree.map(lambda g, i=i: g * min(1, max_norm / norms[i]), g)) <= FLOAT64
        for layer in by_layer:
            assert norm(layer) <= max_norm * (1 + 1e-14)


@functools.partial(jax.jit, static_argnums=0)
def clipped_alone(network, params, X, Y, max_norm):
    """The norms, and as if it were alone each example's gradient, the same clipped, and clipped by layer."""
    record = bp.backpropagate(network, params, X, Y)

    def of_example(w):
        alone = dataclasses.replace(record, weights=w[None])
        bounds = max_norm, [max_norm] * len(params)
        return bp.gradients(alone), *(bp.clipped_gradients(alone, bound) for bound in bounds)

    return bp.per_example_norms(record), *jax.vmap(of_example)(jnp.eye(X.shape[1]))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes(dtype):
    """Trees like the parameters have their dtype, norms and factors are in float32 at least."""
    network, params, X, Y, weights = arrays(SMALL, dtype=dtype)
    per_example, sums, by_sum, _ = jax.eval_shape(functools.partial(all_of, network), params, X, Y, weights)
    for name in ("norms", "norms by layer", "losses"):
        assert per_example[name].dtype == jnp.float32
    for name, tree in (sums | by_sum).items():
        wanted = jnp.float32 if name in ("noise scale", "K-FAC", "K-FAC, empirical") else dtype
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype(wanted)}, name


def test_bfloat16_norms_are_those_of_the_rounded_pass():
    """A and dZ are in bfloat16, sums over them are not."""
    network, params, X, Y, _ = arrays(SMALL, dtype=jnp.bfloat16)
    record = bp.backpropagate(network, params, X, Y)
    wide = jax.tree.map(lambda x: x.astype(float) if x.dtype == jnp.bfloat16 else x, record)
    np.testing.assert_allclose(bp.per_example_norms(record), bp.per_example_norms(wide), rtol=1e-6)


def test_one_backward_pass_serves_them_all():
    """In one program norms and losses need no products of their own, clipping and second moments one for each layer."""
    network, params, X, Y, _ = arrays(SMALL, dtype=jnp.float32)

    def products(*functions):
        program = jax.jit(lambda *args: [f(bp.backpropagate(network, *args)) for f in functions])
        text = program.lower(params, X, Y).compile().as_text()
        assert text
        return text.count(" dot(")

    gradient, L = products(bp.gradients), len(params)
    assert gradient >= 3 * L - 1
    clipped = functools.partial(bp.clipped_gradients, max_norm=1)
    assert products(bp.gradients, bp.per_example_norms, lambda record: record.losses, clipped) == gradient + L
    assert products(bp.gradients, bp.second_moment, bp.variance, bp.signal_to_noise) == gradient + L


@pytest.mark.parametrize(("block_size", "weighted"), [(1, True), (4, False), (64, True)])
def test_accumulated_is_whole(block_size, weighted, deep):
    """In blocks without and with a rest, and at once."""
    network, params, X, Y, weights = arrays(SMALL)
    names = [name for name in SUMS if name not in NOT_SUMS] if deep or block_size == 1 else ["gradients"]
    of_examples = PER_EXAMPLE if deep else ("losses", "gradients")

    def function(record):
        sums = {name: SUMS[name](record) for name in names}
        per_example = {name: PER_EXAMPLE[name](record) for name in of_examples}
        return sums, per_example, (record.cost, jnp.sum(record.losses > 1), record.dA[0])

    found = bp.accumulate(function, network, block_size)(params, X, Y, weights if weighted else None)
    weights = weights if weighted else np.ones(SMALL.m)
    per_example, sums, _, _ = all_of(network, params, X, Y, weights)
    losses, X_derivative = np.asarray(per_example["losses"]), jax.grad(bp.cost, argnums=2)(network, params, X, Y)
    others = np.average(losses, weights=weights), np.sum(losses > 1), SMALL.m * np.asarray(X_derivative)
    expected = (
        {name: sums[name] for name in names},
        {name: per_example[name] for name in of_examples},
        others,
    )
    assert largest_error(found, expected) <= FLOAT64
    kinds = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (found, expected)]
    assert kinds[0] == kinds[1]


def test_accumulated_memory_does_not_grow():
    network = bp.Network((20, 40, 5))
    params = bp.init(network, jax.random.key(0), jnp.float32)
    accumulated = bp.accumulate(lambda r: (bp.gradients(r), bp.second_moment(r), r.losses), network, 32)

    def temporary(function, m):
        X, Y = np.zeros((20, m), np.float32), np.zeros(m, int)
        return function.lower(params, X, Y).compile().memory_analysis().temp_size_in_bytes

    small, large = temporary(accumulated, 320), temporary(accumulated, 6400)
    # what is returned for each example, losses and weights, is all that m adds
    assert large - small <= 4 * 4 * (6400 - 320)
    assert temporary(bp.value_and_grad(network), 6400) > 10 * large


def test_accumulated_keeps_float32_sums_of_bfloat16():
    network, params, _, _, _ = arrays(SMALL, dtype=jnp.bfloat16)
    X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4096)), jnp.bfloat16)
    Y = np.arange(4096) % 3
    found = bp.accumulate(bp.gradients, network, 16)(params, X, Y)
    wide = jax.tree.map(lambda p: np.asarray(p, float), params)
    expected = bp.grad(network)(wide, np.asarray(X, float), Y)
    whole = bp.grad(network)(params, X, Y)
    assert found[0].W.dtype == jnp.bfloat16
    assert largest_error(found, expected) <= 2 * largest_error(whole, expected)


def test_what_does_not_add_up_is_refused():
    network, params, X, Y, _ = arrays(SMALL)
    for name in NOT_SUMS:
        with pytest.raises(ValueError, match="holds a block of examples, and the .* of blocks cannot be added up"):
            bp.accumulate(SUMS[name], network, 4)(params, X, Y)
    for size in (4, 64):
        with pytest.raises(ValueError, match=r"of shape \(\d+, \d+\) for m = \d+; expected at most one axis"):
            bp.accumulate(bp.gram_matrix, network, size)(params, X, Y)


def test_noise_scale_is_without_bias():
    """The means of both its parts over many batches meet the trace and the square norm of a population."""
    network, rng = bp.Network((3, 2), output="identity", cost="squared_error"), np.random.default_rng(0)
    params = (bp.Layer(jnp.asarray(rng.normal(size=(2, 3))), jnp.zeros((2, 1))),)
    X, Y = rng.normal(size=(3, 64)), rng.normal(size=(2, 64))
    drawn = rng.integers(64, size=(20_000, 5))

    @jax.jit
    def population(X, Y):
        record = bp.backpropagate(network, params, X, Y)
        return bp.variance(record), bp.gradients(record)

    def scale(batch):
        record = bp.backpropagate(network, params, jnp.asarray(X)[:, batch], jnp.asarray(Y)[:, batch])
        g2 = sum(jnp.sum(g**2) for g in jax.tree.leaves(bp.gradients(record)))
        noise = (jnp.mean(bp.per_example_norms(record) ** 2) - g2) / (1 - 1 / 5)
        return bp.noise_scale(record), noise, g2 - noise / 5

    variance, gradient = population(X, Y)
    trace, square = sum(np.sum(v) for v in jax.tree.leaves(variance)), norm(gradient) ** 2
    scales, noise, signal = jax.jit(jax.vmap(scale))(drawn)
    np.testing.assert_allclose(scales, noise / signal, rtol=1e-9)
    assert abs(np.mean(noise) / trace - 1) < 0.02 and abs(np.mean(signal) / square - 1) < 0.05


def test_one_example_has_no_noise():
    network, params, X, Y, _ = arrays(ONE)
    record = bp.backpropagate(network, params, X, Y)
    assert norm(bp.variance(record)) <= 1e-15 * norm(bp.gradients(record))
    scale = bp.noise_scale(record)
    assert np.isnan(scale) or abs(scale) < 1e-10


@pytest.mark.parametrize("problem", [SMALL, BY_NAME["softmax under squared error"]], ids=lambda p: p.name)
def test_jacobian_by_vmap_over_outputs(problem):
    network, params, X, Y, _ = arrays(problem)

    @jax.jit
    def both(params, X, Y):
        record = bp.backpropagate(network, params, X, Y)
        jacobian = jax.vmap(functools.partial(bp.output_gradient, record))(jnp.arange(network.sizes[-1]))
        return jacobian, jax.vmap(jax.jacfwd(lambda x: bp.predict(network, params, x[:, None])[:, 0]), 1, 2)(X)

    assert largest_error(*both(params, X, Y)) <= FLOAT64

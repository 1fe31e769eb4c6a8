"""Steps and epochs against optax with `jax.grad` of the reference, a step at a time."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import BY_NAME, DEEP, REGRESSION, arrays, if_deep
from small_fit import close

import manual_bp as bp
from manual_bp._machine import layout
from manual_bp._training.dropout import with_dropout
from manual_bp._training.epoch import epoch_order
from manual_bp._training.objective import objective, value_and_grad
from reference import autodiff
from reference.compare import largest_error

NETWORK = bp.Network((4, 6, 5, 3), ("tanh", "relu"))
M = 23
ADAM: Any = optax.adam(0.01)
# what a user calls without types
untyped: Any = bp
untyped_optax: Any = optax


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return bp.Dataset(*map(jnp.asarray, (rng.normal(size=(M, 4)), rng.integers(3, size=M), rng.integers(3, size=M))))


@pytest.fixture
def unweighted(data):
    return data._replace(weights=None)


@functools.cache
def drawn(network):
    return bp.init(network, jax.random.key(0), jnp.float64)


def start(optimizer: Any = ADAM, network=NETWORK):
    return bp.train_state(network, optimizer, jax.random.key(0), drawn(network))


@functools.cache
def gradient_by_autodiff(model):
    def cost(params, X, Y, weights, l2):
        return autodiff.cost(model, params, X, Y, weights) + l2 / 2 * sum(jnp.sum(W**2) for W, _ in params)

    return jax.jit(jax.value_and_grad(cost))


def by_optax(model, optimizer, batches, params, l2=0.0):
    """The parameters after a step for each batch, and the costs."""
    state, costs = optimizer.init(params), []
    for batch in batches:
        c, grads = gradient_by_autodiff(model)(params, *batch, l2)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        costs.append(c)
    return params, np.array(costs)


OPTIMIZERS = {"adamw": optax.adamw(0.01), "lion": optax.lion(0.01), "sgd": optax.sgd(0.1)}
STEPPED = dict(zip(OPTIMIZERS, (DEEP, REGRESSION, BY_NAME["logistic regression"]), strict=True))


@pytest.mark.parametrize(
    ("problem", "optimizer"),
    [(p, o) if STEPPED[o] is p else if_deep(p, o) for o in OPTIMIZERS for p in STEPPED.values()],
    ids=lambda x: getattr(x, "name", x),
)
def test_steps_are_those_of_optax_with_autodiff(problem, optimizer):
    optimizer = OPTIMIZERS[optimizer]
    network, params, X, Y, weights = arrays(problem)
    batches = [(X, Y, weights), (X[:, ::-1], Y[..., ::-1], weights[::-1]), (X, Y, None)]
    # without weights every example has the same
    same = [(X, Y, jnp.ones(X.shape[1]) if weights is None else weights) for X, Y, weights in batches]
    expected, costs = by_optax(problem.model, optimizer, same, params, l2=0.3)
    state = bp.train_state(network, optimizer, jax.random.key(0), params)
    step = bp.train_step(network, optimizer, l2=0.3)
    for batch, c in zip(batches, costs, strict=True):
        state, found = step(state, *batch)
        assert abs(found - c) <= 1e-12 * max(1, abs(c))
    assert int(state.step) == 3
    assert largest_error(state.params, expected) <= 1e-11


def test_a_user_keeps_what_a_step_donates():
    params, state = drawn(NETWORK), start()
    bp.train_step(NETWORK, ADAM)(state, jnp.ones((4, 5)), jnp.zeros(5, int), jnp.ones(5, bool))
    assert all(np.isfinite(p).all() for p in jax.tree.leaves(params))
    assert state.params[0].W.is_deleted()


def test_the_same_arguments_compile_once():
    equal = untyped.Network([4, 6, 5, 3], ["tanh", "relu"])
    assert bp.train_step(NETWORK, ADAM, dropout=0.1) is bp.train_step(equal, ADAM, dropout=(0.1, 0.1))
    assert bp.train_epoch(NETWORK, ADAM, 5) is bp.train_epoch(NETWORK, ADAM, 5)


# batches of 1 have no weights: the reference divides by the sum of a batch's weights, which has to be above 0
@pytest.mark.parametrize(
    ("size", "weighted"), [(5, True), (5, False), (100, True), (1, False), if_deep(M, True), if_deep(M, False)]
)
def test_epoch_is_a_step_for_each_batch(data, size, weighted):
    data, state = data if weighted else data._replace(weights=None), start()
    rows, present = map(np.asarray, epoch_order(state, M, min(size, M), True))
    seen = list(rows[present])
    assert sorted(seen) == list(range(M)) != seen
    given = np.ones(M) if data.weights is None else np.asarray(data.weights)
    X, Y = np.asarray(data.X), np.asarray(data.Y)
    batches = [(X[r].T, Y[r], given[r] * p) for r, p in zip(rows, present, strict=True)]
    expected, costs = by_optax(autodiff.Model((4, 6, 5, 3), ("tanh", "relu")), ADAM, batches, state.params)
    after, found = bp.train_epoch(NETWORK, ADAM, size)(state, data)
    assert largest_error(after.params, expected) <= 1e-10
    np.testing.assert_allclose(found, costs, rtol=1e-11)
    assert int(after.step) == len(batches)


def test_each_epoch_has_its_own_order(data):
    state = start()
    after, _ = bp.train_epoch(NETWORK, ADAM, 5)(state, data)
    first, second = (np.asarray(epoch_order(s, M, 5, True)[0]) for s in (state, after))
    assert (first != second).any()
    assert (np.asarray(epoch_order(state, M, 5, False)[0]).ravel()[:M] == np.arange(M)).all()


@pytest.mark.parametrize(
    ("hidden", "widths"), [(("tanh", "relu"), (6, 5)), (("silu", "identity"), (6, 5)), (("tanh", "relu"), (40, 39))]
)
def test_dropout_is_the_gradient_of_the_masked_network(hidden, widths):
    """From columns, and from rows inside in the wide network."""
    network, rates, m, key = bp.Network((4, *widths, 3), hidden), (0.25, 0.5), 9, jax.random.key(3)
    params, (X, Y) = drawn(network), (np.random.default_rng(0).normal(size=(4, m)), np.arange(m) % 3)
    assert layout.of_pass(network.sizes, jnp.asarray(X)).in_rows == (widths == (40, 39))
    masks = with_dropout(bp.Network((4, *widths, 3), "identity"), rates, key, m, jnp.dtype(float)).hidden
    D = [np.asarray(g.g(jnp.ones((n, m)))) for g, n in zip(masks, widths, strict=True)]
    assert set(np.unique(np.round(D[0], 12))) == {0, np.round(1 / 0.75, 12)} and set(np.unique(D[1])) == {0, 2}

    def cost(params):
        A = X
        for (W, b), g, mask in zip(params[:-1], hidden, D, strict=True):
            A = autodiff.ACTIVATIONS[g](W @ A + b) * mask
        Z = params[-1].W @ A + params[-1].b
        return optax.softmax_cross_entropy_with_integer_labels(Z.T, Y).mean()

    goal, ones = objective(network, 0.0, rates, None), jnp.ones(m)
    found = jax.jit(lambda params: value_and_grad(goal, params, jnp.asarray(X), jnp.asarray(Y), ones, key))(params)
    assert largest_error(found, jax.jit(jax.value_and_grad(cost))(params)) <= 1e-12


def test_dropout_drops_at_its_rate_anew_in_each_step():
    keep = bp.Network((1, 1000, 1), "identity", "identity", "squared_error")
    layers = [with_dropout(keep, (0.3,), jax.random.key(i), 50, jnp.dtype(float)).hidden[0] for i in (0, 1)]
    drawn = [layer.g(jnp.ones((1000, 50))) for layer in layers]
    assert abs(np.mean(drawn[0] == 0) - 0.3) < 0.01 and abs(np.mean(drawn[0]) - 1) < 0.02
    assert 0.4 < np.mean((drawn[0] == 0) != (drawn[1] == 0)) < 0.44  # 2 * 0.3 * 0.7
    optimizer = optax.set_to_zero()
    state, costs = start(optimizer), set()
    for _ in range(3):
        state, c = bp.train_step(NETWORK, optimizer, dropout=0.5)(state, jnp.ones((4, 2)), jnp.zeros(2, int))
        costs.add(float(c))
    assert len(costs) == 3


def test_mixed_precision_multiplies_in_bfloat16_and_adds_in_float32():
    params, X, Y = bp.init(NETWORK, jax.random.key(0), jnp.float32), jnp.ones((4, 7)) * 0.3, jnp.arange(7) % 3
    gradient = functools.partial(value_and_grad, objective(NETWORK, 0.0, 0.0, jnp.bfloat16))
    args = params, X, Y, None, jax.random.key(0)
    program: Any = jax.make_jaxpr(gradient)(*args).jaxpr
    # dA has a form for each platform
    inner = [e for outer in program.eqns for branch in outer.params.get("branches", ()) for e in branch.jaxpr.eqns]
    products = [e for e in program.eqns + inner if e.primitive.name == "dot_general"]
    assert len(products) == 12  # forward, dW and twice dA of 3 layers
    assert {v.aval.dtype for e in products for v in e.invars} == {jnp.dtype(jnp.bfloat16)}
    assert sum(e.outvars[0].aval.dtype == jnp.float32 for e in products) == 3
    c, grads = jax.jit(gradient)(*args)
    true = bp.value_and_grad(NETWORK)(params, X, Y)
    assert {leaf.dtype.name for leaf in jax.tree.leaves((c, grads))} == {"float32"}
    assert 1e-6 < largest_error((c, grads), true) < 0.05
    # steps smaller than bfloat16 resolves add up
    sgd = optax.sgd(1e-4)
    epoch = bp.train_epoch(NETWORK, sgd, 4, compute_dtype="bfloat16")
    after, _ = epoch(bp.train_state(NETWORK, sgd, jax.random.key(0), params), bp.Dataset.from_columns(X, Y))
    assert after.params[0].W.dtype == jnp.float32


def take(state, data, optimizer, size, steps):
    """The state after some steps of an epoch, one at a time."""
    step = bp.train_step(NETWORK, optimizer)
    batches = zip(*epoch_order(state, M, size, True), strict=True)
    state = jax.tree.map(jnp.copy, state)
    for r, p in list(batches)[:steps]:
        state, _ = step(state, data.X[r].T, data.Y[r], p)
    return state


def update_once_infinite(updates, state, params=None):
    """A step of gradient descent, of infinite length in step `at`, which is part of the state."""
    at, step = state
    return jax.tree.map(lambda d: jnp.where(step == at, jnp.inf, -0.1) * d, updates), (at, step + 1)


ONCE_INFINITE = untyped_optax.GradientTransformation(
    lambda params: (jnp.array(-1, int), jnp.array(0, int)), update_once_infinite
)


class TestNotFinite:
    """The epoch is undone from the first step that is not finite, and the state counts the steps before it."""

    def check(self, found, costs, expected, steps):
        assert int(found.step) == steps
        assert np.isfinite(costs[:steps]).all() and np.isnan(costs[steps:]).all()
        assert largest_error(found.params, expected.params) <= 1e-12
        assert largest_error(found.optimizer_state, expected.optimizer_state) <= 1e-11
        assert all(np.isfinite(p).all() for p in jax.tree.leaves(found.params))

    @pytest.mark.parametrize("batch", [0, 2, 4])
    def test_a_cost(self, unweighted, batch):
        data, state = unweighted, start()
        bad = epoch_order(state, M, 5, True)[0][batch, 0]
        found, costs = bp.train_epoch(NETWORK, ADAM, 5)(state, data._replace(X=data.X.at[bad, 1].set(jnp.inf)))
        self.check(found, costs, take(state, data, ADAM, 5, batch), batch)

    @pytest.mark.parametrize("at", [0, 2, 4])
    def test_an_update(self, unweighted, at):
        """Only the cost of the step after it shows this; the last step has none after it."""
        state: Any = start(ONCE_INFINITE)
        state = state._replace(optimizer_state=(jnp.array(at, int), state.optimizer_state[1]))
        found, costs = bp.train_epoch(NETWORK, ONCE_INFINITE, 5)(state, unweighted)
        self.check(found, costs, take(state, unweighted, ONCE_INFINITE, 5, at), at)

    def test_parameters_that_the_cost_does_not_show(self, unweighted):
        """A unit with weights of -inf has the output 0 under relu: the costs stay finite for several steps."""
        network, data = bp.Network((4, 6, 3)), unweighted._replace(X=jnp.abs(unweighted.X) + 0.1)

        def update(updates, step, params=None):
            W, b = updates[0]
            W = jnp.where((step == 1) & (jnp.arange(6) == 2)[:, None], -jnp.inf, jnp.zeros_like(W))
            return (bp.Layer(W, b * 0), *jax.tree.map(lambda d: -0.1 * d, updates[1:])), step + 1

        optimizer = untyped_optax.GradientTransformation(lambda params: jnp.zeros((), int), update)
        found, costs = bp.train_epoch(network, optimizer, 5)(start(optimizer, network), data)
        assert int(found.step) == 1 and np.isfinite(costs[:1]).all() and np.isnan(costs[1:]).all()
        assert all(np.isfinite(p).all() for p in jax.tree.leaves(found.params))

    def test_one_member_of_an_ensemble(self, unweighted):
        keys = jax.random.split(jax.random.key(5), 3)
        states: Any = jax.vmap(lambda key: bp.train_state(NETWORK, ONCE_INFINITE, key, dtype=jnp.float64))(keys)
        states = states._replace(optimizer_state=(jnp.array([-1, 2, -1]), states.optimizer_state[1]))
        epoch = bp.train_epoch(NETWORK, ONCE_INFINITE, 5)
        found, costs = jax.vmap(epoch, in_axes=(0, None))(states, unweighted)
        assert list(found.step) == [5, 2, 5]
        assert np.isfinite(np.asarray(costs)[[0, 2]]).all() and np.isnan(costs[1, -1])
        for i in range(3):
            alone, _ = epoch(jax.tree.map(lambda x, i=i: x[i], states), unweighted)
            close(jax.tree.map(lambda x, i=i: x[i], found.params), alone.params, 1e-9)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d: untyped.train_step(NETWORK, "adam"), TypeError, r"optimizer is a str; expected an optax optimizer"),
        (lambda d: untyped.train_step(NETWORK, ADAM, l2=-1), ValueError, "l2 is -1"),
        (lambda d: untyped.train_step(NETWORK, ADAM, dropout=1.0), ValueError, "dropout is 1.0; expected a probability"),
        (lambda d: untyped.train_step(NETWORK, ADAM, dropout=(0.1,)), ValueError, "dropout has length 1; expected a probability, or 2"),
        (lambda d: untyped.train_step(NETWORK, ADAM, compute_dtype="float16"), TypeError, "compute_dtype is float16"),
        (lambda d: untyped.train_epoch(NETWORK, ADAM, 0), ValueError, "batch_size is 0"),
        (lambda d: untyped.train_epoch(NETWORK, ADAM, 5)(start(), (d.X, d.Y)), TypeError, "data is a tuple; expected a bp.Dataset"),
        (lambda d: untyped.train_epoch(NETWORK, ADAM, 5)(start(), d._replace(Y=d.Y[1:])), ValueError, r"X of shape \(23, 4\), Y of shape \(22,\)"),
        (lambda d: untyped.train_epoch(NETWORK, ADAM, 5)(start(), d._replace(X=d.X[:, :3])), ValueError, r"X has shape \(3, 5\); expected \(4, m\)"),
        (lambda d: untyped.train_state(NETWORK, ADAM, 0), TypeError, r"key is 0; expected a random key: pass jax.random.key\(0\)"),
        (lambda d: untyped.train_state(NETWORK, ADAM, jax.random.key(0), ()), ValueError, "params has length 0; expected 3 layers"),
    ],
)  # fmt: skip
def test_bad_input(data, call, error, message):
    with pytest.raises(error, match=message):
        call(data)

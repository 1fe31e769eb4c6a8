"""Training from data to parameters."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import manual_bp as bp
from manual_bp._saving.file import read
from manual_bp._training import epoch_runner, streamed_batches
from manual_bp._training.checkpoint import TRAINING
from manual_bp._training.class_weight import with_class_weight

NETWORK = bp.Network((4, 6, 3), "tanh")
M = 47
# options are put together at run time
fit: Any = bp.fit
untyped_none: Any = None
OPTIONS: dict[str, Any] = {"epochs": 6, "batch_size": 8, "learning_rate": 0.02, "key": jax.random.key(8)}


@pytest.fixture(scope="module")
def data() -> Any:
    """Inputs of shape (4, 47) and classes that follow from them, but for some noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(M, 4))
    return X.T, np.argmax(X[:, :3] + 0.5 * rng.normal(size=(M, 3)), axis=1)


def same(a, b) -> bool:
    """Bit for bit."""
    a, b = (
        jax.tree.map(
            lambda x: (
                np.asarray(jax.random.key_data(x)) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x)
            ),
            t,
        )
        for t in (a, b)
    )
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def _columns(data, weights) -> tuple[Any, Any, Any]:
    return jnp.asarray(data[0]), jnp.asarray(data[1]), jnp.asarray(weights)


def columns(history) -> dict:
    """The history but for the seconds."""
    return {name: column for name, column in history.to_dict().items() if name != "seconds"}


def test_the_same_key_gives_the_same_bits_and_training_learns(data):
    one, two = (fit(NETWORK, *data, **OPTIONS) for _ in range(2))
    assert same(one.state, two.state) and columns(one.history) == columns(two.history)
    assert not same(one.params, fit(NETWORK, *data, **OPTIONS | {"key": jax.random.key(9)}).params)
    assert one.history.cost[-1] < 0.7 * one.history.cost[0]
    assert (one.stopped, one.best_epoch, int(one.state.step)) == ("epochs", 6, 36)


def test_it_is_epoch_after_epoch(data):
    """From the same state, with the costs' weighted mean, the gradient's norm and what the validation data give."""
    weights = np.arange(M) % 4 * 1.0
    found = fit(NETWORK, data[0], data[1], weights, **OPTIONS | {"epochs": 3}, validation_data=data)
    optimizer = optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(0.02))
    state = bp.train_state(NETWORK, optimizer, OPTIONS["key"])
    epoch, examples = bp.train_epoch(NETWORK, optimizer, 8), bp.Dataset.from_columns(data[0], data[1], weights)
    for i in range(3):
        state, costs = epoch(state, examples)
        value = bp.evaluate(NETWORK, state.params, jnp.asarray(data[0]), jnp.asarray(data[1]))
        np.testing.assert_allclose(found.history.validation_cost[i], value.cost, rtol=1e-10)
        assert found.history.validation_metric[i] == value.metric
    for a, b in zip(jax.tree.leaves(found.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8)
    assert found.history.learning_rate == [pytest.approx(0.02)] * 3


def test_cost_and_norm_of_an_epoch(data):
    """With steps of length 0 the epoch's cost is the cost of all examples, whatever the batches."""
    weights = np.arange(M) % 4 * 1.0
    still = fit(NETWORK, data[0], data[1], weights, optimizer=optax.set_to_zero(), epochs=1, batch_size=8)
    assert still.history.cost[0] == pytest.approx(
        float(bp.cost(NETWORK, still.params, *_columns(data, weights))), rel=1e-12
    )
    whole = fit(NETWORK, data[0], data[1], weights, optimizer=optax.set_to_zero(), epochs=1, batch_size=M)
    grads = bp.grad(NETWORK)(whole.params, *_columns(data, weights))
    assert whole.history.gradient_norm[0] == pytest.approx(float(optax.tree.norm(grads)), rel=1e-12)


def test_going_on_from_a_state_is_not_stopping(data):
    whole = fit(NETWORK, *data, **OPTIONS)
    first = fit(NETWORK, *data, **OPTIONS | {"epochs": 2})
    kept = jax.tree.map(jnp.copy, first.state)
    second = fit(NETWORK, *data, **OPTIONS | {"epochs": 4}, state=first.state)
    assert same(second.state, whole.state)
    assert same(kept, first.state)


def test_going_on_at_another_rate(data):
    first = fit(NETWORK, *data, **OPTIONS | {"epochs": 2, "optimizer": "sgd"})
    moved = fit(NETWORK, *data, **OPTIONS | {"epochs": 1, "optimizer": "sgd", "learning_rate": 1e-3}, state=first.state)
    assert moved.history.learning_rate == [pytest.approx(1e-3)] and first.history.learning_rate[-1] == pytest.approx(
        0.02
    )


def test_parameters_to_start_from(data):
    first = fit(NETWORK, *data, **OPTIONS)
    kept = jax.tree.map(jnp.copy, first.params)
    still = fit(NETWORK, *data, epochs=1, optimizer=optax.set_to_zero(), params=first.params)
    assert same(still.params, kept) and same(first.params, kept) and int(still.state.step) == 2
    with pytest.raises(ValueError, match="params and state are both given"):
        fit(NETWORK, *data, params=first.params, state=first.state)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"optimizer": "adam"}, {"optimizer": "sgd"}),
        ({"optimizer": "sgd"}, {"optimizer": "adam"}),
        ({"optimizer": optax.adam(0.1), "learning_rate": None}, {}),
        ({}, {"max_gradient_norm": 1.0}),
        ({}, {"learning_rate": optax.linear_schedule(0.1, 0.0, 9)}),
        ({"learning_rate": optax.linear_schedule(0.1, 0.0, 9)}, {}),
    ],
)
def test_a_state_of_another_optimizer_is_refused(data, before, after):
    state = fit(NETWORK, *data, **OPTIONS | {"epochs": 1} | before).state
    with pytest.raises(
        ValueError, match="optimizer_state is of another optimizer; expected the one that the state was"
    ):
        fit(NETWORK, *data, **OPTIONS | after, state=state)
    with pytest.raises(ValueError, match="optimizer_state is of another optimizer"):
        bp.train_epoch(NETWORK, optax.rmsprop(0.1), 8)(state, bp.Dataset.from_columns(*data))


class TestResume:
    """A training that is taken up again is one that was not interrupted, bit for bit."""

    @pytest.mark.parametrize("rule", [None, bp.EarlyStopping(patience=3)], ids=["all epochs", "early stopping"])
    def test_resumed_is_uninterrupted(self, data, tmp_path, rule):
        options = OPTIONS | {
            "epochs": 12,
            "learning_rate": 0.3,
            "validation_fraction": 0.3,
            "dropout": 0.1,
            "early_stopping": rule,
        }
        file = tmp_path / "training.safetensors"
        whole = fit(NETWORK, *data, **options)

        def stop(epoch):
            return epoch.number in (2, 5)

        for _ in range(2):
            part = fit(NETWORK, *data, **options, checkpoint=file, resume=True, callbacks=[stop])
            assert part.stopped == "callback"
        found = fit(NETWORK, *data, **options, checkpoint=file, resume=True)
        assert same((found.params, found.state), (whole.params, whole.state))
        assert columns(found.history) == columns(whole.history) and found[3:] == whole[3:]
        again = fit(NETWORK, *data, **options, checkpoint=file, resume=True)
        assert same(again.params, whole.params) and again.history == found.history

    def test_options_hold_from_there_on(self, data, tmp_path):
        """A rate that is given, and validation data, of which the epochs before know nothing."""
        options = OPTIONS | {"checkpoint": tmp_path / "training.safetensors", "learning_rate": 0.02}
        fit(NETWORK, *data, **options | {"epochs": 2})
        options |= {"learning_rate": 0.01, "validation_fraction": 0.3, "early_stopping": bp.EarlyStopping(3)}
        found = fit(NETWORK, *data, **options | {"epochs": 4}, resume=True)
        assert found.history.learning_rate == [pytest.approx(r) for r in (0.02, 0.02, 0.01, 0.01)]
        assert found.history.validation_cost[:2] == [None, None] and found.best_epoch in (3, 4)
        kept = fit(NETWORK, *data, **options | {"epochs": 5, "learning_rate": None}, resume=True)
        assert kept.history.learning_rate[4] == pytest.approx(0.01)

    def test_every_so_many_epochs_and_the_last(self, data, tmp_path):
        file = tmp_path / "training.safetensors"

        def epochs_saved():
            return len(read(file, TRAINING)[0]["history"]["cost"]) if file.exists() else 0

        seen = []  # at the end of each epoch, before it is saved
        options = OPTIONS | {"epochs": 5, "callbacks": [lambda _: seen.append(epochs_saved())]}
        fit(NETWORK, *data, **options, checkpoint=file, checkpoint_every=2)
        assert (*seen, epochs_saved()) == (0, 0, 2, 2, 4, 5)

    def test_refusals(self, data, tmp_path):
        options = OPTIONS | {"epochs": 1, "checkpoint": tmp_path / "training.safetensors"}
        fit(NETWORK, *data, **options)
        with pytest.raises(ValueError, match="holds a training of 1 epochs; pass resume=True"):
            fit(NETWORK, *data, **options)
        with pytest.raises(ValueError, match=r"another training: network has sizes \[4, 7, 3\]; expected \[4, 6, 3\]"):
            fit(bp.Network((4, 7, 3), "tanh"), *data, **options, resume=True)
        with pytest.raises(ValueError, match="holds another training: training.state.optimizer_state"):
            fit(NETWORK, *data, **options | {"optimizer": "sgd"}, resume=True)


@pytest.mark.parametrize("monitor", ["validation_cost", "validation_metric", "cost"])
def test_early_stopping_returns_the_best_epoch(data, monitor):
    options = OPTIONS | {"epochs": 60, "learning_rate": 0.3, "validation_fraction": 0.3}
    rule = bp.EarlyStopping(patience=4, monitor=monitor)
    stopped = fit(NETWORK, *data, **options, early_stopping=rule)
    values = getattr(stopped.history, monitor)
    best = int(np.argmax(values) if monitor == "validation_metric" else np.argmin(values)) + 1
    assert stopped.stopped == "early stopping"
    assert stopped.best_epoch == best and len(values) == best + 4
    assert same(stopped.params, fit(NETWORK, *data, **options | {"epochs": best}).params)
    last = fit(NETWORK, *data, **options, early_stopping=bp.EarlyStopping(4, monitor=monitor, restore_best=False))
    assert same(last.params, stopped.state.params) and not same(last.params, stopped.params)


def test_min_delta_is_how_much_better_counts():
    history = bp.History(cost=[1.0, 0.95, 0.9, 0.7, 0.69, float("nan")])
    assert bp.EarlyStopping(monitor="cost").best_epoch(history) == 5
    assert bp.EarlyStopping(monitor="cost", min_delta=0.06).best_epoch(history) == 4
    assert bp.EarlyStopping(monitor="cost").best_epoch(bp.History()) == 0
    assert [bp.EarlyStopping(patience=n, monitor="cost").stalled(history) for n in (1, 2)] == [True, False]


def test_held_out_examples_are_not_trained_on(data):
    """They are a fraction, drawn by the key; the rest, given alone, trains to the same cost in one full batch."""
    X, y = data
    seen = []
    found = fit(NETWORK, X, y, epochs=1, batch_size=1000, validation_fraction=0.25, key=jax.random.key(1),
                   callbacks=[lambda epoch: seen.append(epoch.history.validation_cost[0])])  # fmt: skip
    params = bp.init(NETWORK, jax.random.split(jax.random.key(1))[0])
    losses = np.asarray(bp.backpropagate(NETWORK, params, jnp.asarray(X), jnp.asarray(y)).losses)
    total = found.history.cost[0] * (M - 12)
    # the losses of 12 examples are missing
    assert 0 < np.sum(losses) - total < np.sum(np.sort(losses)[-12:]) + 1e-9
    held_out = np.asarray(bp.backpropagate(NETWORK, found.params, jnp.asarray(X), jnp.asarray(y)).losses)
    assert np.sort(held_out)[:12].sum() <= seen[0] * 12 <= np.sort(held_out)[-12:].sum()


def test_class_weights_are_weights(data):
    X, y = data
    weights = np.where(y == 2, 5.0, 1.0)
    assert same(
        fit(NETWORK, X, y, **OPTIONS, class_weight={2: 5.0}).params, fit(NETWORK, X, y, weights, **OPTIONS).params
    )
    labels, given = np.array([0, 0, 0, 1, 2, 2]), np.array([1, 1, 2, 3, 1, 1.0])
    np.testing.assert_allclose(with_class_weight(labels, None, "balanced"), 6 / 3 / np.array([3, 3, 3, 1, 2, 2]))
    np.testing.assert_allclose(
        with_class_weight(labels, given, "balanced"), given * 9 / 3 / np.array([4, 4, 4, 3, 2, 2])
    )


class TestStream:
    """What is read from elsewhere is trained on as what lies on the device."""

    @pytest.fixture(autouse=True)
    def small_chunks(self, monkeypatch):
        monkeypatch.setattr(streamed_batches, "CHUNK_BYTES", 8 * 4 * 8 * 2)  # two batches of 8 examples

    @pytest.mark.parametrize("weighted", [True, False])
    def test_memory_mapped(self, data, tmp_path, weighted, monkeypatch):
        X, y = data
        np.save(tmp_path / "X.npy", X.T)
        mapped = np.load(tmp_path / "X.npy", mmap_mode="r").T
        weights = np.arange(M) % 4 * 1.0 if weighted else None
        calls = []
        chunks_of_rows = streamed_batches.chunks_of_rows
        monkeypatch.setattr(epoch_runner, "chunks_of_rows", lambda *a: calls.append(0) or chunks_of_rows(*a))
        streamed, direct = (fit(NETWORK, x, y, weights, **OPTIONS) for x in (mapped, X))
        assert len(calls) == OPTIONS["epochs"]
        for a, b in zip(jax.tree.leaves(streamed.params), jax.tree.leaves(direct.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)
        np.testing.assert_allclose(streamed.history.cost, direct.history.cost, rtol=1e-10)

    def test_more_than_the_device_holds(self, data, monkeypatch):
        calls = []
        monkeypatch.setattr(epoch_runner, "fits_on_device", lambda nbytes: calls.append(nbytes))
        fit(NETWORK, *data, **OPTIONS | {"epochs": 1})
        assert calls == [47 * 4 * 8]

    @pytest.mark.parametrize("form", ["list", "function"])
    def test_batches(self, data, form):
        X, y = data
        batches = [(X[:, i : i + 8], y[i : i + 8]) for i in range(0, M, 8)]
        given = batches if form == "list" else lambda epoch: iter(batches)
        found, direct = fit(NETWORK, given, **OPTIONS), fit(NETWORK, X, y, **OPTIONS, shuffle=False)
        for a, b in zip(jax.tree.leaves(found.params), jax.tree.leaves(direct.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)

    def test_weighted_batches(self, data):
        X, y = data
        w = np.arange(M) % 4 * 1.0
        batches = [(X[:, i : i + 8], y[i : i + 8], w[i : i + 8]) for i in range(0, M, 8)]
        found, direct = fit(NETWORK, batches, **OPTIONS), fit(NETWORK, X, y, w, **OPTIONS, shuffle=False)
        np.testing.assert_allclose(found.history.cost, direct.history.cost, rtol=1e-10)

    def test_the_next_is_read_meanwhile_and_an_error_arrives(self):
        read = []

        def items():
            for i in range(4):
                read.append(i)
                yield i
            raise OSError("disk gone")

        taken = streamed_batches.read_ahead(items())
        assert next(taken) == 0
        while len(read) < 2:
            pass
        assert [next(taken), next(taken), next(taken)] == [1, 2, 3]
        with pytest.raises(OSError, match="disk gone"):
            next(taken)

    def test_an_iterator_is_read_once(self, data):
        with pytest.raises(ValueError, match="no batches in epoch 2. An iterator can be read only once"):
            fit(NETWORK, iter([data]), **OPTIONS)

    def test_a_batch_larger_than_the_first(self, data):
        X, y = data
        with pytest.raises(ValueError, match=r"X of shape \(4, 9\).* at most 8"):
            fit(NETWORK, [(X[:, :8], y[:8]), (X[:, :9], y[:9])], **OPTIONS)

    def test_a_step_that_is_not_finite(self, data):
        X, y = data
        batches = [(X[:, i : i + 8], y[i : i + 8]) for i in range(0, 40, 8)]
        batches[3] = (np.full((4, 8), np.nan), y[:8])
        with pytest.warns(RuntimeWarning, match=r"step 4 \(step 4 of epoch 1\)"):
            found = fit(NETWORK, batches, **OPTIONS)
        assert int(found.state.step) == 3 and found.stopped == "not finite"


def test_a_step_that_is_not_finite_is_named(data):
    X, y = data
    X = copy.copy(X)
    with pytest.warns(RuntimeWarning, match=r"step 1[3-8] \(step [1-6] of epoch 3\) has a cost") as caught:
        rate: Any = optax.piecewise_constant_schedule(0.02, {14: 1e308, 15: 1e308})
        found = fit(NETWORK, X, y, **OPTIONS | {"learning_rate": rate})
    step = int(str(caught[0].message).split()[1])
    assert int(found.state.step) == step - 1 and found.stopped == "not finite" and len(found.history) == 2
    assert all(np.isfinite(p).all() for p in jax.tree.leaves((found.params, found.state.params)))


def test_schedule_norm_and_callbacks(data):
    """The learning rate is that of the last step, the gradient is scaled down, and a callback ends the training."""
    numbers = []

    def stop(epoch):
        numbers.append((epoch.number, len(epoch.history), int(epoch.state.step)))
        return epoch.number == 3

    rate: Any = optax.linear_schedule(0.1, 0.0, 100)
    found = fit(
        NETWORK, *data, **OPTIONS | {"learning_rate": rate}, callbacks=[stop, lambda epoch: numbers.append("second")]
    )
    assert found.stopped == "callback" and numbers[::2] == [(1, 1, 6), (2, 2, 12), (3, 3, 18)]
    assert numbers[1::2] == ["second"] * 3
    np.testing.assert_allclose(
        np.array(found.history.learning_rate, float), [0.1 * (1 - s / 100) for s in (5, 11, 17)], rtol=1e-6
    )
    options = OPTIONS | {"epochs": 1, "batch_size": M, "learning_rate": 1.0, "optimizer": "sgd"}
    before, after = (fit(NETWORK, *data, **options, max_gradient_norm=0.01).params for _ in "ab")
    start = bp.init(NETWORK, jax.random.split(OPTIONS["key"])[0])
    assert float(optax.tree.norm(jax.tree.map(jnp.subtract, after, start))) == pytest.approx(0.01)
    assert same(before, after)


def test_other_numbers_compile_nothing(data, caplog):
    def compiled(**options):
        caplog.clear()
        with jax.log_compiles():
            fit(NETWORK, *data, **OPTIONS | options)
        return [r for r in caplog.records if r.getMessage().startswith("Compiling")]

    fit(NETWORK, *data, **OPTIONS, l2=0.1)
    assert not compiled(l2=0.2, learning_rate=0.5, epochs=1)
    assert compiled(l2=0.2, batch_size=9)


@pytest.mark.parametrize(
    ("name", "form"),
    [("adam", optax.adam), ("adagrad", optax.adagrad), ("lion", lambda r: optax.lion(r, weight_decay=0)), ("momentum", lambda r: optax.sgd(r, 0.9)),
     ("nadam", optax.nadam), ("nesterov", lambda r: optax.sgd(r, 0.9, nesterov=True)), ("rmsprop", optax.rmsprop), ("sgd", optax.sgd)],
)  # fmt: skip
def test_optimizers_by_name_are_those_of_optax(data, name, form):
    options = OPTIONS | {"epochs": 2, "batch_size": 25}
    by_name = fit(NETWORK, *data, **options | {"optimizer": name})
    del options["learning_rate"]
    given = fit(NETWORK, *data, **options | {"optimizer": form(0.02)})
    for a, b in zip(jax.tree.leaves(by_name.params), jax.tree.leaves(given.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8)
    assert given.history.learning_rate == [None, None]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"optimizer": "sdg"}, ValueError, "optimizer is 'sdg'; expected one of adam, "),
        ({"optimizer": optax.adam(0.1), "learning_rate": 0.1}, ValueError, "learning_rate is given, but the optimizer object has its own"),
        ({"learning_rate": -1}, ValueError, "learning_rate is -1"),
        ({"epochs": 0}, ValueError, "epochs is 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size is 2.5; expected an integer"),
        ({"max_gradient_norm": 0}, ValueError, "max_gradient_norm is 0"),
        ({"Y": None}, TypeError, "Y is a NoneType; expected an array of NumPy or JAX"),
        ({"X": np.ones((4, 5))}, ValueError, r"X has shape \(4, 5\) and Y \(47,\)"),
        ({"X": np.ones((3, 47))}, ValueError, r"X has shape \(3, .*\); expected \(4, m\)"),
        ({"X": 3}, TypeError, "X is an int; expected an array .* or a function of the epoch"),
        ({"X": [], "Y": 1}, ValueError, "Y is given, but X gives batches"),
        ({"X": [], "Y": None}, ValueError, "no batches in epoch 1"),
        ({"weights": np.ones(3)}, ValueError, r"weights has shape \(3,\); expected \(47,\)"),
        ({"validation_fraction": 1.5}, ValueError, "validation_fraction is 1.5 of 47 examples"),
        ({"validation_fraction": 0.5, "validation_data": (1, 2)}, ValueError, "both given"),
        ({"validation_data": 3}, TypeError, r"validation_data is an int; expected \(X, Y\)"),
        ({"early_stopping": True}, TypeError, "early_stopping is True; expected a bp.EarlyStopping"),
        ({"early_stopping": bp.EarlyStopping()}, ValueError, "there is no validation data"),
        ({"class_weight": {7: 1.0}}, ValueError, r"class_weight has \[7\]; expected classes of Y: \[0, 1, 2\]"),
        ({"class_weight": "balance"}, ValueError, "class_weight is 'balance'"),
        ({"class_weight": {0: -1.0}}, ValueError, "expected finite, non-negative numbers"),
        ({"resume": True}, ValueError, "resume is True, and checkpoint is None"),
        ({"metric": "f1"}, ValueError, "metric is 'f1'"),
        ({"X": [[1.0] * 47] * 4}, TypeError, "X is a list; expected an array of NumPy or JAX"),
        ({"X": bp.Dataset(jnp.ones((47, 4)), jnp.ones(47)), "Y": None}, TypeError, "X is a Dataset; expected an array"),
        ({"X": np.ones((47, 4))}, ValueError, r"X has shape \(47, 4\) .* columns are examples, so pass X.T"),
        ({"X": np.ones((4, 47), int)}, TypeError, r"X has dtype int64; .* pass X.astype\(float\)"),
        ({"Y": list("abc")}, TypeError, "Y is a list; expected an array of NumPy or JAX"),
        ({"Y": np.array(["a"] * 47)}, TypeError, "Y has dtype <U1; expected numbers: np.unique"),
        ({"Y": np.ones(47)}, ValueError, r"Y has shape \(47,\); .* dtype float64: pass Y.astype\(int\)"),
        ({"Y": np.arange(47) % 3 + 1}, ValueError, "Y has the class index 3 at 2; expected 0 to 2"),
        ({"Y": np.arange(47) % 3 - 1}, ValueError, "Y has the class index -1 at 0; expected 0 to 2"),
        ({"Y": np.where(np.eye(3)[:, [0] * 47], np.inf, 0)}, ValueError, r"Y\[0, 0\] is inf, and 47 of its elements"),
        ({"X": np.where(np.arange(47) == 7, np.nan, np.ones((4, 1)))}, ValueError, r"X\[0, 7\] is nan, and 4 of its"),
        ({"weights": np.where(np.arange(47) == 7, -1.0, 1)}, ValueError, "weights has -1.0 at index 7; expected finite"),
        ({"weights": np.zeros(47)}, ValueError, "weights has nothing but 0; expected"),
        ({"validation_data": (np.ones((4, 5)), np.full(5, 3))}, ValueError, "validation_data: Y has the class index 3"),
        ({"validation_data": (np.ones((5, 4)), np.full(5, 1))}, ValueError, "validation_data: X has .* so pass X.T"),
        ({"callbacks": print}, TypeError, "callbacks is <built-in function print>; expected a list of functions"),
        ({"state": 3}, TypeError, "state is an int; expected a bp.TrainState"),
        ({"dtype": "float16"}, TypeError, "dtype is float16; expected float32"),
    ],
)  # fmt: skip
def test_bad_input(data, options, error, message):
    options = {"X": data[0], "Y": data[1]} | options
    with pytest.raises(error, match=message):
        fit(NETWORK, options.pop("X"), options.pop("Y"), options.pop("weights", None), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 0}, "patience is 0"),
        ({"min_delta": -1}, "min_delta is -1"),
        ({"monitor": "loss"}, "monitor is 'loss'"),
    ],
)
def test_bad_early_stopping(options, message):
    with pytest.raises(ValueError, match=message):
        bp.EarlyStopping(**options)


def test_an_example_of_weight_zero_may_hold_anything(data):
    X, y = data[0].copy(), data[1].copy()
    weights = np.where(np.arange(M) % 5 == 0, 0.0, 1)
    X[:, ::5], y[::5] = np.nan, 99
    found = fit(NETWORK, X, y, weights, **OPTIONS)
    assert found.stopped == "epochs" and same(found.params, fit(NETWORK, *data, weights, **OPTIONS).params)


def test_float64_that_jax_would_narrow_is_refused(data):
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match="dtype is float64, and JAX would make it float32: turn on 64 bits"):
            fit(NETWORK, *data, **OPTIONS | {"dtype": "float64"})
        assert fit(NETWORK, *data, **OPTIONS | {"epochs": 1}).params[0].W.dtype == jnp.float32


def test_no_epoch_is_best(data):
    """A metric that is not finite after any epoch: the parameters of before the first, and a warning that says so."""
    options = OPTIONS | {"epochs": 3, "validation_data": data, "metric": nothing}
    rule = bp.EarlyStopping(monitor="validation_metric")
    with pytest.warns(
        RuntimeWarning, match="validation_metric was not finite after any epoch: the parameters returned are"
    ):
        found = fit(NETWORK, *data, **options, early_stopping=rule)
    assert found.best_epoch == 0 and same(found.params, bp.init(NETWORK, jax.random.split(OPTIONS["key"])[0]))


def nothing(A, Y):
    return jnp.full(A.shape[1], jnp.nan)


def test_progress_shows_each_epoch(data, capsys):
    fit(NETWORK, *data, **OPTIONS, progress=True, validation_data=data)
    assert "6/6" in capsys.readouterr().out


class Frame:
    """What a table of pandas, or a sparse matrix, has."""

    ndim, shape, dtype = 2, (M, 4), np.dtype(float)

    def __init__(self, method):
        setattr(self, method, lambda: np.ones((M, 4)))

    def __iter__(self):
        return iter("abcd")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.1}, r"fit has no argument lr; pass learning_rate=0.1"),
        ({"key": 3}, r"key is 3; expected a random key: pass jax.random.key\(3\)"),
        ({"compute_dtype": "fp16"}, "compute_dtype is 'fp16'; expected float32, float64, bfloat16"),
        ({"dtype": "fp16"}, "dtype is 'fp16'; expected float32, float64, bfloat16"),
        ({"params": [bp.Layer(jnp.ones((3, 4)), jnp.ones((3, 1)))]}, r"params is a list; expected .*: pass tuple\(params\)"),
        ({"X": Frame("to_numpy")}, r"X is a Frame; expected an array of NumPy or JAX: pass X.to_numpy\(\).T"),
        ({"X": Frame("toarray"), "Y": None}, r"X is a Frame; expected an array of NumPy or JAX: pass X.toarray\(\).T"),
        ({"Y": Frame("to_numpy")}, r"Y is a Frame; expected an array of NumPy or JAX: pass Y.to_numpy\(\).T"),
        ({"weights": Frame("toarray")}, r"weights is a Frame; .* pass weights.toarray\(\).T"),
        ({"X": np.full((4, M), "1.0")}, "X has dtype <U3; expected numbers: encode text and dates"),
        ({"X": np.ones((4, M), object)}, "X has dtype object; expected numbers"),
        ({"X": np.zeros((4, M), "M8[D]")}, r"X has dtype datetime64\[D\]; expected numbers"),
        ({"Y": np.zeros(M, "m8[s]")}, r"Y has dtype timedelta64\[s\]; expected numbers"),
        ({"Y": np.zeros(M, [("a", float)])}, "Y has dtype .*'a'.*; expected numbers"),
        ({"weights": np.array(["1"] * M)}, "weights has dtype <U1; expected numbers"),
        ({"epochs": True}, "epochs is True; expected an integer, 1 or more"),
        ({"batch_size": np.True_}, "batch_size is True; expected an integer, 1 or more"),
        ({"checkpoint_every": True}, "checkpoint_every is True; expected an integer"),
        ({"dropout": True}, "dropout is True; expected a number"),
        ({"dropout": "0.5"}, "dropout is '0.5'; expected a number"),
        ({"early_stopping": "cost"}, "early_stopping is 'cost'; expected a bp.EarlyStopping"),
    ],
)  # fmt: skip
def test_arguments_of_another_kind(data, options, message):
    options = {"X": data[0], "Y": data[1], "key": jax.random.key(0)} | options
    with pytest.raises(TypeError, match=message):
        fit(NETWORK, options.pop("X"), options.pop("Y"), options.pop("weights", None), **options)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap], ids=["jit", "vmap"])
def test_it_does_not_run_inside_of_a_transformation(data, transform):
    with pytest.raises(TypeError, match=r"inside of jax.jit, jax.vmap or .* use jax.vmap of bp.train_epoch"):
        transform(lambda X: fit(NETWORK, X, data[1]))(jnp.stack([data[0]] * 2))
    # nor with arrays that are not traced
    with pytest.raises(TypeError, match="inside of jax.jit"):
        jax.jit(lambda: fit(NETWORK, *data, key=OPTIONS["key"]))()


def test_it_prints_in_a_few_lines(data):
    found = fit(NETWORK, *data, **OPTIONS)
    text = repr(found)
    assert text.startswith("FitResult, stopped by 'epochs', best epoch 6\n  History of 6 epochs, last: cost ")
    norm = np.linalg.norm(found.params[0].W)
    assert f"\n  layer 1: W (6, 4) float64, norm {norm:.4g}; b (6, 1) float64, norm " in text
    text = repr(found.state)
    assert text.startswith("TrainState at step 36, optimizer state of 11 arrays\n  layer 1: W (6, 4) float64, norm ")
    deep = bp.train_state(bp.Network((3,) * 100), optax.sgd(0.1), jax.random.key(0))
    assert len(repr(deep).splitlines()) == 7 and "... 94 more layers" in repr(deep)
    # traced, donated and abstract arrays have shapes alone
    seen = []
    jax.jit(lambda state: seen.append(repr(state)))(found.state)
    abstract = jax.eval_shape(lambda: found.state)
    donated = jax.tree.map(jnp.copy, found.state)
    jax.jit(lambda state: state, donate_argnums=0)(donated)
    for text in (*seen, repr(abstract), repr(donated)):
        assert text.startswith("TrainState, optimizer") and "layer 1: W (6, 4) float64; b (6, 1) float64" in text
    assert repr(bp.TrainState(*[untyped_none] * 4)) == "TrainState, optimizer state of 0 arrays\n  params: NoneType"

"""Training from data to parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_fit import DATA, NETWORK, OPTIONS, WEIGHTS, M, X, Y, close, fit, same

import manual_bp as bp
from manual_bp._saving.file import read
from manual_bp._training.checkpoint import TRAINING
from manual_bp._training.optimizers import optimizer_of

untyped_none: Any = None
# steps of length 0
STILL = optax.set_to_zero()


def columns(history) -> dict:
    """The history without the seconds."""
    return {name: column for name, column in history.to_dict().items() if name != "seconds"}


def test_the_same_key_gives_the_same_bits_and_training_learns():
    one, two = (fit(NETWORK, *DATA, **OPTIONS) for _ in range(2))
    assert same(one.state, two.state) and columns(one.history) == columns(two.history)
    assert not same(one.params, fit(NETWORK, *DATA, **OPTIONS | {"key": jax.random.key(9)}).params)
    assert one.history.cost[-1] < 0.7 * one.history.cost[0]
    assert (one.stopped, one.best_epoch, int(one.state.step)) == ("epochs", 6, 36)


def test_it_is_epoch_after_epoch():
    """The steps are those of `bp.train_epoch` from the same state, and validation is `bp.evaluate`."""
    found = fit(NETWORK, X, Y, WEIGHTS, **OPTIONS | {"epochs": 3}, validation_data=DATA)
    optimizer = optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(0.02))
    state = bp.train_state(NETWORK, optimizer, OPTIONS["key"])
    epoch, examples = bp.train_epoch(NETWORK, optimizer, 8), bp.Dataset.from_columns(X, Y, WEIGHTS)
    for i in range(3):
        state, costs = epoch(state, examples)
        value = bp.evaluate(NETWORK, state.params, jnp.asarray(X), jnp.asarray(Y))
        np.testing.assert_allclose(found.history.validation_cost[i], value.cost, rtol=1e-10)
        assert found.history.validation_metric[i] == value.metric
    close(found.params, state.params, 1e-8)
    assert found.history.learning_rate == [pytest.approx(0.02)] * 3


def test_cost_and_norm_of_an_epoch():
    """With steps of length 0 the epoch's cost is the cost of all examples, whatever the batches."""
    still, whole = (fit(NETWORK, X, Y, WEIGHTS, optimizer=STILL, epochs=1, batch_size=size) for size in (8, M))
    cost, grads = bp.value_and_grad(NETWORK)(still.params, *map(jnp.asarray, (X, Y, WEIGHTS)))
    assert still.history.cost[0] == pytest.approx(float(cost), rel=1e-12)
    assert still.history.learning_rate == [None]
    assert whole.history.gradient_norm[0] == pytest.approx(float(optax.tree.norm(grads)), rel=1e-12)


def test_going_on_from_a_state_is_not_stopping():
    whole = fit(NETWORK, *DATA, **OPTIONS)
    first = fit(NETWORK, *DATA, **OPTIONS | {"epochs": 2})
    kept = jax.tree.map(jnp.copy, first.state)
    second = fit(NETWORK, *DATA, **OPTIONS | {"epochs": 4}, state=first.state)
    assert same(second.state, whole.state)
    assert same(kept, first.state)


def test_going_on_at_another_rate():
    first = fit(NETWORK, *DATA, **OPTIONS | {"epochs": 2, "optimizer": "sgd"})
    moved = fit(NETWORK, *DATA, **OPTIONS | {"epochs": 1, "optimizer": "sgd", "learning_rate": 1e-3}, state=first.state)
    assert first.history.learning_rate[-1] == pytest.approx(0.02)
    assert moved.history.learning_rate == [pytest.approx(1e-3)]


def test_parameters_to_start_from():
    first = fit(NETWORK, *DATA, **OPTIONS)
    kept = jax.tree.map(jnp.copy, first.params)
    still = fit(NETWORK, *DATA, epochs=1, optimizer=STILL, params=first.params)
    assert same(still.params, kept) and same(first.params, kept) and int(still.state.step) == 2
    with pytest.raises(ValueError, match="params and state are both given"):
        fit(NETWORK, *DATA, params=first.params, state=first.state)


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
def test_a_state_of_another_optimizer_is_refused(before, after):
    made = {"optimizer": "adam", "learning_rate": 0.02, "max_gradient_norm": None} | before
    state = bp.train_state(NETWORK, optimizer_of(**made), OPTIONS["key"], bp.init(NETWORK, OPTIONS["key"]))
    message = "optimizer_state is of another optimizer; expected the one that the state was"
    with pytest.raises(ValueError, match=message):
        fit(NETWORK, *DATA, **OPTIONS | after, state=state)
    with pytest.raises(ValueError, match=message):
        bp.train_epoch(NETWORK, optax.rmsprop(0.1), 8)(state, bp.Dataset.from_columns(*DATA))


class TestResume:
    """A resumed training is an uninterrupted one, bit for bit."""

    @pytest.mark.parametrize("rule", [None, bp.EarlyStopping(patience=3)], ids=["all epochs", "early stopping"])
    def test_resumed_is_uninterrupted(self, tmp_path, rule):
        options = OPTIONS | {"epochs": 12, "learning_rate": 0.3, "validation_fraction": 0.3}
        options |= {"dropout": 0.1, "early_stopping": rule}
        whole = fit(NETWORK, *DATA, **options)
        options |= {"checkpoint": tmp_path / "training.safetensors", "resume": True}
        for _ in range(2):
            part = fit(NETWORK, *DATA, **options, callbacks=[lambda epoch: epoch.number in (2, 5)])
            assert part.stopped == "callback"
        found = fit(NETWORK, *DATA, **options)
        assert same((found.params, found.state), (whole.params, whole.state))
        assert columns(found.history) == columns(whole.history) and found[3:] == whole[3:]
        again = fit(NETWORK, *DATA, **options)
        assert same(again.params, whole.params) and again.history == found.history

    def test_options_hold_from_there_on(self, tmp_path):
        """A new rate and new validation data leave the epochs before as they were."""
        options = OPTIONS | {"checkpoint": tmp_path / "training.safetensors", "learning_rate": 0.02}
        fit(NETWORK, *DATA, **options | {"epochs": 2})
        options |= {"learning_rate": 0.01, "validation_fraction": 0.3, "early_stopping": bp.EarlyStopping(3)}
        found = fit(NETWORK, *DATA, **options | {"epochs": 4}, resume=True)
        assert found.history.learning_rate == [pytest.approx(r) for r in (0.02, 0.02, 0.01, 0.01)]
        assert found.history.validation_cost[:2] == [None, None] and found.best_epoch in (3, 4)
        kept = fit(NETWORK, *DATA, **options | {"epochs": 5, "learning_rate": None}, resume=True)
        assert kept.history.learning_rate[4] == pytest.approx(0.01)

    def test_every_so_many_epochs_and_the_last(self, tmp_path):
        file = tmp_path / "training.safetensors"

        def epochs_saved():
            return len(read(file, TRAINING)[0]["history"]["cost"]) if file.exists() else 0

        seen = []  # at the end of each epoch, before it is saved
        options = OPTIONS | {"epochs": 5, "callbacks": [lambda _: seen.append(epochs_saved())]}
        fit(NETWORK, *DATA, **options, checkpoint=file, checkpoint_every=2)
        assert (*seen, epochs_saved()) == (0, 0, 2, 2, 4, 5)

    def test_refusals(self, tmp_path):
        options = OPTIONS | {"epochs": 1, "checkpoint": tmp_path / "training.safetensors"}
        fit(NETWORK, *DATA, **options)
        with pytest.raises(ValueError, match="holds a training up to epoch 1; pass resume=True"):
            fit(NETWORK, *DATA, **options)
        with pytest.raises(ValueError, match=r"its network has sizes \[4, 6, 3\]; the one passed has \[4, 7, 3\]"):
            fit(bp.Network((4, 7, 3), "tanh"), *DATA, **options, resume=True)
        with pytest.raises(ValueError, match="holds another training: training.state.optimizer_state"):
            fit(NETWORK, *DATA, **options | {"optimizer": "sgd"}, resume=True)


@pytest.mark.parametrize("monitor", ["validation_cost", "validation_metric", "cost"])
def test_early_stopping_returns_the_best_epoch(monitor):
    options = OPTIONS | {"epochs": 60, "learning_rate": 0.3, "validation_fraction": 0.3}
    rule = bp.EarlyStopping(patience=4, monitor=monitor)
    stopped = fit(NETWORK, *DATA, **options, early_stopping=rule)
    values = getattr(stopped.history, monitor)
    best = int(np.argmax(values) if monitor == "validation_metric" else np.argmin(values)) + 1
    assert stopped.stopped == "early stopping"
    assert stopped.best_epoch == best and len(values) == best + 4
    assert same(stopped.params, fit(NETWORK, *DATA, **options | {"epochs": best}).params)
    last = fit(NETWORK, *DATA, **options, early_stopping=bp.EarlyStopping(4, monitor=monitor, restore_best=False))
    assert same(last.params, stopped.state.params) and not same(last.params, stopped.params)


def test_min_delta_is_how_much_better_counts():
    history = bp.History(cost=[1.0, 0.95, 0.9, 0.7, 0.69, float("nan")])
    assert bp.EarlyStopping(monitor="cost").best_epoch(history) == 5
    assert bp.EarlyStopping(monitor="cost", min_delta=0.06).best_epoch(history) == 4
    assert bp.EarlyStopping(monitor="cost").best_epoch(bp.History()) == 0
    assert [bp.EarlyStopping(patience=n, monitor="cost").stalled(history) for n in (1, 2)] == [True, False]


def test_a_step_that_is_not_finite_is_named():
    with pytest.warns(RuntimeWarning, match=r"step 1[3-8] \(step [1-6] of epoch 3\) has a cost") as caught:
        rate: Any = optax.piecewise_constant_schedule(0.02, {14: 1e308, 15: 1e308})
        found = fit(NETWORK, *DATA, **OPTIONS | {"learning_rate": rate})
    step = int(str(caught[0].message).split()[1])
    assert int(found.state.step) == step - 1 and found.stopped == "not finite" and len(found.history) == 2
    assert all(np.isfinite(p).all() for p in jax.tree.leaves((found.params, found.state.params)))


def test_schedule_norm_and_callbacks():
    """The learning rate is that of the last step, the gradient is scaled down, and a callback ends the training."""
    numbers = []

    def stop(epoch):
        numbers.append((epoch.number, len(epoch.history), int(epoch.state.step)))
        return epoch.number == 3

    rate: Any = optax.linear_schedule(0.1, 0.0, 100)
    callbacks = [stop, lambda epoch: numbers.append("second")]
    found = fit(NETWORK, *DATA, **OPTIONS | {"learning_rate": rate}, callbacks=callbacks)
    assert found.stopped == "callback" and numbers[::2] == [(1, 1, 6), (2, 2, 12), (3, 3, 18)]
    assert numbers[1::2] == ["second"] * 3
    close(np.array(found.history.learning_rate), np.array([0.1 * (1 - s / 100) for s in (5, 11, 17)]), 1e-6)
    options = OPTIONS | {"epochs": 1, "batch_size": M, "learning_rate": 1.0, "optimizer": "sgd"}
    after = fit(NETWORK, *DATA, **options, max_gradient_norm=0.01).params
    start = bp.init(NETWORK, jax.random.split(OPTIONS["key"])[0])
    assert float(optax.tree.norm(jax.tree.map(jnp.subtract, after, start))) == pytest.approx(0.01)


def test_other_numbers_compile_nothing(caplog):
    def compiled(**options):
        caplog.clear()
        with jax.log_compiles():
            fit(NETWORK, *DATA, **OPTIONS | options)
        return [r for r in caplog.records if r.getMessage().startswith("Compiling")]

    assert compiled(l2=0.1)
    assert not compiled(l2=0.2, learning_rate=0.5, epochs=1)


@pytest.mark.parametrize(
    ("name", "form"),
    [("adam", optax.adam), ("adagrad", optax.adagrad), ("lion", lambda r: optax.lion(r, weight_decay=0)), ("momentum", lambda r: optax.sgd(r, 0.9)),
     ("nadam", optax.nadam), ("nesterov", lambda r: optax.sgd(r, 0.9, nesterov=True)), ("rmsprop", optax.rmsprop), ("sgd", optax.sgd)],
)  # fmt: skip
def test_optimizers_by_name_are_those_of_optax(name, form):
    """Of the steps of one array, whose gradients are given; that `bp.fit` takes the optimizer's steps is tested above."""
    start, moved = np.linspace(-1, 1, 5), []
    for optimizer in (optimizer_of(name, 0.02, None), form(0.02)):
        p: Any = jnp.asarray(start)
        state: Any = optimizer.init(p)
        # a rate that is a number is put into the state
        state = optax.tree.set(state, learning_rate=jnp.asarray(0.02)) if not moved else state
        for t in range(3):
            update, state = optimizer.update(jnp.asarray(np.cos(start + t)), state, p)
            p = p + update
        moved.append(p)
    close(moved[0], moved[1], 1e-8)


@pytest.mark.parametrize(("name", "value"), [("patience", 0), ("min_delta", -1), ("monitor", "loss")])
def test_bad_early_stopping(name, value):
    options: Any = {name: value}
    with pytest.raises(ValueError, match=f"{name} is {value!r}"):
        bp.EarlyStopping(**options)


def test_float64_that_jax_would_narrow_is_refused():
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match="dtype is float64, and JAX would make it float32: turn on 64 bits"):
            fit(NETWORK, *DATA, **OPTIONS | {"dtype": "float64"})
        assert fit(NETWORK, *DATA, **OPTIONS | {"epochs": 1}).params[0].W.dtype == jnp.float32


def test_no_epoch_is_best():
    """If a metric is not finite after any epoch, the initial parameters are returned, with a warning."""
    options = OPTIONS | {"epochs": 3, "validation_data": DATA, "metric": nothing}
    rule = bp.EarlyStopping(monitor="validation_metric")
    message = "validation_metric was not finite after any epoch: the parameters returned are"
    with pytest.warns(RuntimeWarning, match=message):
        found = fit(NETWORK, *DATA, **options, early_stopping=rule)
    assert found.best_epoch == 0 and same(found.params, bp.init(NETWORK, jax.random.split(OPTIONS["key"])[0]))


def nothing(A, Y):
    return jnp.full(A.shape[1], jnp.nan)


def test_progress_shows_each_epoch(capsys):
    fit(NETWORK, *DATA, **OPTIONS, progress=True, validation_data=DATA)
    assert "6/6" in capsys.readouterr().out


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap], ids=["jit", "vmap"])
def test_it_does_not_run_inside_of_a_transformation(transform):
    with pytest.raises(TypeError, match=r"inside of jax.jit, jax.vmap or .* use jax.vmap of bp.train_epoch"):
        transform(lambda X: fit(NETWORK, X, Y))(jnp.stack([X] * 2))
    # nor with arrays that are not traced
    with pytest.raises(TypeError, match="inside of jax.jit"):
        jax.jit(lambda: fit(NETWORK, *DATA, key=OPTIONS["key"]))()


def test_it_prints_in_a_few_lines():
    found = fit(NETWORK, *DATA, **OPTIONS)
    text = repr(found)
    assert text.startswith("FitResult, stopped by 'epochs', best epoch 6\n  History of 6 epochs, last: cost ")
    norm = np.linalg.norm(found.params[0].W)
    assert f"\n  layer 1: W (6, 4) float64, norm {norm:.4g}; b (6, 1) float64, norm " in text
    text = repr(found.state)
    assert text.startswith("TrainState at step 36, optimizer state of 11 arrays\n  layer 1: W (6, 4) float64, norm ")
    deep = bp.TrainState((bp.Layer(jnp.ones((3, 3)), jnp.ones((3, 1))),) * 99, (), jnp.zeros((), int), OPTIONS["key"])
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

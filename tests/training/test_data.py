"""The examples that `bp.fit` trains on: weights, validation, streams, and arguments that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_fit import DATA, NETWORK, OPTIONS, WEIGHTS, M, X, Y, close, fit, fit_with, same

import manual_bp as bp
from manual_bp._training import epoch_runner, streamed_batches
from manual_bp._training.class_weight import with_class_weight


def test_held_out_examples_are_not_trained_on():
    """A fraction of the examples, drawn by the key, has no part in the cost of a full batch."""
    seen = []
    options = {"epochs": 1, "batch_size": 1000, "validation_fraction": 0.25, "key": jax.random.key(1)}
    found = fit(NETWORK, *DATA, **options, callbacks=[lambda epoch: seen.append(epoch.history.validation_cost[0])])
    params = bp.init(NETWORK, jax.random.split(jax.random.key(1))[0])
    losses, held_out = (
        np.sort(bp.backpropagate(NETWORK, p, jnp.asarray(X), jnp.asarray(Y)).losses) for p in (params, found.params)
    )
    total = found.history.cost[0] * (M - 12)
    # the losses of 12 examples are missing
    assert 0 < np.sum(losses) - total < np.sum(losses[-12:]) + 1e-9
    assert held_out[:12].sum() <= seen[0] * 12 <= held_out[-12:].sum()


def test_class_weights_are_weights():
    found = fit(NETWORK, *DATA, **OPTIONS, class_weight={2: 5.0})
    assert same(found.params, fit(NETWORK, *DATA, np.where(Y == 2, 5.0, 1.0), **OPTIONS).params)
    labels, given = np.array([0, 0, 0, 1, 2, 2]), np.array([1, 1, 2, 3, 1, 1.0])
    close(with_class_weight(labels, None, "balanced"), 6 / 3 / np.array([3, 3, 3, 1, 2, 2]), 1e-7)
    close(with_class_weight(labels, given, "balanced"), given * 9 / 3 / np.array([4, 4, 4, 3, 2, 2]), 1e-7)


def in_batches(*arrays):
    return [tuple(x[..., i : i + 8] for x in arrays) for i in range(0, M, 8)]


class TestStream:
    """Streamed examples train like those that lie on the device."""

    @pytest.fixture(autouse=True)
    def small_chunks(self, monkeypatch):
        monkeypatch.setattr(streamed_batches, "CHUNK_BYTES", 8 * 4 * 8 * 2)  # two batches of 8 examples

    @pytest.mark.parametrize("weighted", [True, False])
    def test_memory_mapped(self, tmp_path, weighted, monkeypatch):
        np.save(tmp_path / "X.npy", X.T)
        mapped = np.load(tmp_path / "X.npy", mmap_mode="r").T
        weights = WEIGHTS if weighted else None
        calls = []
        chunks_of_rows = streamed_batches.chunks_of_rows
        monkeypatch.setattr(epoch_runner, "chunks_of_rows", lambda *a: calls.append(0) or chunks_of_rows(*a))
        found, direct = (fit(NETWORK, x, Y, weights, **OPTIONS) for x in (mapped, X))
        assert len(calls) == OPTIONS["epochs"]
        close((found.params, found.history.cost), (direct.params, direct.history.cost), 1e-9)

    def test_more_than_the_device_holds(self, monkeypatch):
        calls = []
        monkeypatch.setattr(epoch_runner, "fits_on_device", lambda nbytes: calls.append(nbytes))
        fit(NETWORK, *DATA, **OPTIONS | {"epochs": 1})
        assert calls == [47 * 4 * 8]

    @pytest.mark.parametrize("arrays", [(X, Y), (X, Y, WEIGHTS)], ids=["unweighted", "weighted"])
    @pytest.mark.parametrize("form", ["list", "function"])
    def test_batches(self, form, arrays):
        batches = in_batches(*arrays)
        given = batches if form == "list" else lambda epoch: iter(batches)
        found, direct = fit(NETWORK, given, **OPTIONS), fit(NETWORK, *arrays, **OPTIONS, shuffle=False)
        close((found.params, found.history.cost), (direct.params, direct.history.cost), 1e-9)

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

    def test_an_iterator_is_read_once(self):
        with pytest.raises(ValueError, match="no batches in epoch 2. An iterator can be read only once"):
            fit(NETWORK, iter([DATA]), **OPTIONS)

    def test_a_batch_larger_than_the_first(self):
        with pytest.raises(ValueError, match=r"X of shape \(4, 9\).* at most 8"):
            fit(NETWORK, [(X[:, :8], Y[:8]), (X[:, :9], Y[:9])], **OPTIONS)

    def test_a_step_that_is_not_finite(self):
        batches = in_batches(X, Y)
        batches[3] = (np.full((4, 8), np.nan), Y[:8])
        with pytest.warns(RuntimeWarning, match=r"step 4 \(step 4 of epoch 1\)"):
            found = fit(NETWORK, batches, **OPTIONS)
        assert int(found.state.step) == 3 and found.stopped == "not finite"


def test_an_example_of_weight_zero_may_hold_anything():
    absent = np.arange(M) % 5 == 0
    weights = np.where(absent, 0.0, 1)
    found = fit(NETWORK, np.where(absent, np.nan, X), np.where(absent, 99, Y), weights, **OPTIONS)
    assert found.stopped == "epochs" and same(found.params, fit(NETWORK, *DATA, weights, **OPTIONS).params)


class Frame:
    """A stand-in for a table of pandas or a sparse matrix."""

    ndim, shape, dtype = 2, (M, 4), np.dtype(float)

    def __init__(self, method):
        setattr(self, method, lambda: np.ones((M, 4)))

    def __iter__(self):
        return iter("abcd")


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
        ({"validation_fraction": 1.5}, ValueError, "validation_fraction is 1.5, and the number of examples is 47; expected a number"),
        ({"validation_fraction": 0.5, "validation_data": (1, 2)}, ValueError, "both given"),
        ({"validation_data": 3}, TypeError, r"validation_data is an int; expected \(X, Y\)"),
        ({"early_stopping": True}, TypeError, "early_stopping is True; expected a bp.EarlyStopping"),
        ({"early_stopping": bp.EarlyStopping()}, ValueError, "there is no validation data"),
        ({"class_weight": {7: 1.0}}, ValueError, r"class_weight has \[7\]; expected classes of Y: \[0, 1, 2\]"),
        ({"class_weight": "balanced", "Y": np.ones((3, 47)) / 3}, ValueError, r"Y has shape \(3, 47\); expected class indices of shape \(m,\), or one row"),
        ({"class_weight": "balance"}, ValueError, "class_weight is 'balance'"),
        ({"class_weight": {0: -1.0}}, ValueError, "expected finite, non-negative numbers"),
        ({"resume": True}, ValueError, "resume is True, and checkpoint is None"),
        ({"metric": "f1"}, ValueError, "metric is 'f1'"),
        ({"X": [[1.0] * 47] * 4}, TypeError, "X is a list; expected an array of NumPy or JAX"),
        ({"X": bp.Dataset(jnp.ones((47, 4)), jnp.ones(47)), "Y": None}, TypeError, "X is a Dataset; .* is for bp.train_epoch: pass X and Y in columns"),
        ({"X": np.ones((47, 4))}, ValueError, r"X has shape \(47, 4\) .* columns are examples, so pass X.T"),
        ({"X": np.ones((4, 47), int)}, TypeError, r"X has dtype int64; .* pass X.astype\(float\)"),
        ({"Y": list("abc")}, TypeError, "Y is a list; expected an array of NumPy or JAX"),
        ({"Y": np.array(["a"] * 47)}, TypeError, "Y is an array of dtype <U1; expected an array .*: np.unique"),
        ({"Y": np.ones(47)}, ValueError, r"Y has shape \(47,\); .* dtype float64: pass Y.astype\(int\)"),
        ({"Y": np.arange(47) % 3 + 1}, ValueError, "Y has the class index 3 at 2; expected 0 to 2"),
        ({"Y": np.arange(47) % 3 - 1}, ValueError, "Y has the class index -1 at 0; expected 0 to 2"),
        ({"Y": np.where(np.eye(3)[:, [0] * 47], np.inf, 0)}, ValueError, r"Y\[0, 0\] is inf \(elements of Y not finite: 47\)"),
        ({"X": np.where(np.arange(47) == 7, np.nan, np.ones((4, 1)))}, ValueError, r"X\[0, 7\] is nan \(elements of X not finite: 4\)"),
        ({"weights": np.where(np.arange(47) == 7, -1.0, 1)}, ValueError, "weights has -1.0 at index 7; expected finite"),
        ({"weights": np.zeros(47)}, ValueError, "weights has only zeros; expected"),
        ({"validation_data": (np.ones((4, 5)), np.full(5, 3))}, ValueError, "validation_data: Y has the class index 3"),
        ({"validation_data": (np.ones((5, 4)), np.full(5, 1))}, ValueError, "validation_data: X has .* so pass X.T"),
        ({"callbacks": print}, TypeError, "callbacks is <built-in function print>; expected a list of functions"),
        ({"state": 3}, TypeError, "state is an int; expected a bp.TrainState"),
        ({"dtype": "float16"}, TypeError, "dtype is float16; expected float32"),
        ({"lr": 0.1}, TypeError, r"fit has no argument lr; pass learning_rate=0.1"),
        ({"key": 3}, TypeError, r"key is 3; expected a random key: pass jax.random.key\(3\)"),
        ({"compute_dtype": "fp16"}, TypeError, "compute_dtype is 'fp16'; expected float32, float64, bfloat16"),
        ({"dtype": "fp16"}, TypeError, "dtype is 'fp16'; expected float32, float64, bfloat16"),
        ({"params": [bp.Layer(jnp.ones((3, 4)), jnp.ones((3, 1)))]}, TypeError, r"params is a list; expected .*: pass tuple\(params\)"),
        ({"X": Frame("to_numpy")}, TypeError, r"X is a Frame of shape \(47, 4\); expected an array of NumPy or JAX: pass X.to_numpy\(\).T"),
        ({"X": Frame("toarray"), "Y": None}, TypeError, r"X is a Frame of shape \(47, 4\); expected an array of NumPy or JAX: pass X.toarray\(\).T"),
        ({"Y": Frame("to_numpy")}, TypeError, r"Y is a Frame of shape \(47, 4\); expected an array of NumPy or JAX: pass Y.to_numpy\(\).T"),
        ({"weights": Frame("toarray")}, TypeError, r"weights is a Frame of shape \(47, 4\); .* pass weights.toarray\(\).T"),
        ({"X": np.full((4, M), "1.0")}, TypeError, "X has dtype <U3; expected numbers: encode text and dates"),
        ({"X": np.ones((4, M), object)}, TypeError, "X has dtype object; expected numbers"),
        ({"X": np.zeros((4, M), "M8[D]")}, TypeError, r"X has dtype datetime64\[D\]; expected numbers"),
        ({"Y": np.zeros(M, "m8[s]")}, TypeError, r"Y has dtype timedelta64\[s\]; expected numbers"),
        ({"Y": np.zeros(M, [("a", float)])}, TypeError, "Y has dtype .*'a'.*; expected numbers"),
        ({"weights": np.array(["1"] * M)}, TypeError, "weights has dtype <U1; expected numbers"),
        ({"epochs": True}, TypeError, "epochs is True; expected an integer, 1 or more"),
        ({"batch_size": np.True_}, TypeError, "batch_size is True; expected an integer, 1 or more"),
        ({"checkpoint_every": True}, TypeError, "checkpoint_every is True; expected an integer"),
        ({"dropout": True}, TypeError, "dropout is True; expected a number"),
        ({"dropout": "0.5"}, TypeError, "dropout is '0.5'; expected a number"),
        ({"early_stopping": "cost"}, TypeError, "early_stopping is 'cost'; expected a bp.EarlyStopping"),
    ],
)  # fmt: skip
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        fit_with(**options)

"""Parameters in the layouts of other libraries: of the documented shapes, and computing the same there."""

import inspect
import itertools
import re
from collections import OrderedDict
from types import MappingProxyType, SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import DTYPES, FROM, TO

import manual_bp as bp
from manual_bp import convert

NETWORK = bp.Network((4, 6, 5, 3), "tanh", "softmax")


def init(network=NETWORK, dtype="float64"):
    rng, sizes = np.random.default_rng(7), itertools.pairwise(network.sizes)
    return tuple(
        bp.Layer(*(jnp.asarray(rng.normal(size=shape).astype(dtype)) for shape in ((n, k), (n, 1)))) for k, n in sizes
    )


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and np.asarray(x).tobytes() == np.asarray(y).tobytes()
    return True


class Tensor:
    """As much of a torch tensor as is asked for: one that needs a gradient, on another device."""

    def __init__(self, array, steps=("detach", "cpu")):
        self.array, self.steps = np.asarray(array), steps
        self.dtype = f"torch.{self.array.dtype.name}"

    def _step(self, name):
        assert self.steps[0] == name
        return Tensor(self.array, self.steps[1:])

    def detach(self):
        return self._step("detach")

    def cpu(self):
        return self._step("cpu")

    def float(self):
        return Tensor(self.array.astype(np.float32), self.steps)

    def numpy(self):
        assert not self.steps
        if self.array.dtype == jnp.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array


# The layouts


def test_each_layout_computes_the_same_by_its_equation():
    params, X = init(), jax.random.normal(jax.random.key(1), (4, 7))
    expected = bp.predict(NETWORK, params, X).T
    coefs, intercepts = convert.to_sklearn(params)
    state, tree = convert.to_torch(params), convert.to_flax(params)
    lines = {
        "sklearn": lambda A, i: A @ coefs[i] + intercepts[i],
        "torch": lambda A, i: A @ state[f"{2 * i}.weight"].T + state[f"{2 * i}.bias"],
        "flax": lambda A, i: A @ tree[f"Dense_{i}"]["kernel"] + tree[f"Dense_{i}"]["bias"],
    }
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    assert [b.shape for b in intercepts] == [tree[f"Dense_{i}"]["bias"].shape for i in range(3)] == [(6,), (5,), (3,)]
    for line in lines.values():
        A = np.asarray(X.T)
        for i, g in enumerate((jnp.tanh, jnp.tanh, jax.nn.softmax)):
            A = g(line(A, i))
        np.testing.assert_allclose(A, expected, rtol=1e-12)


@pytest.mark.parametrize("network", [NETWORK, bp.Network((4, 1), (), "sigmoid"), bp.Network((2,) * 14, "relu")])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("library", TO)
def test_there_and_back_is_bit_for_bit(library, dtype, network):
    """Thirteen layers too: Dense_10 comes after Dense_9."""
    params = init(network, dtype)
    layout = TO[library](params)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(layout)} == {dtype}
    assert same(FROM[library](layout), params)
    assert isinstance(FROM[library](layout)[0], bp.Layer)


@pytest.mark.parametrize("library", TO)
def test_arrays_are_copied_in_both_directions(library):
    """scikit-learn's partial_fit writes to the arrays that it has handed out."""
    params = init()
    layout = TO[library](params)
    if library == "flax":
        layout = jax.tree.map(np.array, layout)
    back = FROM[library](layout)
    for array in jax.tree.leaves(layout):
        assert array.flags.writeable and array.flags.c_contiguous
        array[...] = 0
    assert same(params, init()) and same(back, init())


@pytest.mark.parametrize("library", FROM)
def test_dtypes_cast_or_are_refused(library):
    half = jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float16), TO[library](init()))
    with pytest.raises(TypeError, match="has dtype float16; expected float32, float64, bfloat16: pass dtype"):
        FROM[library](half)
    for dtype in DTYPES:
        cast = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(np.float16).astype(dtype), init())
        assert same(FROM[library](half, dtype=dtype), cast)
    with pytest.raises(TypeError, match="dtype is float16; expected float32, float64, bfloat16"):
        FROM[library](half, dtype="float16")
    whole = jax.tree.map(lambda leaf: np.asarray(leaf).astype(int), TO[library](init()))
    with pytest.raises(TypeError, match=r"has dtype int64; expected float32, float64, bfloat16$"):
        FROM[library](whole, dtype="float32")


@pytest.mark.parametrize(
    ("library", "name"), [("sklearn", "coefs[0]"), ("torch", "0.weight"), ("flax", "tree/Dense_0/kernel")]
)
def test_float64_is_not_narrowed_unasked(library, name):
    layout = jax.tree.map(np.asarray, TO[library](init()))
    with jax.enable_x64(False):
        with pytest.raises(
            ValueError, match=re.escape(name) + ' has dtype float64, .* float32: .* pass dtype="float32"'
        ):
            FROM[library](layout)
        params = FROM[library](layout, dtype="float32")
    assert same(params, jax.tree.map(lambda leaf: leaf.astype("float32"), init()))


def test_layers_of_different_dtypes_are_refused():
    (W1, *Ws), bs = convert.to_sklearn(init())
    with pytest.raises(TypeError, match=r"intercepts\[0\] has dtype float64; expected float32, as coefs\[0\]: pass"):
        convert.from_sklearn([W1.astype(np.float32), *Ws], bs)


# Ways the same comes in


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("prefix", ["", "net.", "_orig_mod.module."])
def test_torch_tensors_and_prefixes(prefix, dtype):
    state = OrderedDict((prefix + name, Tensor(value)) for name, value in convert.to_torch(init(dtype=dtype)).items())
    assert same(convert.from_torch(state), init(dtype=dtype))


def test_torch_names_in_order_of_appearance():
    """Not of their names, and with the bias first; a lone Linear has no prefix."""
    (W1, W2, W3), (b1, b2, b3) = ([np.asarray(p.W) for p in init()], [np.asarray(p.b)[:, 0] for p in init()])
    state = {"b.bias": b1, "b.weight": W1, "a.weight": W2, "a.bias": b2, "out.weight": W3, "out.bias": b3}
    assert same(convert.from_torch(state), init())
    assert same(convert.from_torch({"weight": W1, "bias": b1}), init()[:1])


@pytest.mark.parametrize(
    "form",
    [
        lambda tree: tree,
        lambda tree: {"params": tree},
        lambda tree: MappingProxyType({"params": MappingProxyType(tree), "batch_stats": {}}),
        lambda tree: {"params": {"Classifier_0": tree, "dropout": {}}},
        lambda tree: dict(reversed(tree.items())),
        lambda tree: {f"l{i + 8}": layer for i, layer in enumerate(tree.values())},
        lambda tree: {"layers": {2 * i: layer for i, layer in enumerate(tree.values())}},
        lambda tree: jax.tree.map(np.asarray, tree),
        # flax variables of the versions that NumPy doesn't see through
        lambda tree: jax.tree.map(lambda value: SimpleNamespace(value=value), tree),
    ],
)
def test_flax_trees_in_every_form(form):
    assert same(convert.from_flax(form(convert.to_flax(init()))), init())


def test_flax_dense_alone_and_traced():
    assert same(convert.from_flax(convert.to_flax(init()[:1])["Dense_0"]), init()[:1])
    assert same(jax.jit(convert.to_flax)(init()), convert.to_flax(init()))


def test_nothing_is_imported():
    source = inspect.getsource(convert)
    assert not re.search(r"^\s*(import|from) (sklearn|torch|flax)", source, re.M)


# The libraries themselves

unconverged = pytest.mark.filterwarnings("ignore:.*(Maximum iterations|failed to converge)")


def data(outputs=0):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 4))
    return X, np.sin(X @ rng.normal(size=(4, outputs) if outputs else 4))


@unconverged
@pytest.mark.parametrize("outputs", [0, 3])
@pytest.mark.parametrize(
    ("activation", "hidden"), [("tanh", "tanh"), ("relu", "relu"), ("logistic", "sigmoid"), ("identity", "identity")]
)
def test_sklearn_regressor_predicts_the_same(activation, hidden, outputs):
    neural_network = pytest.importorskip("sklearn.neural_network")
    X, Y = data(outputs)
    model = neural_network.MLPRegressor(
        hidden_layer_sizes=(7, 5), activation=activation, solver="lbfgs", max_iter=30, random_state=0
    )
    model.fit(X, Y)
    params = convert.from_sklearn(model.coefs_, model.intercepts_)
    network = bp.Network((4, 7, 5, max(outputs, 1)), hidden, str(model.out_activation_), "squared_error")
    found = bp.predict(network, params, X.T).T
    np.testing.assert_allclose(found if outputs else found[:, 0], model.predict(X), rtol=1e-12, atol=1e-12)
    # and back, into another estimator
    other = neural_network.MLPRegressor(
        hidden_layer_sizes=(7, 5), activation=activation, max_iter=1, random_state=1
    ).fit(X, Y)
    other.coefs_, other.intercepts_ = convert.to_sklearn(params)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    other.partial_fit(X, Y)  # which writes to them


@unconverged
@pytest.mark.parametrize("classes", [2, 4])
def test_sklearn_classifier_predicts_the_same(classes):
    neural_network = pytest.importorskip("sklearn.neural_network")
    X, y = data()
    y = np.digitize(y, np.quantile(y, np.arange(1, classes) / classes))
    model = neural_network.MLPClassifier(hidden_layer_sizes=(6,), solver="lbfgs", max_iter=30, random_state=0).fit(X, y)
    params = convert.from_sklearn(model.coefs_, model.intercepts_)
    output = {"logistic": "sigmoid", "softmax": "softmax"}[str(model.out_activation_)]
    network = bp.Network((4, 6, 1 if classes == 2 else classes), "relu", output)
    found = bp.predict(network, params, X.T).T
    expected = model.predict_proba(X)
    np.testing.assert_allclose(found, expected[:, 1:] if classes == 2 else expected, rtol=1e-12, atol=1e-12)


def test_flax_linen_computes_the_same():
    linen = pytest.importorskip("flax.linen")

    class Model(linen.Module):
        @linen.compact
        def __call__(self, x):
            for n in (6, 5):
                x = linen.tanh(linen.Dense(n, param_dtype=float)(x))
            return linen.softmax(linen.Dense(3, param_dtype=float)(x))

    X, converted = jax.random.normal(jax.random.key(1), (4, 7)), convert.to_flax(init())
    variables = Model().init(jax.random.key(0), X.T)
    assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(jnp.shape, converted)
    for tree, params in ((variables, convert.from_flax(variables)), ({"params": converted}, init())):
        found, expected = Model().apply(tree, X.T), bp.predict(NETWORK, params, X).T
        np.testing.assert_allclose(found, expected, rtol=1e-12)  # pyright: ignore[reportArgumentType]


def test_flax_nnx_computes_the_same():
    nnx = pytest.importorskip("flax.nnx")
    rngs, X = nnx.Rngs(0), jax.random.normal(jax.random.key(1), (4, 7))
    linear = [nnx.Linear(k, n, param_dtype=float, rngs=rngs) for k, n in ((4, 6), (6, 5), (5, 3))]
    model = nnx.Sequential(linear[0], nnx.tanh, linear[1], nnx.tanh, linear[2], nnx.softmax)
    state = nnx.state(model, nnx.Param)
    for tree in (state, nnx.to_pure_dict(state), jax.tree.map(np.asarray, nnx.to_pure_dict(state))):
        params = convert.from_flax(tree)
        np.testing.assert_allclose(bp.predict(NETWORK, params, X).T, model(X.T), rtol=1e-12)
    # and back, as a layer's own variables
    for layer, converted in zip(linear, convert.to_flax(init()).values(), strict=True):
        nnx.update(layer, converted)
    np.testing.assert_allclose(model(X.T), bp.predict(NETWORK, init(), X).T, rtol=1e-12)

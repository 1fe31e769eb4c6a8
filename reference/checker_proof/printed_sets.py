"""Published sets of equations as cases for a gradient checker: the printed pass, its cost, and the verdict due.

The costs are in JAX and name their intermediates with tap("Z1", Z1), after the printed lines. Nothing here imports the
checker.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from reference.checker_proof import misprinted_equations as misprints
from reference.checker_proof import published_equations as published
from reference.checker_proof import scikit_learn
from reference.loops import SCALAR

COURSE = "A. Ng, Neural Networks and Deep Learning, course notes"
CALCULUS = "3Blue1Brown, Backpropagation calculus"
TRANSCRIPTS = "Course notes of a deep-learning specialisation, community transcripts: misprints"


class PrintedSet(NamedTuple):
    """The equations of a page.

    Args:
        source: the page.
        text: the name of the set, or the misprinted line.
        cost: the cost, called as cost(*data, tap).
        backward: the pass, called as backward(*data), which returns the lines by name.
        data: params, X and Y.
        mistakes: the mistakes by the line to blame; empty if the set is right.
        average: True if 1/m is applied at dW and db, so that dZ and dA are derivatives of each example's own loss.
    """

    source: str
    text: str
    cost: Callable[..., Any]
    backward: Callable[..., Any]
    data: tuple
    mistakes: Mapping[str, str] = {}
    average: bool = False

    def surprises(self, report: Any) -> list[str]:
        """List how a report differs from the mistakes, the verdict and the convention that it should have."""
        found = {line.line: line.mistake for line in report.lines if line.verdict == "wrong"}
        said = [f"{line} should be wrong: {key}" for line, key in self.mistakes.items() if found.get(line) != key]
        said += [f"{line} should not be to blame" for line in found if line not in self.mistakes]
        verdict = "wrong" if self.mistakes else "right"
        if report.verdict != verdict:
            said.append(f"the verdict should be {verdict}")
        if any("the average" in sentence for sentence in report.conventions) != self.average:
            said.append(f"the average {'is' if self.average else 'is not'} taken at dW and db")
        return said


def random_data(sizes: Sequence[int], m: int, indexed: bool = False) -> tuple:
    """Return params, X and Y of a network, with params["W"][1] if indexed, else params["W1"]."""
    rng = np.random.default_rng(0)
    W = {l: rng.normal(size=(sizes[l], sizes[l - 1])) / np.sqrt(sizes[l - 1]) for l in range(1, len(sizes))}
    b = {l: rng.normal(size=(sizes[l], 1)) / 4 for l in W}
    flat = {f"W{l}": W[l] for l in W} | {f"b{l}": b[l] for l in W}
    X, Y = rng.normal(size=(sizes[0], m)), rng.integers(2, size=(sizes[-1], m)).astype(float)
    return {"W": W, "b": b} if indexed else flat, X, Y


def network_cost(
    params: Mapping[str, Any], X: Any, Y: Any, tap: Callable, *, g: Sequence[str], Z: str = "Z{}", A: str = "A{}"
) -> Any:
    """Compute the binary cross-entropy, averaged over examples; Z and A are the patterns of the names."""
    a = tap(A.format(0), X)
    for l, name in enumerate(g, start=1):
        W, b = (params[k][l] if k in params else params[f"{k}{l}"] for k in "Wb")
        z = tap(Z.format(l), W @ a + b)
        a = tap(A.format(l), {"tanh": jnp.tanh, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}[name](z))
    return cross_entropy(a, Y)


def logistic_cost(params: Mapping[str, Any], X: Any, Y: Any, tap: Callable) -> Any:
    Z = tap("Z", params["W"] @ X + params["b"])
    return cross_entropy(tap("A", jax.nn.sigmoid(Z)), Y)


def cross_entropy(A: Any, Y: Any) -> Any:
    return jnp.mean(jnp.sum(-Y * jnp.log(A) - (1 - Y) * jnp.log(1 - A), axis=0))


def chain_cost(params: Mapping[str, Any], x: Any, y: Any, tap: Callable) -> Any:
    """Compute (a - y)^2 at the end of a chain of single neurons, for one example."""
    a = x
    for l in range(1, len(params) // 2 + 1):
        z = tap(f"z{l}", params[f"w{l}"] * a + params[f"b{l}"])
        a = tap(f"a{l}", jax.nn.sigmoid(z))
    return (a - y) ** 2


def logistic_pass(params: Mapping[str, NDArray], X: NDArray, Y: NDArray) -> dict[str, NDArray]:
    return _d(published.logistic_regression_vectorised(params["W"], params["b"], X, Y))


def two_layer_pass(params: Mapping[str, NDArray], X: NDArray, Y: NDArray, *, equations: Callable, g: str) -> dict:
    return equations(*(params[name] for name in ("W1", "b1", "W2", "b2")), X, Y, *G[g])


def deep_pass(params: Mapping[str, NDArray], X: NDArray, Y: NDArray, *, g: Sequence[str]) -> dict[str, NDArray]:
    layers = [(params[f"W{l}"], params[f"b{l}"]) for l in range(1, len(g) + 1)]
    return _d(published.deep_network(layers, X, Y, [G[name] for name in g], lambda A, Y: -Y / A + (1 - Y) / (1 - A)))


def chain_pass(params: Mapping[str, Any], x: Any, y: Any) -> dict[str, Any]:
    w, b = ([params[f"{k}{l}"] for l in range(1, len(params) // 2 + 1)] for k in "wb")
    names = [f"d{k}{l}" for l in range(1, len(w) + 1) for k in "wb"]
    return dict(zip(names, published.one_neuron_per_layer(w, b, x, y, *SCALAR["sigmoid"]), strict=True))


def _d(q: Mapping[str, NDArray]) -> dict[str, NDArray]:
    return {name: value for name, value in q.items() if name.startswith("d")}


G = {
    "tanh": (np.tanh, published.tanh_prime),
    "relu": (lambda Z: np.maximum(Z, 0), lambda Z: (Z > 0) * 1.0),
    "sigmoid": (published.sigmoid, published.sigmoid_prime),
}
# sizes and m are pairwise distinct, except where a misprinted product needs equal ones
_params, _X, _Y = random_data((5, 1), 11)
_LOGISTIC = {"W": _params["W1"], "b": _params["b1"]}, _X, _Y
_CHAIN = {"w1": 0.7, "b1": 0.2, "w2": -1.3, "b2": 0.4, "w3": 0.9, "b3": -0.3}
_NUMBERS = np.float64(0.6), np.float64(0.9)


def right_sets() -> Iterator[PrintedSet]:
    yield PrintedSet(COURSE, "logistic regression", logistic_cost, logistic_pass, _LOGISTIC, average=True)
    one = partial(two_layer_pass, equations=published.two_layers, g="tanh")
    small = partial(network_cost, g=("tanh", "sigmoid"), Z="z{}", A="a{}")
    yield PrintedSet(COURSE, "two layers, one example, tanh", small, one, random_data((5, 4, 3), 1))
    for g in ("tanh", "relu"):
        cost = partial(network_cost, g=(g, "sigmoid"))
        many = partial(two_layer_pass, equations=published.two_layers_vectorised, g=g)
        yield PrintedSet(COURSE, f"two layers, m examples, {g}", cost, many, random_data((5, 4, 3), 11), average=True)
    g = ("relu", "tanh", "sigmoid")
    cost, backward = partial(network_cost, g=g), partial(deep_pass, g=g)
    yield PrintedSet(COURSE, "L layers, m examples", cost, backward, random_data((5, 7, 4, 3), 11), average=True)
    yield PrintedSet(CALCULUS, "one neuron per layer", chain_cost, chain_pass, (_CHAIN, *_NUMBERS))


def misprinted_sets() -> Iterator[PrintedSet]:
    layers = partial(network_cost, g=("tanh", "sigmoid"), Z="Z[{}]", A="A[{}]")
    two = partial(network_cost, g=("sigmoid", "sigmoid"))
    usual, own, gradient = random_data((5, 4, 3), 11, indexed=True), "wrong activation index", "dW for W"

    def square(n: int, m: int) -> tuple:
        return random_data((n, n, n), m, indexed=True)

    def each(line: str, mistake: str) -> dict[str, str]:
        return {f"{line}[{l}]": mistake for l in (2, 1)}

    text, backward = "dW[L] = 1/m dZ[L] A[L]^T", misprints.its_own_activation
    yield PrintedSet(TRANSCRIPTS, text, layers, backward, usual, {"dW[2]": own}, True)
    equal = random_data((5, 3, 3), 11, indexed=True)
    yield PrintedSet(TRANSCRIPTS, f"{text}, n[L] = n[L-1]", layers, backward, equal, {"dW[2]": own}, True)

    text, backward = "dZ[L-1] = dW[L]^T dZ[L] g'(Z[L-1])", misprints.back_through_the_gradient
    yield PrintedSet(TRANSCRIPTS, text, layers, backward, usual, {"dZ[1]": gradient}, True)

    text, backward = "both, in every layer", misprints.both_in_every_layer
    expected = each("dW", own) | {"dZ[1]": gradient}
    yield PrintedSet(TRANSCRIPTS, f"{text}, equal sizes", layers, backward, square(4, 11), expected, True)

    text, backward = "dw[l] = 1/m A[l-1]^T delta[l]", misprints.rows_for_columns
    yield PrintedSet(TRANSCRIPTS, text, layers, backward, usual, {"dW[2]": "raised"})
    for sizes, (n, m) in {"equal sizes": (4, 11), "equal sizes, m too": (4, 4)}.items():
        expected = each("dW", "missing transpose")
        yield PrintedSet(TRANSCRIPTS, f"{text}, {sizes}", layers, backward, square(n, m), expected, True)

    text = "db[l] = 1/m sum(delta[l], axis=0"
    for keepdims, end in {False: ")", True: ", keepdims=True)"}.items():
        backward = partial(misprints.summed_over_units, keepdims=keepdims)
        yield PrintedSet(TRANSCRIPTS, text + end, layers, backward, usual, each("db", "wrong axis"), True)

    text, backward = "dZ1 = dW2 * dZ2 * sigmoid'(Z1)", misprints.product_with_the_gradient
    yield PrintedSet(TRANSCRIPTS, text, two, backward, random_data((5, 7, 1), 11), {"dZ1": "raised"}, True)
    yield PrintedSet(TRANSCRIPTS, f"{text}, n1 = m", two, backward, random_data((5, 7, 1), 7), {"dZ1": gradient}, True)
    expected = {"dZ1": "broadcast", "dW1": "raised"}
    yield PrintedSet(TRANSCRIPTS, f"{text}, m = 1", two, backward, random_data((5, 7, 1), 1), expected)

    text, expected = "da = y/a + (1-y)/(1-a)", {"dA": "cost sign"}
    for dz in ("a - y", "da a (1-a)"):
        backward = partial(misprints.sign_lost, collapsed=dz == "a - y")
        yield PrintedSet(TRANSCRIPTS, f"{text}, dz = {dz}", logistic_cost, backward, _LOGISTIC, expected, True)

    text, data = "dC/dw = sigma'(z) 2 (a - y)", ({k: _CHAIN[k] for k in ("w1", "b1", "w2", "b2")}, *_NUMBERS)
    yield PrintedSet(TRANSCRIPTS, text, chain_cost, misprints.bias_for_weight, data, {"dw2": "missing factor"})


def scikit_learn_sets() -> Iterator[PrintedSet]:
    """Yield the sets, or raise ModuleNotFoundError if scikit-learn is not installed."""
    source = f"scikit-learn {scikit_learn.version()}, MLPRegressor._backprop (issue 8349)"
    sizes, m, rng = (5, 7, 4, 3), 11, np.random.default_rng(0)
    coefs = [rng.normal(size=shape) / 2 for shape in zip(sizes[:-1], sizes[1:], strict=True)]
    params = {"coefs": coefs, "intercepts": [rng.normal(size=n) / 4 for n in sizes[1:]]}
    data = params, rng.normal(size=(m, sizes[0])), rng.normal(size=(m, sizes[-1]))
    for alpha in (0.0, 0.7):
        # a version that fixes the issue is right
        factor = scikit_learn.gradient_over_difference(*data, alpha)
        mistakes = {} if abs(factor - 1) < 1e-6 else {"dZ3": "factor n_l"}
        text = f"3 outputs, alpha = {alpha:g}; by central differences {factor:.4f} times the derivative"
        cost, backward = (partial(f, alpha=alpha) for f in (scikit_learn.cost, scikit_learn.gradient))
        yield PrintedSet(source, text, cost, backward, data, mistakes)

"""The sentences of a diagnosis are true: of each element, of the term that they name, with names that the user has."""

import re
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import manual_bp as bp
from manual_bp.checker.diagnose.evidence import Evidence
from manual_bp.checker.diagnose.where_it_differs import where_it_differs
from reference.checker_proof.beyond_dense.norms import with_rule


def _evidence(values: dict[str, np.ndarray]) -> Any:
    evidence: Any = object.__new__(Evidence)
    evidence.tolerance, evidence.rounding, evidence.m, evidence.numbers = 1e-7, 1e-12, 1, {}
    evidence.forward_values = values
    graph = SimpleNamespace(of_rule=True, inputs=(), params=(), roots={}, jaxpr=jax.make_jaxpr(lambda x: x)(1.0))
    evidence.graph = graph
    return evidence


def _draw(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Draw a mask, a value, and a line that differs at the mask, at the signs of the value, or at a few elements."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 6, size=rng.integers(1, 3)))
    values = {"mask": (rng.random(shape) < 0.5) * 1.0, "value": rng.normal(size=shape)}
    expected = rng.normal(size=shape) * np.exp(rng.normal(size=shape) * rng.choice([0, 12]))
    expected *= rng.random(shape) < rng.choice([0.5, 1.0])
    at = [values["mask"] == 1, values["value"] < 0, rng.random(shape) < 0.2][seed % 3]
    in_rows = np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1)) >= rng.integers(0, shape[0])
    found = np.where(at & in_rows, rng.choice([2.0, 0.0, -1.0]) * expected + rng.choice([0, 0.1]), expected)
    return values, expected, found


def _claimed(sentence: str, values: dict[str, np.ndarray], found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the elements that a sentence says differ."""
    place = re.search(r"where (mask|value) (is True|is False|< 0|> 0)", sentence)
    claimed = np.ones(found.shape, bool)
    if place:
        test = {"is True": np.equal, "is False": np.not_equal, "< 0": np.less, "> 0": np.greater}[place[2]]
        claimed = test(values[place[1]], 1 if place[2].startswith("is") else 0)
    if rows := re.search(r"\bin (row|column)s? ([\d:, ]*\d)", sentence):
        chosen = np.zeros(found.shape[rows[1] == "column"], bool)
        for part in rows[2].split(", "):
            first, _, last = part.partition(":")
            chosen[int(first) : int(last or int(first) + 1)] = True
        claimed = claimed & (chosen[:, None] if rows[1] == "row" else chosen)
    if "but for elements that are 0" in sentence:
        claimed = claimed & ((found != 0) | (expected != 0))
    return claimed


def test_where_a_line_differs_is_true_of_each_element():
    said = []
    for seed in range(600):
        values, expected, found = _draw(seed)
        sentence = where_it_differs(_evidence(values), "dx", found, expected)
        differs = np.abs(found - expected) > 1e-15 * np.abs(expected).max()  # smaller ones may be rounding
        if "exactly" in sentence and "diagonal" not in sentence:
            said.append(sentence)
            assert np.array_equal(_claimed(sentence, values, found, expected), differs), (seed, sentence)
        elif "all of the difference" in sentence and found.ndim == 2:
            said.append(sentence)
            assert not (differs & ~_claimed(sentence, values, found, expected)).any(), (seed, sentence)
        if factor := re.search(r"where it is (-?[\d.]+) times", sentence):
            assert np.allclose(found[differs], float(factor[1]) * expected[differs], rtol=1e-4, atol=0), (
                seed,
                sentence,
            )
    assert len(said) > 100 and len({s.split(" ")[0] for s in said}) == 2


rng = np.random.default_rng(71)


def _gates(p: dict, X: Any) -> tuple:
    h = jnp.tanh(X @ p["W"])
    return h, jax.nn.sigmoid(X @ p["V"]), jax.nn.sigmoid(X @ p["Q"])


def _cost(p: dict, X: Any, tap: Any) -> Any:
    h, r, q = _gates(p, X)
    h = tap("h", h)
    return jnp.sum(jnp.sin(0.5 * h + (r * h) @ p["U"] + (q * h) @ p["U"]))


SIZES = {"W": (3, 4), "V": (3, 4), "Q": (3, 4), "U": (4, 4)}
P, X = {n: rng.normal(size=s) for n, s in SIZES.items()}, rng.normal(size=(6, 3))


def _back(kind: str):
    def backward(p, X):
        h, r, q = _gates(p, X)
        d = np.cos(0.5 * h + (r * h) @ p["U"] + (q * h) @ p["U"])
        dr = d @ p["U"].T * {"dr squared": h**2, "dr by r": h * r}.get(kind, h)
        dh = 0.5 * d + d @ p["U"].T * (1 if kind == "r forgotten" else r) + d @ p["U"].T * q
        return {"dh": dh, "dV": X.T @ (dr * r * (1 - r)), "dU": (r * h + q * h).T @ d}

    return backward


def test_a_sentence_about_a_term_does_not_speak_of_the_line():
    text = str(bp.check_gradients(_cost, _back("r forgotten"), P, X))
    assert re.search(r"in the term that comes through .*is\s+missing", text, re.DOTALL) and "dh equals" not in text


def _gru(p: dict, X: Any, tap: Any) -> Any:
    h = jnp.zeros((len(X[0]), 4))
    for t in range(len(X)):
        z = jax.nn.sigmoid(X[t] @ p["Wz"] + h @ p["Uz"])
        r = jax.nn.sigmoid(X[t] @ p["Wr"] + h @ p["Ur"])
        n = jnp.tanh(X[t] @ p["Wn"] + (r * h) @ p["Un"])
        h = tap(f"h{t}", (1 - z) * n + z * h)
    return jnp.sum(h**2)


def _gru_back(p: dict, X: Any) -> dict:
    lines: dict = {}

    def step(p, x, h):
        z, r = jax.nn.sigmoid(x @ p["Wz"] + h @ p["Uz"]), jax.nn.sigmoid(x @ p["Wr"] + h @ p["Ur"])
        stop = jax.lax.stop_gradient
        n = jnp.tanh(x @ p["Wn"] + (r * h) @ p["Un"])
        n = stop(n) + (n - stop(n)) * stop(z / (1 - z))  # dn = dh * z
        return (1 - z) * n + z * h

    H = [jnp.zeros((len(X[0]), 4))]
    for x in X:
        H.append(step(p, x, H[-1]))
    dh, total = 2 * H[-1], jax.tree.map(jnp.zeros_like, p)
    for t in reversed(range(len(X))):
        lines[f"dh{t}"] = dh
        dp, dh = jax.vjp(lambda p, h, x=X[t]: step(p, x, h), p, H[t])[1](dh)
        total = jax.tree.map(jnp.add, total, dp)
    return lines | {"d" + n: a for n, a in total.items()}


def test_no_invented_name_is_said():
    p = {w + g: rng.normal(size=(3 if w == "W" else 4, 4)) for w in "WU" for g in "zrn"}
    report = bp.check_gradients(_gru, _gru_back, p, rng.normal(size=(3, 6, 3)))
    assert report.verdict == "wrong" and not _invented(report)


def _invented(report: bp.checker.Report) -> list[str]:
    said = "\n".join(f"{x.line} {x.diagnosis}\n{x.suggestion}" for x in report.lines)
    return re.findall(r"\w*[A-Za-z0-9]_+(?!\w)", re.sub("`[^`]*`", "", said))


def test_each_step_of_a_loop_is_named_for_the_lines_that_it_explains():
    def cost(p, X, r, tap):
        h = jnp.zeros(3)
        for t in range(len(X)):
            h = tap(f"h{t}", jnp.tanh(p["W"] @ X[t] + p["V"] @ h + p["U"] @ (r[t] * h)))
        return jnp.sum(h**2)

    def backward(p, X, r):
        h, H, out = np.zeros(3), [], {}
        for t in range(len(X)):
            H.append(h := np.tanh(p["W"] @ X[t] + p["V"] @ h + p["U"] @ (r[t] * h)))
        dh = 2 * h
        for t in reversed(range(len(X))):
            out[f"dh{t}"] = dh
            dh = p["V"].T @ (dh * (1 - H[t] ** 2))  # the path through r * h is forgotten
        return out

    p = {"W": rng.normal(size=(3, 2)), "V": rng.normal(size=(3, 3)), "U": rng.normal(size=(3, 3))}
    text = str(bp.check_gradients(cost, backward, p, rng.normal(size=(4, 2)), rng.normal(size=(4, 3))))
    assert "the contribution of h0, h1, h2, each at its own step, through `r[t] * h`" in text


def test_an_argument_comes_before_the_size_of_an_axis():
    rule = with_rule(lambda x, delta: delta * jnp.tanh(x), lambda a, u: (u * (1 - jnp.tanh(a[0]) ** 2), None))
    x = rng.normal(size=(5, 4))  # 1 / 0.8 is 5 / (5 - 1), and 1 / 5 is a width
    for delta, text in ((0.8, "1/delta, where delta = 0.8"), (0.2, "1/delta, where delta = 0.2")):
        assert text in bp.check_custom_vjp(rule, x, np.float64(delta))["dx"].diagnosis.replace("\n    ", " ")


def test_a_constant_is_not_named_by_itself():
    def cost(p, X, Y, tap):
        return jnp.mean((tap("o", X @ p["W"]) - Y) ** 2)

    def backward(p, X, Y):
        do = 2 * (X @ p["W"] - Y) / len(Y)  # the mean is over the times and outputs too
        return {"do": do, "dW": np.einsum("nti,nto->io", X, do)}

    p = {"W": rng.normal(size=(3, 2))}
    report = bp.check_gradients(cost, backward, p, rng.normal(size=(5, 6, 3)), rng.normal(size=(5, 6, 2)))
    assert report["do"].diagnosis == "it is 12 times what it should be"


def test_a_factor_fits_each_element():
    rng = np.random.default_rng(0)
    X, p, Y = rng.normal(size=(12, 3)), {"W": rng.normal(size=(3, 2))}, rng.normal(size=(12, 2))
    X[[3, 7]] *= 9  # the ratio is large in these rows alone

    def backward(p, X, Y):
        z = X @ p["W"]
        return {"dz": np.where(np.arange(12)[:, None] % 4 == 3, z * Y, 1.5 * np.exp(z) * Y)}

    report = bp.check_gradients(lambda p, X, Y, tap: jnp.sum(jnp.exp(tap("z", X @ p["W"])) * Y), backward, p, X, Y)
    assert "factor" not in report["dz"].diagnosis


def test_a_derivative_that_stop_gradient_cuts_off_is_right_where_it_is_zero():
    def f(W, u):  # the spectral norm, by one power iteration
        v = W.T @ u
        v, u = jax.lax.stop_gradient((v / jnp.linalg.norm(v), W @ v / jnp.linalg.norm(W @ v)))
        return W / (u @ W @ v)

    rule = with_rule(f, lambda a, g: jax.vjp(f, *a)[1](g))
    bp.assert_custom_vjp(rule, rng.normal(size=(4, 6)), rng.normal(size=4))

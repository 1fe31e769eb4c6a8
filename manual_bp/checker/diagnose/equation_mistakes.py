"""Mistakes in the equation of a line, and the lines that they would lead to."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from manual_bp._activations import ACTIVATIONS
from manual_bp.checker.diagnose.backward_equations import BackwardEquation, Elementwise, Product, Sum, possible_products
from manual_bp.checker.diagnose.corrected_code import corrected_line, derivative_text
from manual_bp.checker.diagnose.evidence import Candidate, Evidence
from manual_bp.checker.diagnose.factor_products import factor_code
from manual_bp.checker.diagnose.known_factors import values_of_shape
from manual_bp.checker.diagnose.norm_equation import NormEquation, weights_of
from manual_bp.checker.diagnose.output_derivative import OutputDerivative, mistakes_at_output, output_activations
from manual_bp.checker.diagnose.softmax_equation import SoftmaxEquation
from manual_bp.checker.diagnose.weighted_sum import WeightedSum


def mistakes_in_equation(evidence: Evidence, equation: BackwardEquation) -> Iterator[Candidate]:
    """Make the line of an equation with every mistake that its form allows."""
    match equation.form:
        case Product() as form:
            through_weights = equation.line in evidence.graph.nodes and form.name in evidence.graph.params
            yield from (_mistakes_in_dA if through_weights else _mistakes_in_dW)(evidence, equation, form)
        case Sum(axes):
            yield from _mistakes_in_db(evidence, equation, axes)
        case Elementwise() as form:
            yield from _mistakes_in_dZ(evidence, equation, form)
        case OutputDerivative() as form:
            yield from mistakes_at_output(form)
        case SoftmaxEquation() as form:
            yield from form.mistakes(equation.upstream, f"d{equation.successor}")
        case NormEquation() as form:
            weights = weights_of(evidence, equation.line, form.value.shape)
            yield from form.mistakes(equation.upstream, f"d{equation.successor}", weights)
        case WeightedSum() as form:
            others = dict(values_of_shape(evidence, form.value.shape))
            yield from form.mistakes(equation.upstream, f"d{equation.successor}", others)


def confusable(evidence: Evidence, line: str, names: list[str]) -> list[str]:
    """Return the lines that could have been used instead of this one, all computed before it."""
    later = evidence.graph.descendants(line)
    return [name for name in names if name != line and name not in later]


def _wrong_upstream_line(evidence: Evidence, equation: BackwardEquation, make: Callable) -> Iterator[Candidate]:
    """Make the line from every other delta in place of the one upstream."""
    for node in confusable(evidence, equation.line, list(evidence.graph.nodes)):
        array = make(evidence.line(node)) if node != equation.successor else None
        if array is not None:
            between, step = equation.successor, ""
            if node in evidence.graph.successors[between]:  # one step was left out
                step = corrected_line(evidence, between).removeprefix(f"d{between}")
            yield Candidate("another line", array, f"d{node} is used in place of d{between}{step}")


def _mistakes_in_dW(evidence: Evidence, equation: BackwardEquation, form: Product) -> Iterator[Candidate]:
    D, known = equation.upstream, evidence.forward_values
    value = known[form.name]
    for name, other in (known | output_activations(evidence)).items():
        if name != form.name and name not in evidence.graph.params and other.ndim == value.ndim:
            weighted_input = name in evidence.graph.nodes and evidence.activation_of(name) == form.name
            key = "Z for A" if weighted_input else "wrong activation index"
            array = form.of(D, other)
            if array is not None:
                yield Candidate(key, array, f"{name} is used in place of {form.name}")
    yield from _wrong_upstream_line(evidence, equation, lambda line: form.of(line, value))
    yield from _wrong_products(equation, value, form.name)


def _mistakes_in_db(evidence: Evidence, equation: BackwardEquation, axes: tuple[int, ...]) -> Iterator[Candidate]:
    D, shape, d = equation.upstream, equation.expected.shape, f"d{equation.successor}"
    rule = evidence.graph.of_rule
    right = f"axis {', '.join(map(str, axes))}" if rule else "the examples"
    yield Candidate("unsummed", D, f"{d} is not summed over {right}")
    for other in range(D.ndim):
        if (other,) != axes:
            for keep in (True, False):
                sentence = f"{d} is summed over axis {other}{', the units' * (not rule)}, not over {right}"
                yield Candidate("wrong axis", D.sum(axis=other, keepdims=keep), sentence)
    for total in (D.sum(), np.broadcast_to(D.sum(), shape)):
        yield Candidate("wrong axis", total, f"{d} is summed over all axes")
    yield from _wrong_upstream_line(
        evidence, equation, lambda line: line.sum(axis=axes).reshape(shape) if line.shape == D.shape else None
    )


def _mistakes_in_dA(evidence: Evidence, equation: BackwardEquation, form: Product) -> Iterator[Candidate]:
    D, W, expected = equation.upstream, form.name, equation.expected
    value = evidence.forward_values[W]
    for name in evidence.graph.params:
        other = evidence.forward_values[name]
        array = form.of(D, other) if name != W and other.ndim == value.ndim else None
        if array is not None:
            yield Candidate("W of another layer", array, f"{name} is used in place of {W}")
    # dW as it was returned, wrong or not, or as it should be
    gradient = evidence.found.get(W, evidence.expected[W])
    dW, sentence = form.of(D, gradient), f"the gradient d{W} is used in place of the weights {W}"
    if dW is not None:
        yield Candidate("dW for W", dW, sentence)
        updated = f"{W} was updated before this line, which uses {W} - {{k}} d{W} instead of the forward pass's {W}"
        yield Candidate("updated W", expected, updated, -dW, lambda k: 0 < k < 100)
    for array in _elementwise_products(D, gradient, expected.shape):
        yield Candidate("dW for W", array, f"{sentence}, and the product is element by element")
    yield from _wrong_upstream_line(evidence, equation, lambda line: form.of(line, value))
    yield from _wrong_products(equation, value, W)
    for Z in evidence.graph.nodes:
        # the weighted input of this activation has its shape
        if equation.line in evidence.graph.successors[Z] and evidence.forward_values[Z].shape == expected.shape:
            G = evidence.contribution(equation.line, np.ones(expected.shape))[Z]
            yield Candidate("g' twice", expected * G, f"g'({Z}) is already applied here; it belongs in d{Z}")


def _wrong_products(equation: BackwardEquation, Q: np.ndarray, q: str) -> Iterator[Candidate]:
    """Multiply the upstream line and the value q with other transposes, in the other order, or element by element."""
    P, p = equation.upstream, f"d{equation.successor}"
    for form, array in possible_products(P, Q, q):
        operands = [p + ".T" * form.transpose_line, q + ".T" * form.transpose]
        text = " @ ".join(operands if form.line_first else operands[::-1])
        yield Candidate("missing transpose", array, f"it is {text}: a transpose is missing or superfluous")
    for array in _elementwise_products(P, Q, equation.expected.shape):
        sentence = f"{p} and {q} are multiplied element by element, not as matrices"
        yield Candidate("element-wise for matrix product", array, sentence)


def _elementwise_products(P: np.ndarray, Q: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Form the element-wise products that broadcasting allows, in the shape that a next factor would give them."""
    for left, right in ((P, Q), (P, Q.T), (P.T, Q)):
        try:
            array = left * right
        except ValueError:
            continue
        try:
            yield np.broadcast_to(array, shape)
        except ValueError:
            yield array


def _mistakes_in_dZ(evidence: Evidence, equation: BackwardEquation, form: Elementwise) -> Iterator[Candidate]:
    D, G, Z, A = equation.upstream, form.G, equation.line, equation.successor
    d = f"d{A}"
    if form.G_name:
        yield Candidate("missing factor", D, f"the factor {form.G_name} is missing")
    elif code := "" if _is_weighted_input(Z) else factor_code(evidence, D, equation.expected):
        yield Candidate("missing factor", D, f"the factor {code} is missing: d{Z} equals {d}")
    elif not _is_weighted_input(Z) and len(values := np.unique(np.round(G, 12))) == 2:
        mask = f"a mask that is {values[0]:.6g} or {values[1]:.6g}"
        yield Candidate("missing factor", D, f"the factor between {d} and d{Z}, {mask}, is missing")
    else:
        yield Candidate("missing g'", D, f"g'({Z}) is missing: d{Z} equals {d}")
    yield Candidate("g' twice", D * G * G, f"g'({Z}) is applied twice")
    if Z in evidence.graph.nodes:
        value, after = evidence.forward_values[Z], evidence.forward_values[A]

        def with_prime_at(node: str) -> np.ndarray:
            shift = {Z: evidence.forward_values[node] - value}
            return D * evidence.contribution(A, np.ones(D.shape), shift)[Z]

        yield Candidate("g' at A", with_prime_at(A), f"g' is taken at {A} instead of {Z}")
        yield Candidate("g for g'", D * after, f"{d} is multiplied by {A} = g({Z}), not by g'({Z})")
        right = derivative_text(evidence, Z, A, G)
        right = right[1:-1] if right.startswith("(") else right
        for text, other in _other_primes(value, after).items():
            yield Candidate("wrong g'", D * other, f"{d} is multiplied by {text.format(Z=Z, A=A)}, not by {right}")
        for node in evidence.graph.nodes:
            if node not in (Z, A) and evidence.forward_values[node].shape == D.shape:
                key = "g' at A" if evidence.activation_of(Z) == node else "g' of another layer"
                yield Candidate(key, with_prime_at(node), f"g' is taken at {node} instead of {Z}")
    for left, right, text in ((D, G.T, " @ g'.T"), (D.T, G, ".T @ g'"), (D, G, " @ g'")):
        if left.ndim == 2 and left.shape[1] == right.shape[0]:
            sentence = f"{d} and g'({Z}) are multiplied as matrices ({d}{text}), not element by element"
            yield Candidate("matrix product for element-wise", left @ right, sentence)
    yield from _wrong_upstream_line(evidence, equation, lambda line: line * G if line.shape == G.shape else None)


def _is_weighted_input(name: str) -> bool:
    return name.rsplit(".", 1)[-1][:1] in ("Z", "z")


def _other_primes(Z: np.ndarray, A: np.ndarray) -> dict[str, np.ndarray]:
    """Return factors mistaken for g'(Z): slips in a formula of A, and the derivatives of all activations."""
    slips = {
        "{A} * (1 - {A}), the sigmoid's": A * (1 - A),
        "1 - {A}**2, tanh's": 1 - A**2,
        "1 + {A}**2": 1 + A**2,
        "1 - {A}": 1 - A,
        "1 - {Z}**2": 1 - Z**2,
        "sigmoid({Z})": np.asarray(jax.nn.sigmoid(Z)),
    }
    return slips | {f"{name}'({{Z}})": np.asarray(prime) for name, prime in _known_primes(Z).items()}


@jax.jit
def _known_primes(Z: Any) -> dict[str, Any]:
    known = {name: (g.g, g.g_prime) for name, g in ACTIVATIONS.items() if g.g_prime and name != "identity"}
    exact = jax.vjp(lambda Z: jax.nn.gelu(Z, approximate=False), Z)[1](jax.numpy.ones_like(Z))[0]
    return {name: g_prime(Z, g(Z)) for name, (g, g_prime) in known.items()} | {"exact gelu": exact}

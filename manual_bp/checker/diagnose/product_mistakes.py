"""Mistakes in the lines around a product: dW = dZ A^T, db = sum of dZ, dA = W^T dZ."""

from collections.abc import Iterator

import numpy as np

from manual_bp.checker.diagnose.backward_equations import BackwardEquation, Product, activation_of, possible_products
from manual_bp.checker.diagnose.candidates import Candidate, wrong_upstream_line
from manual_bp.checker.diagnose.evidence import Evidence
from manual_bp.checker.diagnose.output_derivative import output_activations


def mistakes_in_dW(evidence: Evidence, equation: BackwardEquation, form: Product) -> Iterator[Candidate]:
    """Make dW = dZ A^T from other factors, or multiply them in another way."""
    D, known = equation.upstream, evidence.forward_values
    value = known[form.name]
    for name, other in (known | output_activations(evidence)).items():
        if name != form.name and name not in evidence.graph.params and other.ndim == value.ndim:
            weighted_input = name in evidence.graph.nodes and activation_of(evidence, name) == form.name
            key = "Z for A" if weighted_input else "wrong activation index"
            array = form.of(D, other)
            if array is not None:
                yield Candidate(key, array, f"{name} is used in place of {form.name}")
    yield from wrong_upstream_line(evidence, equation, lambda line: form.of(line, value))
    yield from _wrong_products(equation, value, form.name)


def mistakes_in_db(evidence: Evidence, equation: BackwardEquation, axes: tuple[int, ...]) -> Iterator[Candidate]:
    """Make db from dZ without a sum, summed over other axes, or from another delta."""
    D, shape, d = equation.upstream, equation.expected.shape, f"d{equation.successor}"
    yield Candidate("unsummed", D, f"{d} is not summed over the examples")
    for other in range(D.ndim):
        if (other,) != axes:
            for keep in (True, False):
                sentence = f"{d} is summed over axis {other}, the units, not over the examples"
                yield Candidate("wrong axis", D.sum(axis=other, keepdims=keep), sentence)
    for total in (D.sum(), np.broadcast_to(D.sum(), shape)):
        yield Candidate("wrong axis", total, f"{d} is summed over all axes")
    yield from wrong_upstream_line(
        evidence, equation, lambda line: line.sum(axis=axes).reshape(shape) if line.shape == D.shape else None
    )


def mistakes_in_dA(evidence: Evidence, equation: BackwardEquation, form: Product) -> Iterator[Candidate]:
    """Make dA = W^T dZ from other factors, or multiply them in another way."""
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
    yield from wrong_upstream_line(evidence, equation, lambda line: form.of(line, value))
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

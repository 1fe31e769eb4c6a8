"""The mistake in one returned line, identified by comparing it with the line that each possible mistake leads to.

These candidates are made from the equation that the line should have followed (see backward_equations), so a diagnosis
uses the names of the cost. Factors, zeros and shapes need no candidates.
"""

import math
from collections.abc import Iterator
from itertools import takewhile

import numpy as np

from manual_bp.checker.diagnose.backward_equations import Sum, find_equations
from manual_bp.checker.diagnose.constant_factors import CONSTANT, digits, factor_mistake, factor_text, fitted_multiple
from manual_bp.checker.diagnose.equation_mistakes import confusable, mistakes_in_equation
from manual_bp.checker.diagnose.evidence import UNKNOWN, Candidate, Evidence, Finding
from manual_bp.checker.diagnose.local_facts import find_local_mistake
from manual_bp.checker.diagnose.where_it_differs import where_it_differs
from manual_bp.checker.graph.cost_graph import COST
from manual_bp.checker.judge.conventions import constant_ratio
from manual_bp.checker.judge.norms import norm, relative_error


def identify_mistake(evidence: Evidence, line: str, found: np.ndarray) -> Finding:
    """Name the mistake in a returned line, given the lines upstream of it."""
    expected = evidence.expected[line]
    if not np.isfinite(found).all():
        where = np.argwhere(~np.isfinite(found)).tolist()
        first = f"the first of them {found[tuple(where[0])]} at {where[0]}"
        return Finding("non-finite", f"{len(where)} of {found.size} elements are not finite, {first}")
    if found.shape == expected.shape and norm(found) <= 1e-14 * norm(expected):
        return Finding("zero", f"it is 0 everywhere; it should have norm {norm(expected):.3g}")
    if found.shape != expected.shape:
        return _identify_by_shape(evidence, line, found)
    c = constant_ratio(found, expected, evidence.tolerance)
    if c is not None and not (
        _much_closer(found, c * expected, expected) and evidence.same_everywhere(found, c * expected)
    ):
        c = None
    if c is not None and (found.size > 1 or factor_mistake(evidence, line, c).mistake != CONSTANT):
        return factor_mistake(evidence, line, c)
    equations = find_equations(evidence, line)
    for equation in equations if len(equations) > 1 else ():
        k = fitted_multiple(evidence, [found], [expected], [equation.expected])
        if k is not None:
            finding, term = factor_mistake(evidence, line, 1 + k), f"the term that comes {equation.origin} "
            if finding.mistake == "zero":
                return Finding("missing term", f"{term}is missing")
            return finding._replace(diagnosis=finding.diagnosis.replace("it ", term, 1))
    guess = None
    for turned, right in [(found, expected)] + [(found.T, expected.T)] * (found.ndim == 2):
        finding = _first_match(evidence, line, turned, right)
        if finding and finding.exact:
            return finding
        guess = guess or finding
    if c is not None:
        return factor_mistake(evidence, line, c)
    if guess and not guess.diagnosis.startswith("perhaps"):
        return guess
    local = find_local_mistake(evidence, line, found, equations) or guess
    if local:
        return local
    difference = np.abs(found - expected)
    at = np.unravel_index(np.argmax(difference), found.shape)
    count = int(np.sum(evidence.differs(found, expected)))
    where = where_it_differs(evidence, line, found, expected)
    largest = f"most at {[int(i) for i in at]}, found {found[at]:.9g}, expected {expected[at]:.9g}"
    unknown = f"no mistake in the catalogue fits: {where or f'{count} of {found.size} elements differ'}, {largest}"
    return Finding(UNKNOWN, f"{unknown}, a difference of {found[at] - expected[at]:.1e}", exact=False)


def _identify_by_shape(evidence: Evidence, line: str, found: np.ndarray) -> Finding:
    expected = evidence.expected[line]
    if found.size == expected.size and evidence.same(found.reshape(expected.shape), expected):
        hint = ": keepdims=True is missing" if found.ndim < expected.ndim else ""
        fact = f"the values are right but its shape is {found.shape}, not {expected.shape}{hint}"
        return Finding("wrong shape", fact)
    for turned in (found, found.T):
        finding = _first_match(evidence, line, turned, None)
        if finding:
            return finding._replace(diagnosis=f"{finding.diagnosis}; shape {found.shape}, expected {expected.shape}")
    shapes = f"it has shape {found.shape}; expected {expected.shape}"
    # the values of some lines show nothing: the sum of softmax's dZ over the units is 0
    if any(isinstance(equation.form, Sum) for equation in find_equations(evidence, line)):
        for c in candidates(evidence, line):
            if c.key in ("unsummed", "wrong axis") and found.shape in (c.line.shape, c.line.shape[::-1]):
                return Finding(c.key, f"judging by its shape, {c.sentence}; {shapes}")
    if found.shape == (found.size**0.5,) * 2 and sorted(expected.shape) == [1, len(found)]:
        n = len(found)
        why = f"a column of {n} and a row or vector of {n} broadcast to it; give both one shape, as y[:, None] does"
        return Finding("broadcast", f"{shapes}: {why}")
    return Finding("wrong shape", shapes)


def _first_match(evidence: Evidence, line: str, found: np.ndarray, right: np.ndarray | None) -> Finding | None:
    """Return the first candidate that equals the line, or else the first that the line is a multiple of.

    `right` is the line as it should be, or None if the shape alone shows that it is wrong. A candidate must explain
    the difference from it, which may be small.
    """
    multiple = None
    for c in candidates(evidence, line):
        if c.direction is not None:
            k = None
            if found.shape == c.line.shape:
                k = fitted_multiple(evidence, [found], [c.line], [c.direction])
            if k is not None and c.allows(k):
                sentence = c.sentence.format(k=f"{k:.4g}")
                return Finding(c.key, sentence + _agreement(found, c.line + k * c.direction))
        elif found.shape != c.line.shape or (right is not None and evidence.same(c.line, right)):
            continue
        elif evidence.same(found, c.line) and _much_closer(found, c.line, right):
            return Finding(c.key, c.sentence + _agreement(found, c.line))
        elif multiple is None and found.size > 1 and c.line.any():
            k = constant_ratio(found, c.line, evidence.tolerance)
            if k is not None and evidence.same_everywhere(found, k * c.line) and _much_closer(found, k * c.line, right):
                multiple = guess_of_multiple(evidence, line, c.key, c.sentence, k)
                multiple = multiple._replace(diagnosis=multiple.diagnosis + _agreement(found, k * c.line))
    return multiple


def guess_of_multiple(evidence: Evidence, line: str, key: str, sentence: str, k: float) -> Finding:
    """Report a line that is k times what a mistake leads to; without a name for k it is a guess, and said to be one."""
    times = factor_text(evidence, line, k)
    perhaps = "perhaps " if times == digits(k) else ""
    return Finding(key, f"{perhaps}{sentence}; besides, your line is {times} times that", exact=False)


def _much_closer(found: np.ndarray, to: np.ndarray, than: np.ndarray | None) -> bool:
    return than is None or bool(norm(found - to) <= 1e-3 * norm(found - than))


def _agreement(found: np.ndarray, as_mistaken: np.ndarray) -> str:
    error = relative_error(found, as_mistaken)
    return f" (this reproduces your line {f'within {error:.0e}' if error else 'exactly'})"


def candidates(evidence: Evidence, line: str) -> Iterator[Candidate]:
    """Make the candidates for the line of a node or root, the likeliest first."""
    shape = evidence.expected[line].shape
    for c in takewhile(lambda _: evidence.may_search(), _all_candidates(evidence, line)):
        # a column stands for a vector, because of how products are formed here
        vector = len(shape) < 2 and c.line.size == math.prod(shape) and c.line.ndim == 2
        c = c._replace(line=c.line.reshape(shape)) if vector else c
        if c.direction is not None and c.direction.size == c.line.size:
            yield c._replace(direction=c.direction.reshape(c.line.shape))
        elif c.direction is None:
            yield c


def _all_candidates(evidence: Evidence, line: str) -> Iterator[Candidate]:
    expected = evidence.expected[line]
    if expected.ndim == 2:
        yield Candidate("transposed", expected.T, "it is transposed")
    equations = find_equations(evidence, line)
    alone = sum(bool(e.expected.any()) for e in equations) < 2
    for equation in equations:
        rest = expected - equation.expected  # the other terms
        for c in mistakes_in_equation(evidence, equation):
            if not alone:
                c = c._replace(sentence=equation.of_term(c.sentence))
            shaped = c.line.shape == rest.shape
            yield c._replace(line=c.line + rest) if shaped and len(equations) > 1 else c
    if line in evidence.graph.params:
        value = evidence.forward_values[line].astype(np.float64)
        for text, direction in ((line, value), (f"sign({line})", np.sign(value))):
            sentence = f"it has an extra term {{k}} {text}, as of a regulariser, which is not in the cost"
            yield Candidate("extra term", expected, sentence, direction)
        if COST in evidence.graph.successors[line]:
            others = expected - evidence.contribution(COST)[line]
            for text, direction in _other_penalties(evidence, line):
                other = "not the derivative of the one in the cost"
                sentence = f"the term of the regulariser is {{k}} {text}, {other}"
                yield Candidate("regulariser", others, sentence, direction)
    for other in confusable(evidence, line, [*evidence.graph.nodes, *evidence.graph.params]):
        if other not in evidence.graph.successors[line] and evidence.expected[other].shape == expected.shape:
            yield Candidate("another line", evidence.line(other), f"it has the value of d{other}")


def _other_penalties(evidence: Evidence, line: str) -> Iterator[tuple[str, np.ndarray]]:
    """Return what the derivative of a penalty may be by mistake: the weights, their sign, or other weights."""
    value = evidence.forward_values[line]
    yield line, value
    yield f"sign({line})", np.sign(value)
    for name in evidence.graph.params:
        other = evidence.forward_values[name]
        for text, array in ((name, other), (f"{name}.T", other.T)):
            if (
                name != line
                and array.ndim <= value.ndim
                and all(n in (1, size) for n, size in zip(array.shape[::-1], value.shape[::-1], strict=False))
            ):
                yield text, np.broadcast_to(array, value.shape)

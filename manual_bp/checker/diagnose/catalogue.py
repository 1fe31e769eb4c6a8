"""The catalogue of mistakes: for each, the line that it would lead to.

The candidates are made from the equation that the line should have followed (see backward_equations), so a diagnosis
uses the names of the cost. Factors, zeros and shapes need no candidates (see identify_mistake).
"""

import math
from collections.abc import Iterator

import numpy as np

from manual_bp.checker.diagnose.backward_equations import backward_equations
from manual_bp.checker.diagnose.equation_mistakes import confusable, mistakes_in_equation
from manual_bp.checker.diagnose.evidence import Candidate, Evidence


def candidates(evidence: Evidence, line: str) -> Iterator[Candidate]:
    """Make the candidates for the line of a node or root, the likeliest first."""
    shape = evidence.expected[line].shape
    for c in _all_candidates(evidence, line):
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
        yield Candidate("transposed", expected.T, f"d{line} is transposed")
    equations = backward_equations(evidence, line)
    for equation in equations:
        rest = expected - equation.expected  # the other terms
        for c in mistakes_in_equation(evidence, equation):
            shaped = c.line.shape == rest.shape
            yield c._replace(line=c.line + rest) if shaped and len(equations) > 1 else c
    if line in evidence.graph.params:
        value = evidence.forward_values[line].astype(np.float64)
        for text, direction in ((line, value), (f"sign({line})", np.sign(value))):
            sentence = f"it has an extra term {{k}} {text}, as of a regulariser, which is not in the cost"
            yield Candidate("extra term", expected, sentence, direction)
    for other in confusable(evidence, line, [*evidence.graph.nodes, *evidence.graph.params]):
        if other not in evidence.graph.successors[line] and evidence.expected[other].shape == expected.shape:
            yield Candidate("another line", evidence.line(other), f"it has the value of d{other}")

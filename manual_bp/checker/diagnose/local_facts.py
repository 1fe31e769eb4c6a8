"""The mistake in a line for which the catalogue has no name: found in the values of the line alone."""

import numpy as np

from manual_bp.checker.diagnose.backward_equations import BackwardEquation
from manual_bp.checker.diagnose.evidence import Evidence, Finding
from manual_bp.checker.diagnose.factor_products import explain_factor
from manual_bp.checker.diagnose.parts_used import find_parts_used
from manual_bp.checker.diagnose.rearranged import find_rearrangement
from manual_bp.checker.diagnose.terms_of_a_line import find_mistaken_terms
from manual_bp.checker.diagnose.where_it_differs import where_it_differs

EXPLANATIONS = (explain_factor, find_rearrangement, find_parts_used)


def find_local_mistake(
    evidence: Evidence, line: str, found: np.ndarray, equations: list[BackwardEquation]
) -> Finding | None:
    """Explain the line by one of its terms: another factor in it, another order, or a part of the line upstream.

    It is not exact, so that a mistake of the catalogue in a line that was not returned comes before it.
    """
    expected = evidence.expected[line]
    if np.linalg.norm(found - expected) <= 10 * evidence.tolerance * np.linalg.norm(expected):
        return None  # the right line is as close as any explanation
    alone = sum(bool(e.expected.any()) for e in equations) < 2
    finding = find_mistaken_terms(evidence, equations, found)
    if finding:
        return finding._replace(exact=False)
    for explain in EXPLANATIONS:
        for equation in equations:
            if not equation.expected.any() or not evidence.may_search():
                continue
            # the other terms are taken to be right
            finding = explain(evidence, equation, found - (expected - equation.expected))
            if finding:
                where = where_it_differs(evidence, line, found, expected)
                fact = finding.diagnosis if alone else equation.of_term(finding.diagnosis)
                return Finding(finding.mistake, f"{fact}{where and f'; {where}'}", exact=False)
    return None

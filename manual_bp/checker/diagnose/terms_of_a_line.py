"""A line with a term for each time step or use: some of them missing, or with the operands of other steps."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from manual_bp.checker.diagnose.backward_equations import BackwardEquation, Product
from manual_bp.checker.diagnose.evidence import Evidence, Finding
from manual_bp.checker.graph.cost_graph import COST


def find_mistaken_terms(evidence: Evidence, equations: list[BackwardEquation], found: NDArray) -> Finding | None:
    """Fit the line by its terms, then by the same products with the operands one step on, or in reverse."""
    if len(equations) < 2 or found.shape != equations[0].expected.shape:
        return None
    return _terms_used(evidence, equations, found) or _operands_of_other_steps(evidence, equations, found)


def _terms_used(evidence: Evidence, equations: list[BackwardEquation], found: NDArray) -> Finding | None:
    used = [e for e in equations if e.expected.any()]
    if found.size < len(used) or len(used) < 2:
        return None
    terms = np.array([e.expected.ravel() for e in used])
    c = np.linalg.lstsq(terms.T, found.ravel(), rcond=None)[0]
    whole = np.round(c)
    fits = evidence.same(found.ravel(), whole @ terms)
    if not fits or np.abs(c - whole).max() > 1e-6 or (whole == 1).all():
        return None
    said = {0: "missing", -1: "of the wrong sign", 2: "counted twice"}
    facts = [
        f"{_through([e for e, w in zip(used, whole, strict=True) if w == value])} {text}"
        for value, text in said.items()
        if value in whole
    ]
    if not facts or not set(whole) <= {1, *said}:
        return None
    kept = [e for e, w in zip(used, whole, strict=True) if w == 1]
    only = f"only {_through(kept)} left: " if len(kept) == 1 and len(used) > 2 else ""
    return Finding("missing term", only + ", and ".join(facts))


def _through(equations: list[BackwardEquation]) -> str:
    names = ["the cost itself" if e.successor == COST else f"d{e.successor}" for e in equations]
    return f"the term through {names[0]} is" if len(names) == 1 else f"the terms through {', '.join(names)} are"


def _operands_of_other_steps(evidence: Evidence, equations: list[BackwardEquation], found: NDArray) -> Finding | None:
    steps = sorted(
        (e for e in equations if e.successor != COST), key=lambda e: list(evidence.graph.nodes).index(e.successor)
    )
    forms = [e.form if isinstance(e.form, Product) else None for e in steps]
    known = [form for form in forms if form]
    if len(known) < 2 or any(form is None and e.expected.any() for form, e in zip(forms, steps, strict=True)):
        return None
    rest = sum((e.expected for e in equations if e.successor == COST), np.zeros_like(found))
    operands = [form.name if form else "" for form in forms]
    for changed, text in _other_steps(evidence, steps, operands):
        if changed == operands:
            continue
        terms = [
            known[0]._replace(name=name).of(e.upstream, evidence.forward_values[name])
            for e, name in zip(steps, changed, strict=True)
            if name in evidence.forward_values
        ]
        if all(t is not None and t.size == found.size for t in terms):
            total = rest + sum(np.reshape(t, found.shape) for t in terms if t is not None)
            if evidence.same(found, total):
                pairs = zip(operands, changed, strict=True)
                first = next(f"{new or 'nothing'} in place of {old or 'zeros'}" for old, new in pairs if old != new)
                return Finding("another step", f"{text}: {first}, and so on")
    return None


def _other_steps(
    evidence: Evidence, steps: list[BackwardEquation], operands: list[str]
) -> Iterator[tuple[list[str], str]]:
    before, last = (_nodes_after(evidence, step.successor) for step in steps[-2:])
    if operands[-1] in before and before.index(operands[-1]) < len(last):
        late = "the operands are off by one step, each one step too late"
        yield [*operands[1:], last[before.index(operands[-1])]], late
    yield ["", *operands[:-1]], "the operands are off by one step, each one step too early"
    yield operands[::-1], "the operands are in reverse order"


def _nodes_after(evidence: Evidence, node: str) -> list[str]:
    """List the nodes that follow from a node, each the first that the one before it feeds."""
    found: list[str] = []
    while node in evidence.graph.nodes:
        found.append(node)
        node = evidence.graph.successors[node][0] if evidence.graph.successors[node] else ""
    return found

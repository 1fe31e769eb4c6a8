"""The code of a corrected line."""

import re

import numpy as np

from manual_bp.checker.diagnose.backward_equations import BackwardEquation, Elementwise, Product, Sum, find_equations
from manual_bp.checker.diagnose.constant_factors import PLAIN_FACTORS
from manual_bp.checker.diagnose.evidence import Evidence, Finding
from manual_bp.checker.diagnose.factor_products import factor_code
from manual_bp.checker.diagnose.known_constants import all_digits, code_of_number
from manual_bp.checker.diagnose.norm_equation import NormEquation
from manual_bp.checker.diagnose.output_derivative import OutputDerivative
from manual_bp.checker.diagnose.softmax_equation import SoftmaxEquation
from manual_bp.checker.diagnose.source_lines import find_source
from manual_bp.checker.diagnose.weighted_sum import WeightedSum
from manual_bp.checker.graph.cost_graph import COST
from manual_bp.checker.graph.places import calls_in_order
from manual_bp.checker.judge.conventions import constant_ratio


def correction(evidence: Evidence, line: str, finding: Finding) -> str:
    """Write the line to mend, which may be another one than the line that is wrong, or return ""."""
    graph = evidence.graph
    code = corrected_line(evidence, line)
    if finding.at and not graph.of_rule and _contains(code, finding.at):
        code = corrected_line(evidence, finding.at)
    unseen = [n for n, node in graph.nodes.items() if not node.tapped and n not in evidence.returned]
    if finding.mistake in PLAIN_FACTORS and any(_contains(code, n) for n in unseen):
        return ""  # the factor says it all, and the code would name a line that the user may not have
    return in_jax(code) if graph.of_rule else code + _remark(evidence, code)


def _remark(evidence: Evidence, code: str) -> str:
    """Say in comments what the lines are that the author did not return: they may have none, or one without 1/m."""
    graph = evidence.graph
    unseen = [n for n in graph.nodes if n not in evidence.returned and _contains(code, n)]
    calls = list(calls_in_order(graph.jaxpr, graph.into)) if unseen else []
    sources = {n: find_source(calls[graph.nodes[n].equation]) for n in unseen if not graph.nodes[n].tapped}
    values = {n: source.value for n, source in sources.items() if source and source.code}
    comment = "\n# d{}: the derivative of the cost by {}, with any 1/m in it"
    return "".join(comment.format(n, values.get(n, n)) for n in unseen)


def in_jax(code: str) -> str:
    """Write jnp for np: JAX compiles rules, and refuses the functions of NumPy in them."""
    return re.sub(r"(?<![\w.])np(?=\.(?!add\b))", "jnp", code)


def _contains(code: str, node: str) -> bool:
    return re.search(rf"(?<![\w.])d{re.escape(node)}(?!\w)", code) is not None


def corrected_line(evidence: Evidence, line: str) -> str:
    """Write the equation of a line in the layout and the scale of the user's own, or return ""."""
    equations, scale = find_equations(evidence, line), evidence.scale
    if len(equations) == 1 and isinstance(equations[0].form, NormEquation) and not evidence.transposed:
        return equations[0].form.code(line, f"d{equations[0].successor}")
    by = "m" if scale == evidence.m else all_digits(scale)
    average = "" if line in evidence.graph.nodes or scale == 1 else f" / {by}"
    terms = [(_right_side(evidence, e), "" if e.successor == COST else average) for e in equations]
    if not terms or not all(text for text, _ in terms):
        return ""
    code = f"d{line} = {' + '.join(text + over for text, over in terms)}"
    invented = {w for w in re.findall(r"\w+", code) if w.endswith("_") and w not in evidence.graph.inputs}
    unknown = (rf"(?<![\w.]){re.escape(name)}(?!\w)" for name in _unknown_names(evidence))
    return "" if invented or any(re.search(name, code) for name in unknown) else code


def _unknown_names(evidence: Evidence) -> set[str]:
    """Return the names that the author of a rule does not have: of all but the arguments and the outputs."""
    inner = {n for n, node in evidence.graph.nodes.items() if not node.tapped} if evidence.graph.of_rule else set()
    return inner | {"d" + n for n in inner}


def _right_side(evidence: Evidence, equation: BackwardEquation) -> str:
    successor, D, transposed = equation.successor, "d" + equation.successor, evidence.transposed
    if D in _unknown_names(evidence):
        D = _in_full(evidence, successor)
    match equation.form:
        case Product() as form:
            dimensions = equation.upstream.ndim, evidence.forward_values[form.name].ndim
            if max(dimensions) > 2:
                return ""
            if dimensions == (1, 1):
                return f"np.outer({', '.join((D, form.name) if form.line_first else (form.name, D))})"
            form = form.transposed() if equation.line in transposed else form
            line = D + ".T" * (form.transpose_line != (successor in transposed) and dimensions[0] == 2)
            # the author stores a value in the layout of the lines of its kind
            kind = evidence.graph.params if form.name in evidence.graph.params else evidence.graph.nodes
            value = form.name + ".T" * (form.transpose == transposed.isdisjoint(kind) and dimensions[1] == 2)
            return f"{line} @ {value}" if form.line_first else f"{value} @ {line}"
        case Sum(axes):
            at = tuple(1 - axis for axis in axes) if successor in transposed else axes
            axis = f"axis={at[0] if len(at) == 1 else at}" if len(at) < equation.upstream.ndim else ""
            keep = "keepdims=True" if equation.expected.ndim == equation.upstream.ndim > 0 else ""
            return f"{D}.sum({', '.join(filter(None, (axis, keep)))})"
        case Elementwise(G, G_name):
            g_prime = G_name or derivative_text(evidence, equation.line, successor, G)
            if g_prime.startswith("g'") and transposed.isdisjoint({equation.line, successor}):
                code = factor_code(evidence, equation.upstream, equation.expected)
                g_prime = f"({code})" if " / " in code else code or g_prime
            if g_prime.startswith("g'") and equation.line.rsplit(".", 1)[-1][:1] not in ("Z", "z"):
                return ""  # the step between them is not an activation
            D, g_prime = _in_full(evidence, successor), re.sub(r"(?<![\w.])(?=sqrt\()", "np.", g_prime)
            g_prime = re.sub(r"(?<![\w.])(?=norm\()", "np.linalg.", g_prime)
            if over := re.fullmatch(r"1/([\w.]+(\(\w+\))?)", g_prime):
                return f"{D} / {over[1]}"
            return D if g_prime == "1" else f"{D} * {g_prime}"
        case OutputDerivative() as output:
            return output.text(evidence.m, evidence.scale)
        case SoftmaxEquation() | WeightedSum() as form if transposed.isdisjoint({equation.line, successor}):
            return form.code(D)
    value = evidence.forward_values.get(equation.line) if successor == COST else None
    c = None if value is None or value.size == 1 else constant_ratio(equation.expected, value)
    return f"{code_of_number(c, evidence.m)} * {equation.line}" if c else ""  # the term of a regulariser


def derivative_text(evidence: Evidence, line: str, successor: str, G: np.ndarray) -> str:
    """Write the derivative G of an activation by its formula, or as g'(Z1)."""
    Z, A = evidence.forward_values[line], evidence.forward_values[successor]
    known = {
        "1": np.ones_like(Z),
        f"(1 - {successor}**2)": 1 - A**2,
        f"{successor} * (1 - {successor})": A * (1 - A),
        f"({line} > 0)": (Z > 0) * 1.0,
    }
    return next((text for text, array in known.items() if evidence.same(array, G)), f"g'({line})")


def _in_full(evidence: Evidence, node: str) -> str:
    """Write dA1 if it was returned; else its equation in brackets if it is a product, such as (W2.T @ dZ2)."""
    if node in evidence.returned:
        return "d" + node
    found = find_equations(evidence, node)
    plain = len(found) == 1 and (isinstance(found[0].form, Product) or "d" + node in _unknown_names(evidence))
    text = _right_side(evidence, found[0]) if plain else ""
    return f"({text})" if text else "d" + node

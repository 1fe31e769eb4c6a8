"""The derivative of a cost by the rules of a custom_vjp or custom_jvp in it, and around these rules."""

import dataclasses
from collections.abc import Callable

import numpy as np

from manual_bp.checker._report import Report
from manual_bp.checker._report_line import Line
from manual_bp.checker.graph.cost_graph import rules_followed
from manual_bp.checker.judge.norms import relative_error
from manual_bp.checker.judge.rounding import rounding_bound
from manual_bp.checker.judge.traced_cost import TracedCost, around_rules

FAR = 1e-9  # JAX's own functions can be series, of which a rule gives the limit's derivative


def report_on_rules(traced: TracedCost, report: Report, report_on: Callable[[TracedCost], Report]) -> Report:
    """Blame the rule in the cost where it is not the derivative of its function.

    Lines that agree with autodiff around the rule are then right. Lines that follow the rule cannot be told: it may
    differ on purpose, as a straight-through estimator does.
    """
    rules = rules_followed(traced.graph)
    around = around_rules(traced, rules) if rules else None
    if around is None or around.count_kinks(around.eps, around.arguments.arrays):
        return report
    by_rule, true = (t.cut_for(t.graph.params)(t.arguments.arrays).lines for t in (traced, around))
    errors = {n: relative_error(by_rule[n], true[n]) for n in traced.graph.params}
    eps = max(traced.eps, around.eps)
    differ = [n for n in errors if not errors[n] <= max(1e2 * rounding_bound(traced.graph, n, eps), FAR)]
    # many a rule is there because its function has no finite derivative at some point
    if not differ or not all(np.isfinite(true[n]).all() for n in differ):
        return report
    lines = ", ".join("d" + n for n in differ)
    kinds = " or ".join(f"a {kind.removesuffix('_call')}" for kind in sorted(rules, reverse=True))
    why = f"the rule of {kinds} in the cost is not the derivative of its function, which changes {lines}"
    if report.verdict != "wrong":
        agrees = f"{why}; the line agrees with the rule. check_custom_vjp checks the rule"
        doubted = (x._replace(verdict="cannot tell", diagnosis=x.diagnosis or agrees) for x in report.lines)
        return dataclasses.replace(report, lines=tuple(doubted))
    report = report_on(around)
    rule = Line("the rule", "wrong", None, None, "rule", f"{why}; check_custom_vjp says where")
    return dataclasses.replace(report, lines=(rule, *report.lines))

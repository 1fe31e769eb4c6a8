"""A cost with a custom_vjp in it, whose rule autodiff follows: its derivative by the rule and around it."""

import dataclasses
from collections.abc import Callable

from manual_bp.checker._report import Line, Report
from manual_bp.checker.graph.cost_graph import has_custom_vjp
from manual_bp.checker.judge.rounding import relative_error, rounding_bound
from manual_bp.checker.judge.traced_cost import TracedCost, around_rules


def report_on_rules(traced: TracedCost, report: Report, report_on: Callable[[TracedCost], Report]) -> Report:
    """Blame the rule in the cost where it is not the derivative of its function.

    Lines that agree with autodiff around the rule are then right. Lines that follow the rule cannot be told: it may
    differ on purpose, as a straight-through estimator does.
    """
    around = around_rules(traced) if has_custom_vjp(traced.graph) else None
    if around is None or around.count_kinks(around.eps, around.arguments.arrays):
        return report
    by_rule, true = (t.cut_for(t.graph.params)(t.arguments.arrays).lines for t in (traced, around))
    errors = {n: relative_error(by_rule[n], true[n]) for n in traced.graph.params}
    eps = max(traced.eps, around.eps)
    differ = [n for n in errors if not errors[n] <= 1e2 * rounding_bound(traced.graph, n, eps)]
    if not differ:
        return report
    lines = ", ".join("d" + n for n in differ)
    why = f"the rule of a custom_vjp in the cost is not the derivative of its function, which changes {lines}"
    if report.verdict != "wrong":
        agrees = f"{why}; the line agrees with the rule. check_custom_vjp checks the rule"
        doubted = (x._replace(verdict="cannot tell", diagnosis=x.diagnosis or agrees) for x in report.lines)
        return dataclasses.replace(report, lines=tuple(doubted))
    report = report_on(around)
    rule = Line("the rule", "wrong", None, None, "rule", f"{why}; check_custom_vjp says where")
    return dataclasses.replace(report, lines=(rule, *report.lines))

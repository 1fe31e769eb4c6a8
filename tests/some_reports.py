"""A report with a line of every kind, and helpers to make and to read others."""

from manual_bp.checker._report import Report
from manual_bp.checker._report_line import Line

INF, NAN = float("inf"), float("nan")
LINES = (
    Line("dZ2", "right", 1.2e-16, 0.0),
    Line("dW2", "right", 2e-16, 1e-17),
    Line("dZ1", "wrong", 0.84, 0.84, "missing g'", "The derivative is missing. " * 7, "dZ1 = dA1 * (1 - A1**2)"),
    Line("dW1", "inherited", 0.91, 1e-16),
    Line("db1", "cannot tell", None, None, None, "It is zero at these inputs."),
    Line("dA0", "wrong", INF, NAN, returned=False),
)


def report(*lines, conventions=(), notes=()):
    return Report(lines, conventions, notes, "float64", 0.25)


def table(text):
    """Return the header and the rows, the first block after the headline."""
    return text.split("\n\n")[1].splitlines()

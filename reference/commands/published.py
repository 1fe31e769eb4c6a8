"""Run the gradient checker on published sets of equations as they are printed, right and wrong."""

import time

from manual_bp.checker import Report, check_gradients
from reference.checker_proof.printed_sets import PrintedSet, misprinted_sets, right_sets, scikit_learn_sets


def run() -> int:
    """Print the sets by source, with the reports on them, and return the number of surprises."""
    start, sources, surprising = time.perf_counter(), [], []
    for sets in (right_sets, misprinted_sets, scikit_learn_sets):
        try:
            for printed in sets():
                if printed.source not in sources:
                    print("\n" * bool(sources) + printed.source)
                    sources.append(printed.source)
                lines, surprises = outcome(printed)
                surprising.append(bool(surprises))
                print("\n         ".join([*lines, *(f"SURPRISE: {s}" for s in surprises)]), flush=True)
        except ModuleNotFoundError as error:
            if error.name != "sklearn":
                raise
            print("\nscikit-learn is not installed, so its backward pass is left out: pip install manual_bp[sklearn]")
    failed, seconds = sum(surprising), time.perf_counter() - start
    print(f"\n{len(surprising)} sets, {failed} without the verdict that they should get, in {seconds:.0f} s")
    return failed


def outcome(printed: PrintedSet) -> tuple[list[str], list[str]]:
    """Return the lines to print for a set, and how its report differs from the expected one."""
    try:
        report = check_gradients(printed.cost, printed.backward, *printed.data)
    except ValueError as error:
        return [f"  none   {printed.text}"], [f"no report: {error}"]
    return summary(printed.text, report), printed.surprises(report)


def summary(text: str, report: Report) -> list[str]:
    """Return the verdict, the accepted conventions, and the lines to blame with their mistakes and corrections."""
    lines = [f"  {report.verdict:5s}  {text}"]
    if report.verdict == "right":
        lines += [f"accepted: {convention}" for convention in report.conventions]
    for line in report.lines:
        if line.verdict == "wrong":
            name = line.line if line.returned else f"({line.line})"
            correction = f"  write: {line.suggestion}" if line.suggestion else ""
            lines.append(f"{name:6s} {line.mistake or '':22s}{correction}".rstrip())
    return lines

"""The table of the wrong variants beyond dense layers, and whether their diagnoses are as wished."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from manual_bp.checker import Report
from reference.checker_proof.beyond_dense import columns, layers, norms, rules, sequences
from reference.checker_proof.beyond_dense.case import Case, Outcome, checker_of, outcome

CASES: tuple[Case, ...] = (*layers.CASES, *columns.CASES, *sequences.CASES, *norms.CASES, *rules.CASES)


class Table(NamedTuple):
    """The outcomes of all wrong variants and the reports on the right ones, as a table to print."""

    outcomes: tuple[Outcome, ...]
    right: dict[str, Report]

    def counts(self) -> Counter:
        """Count the wrong variants detected, those with the right lines blamed, and the useful diagnoses."""
        return Counter(
            {
                "wrong variants": len(self.outcomes),
                "detected": sum(o.verdict == "wrong" for o in self.outcomes),
                "blamed right": sum(o.right_lines for o in self.outcomes),
                "useful": sum(o.useful for o in self.outcomes),
            }
        )

    def false_alarms(self) -> list[str]:
        return [name for name, report in self.right.items() if report.verdict == "wrong"]

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def tabulate(cases: tuple[Case, ...] = CASES, every: int = 1) -> Table:
    """Check the right variant of every case, and every wrong one or, with 2, every other one."""
    outcomes, right = [], {}
    for case in cases:
        check = checker_of(case)
        outcomes += [outcome(case, variant, check(variant)) for variant in list(case.wishes)[::every]]
        right[case.name] = check("right")
    return Table(tuple(outcomes), right)


def _lines(table: Table) -> Iterator[str]:
    rows = [("case", "variant", "verdict", "lines blamed", "useful")]
    rows += [(o.case, o.variant, o.verdict, o.blamed, "yes" if o.useful else "no") for o in table.outcomes]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""
    yield ", ".join(f"{number} {name}" for name, number in table.counts().items())
    yield f"{len(table.right)} right variants: {len(table.false_alarms())} called wrong"

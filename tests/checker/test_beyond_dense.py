"""The table of wrong variants beyond dense layers: all detected, the right lines blamed, the diagnoses of use.

Every other variant is left to --deep.
"""

import pytest

from reference.checker_proof.beyond_dense.case import Wish, checker_of, outcome
from reference.checker_proof.beyond_dense.layers import TIED_BARE
from reference.checker_proof.beyond_dense.table import tabulate


@pytest.fixture(scope="module")
def table(deep):
    return tabulate(every=1 if deep else 2)


def test_every_wrong_variant_is_detected_and_its_lines_blamed(table, deep):
    assert len(table.outcomes) >= (128 if deep else 64)
    assert [str(o[:4]) for o in table.outcomes if o.verdict != "wrong"] == []
    assert table.counts()["blamed right"] >= 86 / 88 * len(table.outcomes), str(table)


def test_the_diagnoses_are_useful(table):
    assert table.counts()["useful"] >= 0.9 * len(table.outcomes), str(table)


def test_no_right_variant_is_called_wrong(table):
    assert table.false_alarms() == []


def test_a_wish_that_is_not_met_is_counted():
    report = checker_of(TIED_BARE)("difference")
    met, lines, words = (
        outcome(TIED_BARE._replace(wishes={"difference": wish}), "difference", report)
        for wish in (Wish("dW", "sign"), Wish("db", "sign"), Wish("dW", "1/m"))
    )
    assert (met.right_lines, met.useful) == (True, True)
    assert (lines.right_lines, lines.useful) == (False, False)
    assert (words.right_lines, words.useful) == (True, False)

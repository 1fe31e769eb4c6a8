"""The speed of a gradient, the speed of its limits, and its share of them, from a row."""

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.gradients.programs import flops
from benchmarks.records import Row
from benchmarks.roofline.programs import traffic
from benchmarks.rows import median_of, ratio_of
from benchmarks.timing import Ratio

PRODUCTS = ("products", "products_transposed")


class Limit(NamedTuple):
    """The program that bounds the gradient of a cell, and its time as a share of the gradient's."""

    program: str
    share: Ratio


def work(row: Row, program: str) -> int:
    """The floating-point operations in the products of a call; the products alone take whole blocks of examples."""
    return flops(row["sizes"], row["programs"][program].get("examples", row["batch_size"]))


def flops_per_s(row: Row, program: str) -> float:
    return work(row, program) / median_of(row, program)


def bytes_moved(row: Row) -> int:
    return traffic(tuple(row["sizes"]), row["batch_size"], row["environment"]["dtype"])


def bytes_per_s(row: Row) -> float:
    """The speed of the copy."""
    return bytes_moved(row) / median_of(row, "copy")


def intensity(row: Row) -> float:
    """The floating-point operations for each byte that has to be moved."""
    return work(row, "manual") / bytes_moved(row)


def fastest_products(row: Row) -> str:
    return max(PRODUCTS, key=lambda program: flops_per_s(row, program))


def limit(row: Row) -> Limit:
    """The products in their faster form, or the copy, whichever takes longer."""
    found = [Limit(program, _share(row, program)) for program in (fastest_products(row), "copy")]
    return max(found, key=lambda of: of.share.median)


def largest_copy(rows: Sequence[Row]) -> Row:
    """The cell with the most bytes to move, which are the least likely to fit into a cache."""
    return max(rows, key=bytes_moved)


def _share(row: Row, program: str) -> Ratio:
    """The program's time over manual's, for the same number of examples."""
    done = work(row, program) / work(row, "manual")
    return Ratio(*(end / done for end in ratio_of(row, program, "manual")))

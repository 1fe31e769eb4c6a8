"""The report of the roofline: a table and a summary in words."""

from collections.abc import Sequence

from benchmarks import text
from benchmarks.display import Page, Table, notes
from benchmarks.records import Row
from benchmarks.roofline import limits
from benchmarks.rows import median_of, timed, told
from benchmarks.timing import Ratio

TITLES = {"products": "products", "products_transposed": "products, transposed", "copy": "copy"}


def line(row: Row) -> str:
    found = limits.limit(row)
    return (
        f"manual {text.seconds(median_of(row, 'manual'))}, {giga(limits.flops_per_s(row, 'manual'))} GFLOP/s; "
        f"{text.in_words(row, found.share)} of the limit, {TITLES[found.program]}"
    )


def page(all_rows: Sequence[Row]) -> Page:
    """The whole report."""
    return [cells(all_rows), summary(all_rows), NOTES]


def ratio(row: Row) -> Ratio:
    return limits.limit(row).share


def cells(all_rows: Sequence[Row]) -> Table:
    """The main table."""
    columns = {
        "manual": lambda row: text.seconds(median_of(row, "manual")),
        "GFLOP/s": lambda row: giga(limits.flops_per_s(row, "manual")),
        "block": lambda row: f"{row['programs'][limits.fastest_products(row)]['block']:,}",
        "products, GFLOP/s": lambda row: giga(limits.flops_per_s(row, limits.fastest_products(row))),
        "FLOP/byte": lambda row: text.number(limits.intensity(row)),
        "copy, GB/s": lambda row: giga(limits.bytes_per_s(row)),
        "limit": lambda row: TITLES[limits.limit(row).program],
        "share of limit": lambda row: text.judged(row, limits.limit(row).share),
        "control": text.control,
    }
    return text.table(all_rows, text.NETWORK, columns)


def summary(all_rows: Sequence[Row]) -> str:
    """The results in words, in one paragraph."""
    measured = timed(all_rows)
    lines = [text.extent(all_rows)]
    if not measured:
        return lines[0]
    shares = told([(row, ratio(row)) for row in measured])

    def mean(network: str | None = None) -> str:
        each = [min(share.median, 1) for row, share in shares if network in (None, row["network"])]
        return text.number(text.geometric_mean(each))

    if shares:
        networks = dict.fromkeys(row["network"] for row, _ in shares)
        lines.append(
            f"Manual reaches {mean()} of its limit in the geometric mean of {len(shares)} cells, a share above 1 "
            f"counted as 1: {', '.join(f'{network} {mean(network)}' for network in networks)}. "
            f"The lowest shares{text.listed(sorted(shares, key=lambda pair: pair[1].median)[:3])}"
        )
        bound = [limits.limit(row).program for row, _ in shares]
        beyond = [(row, share) for row, share in shares if share.low > 1]
        lines.append(
            f"The limit is the products in {len(bound) - bound.count('copy')} cells and the copy in "
            f"{bound.count('copy')}; manual is beyond it in {len(beyond)}{text.listed(beyond)}"
        )
    lines += [text.sureness([(row, ratio(row)) for row in measured]), text.failing_controls(measured)]
    copy = limits.largest_copy(measured)
    lines.append(
        f"The largest copy, of {text.size(limits.bytes_moved(copy))}, ran at {giga(limits.bytes_per_s(copy))} GB/s."
    )
    return " ".join(lines)


def giga(per_s: float) -> str:
    return text.number(per_s / 1e9)


NOTES = notes(f"""
Times are medians per call. FLOP/s count only the matrix products W A, W^T dZ and dZ A^T. `products` are these products
at the same shapes and nothing else: their factors are given, each in the layout that suits it, and none waits for
another, so that several can run side by side. `products, transposed` forms the transpose of each; the faster form
counts. They take a block of examples at a time if manual takes blocks, or if they would otherwise write more than 32
MiB. `copy` moves, in place, the fewest bytes that a gradient has to move: parameters, X and class indices read once, a
gradient written once; FLOP/byte refers to these. The limit is the slower of products and copy. The share of the limit
is the limit's time over manual's. It can be above 1: where a call itself takes most of the time, products with their
many arguments take longer, and manual forms some products in other ways. {text.RATIO_NOTE}
{text.CONTROL_NOTE.format("products")}
""")

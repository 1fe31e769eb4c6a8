"""Rows of results as text: a line for each cell, a table, and what they show in words."""

from collections.abc import Sequence

from benchmarks.records import Row
from benchmarks.roofline.limits import (
    bytes_moved,
    bytes_per_s,
    fastest_products,
    flops_per_s,
    intensity,
    largest_copy,
    limit,
)
from benchmarks.text import (
    align,
    control,
    extent,
    failing,
    figure,
    geometric_mean,
    interval,
    listed,
    median_of,
    name,
    ratio_of,
    seconds,
    size,
)
from benchmarks.timing import Ratio

WORDS = ("network", "limit")
TITLES = {"products": "products", "products_transposed": "products, transposed", "copy": "copy"}


def line(row: Row) -> str:
    """A finished cell in one line."""
    if row["error"]:
        return f"{name(row)}: {row['error']}"
    found = limit(row)
    return (
        f"{name(row)}: manual {seconds(median_of(row, 'manual'))}, {giga(flops_per_s(row, 'manual'))} GFLOP/s; "
        f"{interval(found.share)} of the limit, {TITLES[found.program]}"
    )


def page(rows: Sequence[Row]) -> str:
    """All there is to read."""
    return f"{cells(rows)}\n\n{summary(rows)}\n\n{NOTES}"


def cells(rows: Sequence[Row]) -> str:
    """The main table."""
    header = (
        *("network", "batch", "manual", "GFLOP/s", "block", "products, GFLOP/s", "FLOP/byte", "copy, GB/s"),
        *("limit", "share of limit", "control"),
    )
    body = []
    for row in rows:
        cell = [row["network"], f"{row['batch_size']:,}"]
        if row["error"]:
            body.append([*cell, "not timed", *[""] * (len(header) - 3)])
            continue
        found, fastest = limit(row), fastest_products(row)
        cell += [seconds(median_of(row, "manual")), giga(flops_per_s(row, "manual"))]
        cell += [f"{row['programs'][fastest]['block']:,}", giga(flops_per_s(row, fastest))]
        cell += [figure(intensity(row)), giga(bytes_per_s(row)), TITLES[found.program], interval(found.share)]
        body.append([*cell, control(control_of(row))])
    return align(header, body, WORDS)


def control_of(row: Row) -> Ratio:
    return ratio_of(row, "control", "products")


def summary(rows: Sequence[Row]) -> str:
    """What the rows show, in one paragraph."""
    timed = [row for row in rows if not row["error"]]
    text = extent(rows)
    if not timed:
        return " ".join(text)
    found = [(row, limit(row)) for row in timed]
    shares = [(row, of.share) for row, of in found]

    def mean(network: str | None = None) -> str:
        each = [min(share.median, 1) for row, share in shares if network in (None, row["network"])]
        return figure(geometric_mean(each))

    networks = dict.fromkeys(row["network"] for row in timed)
    text.append(
        f"Manual reaches {mean()} of its limit in the geometric mean, more than all of it counted as 1: "
        f"{', '.join(f'{network} {mean(network)}' for network in networks)}. "
        f"The lowest{listed(sorted(shares, key=lambda pair: pair[1].median)[:3])}"
    )
    bound = [of.program for _, of in found]
    beyond = [(row, share) for row, share in shares if share.low > 1]
    text.append(
        f"The limit is the products in {len(bound) - bound.count('copy')} cells and the copy in {bound.count('copy')}; "
        f"manual is beyond it in {len(beyond)}{listed(beyond)}"
    )
    text.append(failing([(row, control_of(row)) for row in timed]))
    largest = largest_copy(timed)
    text.append(f"The largest copy, of {size(bytes_moved(largest))}, ran at {giga(bytes_per_s(largest))} GB/s.")
    return " ".join(text)


def giga(per_s: float) -> str:
    return figure(per_s / 1e9)


NOTES = """\
Times are medians per call. FLOP/s count the matrix products alone, W A, W^T dZ and dZ A^T. `products` are those at the
same shapes and nothing else: their factors are given, each in the layout that suits it, and none waits for another, so
that several can run side by side; or the transpose of each, of which the faster form counts. They are of a block of
examples at a time where manual takes blocks, and where they would write more than 32 MiB. `copy` moves as many bytes as
a gradient has to at least, in place: parameters, X and class indices read once, a gradient written once; FLOP/byte is
over these. The limit is the slower of products and copy. The share is the limit's time over manual's, the median of the
ratios within each round with its 95 % bootstrap interval. Above 1 manual is faster: where a call itself takes most of
the time, products with their many arguments take longer, and manual forms some products in other ways. The control is a
second copy of `products` over the first; * marks where its interval does not lie in [0.95, 1.05], a cell too noisy to
tell.
"""

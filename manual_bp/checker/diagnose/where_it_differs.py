"""Where a line differs from what it should be: rows, the first or last index, a mask, repeated indices."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from manual_bp.checker.diagnose.constant_factors import factor_text
from manual_bp.checker.diagnose.evidence import Evidence
from manual_bp.checker.diagnose.known_factors import index_arrays
from manual_bp.checker.judge.conventions import constant_ratio

FEWEST = 10  # elements, in fewer of which a region agrees with anything


def where_it_differs(evidence: Evidence, line: str, found: NDArray, expected: NDArray) -> str:
    """Say in one clause which elements differ, and what they hold, or return "" if they follow no rule."""
    if found.shape != expected.shape or not found.ndim or found.size < 4:
        return ""
    differs = evidence.differs(found, expected)
    # nothing is said where an element may differ by rounding or by a mistake
    uncertain = evidence.differs(found, expected, share=1e-3, relative=10 * evidence.tolerance) & ~differs
    if not differs.any() or differs.all() or uncertain.any():
        return ""
    regions, slab, of_slab = list(_regions(evidence, differs)), *_slab(differs)
    held, either = _held_there(evidence, line, found[differs], expected[differs]), (expected != 0) | (found != 0)
    whole, but_zeros = np.ones(differs.shape, bool), ", but for elements that are 0 and should be"
    for within, text in ((whole, ""), (slab, f", {of_slab}"), (either, but_zeros)):
        for place, region in regions if of_slab or within is not slab else ():
            if np.array_equal(region & within, differs) and (within is whole or _telling(region[within])):
                return f"it differs exactly {place}{text if within is slab or (region & ~within).any() else ''}{held}"
    if of_slab:
        return f"all of the difference is {of_slab}{held}"
    if held:
        return f"{int(differs.sum())} of {found.size} elements differ{held}"
    zero = expected == 0
    extra, lost = int((differs & zero).sum()), int((differs & ~zero & (found == 0)).sum())
    facts = [f"{extra} elements that should be 0 are not"] * (extra > 0) + [f"{lost} are 0 that should not be"] * (
        lost > 0
    )
    return " and ".join(facts)


def _telling(region: NDArray) -> bool:
    """Return whether it is no coincidence that a region picks just these elements: they are many, and so are others."""
    return region.size >= FEWEST and bool(min(region.sum(), (~region).sum()) > 1)


def _slab(differs: NDArray) -> tuple[NDArray, str]:
    """Return the shortest span of rows, along one axis, that holds all of the difference, and its name, or ""."""
    best, name, share = np.ones(differs.shape, bool), "", 1.0
    for axis, n in enumerate(differs.shape):
        rows = differs.any(axis=tuple(a for a in range(differs.ndim) if a != axis))
        first, last = np.flatnonzero(rows)[[0, -1]]
        if rows.sum() / n < share and (rows.sum() <= n / 2 or rows.sum() == last - first + 1):
            share = float(rows.sum() / n)
            best = np.broadcast_to(rows.reshape([-1 if a == axis else 1 for a in range(differs.ndim)]), differs.shape)
            name = _name_rows(np.flatnonzero(rows), axis, differs.shape)
    return best, name


def _held_there(evidence: Evidence, line: str, found: NDArray, expected: NDArray) -> str:
    if not found.any():
        return ", where it is 0"
    if not expected.any():
        return ", where it should be 0"
    c = constant_ratio(found, expected, 10 * evidence.tolerance) if found.size > 1 else None
    if c is not None and not evidence.same_everywhere(found, c * expected):
        return ""
    if c == -1 or (c is not None and abs(c + 1) < 1e-6):
        return ", where the sign is wrong"
    return f", where it is {factor_text(evidence, line, c)} times what it should be" if c else ""


def _name_rows(rows: NDArray, axis: int, shape: tuple[int, ...]) -> str:
    """Write in row 3, in rows 4:8, at the last index of axis 2."""
    n = shape[axis]
    kind = {0: "row", 1: "column"}[axis] if len(shape) == 2 else ""
    if len(rows) == 1:
        end = {0: "the first", n - 1: "the last"}.get(int(rows[0])) if n > 2 else None
        if kind:
            return f"in {kind} {rows[0]}" + f", {end}" * bool(end)
        return f"at index {rows[0]} of axis {axis}" + f", {end}" * bool(end)
    if rows[-1] - rows[0] + 1 == len(rows):
        span = f"{rows[0]}:{rows[-1] + 1}"
    else:
        span = ", ".join(map(str, rows[:8])) + ", ..." * (len(rows) > 8)
    return f"in {kind}s {span}" if kind else f"at indices {span} of axis {axis}"


def _regions(evidence: Evidence, differs: NDArray) -> Iterator[tuple[str, NDArray]]:
    """Name the regions that an argument or a node picks out of the line."""
    shape = differs.shape
    for name, ids in index_arrays(evidence).items():
        yield from _regions_of_indices(name, ids, shape)
    for name, value in evidence.forward_values.items():
        spread = _spread(value, shape) if np.isfinite(value).all() else None
        if spread is None:
            continue
        if np.isin(value, (0, 1)).all() and value.any() and not value.all():
            yield f"where {name} is True", spread == 1
            yield f"where {name} is False", spread == 0
        elif value.dtype.kind == "f" and value.shape == shape:
            signs = {"< 0": spread < 0, "> 0": spread > 0, "is 0": spread == 0, "is not 0": spread != 0}
            yield from ((f"where {name} {text}", region) for text, region in signs.items() if _telling(region))
    if len(shape) >= 2 and shape[-1] == shape[-2]:
        upper = np.broadcast_to(np.triu(np.ones(shape[-2:], bool), 1), shape)
        yield "above the diagonal", upper
        yield "below the diagonal", np.swapaxes(upper, -1, -2)
        yield "on the diagonal", np.broadcast_to(np.eye(shape[-1], dtype=bool), shape)
        yield "off the diagonal", ~np.broadcast_to(np.eye(shape[-1], dtype=bool), shape)


def _spread(value: NDArray, shape: tuple[int, ...]) -> NDArray | None:
    """Broadcast a value to the shape, from its first axes or from its last ones."""
    if value.ndim and value.shape == shape[: value.ndim]:
        return np.broadcast_to(value.reshape(value.shape + (1,) * (len(shape) - value.ndim)), shape)
    try:
        return np.broadcast_to(value, shape) if value.ndim else None
    except ValueError:
        return None


def _regions_of_indices(name: str, ids: NDArray, shape: tuple[int, ...]) -> Iterator[tuple[str, NDArray]]:
    """Pick the rows that are meant more than once, or by one index, and the places that hold such an index."""
    if ids.min() < -ids.size or ids.max() > 10_000:
        return
    values, counts = np.unique(ids, return_counts=True)
    columns = (1,) * (len(shape) - 1)
    if ids.max() < shape[0]:
        rows = np.arange(shape[0])
        for text, chosen in ((f"where {name} repeats", values[counts > 1]), (f"where {name} points", values)):
            yield text, np.broadcast_to(np.isin(rows, chosen).reshape(-1, *columns), shape)
        for v in values[:8]:
            yield f"in row {v}, to which {name} points", np.broadcast_to((rows == v).reshape(-1, *columns), shape)
    if ids.shape == shape[: ids.ndim]:
        spread = ids.reshape(ids.shape + (1,) * (len(shape) - ids.ndim))
        yield f"where {name} is negative", np.broadcast_to(spread < 0, shape)
        yield f"where {name} repeats", np.broadcast_to(np.isin(spread, values[counts > 1]), shape)
        for v in values[:8]:
            yield f"where {name} is {v}", np.broadcast_to(spread == v, shape)

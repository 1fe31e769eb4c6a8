"""What the figures of all suites have in common: how they look, and how they are written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.records import Row

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ececec",
    "lines.linewidth": 1.2,
    "svg.hashsalt": "manual_bp",
}


@contextmanager
def styled() -> Iterator[None]:
    """The style of a figure that is made and saved within."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def machine(row: Row) -> str:
    """What a title says of where the times were taken."""
    e = row["environment"]
    return f"{e['device']} ({e['backend']}), {e['dtype']}, jax {e['jax']}"


def save(figure: Any, stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg; the same figure gives the same SVG."""
    paths = [Path(f"{stem}.{kind}") for kind in ("png", "svg")]
    figure.savefig(paths[0], dpi=160)
    figure.savefig(paths[1], metadata={"Date": None})
    return paths

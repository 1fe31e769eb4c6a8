"""A report in its two forms: Markdown, and on a terminal tables that are drawn to its width."""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks.environment import is_here

# Titles of columns that hold words, which are aligned to the left
WORDS = {"cell", "verdict", "network", "quantity", "program", "limit", "grows with", "fixed", "step", "end"}


class Notes(NamedTuple):
    """Paragraphs of text."""

    paragraphs: tuple[str, ...]

    def __str__(self) -> str:
        """Lines of at most 120 characters."""
        return "\n\n".join(textwrap.fill(p, 120, break_on_hyphens=False) for p in self.paragraphs)


class Table(NamedTuple):
    """A table of text, whose first columns, `names` of them, say what a line is about."""

    header: Sequence[str]
    body: Sequence[Sequence[str]]
    names: int = 1

    def __str__(self) -> str:
        """Markdown that is readable as plain text: words are aligned to the left, figures to the right."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.body, strict=True)]
        left = [title in WORDS for title in self.header]
        lines = [
            "| " + " | ".join(aligned(c, w, l) for c, w, l in zip(cells, widths, left, strict=True)) + " |"
            for cells in (self.header, *self.body)
        ]
        rule = "|".join(":" + "-" * (w + 1) if l else "-" * (w + 1) + ":" for w, l in zip(widths, left, strict=True))
        return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


Page = Sequence[str | Notes | Table]


def notes(text: str) -> Notes:
    """The paragraphs of a text, which empty lines separate."""
    return Notes(tuple(" ".join(paragraph.split()) for paragraph in text.split("\n\n")))


def aligned(cell: str, width: int, left: bool) -> str:
    return cell.ljust(width) if left else cell.rjust(width)


def markdown(page: Page) -> str:
    return "\n\n".join(map(str, page))


def show(page: Page) -> None:
    """Print a report in the form that suits the standard output."""
    if sys.stdout.isatty() and is_here("rich"):
        from rich.console import Console

        draw(page, Console())
    else:
        print(markdown(page))


def draw(page: Page, console: Any) -> None:
    """Print a report on a rich console."""
    for block in page:
        parts = block.paragraphs if isinstance(block, Notes) else [block]
        for part in drawn(block, console.width) if isinstance(block, Table) else parts:
            console.print(part, markup=False, highlight=False)
            console.print()


def drawn(table: Table, width: int) -> Iterator[Any]:
    """A table of rich or, if its columns do not fit side by side, several, each with the names of the lines.

    A column is as wide as its widest cell. Only its title is folded, at spaces.
    """
    from rich import box
    from rich.table import Table as Drawn
    from rich.text import Text

    columns = list(zip(table.header, *table.body, strict=True))
    widths = [max(map(len, [*title.split(), *cells])) for title, *cells in columns]
    rest = list(range(table.names, len(columns)))
    while rest:
        chosen = [*range(table.names), rest.pop(0)]
        while rest and sum(widths[n] + 2 for n in (*chosen, rest[0])) - 2 <= width:
            chosen.append(rest.pop(0))
        part = Drawn(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
        for n in chosen:
            left = table.header[n] in WORDS
            part.add_column(Text(table.header[n], justify="left" if left else "right"), overflow="fold")
            part.columns[-1].width = widths[n]
        for cells in table.body:
            part.add_row(*(Text(aligned(cells[n], widths[n], table.header[n] in WORDS)) for n in chosen))
        yield part

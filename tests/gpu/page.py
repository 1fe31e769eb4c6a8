"""Writes the tables of docs/gpu.md: `make gpu-page`."""

import re
from pathlib import Path

import jax
from gpu import kernels as fused
from gpu.gradients import CASES, NARROW, Case, by_autodiff, by_hand
from gpu.h100 import Program
from gpu.reading import kernels

PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"
BLOCKS = [(m, size) for m in (1_048_576, 8_388_608) for size in (None, 65_536, "auto")]


def main() -> None:
    gradients = ["| gradient | kernels | autodiff's | temporary memory, MB | autodiff's |", "|---|---|---|---|---|"]
    for case in CASES:
        manual, autodiff = by_hand(case), by_autodiff(case)
        counts, memory = [len(kernels(p.text)) for p in (manual, autodiff)], [megabytes(p) for p in (manual, autodiff)]
        gradients.append(row(case.name, *counts, *memory))
    blocks = ["| examples of 5x64 | `block_size` | temporary memory, MB |", "|---|---|---|"]
    for m, size in BLOCKS:
        blocks.append(
            row(
                f"{m:,}",
                f'`"{size}"`' if size == "auto" else f"`{size}`",
                megabytes(by_hand(Case(NARROW, m), block_size=size)),
            )
        )
    kernel = [
        "| gradient | kernels | by XLA | autodiff's | temporary memory, MB | by XLA | autodiff's |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in fused.CASES:
        made = fused.by_kernel(case), by_hand(case), by_autodiff(case)
        kernel.append(row(case.name, *(len(kernels(p.text)) for p in made), *map(megabytes, made)))
    registers = [
        row(
            "n_0, hidden, n_L", "precision", *(f"{name} (sm_{chip.architecture})" for name, chip in fused.CHIPS.items())
        ),
        "|---|---|---|---|---|",
    ]
    registers += [row(*fused.row_of(name, p)) for name in fused.CORNERS for p in fused.PRECISIONS]
    text = replaced(PAGE.read_text(), "gradients", [*gradients, "", f"Compiled by jax {jax.__version__}."])
    for name, lines in (("blocks", blocks), ("kernel", kernel), ("registers", registers)):
        text = replaced(text, name, lines)
    PAGE.write_text(text)


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def megabytes(program: Program) -> str:
    amount = program.temp_bytes / 1e6
    return "under 0.01" if amount < 0.01 else f"{amount:,.0f}" if amount >= 100 else f"{amount:.3g}"


def replaced(text: str, name: str, lines: list[str]) -> str:
    """The text with what stands between the marks of a table replaced by lines."""
    marks = f"<!-- {name} -->\n\n", f"\n\n<!-- end of {name} -->"
    found = re.subn(rf"(?<={marks[0]}).*?(?={marks[1]})", lambda _: "\n".join(lines), text, flags=re.S)
    assert found[1] == 1, f"{PAGE.name} should have the mark {marks[0].strip()} once"
    return found[0]


if __name__ == "__main__":
    main()

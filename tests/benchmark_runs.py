"""Helpers for the tests of all suites of benchmarks: rows, results files and the command line."""

import functools

import numpy as np

from benchmarks import environment, records
from benchmarks.__main__ import main
from benchmarks.gradients import programs as gradient_programs

ALWAYS = {"manual", "autodiff", "autodiff_rows", "control"}
PEERS = {"nnx": "flax", "torch_eager": "torch", "torch_compile": "torch", "sklearn": "sklearn"}
CACHED = functools.cache(gradient_programs.of_cell)
PREPARED = {"lower_s": 0.02, "compile_s": 0.2, "temp_bytes": 512}


def timed(scales, seed, seconds=1e-5, prepared=PREPARED, noise=0.002):
    """Programs as a row records them; each takes its scale times the same noisy times."""
    times = seconds * np.random.default_rng(seed).lognormal(0, noise, 40)
    return {name: prepared | {"times_s": list(scale * times)} for name, scale in scales.items()}


def made_row(suite, programs, error=None, **fields):
    """A row as a run writes it."""
    found = {
        "schema": records.SCHEMA,
        "suite": suite,
        "date": "2026-01-02T03:04:05+00:00",
        "environment": environment.describe("float32") | {"device": "a device"},
        "matmul_flops_per_s": 1e11,
        "quantity": "variance",
        "part": "step",
        "network": "7-5-3",
        "sizes": [7, 5, 3],
        "batch_size": 4,
        "steps": 1,
        "members": 1,
        "errors": {"manual": {"dW[1]": 1e-7}},
        "error": error,
        "others_cpu": 0.0,
        "programs": {} if error else programs,
    }
    assert fields.keys() <= set(records.FIELDS[suite])
    return {field: (found | fields)[field] for field in records.FIELDS[suite]}


def gradients(batch_size, ratio=1.0, error=None, control=1.01, noise=0.002, **changes):
    """A row of gradients as a run writes it, manual taking `ratio` times as long as autodiff."""
    scales = {"manual": ratio, "autodiff": 1.0, "autodiff_rows": 2.0, "control": control}
    prepared = PREPARED | {"temp_bytes": 512 * batch_size}
    programs = timed(scales, batch_size, 1e-5 * batch_size, prepared, noise)
    return made_row("gradients", programs, error, batch_size=batch_size, **changes)


def run(path, *options):
    """Run the suite gradients on a tiny network: its exit status."""
    return main(["--networks", "7-5-3", "--batch-sizes", "1", "2", "--repeats", "6", "--out", str(path), *options])


def write(path, *rows):
    for row in rows:
        records.append(path, row)
    return path


def reported(capsys, path):
    """The page that `report` prints and writes; its figure is a PNG, and the same when drawn again."""
    drawn = []
    for _ in range(2):
        assert main(["report", str(path)]) == 0
        drawn.append(path.with_suffix(".png").read_bytes())
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    title, link, words = page.split("\n\n", 2)
    assert title == f"# {path.stem}" and link.endswith(f"]({path.stem}.png)")
    assert words in capsys.readouterr().out and "a device" in words
    assert drawn[0].startswith(b"\x89PNG") and len(drawn[0]) > 10_000 and drawn[0] == drawn[1]
    return page


def lines_of(page, columns):
    """The cells of each line of the tables with so many columns."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    return [line for line in lines if len(line) == columns]


def refused(capsys, *argv):
    """The line with which a request is refused, exit status 2."""
    try:
        status = main(argv)
    except SystemExit as exit:
        status = exit.code
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1), err
    return err

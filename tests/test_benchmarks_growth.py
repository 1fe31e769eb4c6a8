import itertools

import jax
import numpy as np
import pytest
from benchmark_runs import made_row, write

from benchmarks import environment, records
from benchmarks.__main__ import main
from benchmarks.gradients import programs as gradients
from benchmarks.problem import equal_widths
from benchmarks.scaling import command, table
from benchmarks.scaling.exponents import exponent, fitted, series, size_of


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """No matrix product is measured."""
    monkeypatch.setattr(environment, "matmul_flops", lambda dtype: 1e11)


def cell(part="batch_size", size=4, seconds=1e-3, ratio=1.0, control=1.01, noise=0.002, error=None, network=None):
    """A row as a run writes it, manual taking `ratio` times as long as autodiff."""
    m = size if part == "batch_size" else 256
    name, sizes = equal_widths(*{"batch_size": (5, 64), "width": (4, size), "depth": (size, 64)}[part])
    times = seconds * np.random.default_rng(size).lognormal(0, noise, 40)
    scale = {"manual": ratio, "autodiff": 1.0, "control": control}
    measured = {"lower_s": 0.02, "compile_s": 0.2, "temp_bytes": 512}
    programs = {p: measured | {"times_s": list(s * times)} for p, s in scale.items()}
    fields = {"part": part, "network": network or name, "sizes": list(sizes), "batch_size": m}
    return made_row("scaling", programs, error, **fields)


def of(rows):
    (found,) = series(rows)
    return found


def test_a_run_agrees_and_its_rows_are_whole(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "WIDTH", 6)
    monkeypatch.setattr(command, "LAYERS", 2)
    monkeypatch.setattr(command, "BATCH_SIZE", 5)
    path = tmp_path / "r.jsonl"
    tiny = "scaling --networks 7-3 --batch-sizes 2 4 2 --widths 8 --depths 1 --repeats 6 --out".split()
    assert main([*tiny, str(path)]) == 0
    rows, notes = records.read(path)
    assert notes == []
    assert [(row["part"], row["network"], row["sizes"], row["batch_size"]) for row in rows] == [
        ("batch_size", "7-3", [7, 3], 2),
        ("batch_size", "7-3", [7, 3], 4),  # 2 once, though given twice
        ("width", "2x8", [8, 8, 10], 5),
        ("depth", "1x6", [6, 10], 5),
    ]
    for row in rows:
        assert tuple(row) == records.FIELDS["scaling"] and row["error"] is None
        assert tuple(row["programs"]) == table.PROGRAMS and row["errors"].keys() == {"manual", "control"}
        assert all(0 <= e < 1e-5 for e in row["errors"]["manual"].values())
        for program in row["programs"].values():
            assert len(program["times_s"]) == 6 and program["temp_bytes"] >= 0
    out, err = capsys.readouterr()
    assert table.page(rows) in out and out.splitlines()[-1] == str(path)
    assert "fewer than 3 sizes timed" in out and err.startswith("1/4  batch_size, 7-3 at 2: manual ")


def test_a_disagreement_is_found(tmp_path, monkeypatch, capsys):
    right = gradients.bp.value_and_grad

    def slightly_wrong(network, mesh):
        return jax.jit(lambda params, X, Y: jax.tree.map(lambda leaf: 1.01 * leaf, right(network)(params, X, Y)))

    monkeypatch.setattr(gradients.bp, "value_and_grad", slightly_wrong)
    monkeypatch.setattr(command, "QUICK", command.QUICK._replace(widths=(), depths=()))
    tiny = "scaling --networks 7-3 --batch-sizes 2 --repeats 6 --out".split()
    assert main([*tiny, str(tmp_path / "r.jsonl")]) == 1
    (row,), _ = records.read(tmp_path / "r.jsonl")
    assert row["error"] == "manual differs from autodiff: cost by 1.0e-02 in norm, 1.0e-03 allowed"


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_power_is_found(power):
    """Exactly without noise, and within an interval that is narrow with it, for each program its own."""
    rows = [cell("width", size, 1e-6 * size**power, ratio=size**0.25, noise=0) for size in (16, 64, 256)]
    for program, right in (("autodiff", power), ("manual", power + 0.25)):
        found = exponent(of(rows), program)
        assert (found.low, found.high) == pytest.approx((right, right)) and found.slope == pytest.approx(right)
        assert found.at_one == pytest.approx(1e-6)
    noisy = [cell("width", size, 1e-6 * size**power, noise=0.05) for size in (16, 64, 256)]
    found = exponent(of(noisy), "autodiff")
    assert found.low < found.slope < found.high < found.low + 0.04 and abs(found.slope - power) < 0.02
    assert exponent(of(noisy), "autodiff") == found  # the same times, the same interval


def test_the_interval_holds_the_true_power():
    def drawn(seed):
        rng = np.random.default_rng(seed)
        rows = [cell("width", size, 1e-6 * size**1.5, noise=0) for size in (16, 64, 256)]
        for row in rows:
            times = row["programs"]["autodiff"]["times_s"]
            row["programs"]["autodiff"]["times_s"] = [t * rng.lognormal(0, 0.05) for t in times]
        return exponent(of(rows), "autodiff", resamples=300)

    assert np.mean([found.low <= 1.5 <= found.high for found in map(drawn, range(60))]) >= 0.85


def test_overhead_is_not_fitted():
    def cells(overhead, ratio_of_first=1.0):
        """Times of 1 µs an example and overhead in µs."""
        sizes = (1, 4, 16, 32, 256, 1024, 4096)
        return [cell(size=m, seconds=1e-6 * (overhead + m), ratio=ratio_of_first if m == 1 else 1.0) for m in sizes]

    def chosen(rows):
        found = fitted(of(rows))
        assert found is not None
        return found

    assert chosen(cells(100)).sizes == [256, 1024, 4096]  # ten times the first only from 1,024 on
    assert chosen(cells(10)).sizes == [256, 1024, 4096]
    assert chosen(cells(1)).sizes == [32, 256, 1024, 4096]
    assert 0.98 < exponent(chosen(cells(1)), "autodiff").slope < 1.0
    # the same cells for manual, whatever its times
    assert chosen(cells(1, ratio_of_first=100.0)).sizes == [32, 256, 1024, 4096]
    assert fitted(of(cells(1)[:2])) is None and chosen(cells(1)[:3]).sizes == [1, 4, 16]


def test_each_size_is_a_series_of_its_own():
    rows = [cell("depth", 8), cell("width", 32), cell("depth", 2), cell(size=16), cell(size=4, network="other")]
    found = {(s.part, s.network): s.sizes for s in series([*rows, cell("depth", 4, error="was wrong")])}
    assert found == {
        ("depth", None): [2, 8],
        ("width", None): [32],
        ("batch_size", "5x64"): [16],
        ("batch_size", "other"): [4],
    }
    assert [size_of(row) for row in rows] == [8, 32, 2, 16, 4]


def test_plans():
    full = command.FULL
    assert (full.batch_sizes[0], full.batch_sizes[-1], full.widths[0], full.widths[-1]) == (1, 65536, 16, 2048)
    assert (full.depths[0], full.depths[-1]) == (2, 64)
    for name in ("networks", "batch_sizes", "widths", "depths"):
        assert set(getattr(command.QUICK, name)) <= set(getattr(full, name))


def test_report_draws_from_the_file_alone(tmp_path, capsys):
    rows = [cell(size=m, seconds=1e-5 * m, control=1.2 if m == 16 else 1.01) for m in (1, 4, 16, 64)]
    rows += [cell("width", n, 1e-7 * n**2, ratio=1.1) for n in (16, 64, 256)]
    rows += [cell("depth", 2, 1e-4), cell("depth", 4, error="was wrong"), cell("depth", 8, 3e-4, ratio=0.9)]
    path = write(tmp_path / "r.jsonl", cell(size=64, seconds=9.0), *rows)  # measured twice: the later counts
    assert main(["report", str(path)]) == 0
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.split("\n\n")[1] in page
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in page.splitlines() if "x" in line and "| " in line]
    cells = {(line[0], line[1], line[3]): line[4:] for line in lines}
    assert cells["batch size", "5x64", "64 +"][0] == "640 µs" and ("batch size", "5x64", "1") in cells
    assert cells["width", "4x64", "64 +"][2:4] == ["1.10 [1.10, 1.10]", "manual slower"]
    assert cells["depth", "4x64", "4"] == ["", "", "", "not timed", ""]
    powers = [line for line in page.splitlines() if line.startswith("- ")]
    assert powers[0].startswith("- batch size, 5x64: time grows with the size to the power 1.00 [1.00, 1.00] (manual)")
    assert powers[0].endswith("fitted at 4, 16, 64.")
    assert powers[1].startswith("- width, 4 layers, batch 256: time grows with the size to the power 2.00 [2.00, 2.00]")
    assert powers[2] == "- depth, width 64, batch 256: fewer than 3 sizes timed, too few for a fit."
    for words in (
        "9 of 10 cells timed",
        "Not timed: depth, 4x64 at 256: was wrong.",
        "Manual is faster in 1, no different in 5, slower in 3: width, 4x16 at 256 (1.10 [1.10, 1.10]),",
        "The control fails in 1 of 9 cells: batch_size, 5x64 at 16 (1.20 [1.20, 1.20]).",
    ):
        assert words in page
    svg = path.with_suffix(".svg")
    drawn = svg.read_bytes()
    assert drawn.count(b'<g id="axes_') == 3
    assert main(["report", str(path)]) == 0
    assert svg.read_bytes() == drawn


def test_nothing_timed_is_said(tmp_path, capsys):
    path = write(tmp_path / "r.jsonl", *itertools.repeat(cell(error="was wrong"), 2))
    assert main(["report", str(path)]) == 0
    assert "0 of 1 cells timed" in capsys.readouterr().out and not path.with_suffix(".svg").exists()

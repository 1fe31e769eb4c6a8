import jax
import numpy as np
import pytest
from benchmark_runs import CACHED, lines_of, made_row, reported, timed, write

from benchmarks import records
from benchmarks.__main__ import main
from benchmarks.gradients import command, growth, plots, programs, table
from benchmarks.plans import equal_widths


def cell(size=4, varied="batch size", seconds=1e-3, ratio=1.0, noise=0.002, error=None, **changes):
    """A row as a run writes it, manual taking `ratio` times as long as autodiff."""
    name, sizes, *_ = equal_widths(*{"batch size": (5, 64), "width": (4, size), "depth": (size, 64)}[varied])
    programs = timed({"manual": ratio, "autodiff": 1.0, "control": 1.01}, size, seconds, noise=noise)
    m = size if varied == "batch size" else 256
    fields = {"network": name, "sizes": list(sizes), "batch_size": m} | changes
    return made_row("gradients", programs, error, **fields)


def of(rows, varied="width"):
    (found,) = [series for series in growth.all_series(rows) if series.varied == varied]
    return found


def wider(sizes, seconds, **more):
    return [cell(size, "width", seconds(size), **more) for size in sizes]


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_power_is_found(power):
    """Exactly without noise, within a narrow interval with it, and for each program its own."""
    rows = [cell(n, "width", 1e-6 * n**power, ratio=n**0.25, noise=0) for n in (16, 32, 64, 256)]
    for program, right in (("autodiff", power), ("manual", power + 0.25)):
        found = growth.exponent(of(rows), program)
        assert (found.slope, found.low, found.high) == pytest.approx((right, right, right))
    noisy = of(wider((16, 32, 64, 256), lambda n: 1e-6 * n**power, noise=0.05))
    found = growth.exponent(noisy, "autodiff")
    assert found.low < found.slope < found.high < found.low + 0.04 and abs(found.slope - power) < 0.02
    assert growth.exponent(noisy, "autodiff") == found  # the same times, the same interval


def test_the_interval_holds_the_true_power():
    def drawn(seed):
        rng = np.random.default_rng(seed)
        rows = wider((16, 32, 64, 256), lambda n: 1e-6 * n**1.5, noise=0)
        for row in rows:
            times = row["programs"]["autodiff"]["times_s"]
            row["programs"]["autodiff"]["times_s"] = [t * rng.lognormal(0, 0.05) for t in times]
        return growth.exponent(of(rows), "autodiff", resamples=300)

    assert np.mean([found.low <= 1.5 <= found.high for found in map(drawn, range(60))]) >= 0.85


def test_overhead_is_not_fitted():
    def chosen(overhead, ratio_of_first=1.0):
        """Times of 1 µs an example, and overhead in µs."""
        sizes = (1, 4, 16, 32, 256, 1024, 4096)
        rows = [cell(m, seconds=1e-6 * (overhead + m), ratio=ratio_of_first if m == 1 else 1.0) for m in sizes]
        return growth.fitted(of(rows, "batch size"))

    assert chosen(100).sizes == (256, 1024, 4096)  # ten times the first only from 1,024 on
    assert chosen(10).sizes == (256, 1024, 4096)
    assert chosen(1).sizes == (32, 256, 1024, 4096)
    assert 0.98 < growth.exponent(chosen(1), "autodiff").slope < 1.0
    # the same cells for manual, whatever its times
    assert chosen(1, ratio_of_first=100.0).sizes == (32, 256, 1024, 4096)


def test_series_differ_in_one_size():
    rows = [cell(n, "depth") for n in (8, 2, 32, 4)] + [cell(n, "width") for n in (16, 128, 32)]
    rows += [cell(16), cell(4), cell(4, network="other", sizes=[9, 7, 3])]
    series = growth.all_series(rows)
    assert {(s.varied, s.fixed): s.sizes for s in series if s.varied != "batch size"} == {
        ("width", "4 layers, 10 outputs, batch 256"): (16, 32, 64, 128),  # 64 from the depths
        ("depth", "width 64, 10 outputs, batch 256"): (2, 4, 8, 32),
    }
    assert {s.fixed: s.sizes for s in series if len(s.sizes) > 1 and s.varied == "batch size"} == {"5x64": (4, 16)}
    # too few depths for a series, and a column for each network that is in none
    assert [s.varied for s in growth.all_series(rows[:3])] == ["batch size"] * 3
    assert [(s.varied, s.fixed) for s in plots.columns_of(rows)] == [
        ("batch size", "5x64"),
        ("batch size", "other"),
        ("width", "4 layers, 10 outputs, batch 256"),
        ("depth", "width 64, 10 outputs, batch 256"),
    ]


def test_a_run_of_depths(tmp_path, monkeypatch, capsys):
    """The sizes are those asked for; the programs that are timed are the same for all."""
    monkeypatch.setattr(programs, "of_cell", lambda sizes, m, *more: CACHED((7, 5, 3), 2, *more))
    path = tmp_path / "r.jsonl"
    tiny = "--plan depth --networks 6-3 6-6-3 6-6-6-3 6-6-6-6-3 --batch-sizes 4 --repeats 6 --out".split()
    assert main([*tiny, str(path)]) == 0
    rows, _ = records.read(path)
    out = capsys.readouterr().out
    (line,) = lines_of(out, 5)[1:]
    assert line[:3] == ["depth", "width 6, 3 outputs, batch 4", "2, 3, 4"] and str(table.GROWTH_NOTES) in out
    with jax.enable_x64(False):
        assert len(command.SUITE.draw(rows).axes) == 4  # one column; compile time is drawn


def test_rows_of_the_suite_scaling_are_read_as_gradients(tmp_path, capsys):
    rows = [cell(m, seconds=1e-5 * m) for m in (1, 4, 16, 64)]
    rows += wider((16, 32, 64, 256), lambda n: 1e-7 * n**2, ratio=1.1)
    rows += [cell(2, "depth", 1e-4), cell(4, "depth", error="was wrong"), cell(8, "depth", 3e-4)]
    parts = ["batch_size"] * 4 + ["width"] * 4 + ["depth"] * 3
    old = [row | {"suite": "scaling", "part": part} for row, part in zip(rows, parts, strict=True)]
    page = reported(capsys, write(tmp_path / "r.jsonl", *old))
    assert [line[:4] for line in lines_of(page, 5)[1:]] == [
        ["batch size", "5x64", "4, 16, 64", "1.00 [1.00, 1.00]"],
    ]
    (line,) = [line for line in lines_of(page, 9) if line[0] == "4x256"]
    assert line[4:7] == ["1.10 [1.10, 1.10]", "manual slower", ""]
    assert "9 of 10 cells timed" in page and "over rows" not in page

import numpy as np
import pytest
from benchmark_runs import made_row, refused, write

from benchmarks import compare, environment, rows
from benchmarks.__main__ import main


def cell(
    batch_size=4,
    ratio=1.0,
    control=1.0,
    memory: int | None = 1000,
    suite="gradients",
    part=None,
    noise=0.01,
    error=None,
    **here,
):
    """A row as a run of a suite writes it, manual taking `ratio` times as long as its baseline."""
    baseline, copied = rows.references({"suite": suite, "part": part})
    rng = np.random.default_rng(batch_size)
    times = {"manual": ratio, baseline: 1.0}
    times |= {copied: times.get(copied, 0.5)}
    times |= {"control": control * times[copied]}
    drawn = {name: list(1e-3 * scale * rng.lognormal(0, noise, 40)) for name, scale in times.items()}
    programs = {name: {"times_s": found, "temp_bytes": memory} for name, found in drawn.items()}
    fields = {"batch_size": batch_size, "environment": environment.describe("float32") | {"device": "a device", **here}}
    return made_row(suite, programs, error, **fields | ({"part": part} if part else {}))


@pytest.fixture
def compared(tmp_path, capsys):
    """Runs the command on rows before and after: its exit status, and what it prints."""

    def run(old, new):
        paths = [tmp_path / "old.jsonl", tmp_path / "new.jsonl"]
        for path, cells in zip(paths, (old, new), strict=True):
            path.unlink(missing_ok=True)
            write(path, *cells)
        status = main(["compare", *map(str, paths)])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def verdicts(out):
    """By cell, the verdict and the memory after it."""
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| ")]
    return {line[0]: (line[3], line[5]) for line in lines[1:]}


@pytest.mark.parametrize("suite", compare.COMPARED)
def test_what_got_worse_fails_in_every_suite(compared, suite):
    old = [cell(m, suite=suite) for m in (1, 4, 16)]
    new = [cell(1, 1.1, suite=suite), cell(4, 0.9, suite=suite), cell(16, suite=suite)]
    status, out, err = compared(old, new)
    assert (status, err) == (1, "")
    assert [found for found, _ in verdicts(out).values()] == ["worse", "better", "no difference"]
    assert "Of 3 cells timed in both files 1 are better, 1 no different, 0 too noisy to tell and 1 worse (" in out
    assert out.splitlines()[-1].endswith("7-5-3 at 1); memory grew in 0; 0 cells are missing.")
    assert compared(old, old)[0] == 0 and compared(new, new)[0] == 0
    assert compared(new, old)[0] == 1  # what was 0.9 is 1.0 now


def test_worse_is_beyond_both_intervals(compared):
    """A change within the noise of either file is none."""
    status, out, _ = compared([cell(ratio=1.0)], [cell(ratio=1.003)])
    assert status == 0 and verdicts(out)["7-5-3 at 4"][0] == "no difference"
    change = compare.Change("a cell", compare.Ratio(1.0, 0.9, 1.1), compare.Ratio(1.2, 1.1, 1.3), False, None)
    assert change.time == "no difference"
    assert change._replace(new=compare.Ratio(1.2, 1.11, 1.3)).time == "worse"
    assert change._replace(new=compare.Ratio(0.8, 0.7, 0.9)).time == "no difference"
    assert change._replace(new=compare.Ratio(0.8, 0.7, 0.89)).time == "better"


def test_the_part_ensemble_has_a_baseline_of_its_own(compared):
    old, new = ([cell(ratio=ratio, suite="training", part="ensemble")] for ratio in (1.0, 1.1))
    assert compared(old, new)[0] == 1 and compared(old, old)[0] == 0


@pytest.mark.parametrize("shaken", ["old", "new"])
def test_a_cell_too_noisy_to_tell_does_not_fail(compared, shaken):
    control = {"old": 1.0, "new": 1.0} | {shaken: 1.2}
    status, out, _ = compared([cell(control=control["old"])], [cell(ratio=1.5, control=control["new"])])
    assert status == 0 and verdicts(out)["7-5-3 at 4"][0] == "too noisy to tell"
    assert "0 no different, 1 too noisy to tell and 0 worse;" in out and out.endswith(f"{compare.TOO_BUSY}\n")


@pytest.mark.parametrize("wide", ["old", "new"])
def test_a_wide_interval_is_too_noisy_to_tell(compared, wide):
    """Though the intervals lie apart; the control passes."""
    noise = {"old": 0.01, "new": 0.01} | {wide: 1.2}
    old, new = (cell(ratio=ratio, noise=noise[name]) for name, ratio in (("old", 1.0), ("new", 9.0)))
    for row in (old, new):
        row["programs"]["control"] = row["programs"]["autodiff"]
    status, out, _ = compared([old, cell(8)], [new, cell(8)])
    assert status == 0 and verdicts(out)["7-5-3 at 4"][0] == "too noisy to tell" and compare.TOO_BUSY not in out
    assert compared([cell(ratio=1.0)], [cell(ratio=9.0)])[0] == 1


def test_other_processes_make_a_cell_of_training_too_noisy_to_tell(compared):
    old, new = cell(suite="training"), cell(suite="training", ratio=2.0)
    assert compared([old], [new])[0] == 1 and compared([old], [new | {"others_cpu": 0.06}])[0] == 0


def test_memory_that_grew_fails(compared):
    for memory, status in ((1000, 0), (1050, 0), (1051, 1), (10, 0)):
        assert compared([cell()], [cell(memory=memory)])[0] == status
    status, out, _ = compared([cell(), cell(8)], [cell(memory=1100), cell(8)])
    assert status == 1 and verdicts(out) == {
        "7-5-3 at 4": ("no difference", "1.10 kB *"),
        "7-5-3 at 8": ("no difference", "1.00 kB"),
    }
    assert "memory grew in 1 (7-5-3 at 4);" in out
    # the control is of times: it excuses no memory
    assert compared([cell(control=1.2)], [cell(control=1.2, memory=1100)])[0] == 1
    # not known: nothing to compare
    assert compared([cell(memory=None)], [cell(memory=9000)])[0] == 0


def test_differences_are_named_and_memory_of_another_backend_is_not_compared(compared):
    status, out, _ = compared([cell(jax="0.1")], [cell(jax="0.2", device="another", memory=9000)])
    assert status == 1 and "Different: device a device, now another; jax 0.1, now 0.2.\n" in out
    status, out, _ = compared([cell(backend="cpu")], [cell(backend="gpu", memory=9000)])
    assert status == 0 and "Different: backend cpu, now gpu.\nMemory is not compared" in out
    assert compared([cell(backend="cpu")], [cell(ratio=1.1, backend="gpu")])[0] == 1
    assert "Different" not in compared([cell()], [cell()])[1]


def test_cells_that_are_not_in_both_are_said(compared):
    old = [cell(1), cell(2), cell(4), cell(8, error="was wrong")]
    new = [cell(1), cell(4, error="ran out of memory"), cell(8), cell(16)]
    status, out, _ = compared(old, new)
    assert status == 0 and list(verdicts(out)) == ["7-5-3 at 1"]
    for words in (
        "Missing from the new file: 7-5-3 at 2.",
        "Only in the new file: 7-5-3 at 16.",
        "Not timed in the old file: 7-5-3 at 8: was wrong.",
        "Not timed in the new file: 7-5-3 at 4: ran out of memory.",
        "Of 1 cells timed in both files",
        "1 cells are missing.",
    ):
        assert words in out


def test_a_cell_measured_again_counts_as_last_measured(compared):
    assert compared([cell()], [cell(ratio=2.0), cell()])[0] == 0
    assert compared([cell()], [cell(), cell(ratio=2.0)])[0] == 1


def test_a_baseline_that_was_not_run(compared):
    row = cell(suite="quantities")
    row["programs"]["autodiff"] = {"not_run": "too large"}
    status, out, _ = compared([row], [cell(suite="quantities", ratio=9.0)])
    assert status == 0 and verdicts(out)["variance, 7-5-3 at 4"] == ("baseline not run", "1.00 kB")


def test_requests_that_cannot_be_met(tmp_path, capsys):
    old, other = write(tmp_path / "old.jsonl", cell()), write(tmp_path / "other.jsonl", cell(suite="training"))
    assert f"{old} has suite gradients, {other} training" in refused(capsys, "compare", str(old), str(other))
    nothing = write(tmp_path / "nothing.jsonl", cell(error="was wrong"), cell(9))
    assert f"no cell was timed in both {old} and {nothing}" in refused(capsys, "compare", str(old), str(nothing))
    assert "No such file" in refused(capsys, "compare", str(old), str(tmp_path / "none.jsonl"))
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_text("x, y\n")
    assert "is not a results file" in refused(capsys, "compare", str(foreign), str(old))
    assert "required: NEW.jsonl" in refused(capsys, "compare", str(old))


def test_a_truncated_line_is_said(tmp_path, capsys):
    path = write(tmp_path / "r.jsonl", cell(), cell(8))
    whole = write(tmp_path / "whole.jsonl", cell(), cell(8))
    path.write_bytes(path.read_bytes()[:-100])
    assert main(["compare", str(whole), str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == f"{path}: line 2 is incomplete and was left out\n" and "1 cells are missing." in out

import jax
import jax.numpy as jnp
import pytest
from benchmark_runs import CACHED, lines_of, refused, reported, run, write
from benchmark_runs import gradients as cell
from cpu_mesh import cpu_mesh
from jax.sharding import AxisType

from benchmarks import blocked, environment, measure, plans, records, rows, text
from benchmarks.display import markdown
from benchmarks.gradients import command, programs, table
from benchmarks.program import Compiled, random_problem
from benchmarks.suite import Cell
from reference.compare import largest_error


def test_programs_compute_in_the_dtype_asked_for():
    for dtype in command.BOUNDS:
        for name, program in programs.basic(random_problem((7, 5, 3), 2, dtype)).items():
            assert {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(program.function, *program.args))} == {
                jnp.dtype(dtype)
            }, name
    four = programs.basic(random_problem((7, 5, 3), 2, "float32"))
    assert four["autodiff_rows"].args[1].shape == (2, 7) and four["autodiff"].args[1].shape == (7, 2)
    assert len({id(program.function) for program in four.values()}) == 4


def test_random_networks_agree_in_every_program():
    for of, m in plans.random_points(10, 0):
        with jax.enable_x64(True):
            made = programs.basic(random_problem(of.sizes, m, "float64", **of.activations))
            errors, reason = measure.compare(command.SUITE, made, command.BOUNDS["float64"], "autodiff")
        assert reason is None and errors.keys() == {"manual", "autodiff_rows", "control"}, of.name


def test_the_faster_of_the_two_conventions(tmp_path, capsys):
    """Manual takes 1.2 of the time of columns, and 0.6 of that of rows."""
    cells = [cell(m, 1.2, network=f"{m}-5-3", sizes=[m, 5, 3]) for m in range(2, 16)]
    page = reported(capsys, write(tmp_path / "r.jsonl", *cells))
    line = next(line for line in page.splitlines() if "faster of the two conventions" in line)
    assert "manual takes 1.20 of the time in the geometric mean of 14 cells, 14 above 1.05 and 14 above 1.15." in line
    assert line.count("-5-3 at") == 10


def test_flops():
    # two layers, two examples: Z and dW of both, dA of the first
    assert programs.flops((7, 5, 3), 2) == 2 * (2 * (35 + 15) + 2 * (35 + 15) + 2 * 15)


def test_autodiff_in_the_blocks_of_manual(monkeypatch):
    """Every block size gives the gradient; there is a program where manual takes blocks, and else a word."""
    problem = random_problem((7, 5, 3), 11, "float64")
    right = programs.basic(problem)["autodiff"].result()
    args = problem.params, problem.X, problem.Y
    for block in (1, 3, 11):
        assert largest_error(jax.jit(blocked.value_and_grad(problem.model, block))(*args), right) <= 1e-14
    absent = "manual takes all examples at once, as autodiff does"
    assert programs.of_cell((7, 5, 3), 11, "float64")["autodiff_blocks"] == absent
    monkeypatch.setattr(programs.blocks, "auto", lambda *args: 4)
    made = programs.of_cell((7, 5, 3), 11, "float64")["autodiff_blocks"]
    assert isinstance(made, Compiled) and largest_error(made.result(), right) <= 1e-14
    assert str(jax.make_jaxpr(made.function)(*made.args)).count("scan[") == 1


@pytest.mark.parametrize("name", programs.PEERS)
def test_torch_computes_the_same_gradient(name):
    pytest.importorskip("torch")
    with jax.enable_x64(False):
        problem = random_problem((12, 8, 6, 3), 5, "float32")
        right = programs.basic(problem)["autodiff"].result()
        made = programs.of_cell((12, 8, 6, 3), 5, "float32", peers=True)[name]
        assert not isinstance(made, str)
        if "not_run" in made.preparation:
            assert name == "torch_compile"  # no compiler of C++
            return
        found = made.result()
    assert measure._kinds(found) == measure._kinds(right)
    assert 0 < largest_error(found, right) <= 1e-6
    assert made.preparation["first_s"] > 0 and made.preparation["library"].startswith("torch ")


def test_calls_in_a_row_and_given_blocks(tmp_path, capsys):
    """`--calls` counts the calls at a time, and `--block-size` the examples that manual and autodiff_blocks take."""
    path = tmp_path / "r.jsonl"
    assert run(path, "--batch-sizes", "8", "--calls", "3", "--block-size", "2") == 0
    (row,), _ = records.read(path)
    found = row["programs"]
    assert {program["calls"] for program in found.values()} == {3} and found.keys() >= {"manual", "autodiff_blocks"}
    once = row | {"programs": {name: of | {"calls": 1} for name, of in found.items()}}
    assert rows.median_of(row, "manual") == rows.median_of(once, "manual") / 3
    made, counted = programs.of_cell((7, 5, 3), 8, "float32", block_size=2, calls=3), []
    for name, program in made.items():
        assert isinstance(program, programs.InARow)
        assert ("scan" in str(jax.make_jaxpr(program.function)(*program.args))) == (
            name in ("manual", "autodiff_blocks")
        )
    counting = programs.InARow(Compiled(lambda: counted.append(1) or len(counted), ()), 3)
    assert counting() == 3


def test_options_that_do_not_go_together(capsys):
    assert "--peers waits for each call" in refused(capsys, "--peers", "--calls", "2")
    assert "--cores takes blocks of its own" in refused(capsys, "--cores", "--block-size", "2")


def test_on_a_gpu(monkeypatch):
    """There is a word on the kernel; blocks are those that a GPU takes; TF32 has a bound of its own."""
    right = CACHED((7, 5, 3), 8, "float32")
    monkeypatch.setattr(programs.blocks, "auto", lambda shape, widths, itemsize: 2)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    made = programs.of_cell((7, 5, 3), 8, "float32")
    assert made.keys() == right.keys() | {"fused"}
    assert made["autodiff_blocks"] == "manual takes all examples at once, as autodiff does"
    monkeypatch.setattr(programs.blocks, "auto_on_gpu", lambda shape, widths, itemsize: 2)
    in_blocks = programs.of_cell((7, 5, 3), 8, "float32")["autodiff_blocks"]
    assert isinstance(in_blocks, Compiled) and "scan[" in str(jax.make_jaxpr(in_blocks.function)(*in_blocks.args))
    monkeypatch.setattr(programs, "is_spread", lambda X, platform: platform == "gpu")
    assert programs.of_cell((7, 5, 3), 8, "float32")["autodiff_blocks"] == made["autodiff_blocks"]
    with jax.default_matmul_precision(None):
        assert environment.is_tf32("float32") and not environment.is_tf32("bfloat16")
    with jax.default_matmul_precision("highest"):
        assert not environment.is_tf32("float32")


@pytest.mark.parametrize(
    ("tf32", "off", "fate"), [(False, 1.01, "left out"), (True, 1.01, "timed"), (True, 1.1, "left out")]
)
def test_a_program_that_may_differ_is_left_out(tf32, off, fate, monkeypatch):
    """And the others are timed."""
    four = {n: p for n, p in CACHED((7, 5, 3), 8, "float32").items() if n != "autodiff_blocks"}
    right = four["manual"]
    assert isinstance(right, Compiled)
    wrong = Compiled(jax.jit(lambda *args: jax.tree.map(lambda x: off * x, right.function(*args))), right.args)
    monkeypatch.setattr(environment, "is_tf32", lambda dtype: tf32)
    plan = plans.GRADIENTS["quick"]._replace(seconds=0.01, least=6, most=6)
    of = Cell({}, lambda: four | {"fused": wrong})
    found = measure.measure_cell(command.SUITE, of, "float32", plan, lambda fraction: None)
    assert found["error"] is None and len(found["programs"]["manual"]["times_s"]) == 6
    assert ("times_s" in found["programs"]["fused"]) == (fate == "timed") and found["errors"]["fused"]["cost"] > 5e-3
    assert fate == "timed" or found["programs"]["fused"]["not_run"].startswith("fused differs from autodiff: cost by ")


def test_a_program_that_may_fail_is_left_out():
    def fails():
        raise jax.errors.JaxRuntimeError("an illegal address\nand a long story")

    four = {n: p for n, p in CACHED((7, 5, 3), 8, "float32").items() if n != "autodiff_blocks"}
    failing = Compiled(fails, ())
    failing.__dict__["preparation"] = {}
    plan = plans.GRADIENTS["quick"]._replace(seconds=0.01, least=6, most=6)
    of = Cell({}, lambda: four | {"fused": failing})
    found = measure.measure_cell(command.SUITE, of, "float32", plan, lambda fraction: None)
    assert found["error"] is None and found["programs"]["fused"] == {"not_run": "an illegal address"}


def test_torch_is_asked_for(tmp_path, made_up, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(programs, "of_cell", lambda *args: asked.append(args[3]) or CACHED(*args[:3]))
    assert run(tmp_path / "r.jsonl", "--batch-sizes", "2") == 0
    monkeypatch.setattr(command, "is_here", lambda package: False)
    assert run(tmp_path / "s.jsonl", "--batch-sizes", "2", "--peers") == 0
    assert asked == [False, True]
    assert "torch is not installed and will not be timed: pip install 'manual_bp[peers]'" in capsys.readouterr().err
    assert "--peers compares in float32" in refused(capsys, "--peers", "--dtype", "float64")
    with monkeypatch.context() as patch:
        patch.setattr(programs, "is_here", lambda package: False)
        absent = CACHED.__wrapped__((7, 5, 3), 2, "float32", True)
    assert {absent[name] for name in programs.PEERS} == {"torch cannot be imported: pip install 'manual_bp[peers]'"}


def test_over_the_cores(tmp_path, monkeypatch, capsys):
    """Manual and autodiff in blocks both use the devices, and still give the gradient."""
    mesh = cpu_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    monkeypatch.setattr(command.bp, "use_cpu_devices", lambda: mesh)
    monkeypatch.setattr(environment, "matmul_flops", lambda dtype: 1e11)
    monkeypatch.setattr(programs.blocks, "auto", lambda shape, widths, itemsize: 2)
    assert run(tmp_path / "r.jsonl", "--batch-sizes", "8", "--cores") == 0
    (even,), _ = records.read(tmp_path / "r.jsonl")
    odd = programs.of_cell((7, 5, 3), 7, "float32", mesh=mesh)["autodiff_blocks"]
    assert odd == "7 examples do not divide by 2 devices"
    assert even["errors"].keys() == {"manual", "autodiff_rows", "autodiff_blocks", "manual_one_device", "control"}
    assert all(e < 1e-5 for errors in even["errors"].values() for e in errors.values())
    for name in ("manual", "autodiff_blocks", "manual_one_device"):
        made = programs.of_cell((7, 5, 3), 8, "float32", mesh=mesh)[name]
        assert isinstance(made, Compiled)
        traced = str(jax.make_jaxpr(made.function)(*made.args))
        assert "scan" in traced and ("psum" in traced) == (name != "manual_one_device")
    assert f"threads as {jax.device_count()} devices" in text.conditions(even)


def test_report_draws_from_the_file_alone(tmp_path, capsys):
    rows = [cell(1, ratio=9.0), cell(4, ratio=0.9), cell(16), cell(64, ratio=1.1), cell(256, error="was wrong")]
    rows[1]["programs"]["manual"] |= {"temp_bytes": 1024, "compile_s": 0.42}
    rows[3]["programs"]["manual"]["temp_bytes"] = 65536
    page = reported(capsys, write(tmp_path / "r.jsonl", *rows, cell(1, ratio=0.5)))
    body = {int(line[1]): line[2:] for line in lines_of(page, 9)[1:]}
    assert {m: line[3] for m, line in body.items()} == {
        1: "manual faster",  # measured twice: the later counts
        4: "manual faster",
        16: "no difference",
        64: "manual slower",
        256: "",
    }
    assert body[64][2] == "1.10 [1.10, 1.10]" and body[4][0] == "36.0 µs" and body[256][0] == "not timed"
    memory = {line[1]: line[2:] for line in lines_of(page, 8)[1:]}
    assert memory["4"] == ["1.02 kB", "2.05 kB", "2.05 kB", "0.50", "20 / 20 / 20", "420 / 200 / 200"]
    assert "256" not in memory
    for sentence in (
        "Manual takes 0.84 of the time of autodiff in the geometric mean of 4 cells: it is faster in 2, no different "
        "in 1, slower in 1: 7-5-3 at 64 (1.10 [1.10, 1.10]). The interval reaches above 1.05 in 1 of 4: "
        "7-5-3 at 64 (1.10 [1.10, 1.10]).",
        "Manual takes 0.42 of the time of autodiff over rows in the geometric mean of 4 cells: it is faster in 4, ",
        "Manual needs 1.00 of the memory of autodiff in the geometric mean, from 0.50 to 2.00; more in 1 of 4 cells: "
        "7-5-3 at 64 (2.00).",
        "Lowering and compiling manual takes 1.00 of the time of autodiff in the median over cells.",
        "The control passes in 4 of 4 cells.",
        "Against autodiff 4 of 4 cells could be told apart from noise.",
        "Not timed: 7-5-3 at 256: was wrong.",
    ):
        assert sentence in page
    assert len(command.SUITE.draw([cell(m) for m in (1, 4, 16)]).axes) == 3


def test_memory_and_compile_time_that_are_not_known():
    row = cell(4)
    row["programs"]["manual"] = {"first_s": 1.0, "times_s": row["programs"]["manual"]["times_s"]}
    row["programs"]["autodiff"] |= {"lower_s": 1e-4, "compile_s": 1e-5}  # JAX had it already
    (line,) = lines_of(markdown(table.memory_and_compiling([row])), 8)[1:]
    assert line[2:] == ["?", "2.05 kB", "2.05 kB", "", "? / ? / 20", "? / ? / 200"]
    assert "memory" not in table.summary([row]) and "Lowering" not in table.summary([row])


def test_a_table_of_the_others(tmp_path, capsys):
    """Only of the cells that have any; a file from before there were any is read as it was."""
    without, both = cell(1), cell(4)
    manual = both["programs"]["manual"]["times_s"]
    both["programs"]["torch_eager"] = {"library": "torch 2", "first_s": 0.1, "times_s": [4 * t for t in manual]}
    both["programs"]["torch_compile"] = {"not_run": "RuntimeError: no compiler"}
    both["programs"]["autodiff_blocks"] = {"not_run": "manual takes all examples at once"}
    page = markdown(table.page([without, both]))
    (line,) = [line for line in page.splitlines() if "0.25 [0.25, 0.25]" in line]
    assert [c.strip() for c in line.split("|")[1:4]] == ["7-5-3", "4", "0.25 [0.25, 0.25]"]
    assert "of the time of PyTorch in the geometric mean of 1 cells: it is faster in 1," in page
    assert (
        "torch.compile in the" not in page
        and "manual / torch.compile" not in page
        and "PyTorch" not in markdown(table.page([without]))
    )


def wide(batch_size):
    """A cell with a ratio of about 1.16 [0.07, 2.00], whose control passes."""
    row = cell(batch_size)
    of = row["programs"]
    scales = [0.07] * 19 + [1.16] * 2 + [2.0] * 19
    of["manual"]["times_s"] = [scale * t for scale, t in zip(scales, of["autodiff"]["times_s"], strict=True)]
    return row


def test_what_is_too_noisy_to_tell_is_in_no_mean_and_no_count():
    """A failing control, and an interval that is wide."""
    noisy = [cell(4, 0.5, control=1.06), wide(16)]
    for row in noisy:
        assert rows.verdict(row, table.ratio(row)) == "too noisy to tell"
        assert table.line(row).endswith(", too noisy to tell")
    assert "1.16 [0.07, 2.00]" in table.line(noisy[1]) and "1.06 [1.06, 1.06] *" in str(table.times(noisy))
    body = {line[1]: line for line in lines_of(str(table.times([cell(1), *noisy])), 9)}
    assert [body[m][5] for m in ("1", "4", "16")] == ["no difference", "too noisy to tell", "too noisy to tell"]
    assert body["4"][4] == "0.50 [0.50, 0.50] *" and body["16"][4] == "1.16 [0.07, 2.00] *"
    words = table.summary([cell(1, 0.9), cell(64, 1.1), *noisy])
    assert "Manual takes 0.99 of the time of autodiff in the geometric mean of 2 cells: it is faster in 1, " in words
    assert "no different in 0, too noisy to tell in 2, slower in 1: 7-5-3 at 64 (1.10 [1.10, 1.10])." in words
    assert "The interval reaches above 1.05 in 1 of 2: 7-5-3 at 64 (1.10 [1.10, 1.10])." in words
    assert "The control passes in 3 of 4 cells." in words and "2 of 4 cells could be told apart from noise." in words
    assert text.TOO_BUSY not in words
    words = table.summary([cell(1, network="of its own", control=1.06), *noisy, cell(64, 0.9)])
    assert f"1 of 4 cells could be told apart from noise. {text.TOO_BUSY}" in words and "of its own" not in words
    assert "- Manual against autodiff: all 2 cells are too noisy to tell." in table.summary(noisy)


def test_the_end_of_a_run_is_the_result_in_words():
    def ending(*found):
        return table.ending([*found, cell(1024, error="was wrong")])

    assert ending() == ["No cell was timed."]
    assert ending(cell(1, 0.5), cell(4, 0.9), cell(16), cell(64, 1.1)) == [
        "Manual is faster than autodiff: it takes 0.84 of the time in the geometric mean of 4 cells, from 0.50 to "
        "1.10; faster in 2, no different in 1, slower in 1.",
        "How sure: 4 of 4 cells could be told apart from noise.",
    ]
    result, sure = ending(cell(1, 1.2), wide(16))
    assert result.startswith(
        "Manual is slower than autodiff: it takes 1.20 of the time in the geometric mean of 1 cells"
    )
    assert sure == f"How sure: 1 of 2 cells could be told apart from noise. {table.NOISY_CELLS}"
    assert ending(cell(1, 1.01))[0].startswith("Manual is about as fast as autodiff: it takes 1.01 of the time")
    result, sure = ending(wide(16))
    assert result == "Whether manual is faster than autodiff cannot be told."
    assert sure == f"How sure: 0 of 1 cells could be told apart from noise. {table.NOISY_CELLS} {text.TOO_BUSY}"


def test_what_is_too_noisy_is_crossed_out_in_the_figure():
    """Against both baselines."""

    def crosses(*found):
        return [line.get_xdata()[0] for line in command.SUITE.draw(found).axes[1].lines if line.get_marker() == "x"]

    assert crosses(cell(1), cell(4), wide(16)) == [16, 16] and crosses(cell(1), cell(4)) == []
    assert crosses(cell(1), cell(4, control=1.06)) == [4, 4]

import dataclasses

import jax
import numpy as np
import pytest
from benchmark_runs import lines_of, made_row, refused, reported, timed, write

from benchmarks import records, text
from benchmarks.__main__ import main
from benchmarks.display import markdown
from benchmarks.gradients.programs import flops
from benchmarks.program import random_problem
from benchmarks.roofline import command, limits, programs, table

PROGRAMS = {"manual", "products", "products_transposed", "copy", "control"}
SIZES = (7, 5, 3)


def run(path, *options):
    return main(
        ["roofline", "--networks", "7-5-3", "--batch-sizes", "4", "--repeats", "6", "--out", str(path), *options]
    )


def cell(batch_size=4, network="7-5-3", sizes=SIZES, block=None, error=None, **shares):
    """A row as a run writes it; a limit's time is its share of manual's."""
    scale = {"manual": 1.0, "products": 0.9, "products_transposed": 0.95, "copy": 0.1} | shares
    scale |= {"control": 1.01 * scale["products"]} if "control" not in shares else {}
    made = timed(scale, batch_size, 1e-5 * batch_size)
    for p in (*limits.PRODUCTS, "control"):
        made[p] |= {
            "block": block or batch_size,
            "examples": batch_size // (block or batch_size) * (block or batch_size),
        }
    fields = {"network": network, "sizes": list(sizes), "batch_size": batch_size}
    return made_row("roofline", made, error, **fields, errors={"products": {"dW[1]": 1e-7}})


def test_a_run_agrees_and_its_rows_are_whole(tmp_path, capsys):
    path = tmp_path / "r.jsonl"
    assert run(path) == 0
    (row,), notes = records.read(path)
    assert notes == [] and tuple(row) == records.FIELDS["roofline"]
    assert (row["network"], row["sizes"], row["batch_size"], row["error"]) == ("7-5-3", [7, 5, 3], 4, None)
    assert row["programs"].keys() == PROGRAMS
    for name, program in row["programs"].items():
        assert len(program["times_s"]) == 6 and all(0 < t < 10 for t in program["times_s"])
        assert program["compile_s"] > 0 and (program.get("block"), program.get("examples")) == (
            (None, None) if name in ("manual", "copy") else (4, 4)
        )
    assert row["errors"].keys() == {"products", "products_transposed", "control"}
    for errors in row["errors"].values():
        assert list(errors) == ["dW[1]", "dW[2]"] and all(0 <= e < 1e-5 for e in errors.values())
    out, err = capsys.readouterr()
    assert out == f"{markdown(table.page([row]))}\n\n{path}\n"
    assert err == f"1/1  7-5-3 at 4: {table.line(row)}\n"


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_run_in_another_dtype(tmp_path, dtype):
    assert run(tmp_path / "r.jsonl", "--dtype", dtype) == 0
    (row,), _ = records.read(tmp_path / "r.jsonl")
    assert row["environment"]["dtype"] == dtype
    assert 0 <= max(row["errors"]["products"].values()) < command.BOUNDS[dtype]


@pytest.mark.parametrize("mistake", ["layer", "scale"])
def test_a_wrong_product_is_found_and_not_timed(tmp_path, monkeypatch, capsys, mistake):
    """One dW that is off by 1 %, and one of zeros in place of the factors."""
    right = programs.factors

    def wrong(problem, m):
        of = right(problem, m)
        if mistake == "scale":
            return of._replace(dZ=[of.dZ[0], 1.01 * of.dZ[1]])
        return of._replace(A=[0 * of.A[0], of.A[1]])

    monkeypatch.setattr(programs, "factors", wrong)
    assert run(tmp_path / "r.jsonl") == 1
    (row,), _ = records.read(tmp_path / "r.jsonl")
    words = {"scale": "dW[2] by 1.0e-02", "layer": "dW[1] by 1.0e+00"}[mistake]
    assert row["programs"] == {} and row["error"] == f"products differs from manual: {words} in norm, 1.0e-03 allowed"
    out, err = capsys.readouterr()
    assert row["error"] in err and f"Not timed: 7-5-3 at 4: {row['error']}." in out and " not timed |" in out


def test_products_are_those_of_the_gradient():
    """Each by NumPy, and as many operations in what is compiled as are counted: none is left out."""
    sizes, m = (7, 5, 4, 3), 6
    made, of = programs.of_cell(sizes, m, "float64"), programs.factors(random_problem(sizes, m, "float64"), m)
    W, A, dZ = ([np.asarray(x) for x in given] for given in of[:1] + of[2:4])
    right = [w @ a for w, a in zip(W, A, strict=True)]
    right += [w.T @ d for w, d in zip(W[1:], dZ[1:], strict=True)]
    right += [d @ a.T for d, a in zip(dZ, A, strict=True)]
    for name, form in (("products", programs.products), ("products_transposed", programs.products_transposed)):
        found = [np.asarray(x) for x in jax.tree.leaves(form(*made[name].args))]
        for ours, theirs in zip(found, right, strict=True):
            turned = ours.T if name == "products_transposed" else ours
            np.testing.assert_allclose(turned, theirs, rtol=1e-12, atol=1e-15)
        _, number = made[name]()
        assert float(number) == pytest.approx(sum(x[0, 0] for x in found[:5]))  # 3 Z and 2 dA
    for name in ("products", "products_transposed", "control"):
        assert counted(made[name]) == pytest.approx(flops(sizes, m), rel=0.02), name
    assert made["products"].function is not made["control"].function


def counted(products):
    """Floating-point operations, as the compiler counts them in what it compiled."""
    return products.function.lower(*products.args).compile().cost_analysis()["flops"]


def test_the_copy_moves_what_a_gradient_has_to():
    # parameters twice, X and class indices once
    assert programs.traffic(SIZES, 2, "float32") == 4 * (2 * (7 * 5 + 5 + 5 * 3 + 3) + 7 * 2) + 2 * 4
    assert programs.traffic(SIZES, 2, "bfloat16") == 2 * (2 * 58 + 7 * 2) + 2 * 4
    for dtype in command.BOUNDS:
        with jax.enable_x64(dtype == "float64"):
            copy = programs.of_cell(SIZES, 2, dtype)["copy"]
            assert isinstance(copy, programs.Copy)
            before = copy.held[0]
            assert 0 <= 2 * before.nbytes - programs.traffic(SIZES, 2, dtype) < 2 * before.itemsize
            copied = copy()
            assert before.is_deleted() and copied is copy.held[0]  # in place
            np.testing.assert_array_equal(np.asarray(copied, "float64"), np.ones(copied.shape))


@pytest.mark.parametrize("at_once, calls", [(1, 4), (2, 2), (16, 1)])
def test_products_of_blocks_where_the_gradient_takes_blocks(monkeypatch, at_once, calls):
    """18 examples in four blocks of 4, compared on the first block."""
    monkeypatch.setattr(programs.blocks, "auto", lambda sizes, m, itemsize: 4)
    monkeypatch.setattr(programs, "BLOCKS", at_once)
    made = programs.of_cell(SIZES, 18, "float64")
    assert made["manual"].args[1].shape == (7, 18)
    for name in ("products", "products_transposed"):
        products = made[name]
        assert isinstance(products, programs.Products) and products.calls == calls
        assert (products.preparation["block"], products.preparation["examples"]) == (4, 16)
        # of equal factors none is formed once for all
        assert counted(products) == pytest.approx(flops(SIZES, 16 // calls), rel=0.02)
        for found, right in zip(products.result(), made["manual"].result(), strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-15)
        called = []
        dataclasses.replace(products, function=lambda *args, called=called: called.append(args))()
        assert len(called) == calls


@pytest.mark.parametrize(
    "sizes, m, expected",
    [
        ((64, 64, 64, 10), 1024, (1024, 1)),  # at once, as the gradient
        ((64, 64, 64, 64, 64, 10), 16384, (8192, 1)),  # a half: Z and dA of all are 34 MB
        ((64, 64, 64, 64, 64, 10), 65536, (8192, 1)),
        ((784, 128, 10), 65536, (2048, 15)),  # 2.2 MB a block
        ((4, 2**24, 2), 3, (1, 1)),  # one example is more than is at hand
    ],
)
def test_a_call_writes_no_more_than_is_at_hand(sizes, m, expected):
    assert programs.in_a_call(sizes, m, 4) == expected


def test_shares():
    row = cell()
    assert limits.flops_per_s(row, "manual") == pytest.approx(flops(SIZES, 4) / 4e-5, rel=0.01)
    found = limits.limit(row)
    assert found.program == "products" and found.share.median == pytest.approx(0.9)
    faster = limits.limit(cell(products_transposed=0.8))  # of the two forms the faster one
    assert faster.program == "products_transposed" and faster.share.median == pytest.approx(0.8)
    copied = limits.limit(cell(copy=0.97))
    assert copied.program == "copy" and copied.share.median == pytest.approx(0.97)
    # two blocks of 4 are 8 of 10 examples: the products of all would take 10/8 as long
    in_blocks = limits.limit(cell(10, block=4))
    assert in_blocks.share.median == pytest.approx(0.9 * 10 / 8)
    assert in_blocks.share.low == pytest.approx(in_blocks.share.high)
    assert limits.flops_per_s(cell(10, block=4), "products") == pytest.approx(flops(SIZES, 8) / 9e-5, rel=0.01)
    # the copy is of all examples
    assert limits.limit(cell(10, block=4, copy=2.0)).share.median == pytest.approx(2.0)
    assert limits.intensity(row) == flops(SIZES, 4) / programs.traffic(SIZES, 4, "float32")
    assert limits.bytes_per_s(row) == pytest.approx(programs.traffic(SIZES, 4, "float32") / 4e-6, rel=0.01)


def test_report_draws_from_the_file_alone(tmp_path, capsys):
    rows = [
        cell(1, products=0.5, products_transposed=0.4),
        cell(4, copy=0.95),
        cell(16, products=1.05, products_transposed=1.2),
        cell(64, network="other", products=0.8, products_transposed=0.7, control=1.2),
        cell(256, network="other", error="was wrong"),
    ]
    path = write(tmp_path / "r.jsonl", cell(16, products=0.1), *rows)  # measured twice: the later counts
    page = reported(capsys, path)
    cells = {(line[0], line[1]): line[2:] for line in lines_of(page, 11)}
    assert cells["7-5-3", "1"][-3:-1] == ["products, transposed", "0.40 [0.40, 0.40]"]
    assert cells["7-5-3", "4"][-3:-1] == ["copy", "0.95 [0.95, 0.95]"]
    assert cells["7-5-3", "16"][-2] == "1.05 [1.05, 1.05]" and cells["7-5-3", "16"][0] == "160 µs"
    assert cells["other", "64"][-2:] == ["0.70 [0.70, 0.70] *", "1.50 [1.50, 1.50] *"] and cells["other", "256"] == [
        "not timed",
        *[""] * 8,
    ]
    for words in (
        "4 of 5 cells timed",
        "Not timed: other at 256: was wrong.",
        # (0.4 * 0.95 * 1)^(1/3): the control of "other" fails
        "Manual reaches 0.72 of its limit in the geometric mean of 3 cells, a share above 1 counted as 1: 7-5-3 0.72. "
        "The lowest shares: 7-5-3 at 1 (0.40",
        "The limit is the products in 2 cells and the copy in 1; manual is beyond it in 1: 7-5-3 at 16 (1.05",
        "3 of 4 cells could be told apart from noise. The control fails in 1 of 4 cells: "
        "other at 64 (1.50 [1.50, 1.50]).",
        f"The largest copy, of {programs.traffic(SIZES, 64, 'float32') / 1e3:.2f} kB, ran at",
    ):
        assert words in page, words
    assert len(command.SUITE.draw(rows[:4]).axes) == 4
    assert "too noisy to tell" in table.line(rows[3]) and "too noisy" not in table.line(rows[0])
    words = table.summary(rows[3:])
    assert "Manual reaches" not in words and f"0 of 1 cells could be told apart from noise. {text.TOO_BUSY}" in words


def test_requests_that_cannot_be_met(tmp_path, capsys):
    assert "unknown network 'lenet'" in refused(capsys, "roofline", "--networks", "lenet")
    path = str(write(tmp_path / "r.jsonl", cell()))
    assert "suite roofline cannot be compared" in refused(capsys, "compare", path, path)

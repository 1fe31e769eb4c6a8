"""`python -m manual_bp predict` and `evaluate`, on models that `train --out` saved."""

import csv
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import command_runs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_runs import refusal, run

import manual_bp as bp
from manual_bp import __main__ as command
from manual_bp._command.confusion import confusion

# A checkpoint is written for each epoch, which takes longer than the epoch
QUICK = ("--hidden", "16", "--epochs", "4", "--learning-rate", "0.03", "--batch-size", "2")


class Trained(NamedTuple):
    data: str
    model: str


@pytest.fixture(autouse=True)
def x64():
    """The command runs as JAX starts: in float32, but for its check."""
    with jax.enable_x64(False):
        yield


def trained(folder: Path, data: str, *argv: str) -> Trained:
    with jax.enable_x64(False):
        assert command.main(["train", "--data", data, "--out", str(folder / "model"), *argv]) == 0
    return Trained(data, str(folder / "model"))


@pytest.fixture(scope="module")
def trees(tmp_path_factory) -> Trained:
    """Of a .csv with classes that are text."""
    folder = tmp_path_factory.mktemp("trees")
    return trained(folder, command_runs.trees(folder), *QUICK)


@pytest.fixture(scope="module")
def blobs(tmp_path_factory) -> Trained:
    """Of an .npz."""
    folder = tmp_path_factory.mktemp("blobs")
    return trained(folder, command_runs.blobs(folder), *QUICK)


@pytest.fixture(scope="module")
def plane(tmp_path_factory) -> Trained:
    """Of a .csv with values."""
    folder = tmp_path_factory.mktemp("plane")
    return trained(folder, command_runs.plane(folder), "--regression", *QUICK)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def table(path: str) -> tuple[list[str], list[list[str]]]:
    header, *rows = csv.reader(Path(path).read_text().splitlines())
    return header, rows


def write(path: Path, header: list[str], rows: list) -> str:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def outputs(model: str, X: np.ndarray) -> np.ndarray:
    """A[L], from what is saved and nothing else."""
    network, params, extra = bp.load(model)
    X = (X - extra["inputs"]["mean"]) / extra["inputs"]["deviation"]
    return np.asarray(bp.predict(network, params, jnp.asarray(X.T, np.float32)))


def test_classes_of_a_csv(capsys, trees):
    header, rows = table(trees.data)
    A = outputs(trees.model, np.array([row[:2] for row in rows], float))
    found = rows_of(run(capsys, "predict", trees.model, "--data", trees.data, "--probabilities"))
    assert list(found[0]) == ["class", "p_elm", "p_oak"]
    assert [row["class"] for row in found] == np.array(["elm", "oak"])[np.argmax(A, axis=0)].tolist()
    # What is printed is the float32 itself
    np.testing.assert_array_equal(np.array([[row["p_elm"], row["p_oak"]] for row in found], np.float32).T, A)
    assert np.mean([row["class"] == true[2] for row, true in zip(found, rows, strict=True)]) > 0.95


def test_features_of_a_csv_are_found_by_name_and_the_target_is_ignored(capsys, trees, tmp_path):
    expected = run(capsys, "predict", trees.model, "--data", trees.data)
    assert expected.startswith("class\noak\nelm\n")
    _, rows = table(trees.data)
    for header, order in ((["width", "height"], [1, 0]), (["species", "width", "height"], [2, 1, 0])):
        turned = [["?" if j == 2 else row[j] for j in order] for row in rows]
        path = write(tmp_path / "turned.csv", header, turned)
        assert run(capsys, "predict", trees.model, "--data", path) == expected


def test_values_of_a_csv_are_on_their_own_scale(capsys, plane):
    _, rows = table(plane.data)
    data = np.array(rows, float)
    out = run(capsys, "predict", plane.model, "--data", plane.data)
    values = np.array([row["value"] for row in rows_of(out)], np.float32)
    scaling = bp.load(plane.model).extra["outputs"]
    expected = outputs(plane.model, data[:, :2])[0].astype(float) * scaling["deviation"] + scaling["mean"]
    np.testing.assert_array_equal(values, expected.astype(np.float32))
    assert np.abs(values - data[:, 2]).mean() < 2


def test_an_npz_is_predicted_by_number(capsys, blobs, tmp_path):
    X, y = np.load(blobs.data).values()
    A = outputs(blobs.model, X)
    np.savez(tmp_path / "new.npz", X=X)
    text = run(capsys, "predict", blobs.model, "--data", str(tmp_path / "new.npz"))
    assert text.split() == ["class", *map(str, np.argmax(A, axis=0))]
    path = tmp_path / "predicted.npz"
    assert run(capsys, "predict", blobs.model, "--data", blobs.data, "--probabilities", "--out", str(path)) == ""
    found = np.load(path)
    assert set(found) == {"y", "probabilities", "classes"}
    np.testing.assert_array_equal(found["y"], np.argmax(A, axis=0))
    np.testing.assert_array_equal(found["probabilities"], A.T)
    np.testing.assert_array_equal(found["classes"], [0, 1, 2])
    # What was predicted can be evaluated: all of it is right
    np.savez(tmp_path / "both.npz", X=X, y=found["y"])
    assert "accuracy 100.00%" in run(capsys, "evaluate", blobs.model, "--data", str(tmp_path / "both.npz"))


def test_a_csv_is_predicted_by_number_where_the_features_had_no_names(capsys, blobs, tmp_path):
    X, y = np.load(blobs.data).values()
    expected = run(capsys, "predict", blobs.model, "--data", blobs.data)
    plain = write(tmp_path / "plain.csv", ["a", "b", "c", "d"], X.tolist())
    assert run(capsys, "predict", blobs.model, "--data", plain) == expected
    labelled = write(tmp_path / "labelled.csv", ["y", "a", "b", "c", "d"], np.column_stack([y, X]).tolist())
    assert run(capsys, "predict", blobs.model, "--data", labelled) == expected
    of_npz, of_csv = (run(capsys, "evaluate", blobs.model, "--data", path) for path in (blobs.data, labelled))
    assert of_npz.splitlines()[1:] == of_csv.splitlines()[1:]
    narrow = write(tmp_path / "narrow.csv", ["y", "a", "b"], X[:, :3].tolist())
    message = f"{narrow}: has 2 columns beside 'y'; expected the 4 features that the model was trained on"
    assert refusal(capsys, "predict", blobs.model, "--data", narrow) == message


def test_predictions_go_to_a_file(capsys, trees, tmp_path):
    expected = run(capsys, "predict", trees.model, "--data", trees.data)
    path = tmp_path / "predicted.csv"
    assert run(capsys, "predict", trees.model, "--data", trees.data, "--out", str(path)) == ""
    assert path.read_text() == expected


def test_blocks_change_nothing(capsys, monkeypatch, blobs):
    expected = run(capsys, "predict", blobs.model, "--data", blobs.data)
    monkeypatch.setattr("manual_bp._command.model.BLOCK", 20)
    assert run(capsys, "predict", blobs.model, "--data", blobs.data) == expected


def test_classes_are_evaluated(capsys, blobs):
    X, y = np.load(blobs.data).values()
    A = outputs(blobs.model, X)
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (y, np.argmax(A, axis=0)), 1)
    named, of_all, *matrix = run(capsys, "evaluate", blobs.model, "--data", blobs.data).splitlines()
    assert named == f"{blobs.data}: 45 examples"
    found = re.fullmatch(r"cost (.+), accuracy (.+)%", of_all)
    assert found and float(found[1]) == pytest.approx(-np.log(A[y, np.arange(45)]).mean(), abs=1e-4)
    assert float(found[2]) == round(100 * np.trace(counts) / 45, 2)
    assert [line.split() for line in matrix[:2]] == [["predicted"], ["class", "0", "1", "2"]]
    for line, label, row in zip(matrix[2:], "012", counts, strict=True):
        assert line.split() == [label, *(str(count or "·") for count in row)]


def test_values_are_evaluated(capsys, plane):
    _, rows = table(plane.data)
    values = np.array(
        [row["value"] for row in rows_of(run(capsys, "predict", plane.model, "--data", plane.data))], float
    )
    y = np.array(rows, float)[:, 2]
    named, of_all = run(capsys, "evaluate", plane.model, "--data", plane.data).splitlines()
    assert named == f"{plane.data}, target column 'value': 90 examples"
    found = re.fullmatch(r"R² (.+), root mean squared error (.+)", of_all)
    assert found and float(found[1]) == pytest.approx(1 - np.mean((values - y) ** 2) / np.var(y), abs=1e-4)
    assert float(found[2]) == pytest.approx(np.sqrt(np.mean((values - y) ** 2)), rel=1e-4)


def test_a_terminal_without_the_letters_is_no_error(monkeypatch, plane):
    ascii = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", ascii)
    assert command.main(["evaluate", plane.model, "--data", plane.data]) == 0
    assert isinstance(ascii.buffer, io.BytesIO)
    assert rb"R\xb2 " in ascii.buffer.getvalue()


def test_one_value_has_no_r_squared(capsys, plane, tmp_path):
    path = write(tmp_path / "one.csv", ["a", "b", "value"], [[0, 0, 300]])
    assert "R² undefined, as all targets are equal, root mean" in run(capsys, "evaluate", plane.model, "--data", path)


def test_the_target_may_have_another_name(capsys, trees, tmp_path):
    header, rows = table(trees.data)
    expected = run(capsys, "evaluate", trees.model, "--data", trees.data).splitlines()
    path = write(tmp_path / "renamed.csv", ["height", "width", "kind"], rows)
    found = run(capsys, "evaluate", trees.model, "--data", path, "--target", "kind").splitlines()
    assert found == [f"{path}, target column 'kind': 40 examples", *expected[1:]]
    message = f"{path}: has no column 'species' with the targets: name one with --target"
    assert refusal(capsys, "evaluate", trees.model, "--data", path) == message


def test_a_csv_that_does_not_fit_is_refused(capsys, trees, tmp_path):
    for header, row, message in (
        (
            ["height", "species"],
            [1, "oak"],
            "has no column 'width'; expected what the model was trained on: 'height', 'width'",
        ),
        (
            ["a", "b"],
            [1, 2],
            "has no column 'height', 'width'; expected what the model was trained on: 'height', 'width'",
        ),
        (
            ["height", "width", "age"],
            [1, 2, 3],
            "has the column 'age', which the model was not trained on: leave it out",
        ),
        (["height", "width"], [1, "wide"], "column 'width', line 2: 'wide' is not a number"),
        (["height", "width"], [1, "nan"], "column 'width', line 2: nan is not a finite float32 number"),
    ):
        path = write(tmp_path / "new.csv", header, [row])
        assert refusal(capsys, "predict", trees.model, "--data", path) == f"{path}: {message}"


def test_labels_that_are_no_classes_are_refused(capsys, trees, blobs, tmp_path):
    path = write(tmp_path / "new.csv", ["height", "width", "species"], [[1, 2, "oak"], [1, 2, "ash"]])
    message = f"{path}: column 'species', line 3: 'ash' is not a class of the model; expected 'elm', 'oak'"
    assert refusal(capsys, "evaluate", trees.model, "--data", path) == message
    for y, shown in ((np.array(["a", "0"]), "'a'"), (np.array([1.5, 0]), "1.5"), (np.array([3, 0]), "3")):
        np.savez(tmp_path / "new.npz", X=np.eye(2, 4), y=y)
        message = f"{tmp_path}/new.npz: y[0]: {shown} is not a class of the model; expected 0, 1, 2"
        assert refusal(capsys, "evaluate", blobs.model, "--data", str(tmp_path / "new.npz")) == message


def test_an_npz_that_does_not_fit_is_refused(capsys, blobs, tmp_path):
    path = str(tmp_path / "new.npz")
    np.savez(path, X=np.ones((2, 3)))
    message = f"{path}: X has 3 features; expected 4, as the model was trained on"
    assert refusal(capsys, "predict", blobs.model, "--data", path) == message
    np.savez(path, Y=np.ones((2, 3)))
    assert refusal(capsys, "predict", blobs.model, "--data", path) == f"{path}: has no array X; expected X, found 'Y'"
    np.savez(path, X=np.full((2, 4), 3e38))
    message = f"{path}: X[0, 1]: 3e+38 is too far from what the model was trained on"
    assert refusal(capsys, "predict", blobs.model, "--data", path) == message


def test_other_bad_input_is_refused_in_one_line(capsys, trees, plane, tmp_path):
    absent = str(tmp_path / "absent")
    assert refusal(capsys, "predict", absent, "--data", trees.data).startswith(f"{absent} does not exist; ")
    assert refusal(capsys, "evaluate", str(tmp_path), "--data", trees.data).startswith(
        f"{tmp_path} is not a saved model"
    )
    assert (
        refusal(capsys, "predict", trees.model, "--data", absent + ".csv") == f"{absent}.csv: no such file or directory"
    )
    message = f"{plane.model} gives values: there are no --probabilities"
    assert refusal(capsys, "predict", plane.model, "--data", plane.data, "--probabilities") == message
    path = str(tmp_path / "absent" / "x.csv")
    message = f"{path} can't be written: no such file or directory"
    assert refusal(capsys, "predict", trees.model, "--data", trees.data, "--out", path) == message
    path = "/dev/full"
    if Path(path).exists():
        link = tmp_path / "full.csv"
        link.symlink_to(path)
        message = f"{link} can't be written: no space left on device"
        assert refusal(capsys, "predict", trees.model, "--data", trees.data, "--out", str(link), status=1) == message


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("predict",), "the following arguments are required: MODEL, --data"),
        (("evaluate", "m"), "the following arguments are required: --data"),
        (
            ("predict", "m", "--data", "x.csv", "--out", "y.txt"),
            "argument --out: 'y.txt' is not a file named .csv or .npz",
        ),
        (
            ("evaluate", "m", "--data", "x.npz", "--target", "y"),
            "--target names a column of a .csv file: give one with --data",
        ),
    ],
)
def test_a_bad_option_is_refused(capsys, argv, message):
    with pytest.raises(SystemExit) as exit:
        command.main(argv)
    assert exit.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"python -m manual_bp {argv[0]}: error: {message}"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_under_the_output_leaves_no_traceback(trees):
    argv = [sys.executable, "-m", "manual_bp", "predict", trees.model, "--data", trees.data]
    with open("/dev/full", "w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "manual_bp: error: output: No space left on device\n")


def test_a_confusion_matrix_keeps_long_names_short():
    classes = ["a", "an exceptionally long name of a class"]
    text = confusion(np.array([0, 1, 1, 1]), np.array([1, 1, 1, 1]), classes)
    assert text.splitlines() == [
        "                          predicted",
        "class                              a  an exce…",
        "a                                  ·         1",
        "an exceptionally long na           ·         3",
    ]


def test_of_many_classes_the_most_frequent_mistakes_are_listed():
    true = np.repeat(np.arange(20), 5)
    classes = [f"c{i}" for i in range(20)]
    assert confusion(true, true, classes) == "no mistakes"
    predicted = true.copy()
    predicted[:3] = 7
    predicted[50] = 19
    assert confusion(true, predicted, classes).splitlines() == [
        "the most frequent mistakes:",
        "  3 of 5 c0 taken for c7",
        "  1 of 5 c10 taken for c19",
    ]
